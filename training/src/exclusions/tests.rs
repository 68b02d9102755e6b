use std::sync::Arc;

use forewarn_features::{Observation, Signal, SignalLimit};
use forewarn_schema::{Direction, SignalKind};

use super::*;

fn minute(m: i64) -> Timestamp {
    Timestamp::from_seconds(60 * m)
}

fn range(from: i64, to: i64) -> TimeRange {
    TimeRange::new(minute(from), minute(to)).unwrap()
}

fn signals() -> SignalSet {
    let memory = Signal {
        name: "memory".to_owned(),
        kind: SignalKind::Breach(BreachKind::Oom),
        service: "service".to_owned(),
        value: "memory".to_owned(),
        limit: Some(SignalLimit::Expression("limit".to_owned())),
        direction: Direction::Above,
        playbook: None,
    };
    SignalSet::new(&[], vec![memory]).unwrap()
}

/// A day of one workload: at each minute its pods, with a value and a limit each.
fn day(pods: impl Fn(i64) -> Vec<(&'static str, f64, f64)>) -> Vec<ServiceStep> {
    let step = |m: i64| {
        let mut observations: Vec<Observation> = pods(m)
            .into_iter()
            .map(|(pod, value, limit)| Observation {
                signal: "memory".into(),
                labels: Arc::new(LabelSet::from([("pod", pod)])),
                value,
                limit: Some(limit),
            })
            .collect();
        observations.sort_by(|a, b| a.labels.cmp(&b.labels));
        ServiceStep { service: "cart".into(), at: minute(m), observations }
    };
    (0..1440).map(step).collect()
}

/// From minute 600 on a pod climbs to its limit of 100, which it reaches at 700; it begins anew at 720.
fn leak() -> Vec<ServiceStep> {
    day(|m| vec![("a", if (600..720).contains(&m) { 10.0 + 0.9 * (m - 600) as f64 } else { 10.0 }, 100.0)])
}

fn label(verdict: Verdict, from: i64, to: i64) -> LabelledTime {
    LabelledTime { kind: Some(BreachKind::Oom), labels: LabelSet::new(), range: range(from, to), verdict }
}

fn known(maintenance: Vec<TimeRange>, labels: Vec<LabelledTime>) -> Known {
    let cart = KnownOfService { maintenance: Vec::new(), labels };
    Known::before(minute(1440), maintenance, BTreeMap::from([("cart".to_owned(), cart)]))
}

fn normal(steps: &[ServiceStep], known: &Known) -> Normal {
    Normal::of("cart", steps, &signals(), known, range(0, 1440))
}

#[test]
fn without_labels_maintenance_and_deployments_only_incidents_are_left_out_and_nothing_is_said() {
    let normal = normal(&leak(), &Known::default());
    assert_eq!(normal.excluded.len(), 1);
    assert!(normal.excluded[0].contains(minute(650)) && normal.excluded[0].end == minute(730));
    assert_eq!(normal.left_out, None, "the manifest is what it was");
    assert_eq!(Known::default().digest(), None);
    let nothing_counts = known(vec![], vec![label(Verdict::Unclear, 0, 10), label(Verdict::Missed, 1440, 1500)]);
    assert_eq!(nothing_counts, Known::default(), "unclear says nothing, and the future is not known");
}

#[test]
fn a_labelled_incident_is_left_out_with_its_whole_way_or_as_long_as_the_label_says() {
    let calm = day(|_| vec![("a", 10.0, 100.0)]);
    let hit = known(vec![], vec![label(Verdict::TruePositive, 300, 360)]);
    assert_eq!(normal(&calm, &hit).excluded, [range(300, 360)], "no limit was reached: what the label says");
    let missed = known(vec![], vec![label(Verdict::Missed, 695, 705)]);
    let excluded = normal(&leak(), &missed).excluded;
    assert!(excluded.iter().any(|r| r.contains(minute(610)) && r.contains(minute(740))), "{excluded:?}");
    let said = normal(&leak(), &missed).left_out.unwrap();
    assert_eq!((said.missed, said.labelled.count), (1, 1));
    assert_eq!(said.digest.as_deref(), missed.digest());
}

#[test]
fn a_false_alarm_is_normal_where_the_samples_look_like_an_incident() {
    let wrong = known(vec![], vec![label(Verdict::FalsePositive, 590, 720)]);
    let normal_then = normal(&leak(), &wrong);
    assert_eq!(normal_then.excluded, [range(720, 730)], "of the incident what the label does not speak of");
    assert!(normal_then.is_certain(minute(650)) && !normal_then.is_certain(minute(720)));
    assert_eq!(normal_then.left_out.unwrap().certainly_normal.hours, 130.0 / 60.0);
    let both = vec![label(Verdict::FalsePositive, 590, 720), label(Verdict::TruePositive, 600, 660)];
    assert!(!normal(&leak(), &known(vec![], both)).is_certain(minute(650)), "an incident outweighs a false alarm");
    let at_work = known(vec![range(600, 640)], vec![label(Verdict::FalsePositive, 590, 720)]);
    assert!(normal(&leak(), &at_work).excluded.contains(&range(600, 640)), "and so does maintenance");
}

#[test]
fn pods_replaced_and_limits_changed_are_deployments_and_scaling_is_none() {
    let rolled = day(|m| match m {
        ..500 => vec![("a", 10.0, 100.0), ("b", 10.0, 100.0)],
        500..505 => vec![("b", 10.0, 100.0), ("c", 10.0, 100.0)],
        _ => vec![("c", 10.0, 100.0), ("d", 10.0, 100.0)],
    });
    let normal_then = normal(&rolled, &Known::default());
    assert_eq!(normal_then.excluded, [range(499, 520)], "from the last step of the first pod");
    assert_eq!(normal_then.left_out.unwrap().deployments, Share { count: 1, hours: 21.0 / 60.0 });
    let raised = day(|m| vec![("a", 10.0, if m < 800 { 100.0 } else { 200.0 })]);
    assert_eq!(normal(&raised, &Known::default()).excluded, [range(800, 815)]);
    let scaled = day(|m| match m {
        ..500 => vec![("a", 10.0, 100.0)],
        500..900 => vec![("a", 10.0, 100.0), ("b", 10.0, 100.0)],
        _ => vec![("a", 10.0, 100.0)],
    });
    assert!(normal(&scaled, &Known::default()).excluded.is_empty());
    let job = |m: i64| &*Box::leak(format!("job-{}", m / 30).into_boxed_str());
    let jobs = day(|m| vec![(job(m), 10.0, 100.0)]);
    assert!(normal(&jobs, &Known::default()).excluded.is_empty(), "a workload of jobs is always being replaced");
}

#[test]
fn the_order_in_which_labels_come_does_not_matter_and_each_of_them_does() {
    let (a, b) = (label(Verdict::Missed, 10, 20), label(Verdict::FalsePositive, 5, 8));
    let one = known(vec![range(1, 2), range(2, 3)], vec![a.clone(), b.clone(), a.clone()]);
    let other = known(vec![range(1, 3)], vec![b.clone(), a.clone()]);
    assert_eq!(one, other);
    assert_ne!(one.digest(), known(vec![range(1, 3)], vec![b]).digest());
    let written = serde_json::to_string(&one).unwrap();
    assert_eq!(serde_json::from_str::<Known>(&written).unwrap(), one, "{written}");
}

#[test]
fn people_decide_whether_a_request_was_a_false_alarm() {
    let labels = [label(Verdict::FalsePositive, 0, 100), label(Verdict::TruePositive, 50, 60)];
    let said = |m: i64, kind| was_false_alarm(&labels, kind, &LabelSet::from([("pod", "a")]), minute(m));
    assert_eq!(said(10, BreachKind::Oom), Some(true));
    assert_eq!(said(55, BreachKind::Oom), Some(false));
    assert_eq!((said(100, BreachKind::Oom), said(10, BreachKind::DiskFull)), (None, None));
}

#[test]
fn holes_are_cut_out_of_each_range() {
    assert_eq!(without(&[range(0, 10), range(5, 15)], &[]), [range(0, 10), range(5, 15)]);
    assert_eq!(without(&[range(0, 10)], &[range(2, 4), range(3, 6)]), [range(0, 2), range(6, 10)]);
    assert!(without(&[range(0, 10)], &[range(0, 10)]).is_empty());
}

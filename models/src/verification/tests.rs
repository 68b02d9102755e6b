use forewarn_schema::{AnomalyScore, Explanation, Mode, Probability, TimeToBreach};
use proptest::prelude::*;

use super::*;
use crate::decision::DecisionParams;

const HOUR: i64 = 3600;
/// When everything below was asked for; the breach was predicted for five hours later.
const ASKED: i64 = 100 * HOUR;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn pod(name: &str) -> LabelSet {
    LabelSet::from([("pod", name)])
}

fn request(kind: BreachKind) -> RemediationRequest {
    RemediationRequest {
        id: "r-1".into(),
        prediction_id: "p-1".into(),
        at: at(ASKED),
        service: "cart".into(),
        signal: "pool".into(),
        kind,
        labels: pod("cart-1"),
        predicted_breach: PredictedBreach {
            p10: at(ASKED + 4 * HOUR),
            p50: at(ASKED + 5 * HOUR),
            p90: at(ASKED + 6 * HOUR),
        },
        probability: Probability::saturating(0.9),
        evidence: Explanation::default(),
        playbook: Some("restart-pod".into()),
        window: None,
        mode: Mode::Approval,
        expires_at: at(ASKED + 6 * HOUR),
        outcome_url: None,
    }
}

/// What is said of a pod: its value of 100, and in how many hours (and how probably) it comes to its limit.
fn said(name: &str, seconds: i64, value: f64, hours: Option<f64>) -> Prediction {
    let probability = hours.map_or(0.01, |hours| if hours < 6.0 { 0.9 } else { 0.1 });
    Prediction {
        id: format!("p-{name}-{seconds}"),
        at: at(seconds),
        service: "cart".into(),
        signal: "pool".into(),
        kind: BreachKind::PoolExhaustion,
        labels: pod(name).into(),
        value,
        limit: 100.0,
        breach_probability: Probability::saturating(probability),
        horizon_seconds: 6.0 * 3600.0,
        time_to_breach_seconds: hours.map(|h| TimeToBreach::new(h * 3000.0, h * 3600.0, h * 4000.0).unwrap()),
        request_id: None,
        anomaly_score: AnomalyScore::default(),
        model_version: "v1".into(),
        explanation: Explanation::default(),
    }
}

/// Of another signal of the same service.
fn memory(seconds: i64, hours: Option<f64>) -> Prediction {
    Prediction { signal: "memory".into(), ..said("cart-1", seconds, 40.0, hours) }
}

const REPORTED: i64 = ASKED + HOUR;

/// Announcing from that probability on.
fn from(min_probability: f64) -> impl Fn(&Prediction) -> Caution + Sync {
    let DecisionParams { persistence, persistence_racing, .. } = DecisionParams::default();
    move |_| Caution { min_probability, persistence, persistence_racing }
}

fn standard<'a>(params: &'a VerificationParams, caution: &'a (dyn Fn(&Prediction) -> Caution + Sync)) -> Standard<'a> {
    Standard { direction: Direction::Above, step: Step::MINUTE, params, caution }
}

/// Minute by minute from the request on, until there is a finding or `until`; succeeded is reported after an hour. Announcing is as
/// cautious as by default.
fn run(
    request: &RemediationRequest,
    failed: bool,
    until: i64,
    say: impl FnMut(i64) -> Vec<Prediction>,
) -> Option<(i64, Found)> {
    run_with(request, failed, until, &from(DecisionParams::default().min_probability), say)
}

fn run_with(
    request: &RemediationRequest,
    failed: bool,
    until: i64,
    caution: &(dyn Fn(&Prediction) -> Caution + Sync),
    mut say: impl FnMut(i64) -> Vec<Prediction>,
) -> Option<(i64, Found)> {
    let mut watch = Watch::new(request, &say(ASKED));
    let params = VerificationParams::default();
    for seconds in (ASKED + 60..=until).step_by(60) {
        let reported = match (seconds >= REPORTED, failed) {
            (false, _) => Reported::Nothing,
            (true, false) => Reported::Succeeded { at: at(REPORTED) },
            (true, true) => Reported::Failed { at: at(REPORTED) },
        };
        let found = watch.step(request, reported, at(seconds), &say(seconds), &standard(&params, caution));
        // What is remembered is what was written: a restart between any two steps changes nothing.
        watch = serde_json::from_str(&serde_json::to_string(&watch).unwrap()).unwrap();
        if let Some(found) = found {
            return Some((seconds, found));
        }
    }
    None
}

fn finding(found: Option<(i64, Found)>) -> (i64, Finding) {
    let (seconds, found) = found.expect("a finding");
    ((seconds - REPORTED) / 60, found.finding)
}

/// On its way before the outcome, out of sight after it.
fn helped(seconds: i64) -> Vec<Prediction> {
    match seconds < REPORTED {
        true => vec![said("cart-1", seconds, 60.0, Some(3.0))],
        false => vec![said("cart-1", seconds, 20.0, None)],
    }
}

#[test]
fn a_breach_that_moved_out_and_stayed_out_is_verified_after_the_hold() {
    let found = run(&request(BreachKind::PoolExhaustion), false, REPORTED + 5 * HOUR, helped);
    assert_eq!(finding(found), (70, Finding::Verified), "ten minutes to settle and an hour of hold");
    assert_eq!(run(&request(BreachKind::PoolExhaustion), false, REPORTED + 69 * 60, helped), None);
}

#[test]
fn nothing_is_found_while_nothing_is_reported() {
    let asked = request(BreachKind::PoolExhaustion);
    assert_eq!(run(&asked, false, REPORTED - 60, |seconds| vec![said("cart-1", seconds, 10.0, None)]), None);
}

#[test]
fn what_is_far_out_again_is_out_of_sight_and_what_comes_back_is_a_failure() {
    let asked = request(BreachKind::PoolExhaustion);
    let moved_out = |seconds: i64| match seconds < REPORTED {
        true => helped(seconds),
        false => vec![said("cart-1", seconds, 20.0, Some(12.0))],
    };
    assert_eq!(finding(run(&asked, false, REPORTED + 2 * HOUR, moved_out)).1, Finding::Verified);
    let comes_back = |seconds: i64| match seconds < REPORTED + 45 * 60 {
        true => helped(seconds),
        false => vec![said("cart-1", seconds, 50.0, Some(5.5))],
    };
    assert_eq!(finding(run(&asked, false, REPORTED + 2 * HOUR, comes_back)), (45, Finding::Failed));
    let never_left = |seconds: i64| vec![said("cart-1", seconds, 60.0, Some(5.0))];
    assert_eq!(
        finding(run(&asked, false, REPORTED + 2 * HOUR, never_left)),
        (10, Finding::Failed),
        "once it has settled"
    );
}

#[test]
fn a_breach_sooner_than_before_made_it_worse() {
    let asked = request(BreachKind::PoolExhaustion);
    let worse = |seconds: i64| match seconds < REPORTED {
        true => helped(seconds),
        false => vec![said("cart-1", seconds, 80.0, Some(0.5))],
    };
    let (minutes, found) = run(&asked, false, REPORTED + 2 * HOUR, worse).unwrap();
    assert_eq!(((minutes - REPORTED) / 60, found.finding), (10, Finding::Worsened));
    assert!(found.reason.contains("sooner than before"), "{}", found.reason);
    let evidence = found.evidence.unwrap();
    assert_eq!((evidence.value, evidence.labels, evidence.predicted_breach.is_some()), (80.0, pod("cart-1"), true));
}

#[test]
fn the_limit_reached_after_it_made_it_worse_and_before_it_is_a_failure() {
    let asked = request(BreachKind::PoolExhaustion);
    let reached = |from: i64| {
        move |seconds: i64| match seconds < from {
            true => helped(seconds),
            false => vec![said("cart-1", seconds, 100.0, Some(0.0))],
        }
    };
    // Also while the forecast settles.
    assert_eq!(finding(run(&asked, false, REPORTED + HOUR, reached(REPORTED + 180))), (3, Finding::Worsened));
    assert_eq!(finding(run(&asked, false, REPORTED + HOUR, reached(REPORTED - 1800))), (-30, Finding::Failed));
}

#[test]
fn another_signal_that_becomes_urgent_for_a_while_made_it_worse() {
    let asked = request(BreachKind::PoolExhaustion);
    let with_memory = |minutes: std::ops::Range<i64>| {
        move |seconds: i64| {
            let urgent = minutes.contains(&((seconds - REPORTED) / 60));
            let mut all = helped(seconds);
            all.push(memory(seconds, urgent.then_some(2.0)));
            all
        }
    };
    let (_, found) = run(&asked, false, REPORTED + 2 * HOUR, with_memory(20..600)).unwrap();
    assert_eq!(
        (found.finding, found.reason.as_str()),
        (Finding::Worsened, "memory became urgent after the remediation")
    );
    assert_eq!(finding(run(&asked, false, REPORTED + 2 * HOUR, with_memory(20..24))).1, Finding::Verified, "a tremble");
    assert_eq!(
        finding(run(&asked, false, REPORTED + 2 * HOUR, with_memory(-60..600))).1,
        Finding::Verified,
        "it was before"
    );
}

#[test]
fn a_pod_that_took_the_place_of_another_is_watched_and_a_sibling_is_not() {
    let asked = request(BreachKind::PoolExhaustion);
    let replaced = |new: Option<f64>| {
        move |seconds: i64| match seconds < REPORTED {
            // The sibling is in trouble all along: that is its own story.
            true => vec![said("cart-1", seconds, 60.0, Some(3.0)), said("cart-2", seconds, 60.0, Some(2.0))],
            false => vec![said("cart-9", seconds, 20.0, new), said("cart-2", seconds, 60.0, Some(2.0))],
        }
    };
    assert_eq!(finding(run(&asked, false, REPORTED + 2 * HOUR, replaced(None))), (70, Finding::Verified));
    assert_eq!(finding(run(&asked, false, REPORTED + 2 * HOUR, replaced(Some(5.9)))).1, Finding::Failed);
    let workload = RemediationRequest { labels: LabelSet::new(), ..asked };
    let all = run(&workload, false, REPORTED + 2 * HOUR, replaced(None));
    assert_ne!(finding(all).1, Finding::Verified, "a request for the whole workload is about every pod of it");
}

#[test]
fn a_target_that_was_not_seen_decides_nothing() {
    let asked = request(BreachKind::PoolExhaustion);
    let gaps = |every: i64| {
        move |seconds: i64| match seconds >= REPORTED && (seconds / 60) % 10 < every {
            true => vec![],
            false => helped(seconds),
        }
    };
    let (_, found) = run(&asked, false, REPORTED + 2 * HOUR, gaps(3)).unwrap();
    assert_eq!(found.finding, Finding::Undecided, "{}", found.reason);
    assert_eq!(finding(run(&asked, false, REPORTED + 2 * HOUR, gaps(1))).1, Finding::Verified);
}

#[test]
fn a_failure_that_was_reported_is_watched_for_worse_alone() {
    let asked = request(BreachKind::PoolExhaustion);
    let never_left = |seconds: i64| vec![said("cart-1", seconds, 60.0, Some(5.0))];
    assert_eq!(finding(run(&asked, true, REPORTED + 2 * HOUR, never_left)), (70, Finding::Failed));
    let reached = |seconds: i64| match seconds < REPORTED + 30 * 60 {
        true => never_left(seconds),
        false => vec![said("cart-1", seconds, 101.0, Some(0.0))],
    };
    assert_eq!(finding(run(&asked, true, REPORTED + 2 * HOUR, reached)), (30, Finding::Worsened));
}

#[test]
fn a_container_killed_for_want_of_memory_is_no_success() {
    let asked = request(BreachKind::Oom);
    let killed_at = |minute: i64| {
        move |seconds: i64| {
            let minutes = (seconds - REPORTED) / 60;
            match minutes.cmp(&minute) {
                std::cmp::Ordering::Less => vec![said("cart-1", seconds, 60.0, None)],
                std::cmp::Ordering::Equal => vec![said("cart-1", seconds, 98.0, None)],
                std::cmp::Ordering::Greater => vec![said("cart-1", seconds, 10.0, None)],
            }
        }
    };
    assert_eq!(finding(run(&asked, false, REPORTED + 2 * HOUR, killed_at(30))), (31, Finding::Worsened));
    let (_, found) = run(&asked, false, REPORTED + 2 * HOUR, killed_at(-5)).unwrap();
    assert_eq!(found.finding, Finding::Undecided, "the fall may have been the restart: {}", found.reason);
}

#[test]
fn a_burst_of_errors_from_a_restart_is_no_breach() {
    let asked = request(BreachKind::ErrorRate);
    let burst = |minutes: i64| {
        move |seconds: i64| match (seconds - REPORTED) / 60 {
            m if (0..minutes).contains(&m) => vec![said("cart-1", seconds, 150.0, Some(0.0))],
            _ => helped(seconds),
        }
    };
    assert_eq!(finding(run(&asked, false, REPORTED + 2 * HOUR, burst(5))), (70, Finding::Verified));
    assert_eq!(finding(run(&asked, false, REPORTED + 2 * HOUR, burst(20))).1, Finding::Worsened);
}

#[test]
fn a_step_from_before_the_outcome_that_comes_late_does_not_begin_the_watch() {
    // A sender that catches up: the steps that are evaluated after the outcome are of before it.
    let (asked, params) = (request(BreachKind::PoolExhaustion), VerificationParams::default());
    let mut watch = Watch::new(&asked, &helped(ASKED));
    let caution = from(0.55);
    for seconds in (ASKED + 60..REPORTED).step_by(60) {
        let reported = Reported::Succeeded { at: at(REPORTED) };
        let found = watch.step(&asked, reported, at(seconds), &helped(seconds), &standard(&params, &caution));
        assert_eq!(found, None);
    }
    assert_eq!(watch.begun, None);
}

#[test]
fn what_is_in_sight_and_what_is_urgent_follows_the_thresholds_that_announcing_has_learnt() {
    let asked = request(BreachKind::PoolExhaustion);
    let until = REPORTED + 2 * HOUR;
    // What is left may come in twelve hours, with a probability of 0.1: announced again only where that is enough.
    let far = |seconds: i64| match seconds < REPORTED {
        true => helped(seconds),
        false => vec![said("cart-1", seconds, 20.0, Some(12.0))],
    };
    assert_eq!(finding(run_with(&asked, false, until, &from(0.55), far)), (70, Finding::Verified));
    assert_eq!(finding(run_with(&asked, false, until, &from(0.05), far)), (10, Finding::Failed));
    assert_eq!(finding(run_with(&asked, false, until, &from(0.95), far)), (70, Finding::Verified));
    // A median within the horizon is in sight, however cautious announcing has become.
    let near = |seconds: i64| match seconds < REPORTED {
        true => helped(seconds),
        false => vec![said("cart-1", seconds, 20.0, Some(5.9))],
    };
    assert_eq!(finding(run_with(&asked, false, until, &from(0.95), near)), (10, Finding::Failed));
    // Another signal at 0.9 makes it worse, unless nobody would announce that.
    let aside = |seconds: i64| {
        let mut all = helped(seconds);
        all.push(memory(seconds, (seconds >= REPORTED + 600).then_some(3.0)));
        all
    };
    assert_eq!(finding(run_with(&asked, false, until, &from(0.55), aside)).1, Finding::Worsened);
    assert_eq!(finding(run_with(&asked, false, until, &from(0.95), aside)), (70, Finding::Verified));
    // Thresholds are of the models' own probabilities, whatever is shown.
    let shown_less = |seconds: i64| {
        let mut all = far(seconds);
        for p in all.iter_mut().filter(|_| seconds >= REPORTED) {
            p.explanation.uncalibrated = Some(Probability::saturating(0.1));
            p.breach_probability = Probability::saturating(0.01);
        }
        all
    };
    assert_eq!(finding(run_with(&asked, false, until, &from(0.05), shown_less)), (10, Finding::Failed));
}

proptest! {
    #[test]
    fn nothing_is_verified_that_was_ever_in_sight_during_the_hold(
        hours in prop::collection::vec(prop_oneof![4 => Just(None), 1 => (0.1f64..20.0).prop_map(Some)], 90),
        missing in prop::collection::vec(prop::bool::weighted(0.2), 90),
    ) {
        let minute = |seconds: i64| usize::try_from((seconds - REPORTED) / 60).ok();
        let say = |seconds: i64| match minute(seconds) {
            Some(minute) if seconds >= REPORTED && minute < 90 => match missing[minute] {
                true => vec![],
                false => vec![said("cart-1", seconds, 30.0, hours[minute])],
            },
            _ => helped(seconds),
        };
        let found = run(&request(BreachKind::PoolExhaustion), false, REPORTED + 2 * HOUR, say);
        let (minutes, finding) = finding(found);
        let in_hold = || (10..=70usize).filter(|m| !missing[*m]);
        let in_sight = in_hold().any(|m| hours[m].is_some_and(|h| h <= 6.0));
        if finding == Finding::Verified {
            prop_assert!(!in_sight && minutes == 70 && in_hold().count() >= 49);
        } else {
            prop_assert!(in_sight || finding == Finding::Undecided && in_hold().count() < 49);
        }
    }
}

//! What really happened, from the data itself: when each target reached its limit, and what became
//! of what was said about it.
//!
//! This looks into the future of what it judges, on purpose: it settles predictions after the fact
//! and never feeds a model or the engine. Nobody labels here; people's labels are in `feedback`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forewarn_features::{ServiceStep, SignalSet};
use forewarn_schema::{BreachKind, LabelSet, TimeRange, Timestamp};
use serde::{Deserialize, Serialize};

use self::facts::Facts;
pub use self::life::{Life, Point, WouldHave};
pub use self::timed::Timed;
use self::walk::{Rules, Walked, Walker, Way};
pub use self::watch::{
    Announced, CERTAIN_AFTER, Happened, Lives, PATIENCE, Settled, Watch, WatchMemory, WatchedService, What,
};

mod facts;
mod life;
mod onset;
mod timed;
mod walk;
mod watch;

/// After a breach, what is said of the same target is about that breach.
pub const GRACE: Duration = Duration::from_secs(30 * 60);
/// A breach whose way is shorter than this gave nobody a chance to announce it.
pub const SUDDEN: Duration = Duration::from_secs(15 * 60);
/// A target unseen for this long has ended (Prometheus itself holds a value for five minutes).
const ENDED: Duration = Duration::from_secs(10 * 60);

/// One limit reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// The workload (the node, for disks).
    pub service: Arc<str>,
    /// The signal.
    pub signal: String,
    /// What kind of breach.
    pub kind: BreachKind,
    /// The target.
    pub labels: LabelSet,
    /// The limit that was reached, in the signal's unit.
    pub limit: f64,
    /// An estimate: when the climb to it began, at the earliest when the target was first seen, last reset
    /// or last over a breach.
    pub onset: Timestamp,
    /// The first step at which the limit was reached.
    pub at: Timestamp,
    /// The last step before the value had gone back for good.
    pub over: Timestamp,
}

/// What became of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "was")]
pub enum Outcome {
    /// The breach came within the horizon.
    Breached {
        /// When.
        at: Timestamp,
    },
    /// Said during a breach, or within half an hour after it was over: neither right nor wrong.
    InBreach,
    /// The target ended or was reset before the horizon was over: nobody can tell.
    Averted,
    /// The data end before the horizon does.
    Unsettled,
    /// The horizon passed and no breach came.
    FalseAlarm,
}

/// What happened to each target of each service over a whole history.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    targets: Vec<TargetTruth>,
    by_service: BTreeMap<Arc<str>, Vec<usize>>,
}

/// One target's life.
#[derive(Clone, Debug)]
struct TargetTruth {
    kind: BreachKind,
    labels: LabelSet,
    first: Timestamp,
    last: Timestamp,
    /// The last step of the whole history, of any target.
    data_end: Timestamp,
    walked: Walked,
    breaches: Vec<Breach>,
}

impl Truth {
    /// Walks the histories (per service, sorted by time). Steps without a limit say nothing about a
    /// breach and are left out; gaps are not filled.
    pub fn from_histories(histories: &BTreeMap<Arc<str>, Vec<ServiceStep>>, signals: &SignalSet) -> Self {
        let data_end = histories.values().filter_map(|steps| steps.last()).map(|s| s.at).max().unwrap_or_default();
        let mut truth = Self::default();
        for (service, steps) in histories {
            truth.add(service, steps, signals, data_end);
        }
        truth
    }

    /// The same of one service.
    pub fn of_service(service: &Arc<str>, steps: &[ServiceStep], signals: &SignalSet) -> Self {
        let mut truth = Self::default();
        truth.add(service, steps, signals, steps.last().map(|s| s.at).unwrap_or_default());
        truth
    }

    fn add(&mut self, service: &Arc<str>, steps: &[ServiceStep], signals: &SignalSet, data_end: Timestamp) {
        for (name, labels, points) in target_points(steps, signals) {
            let Some(signal) = signals.get(&name) else { continue };
            let (Some(kind), Some(first), Some(last)) = (signal.kind.breach(), points.first(), points.last()) else {
                continue;
            };
            let rules = Rules { kind, direction: signal.direction };
            let (mut walker, mut walked) = (Walker::default(), Walked::default());
            for point in &points {
                walker.push(*point, rules, &points.as_slice(), &mut walked);
            }
            walker.finish(rules, &points.as_slice(), &mut walked);
            let breach = |way: &Way| Breach::of(way, service, &name, kind, &labels);
            let breaches = walked.ways.iter().map(breach).collect();
            self.by_service.entry(Arc::clone(service)).or_default().push(self.targets.len());
            let (first, last, labels) = (first.at, last.at, (*labels).clone());
            self.targets.push(TargetTruth { kind, labels, first, last, data_end, walked, breaches });
        }
    }

    /// The breaches inside `range`, sorted by time, service, signal and labels.
    pub fn breaches(&self, range: TimeRange) -> Vec<&Breach> {
        let all = self.targets.iter().flat_map(|t| &t.breaches);
        let mut breaches: Vec<&Breach> = all.filter(|b| range.contains(b.at)).collect();
        breaches
            .sort_by(|a, b| (a.at, &a.service, &a.signal, &a.labels).cmp(&(b.at, &b.service, &b.signal, &b.labels)));
        breaches
    }

    /// Incidents of one service as times to leave out when its normal is learnt: the last six hours
    /// of the way to each breach, and half an hour after. A certificate's end is no incident until
    /// it has ended.
    pub fn incidents(&self, service: &str) -> Vec<TimeRange> {
        let targets = self.by_service.get(service).into_iter().flatten().map(|i| &self.targets[*i]);
        let breaches = targets.flat_map(|t| &t.breaches).filter(|b| b.kind != BreachKind::CertificateExpiry);
        let mut ranges: Vec<TimeRange> = breaches
            .map(|b| TimeRange { start: b.onset.max(b.at - Duration::from_secs(6 * 3600)), end: b.at + GRACE })
            .collect();
        ranges.sort_by_key(|r| (r.start, r.end));
        ranges
    }

    /// What became of "a breach of `kind` within `horizon`" said at `at` about the targets of
    /// `service` that agree with `labels` (an absent label agrees with any). The best for the
    /// announcement wins: one pod of a workload that breaches makes it right.
    pub fn settle(
        &self,
        service: &str,
        kind: BreachKind,
        labels: &LabelSet,
        at: Timestamp,
        horizon: Duration,
    ) -> Outcome {
        facts::settle(self.about(service, kind, labels, at), at, horizon)
    }

    /// What became of a request: as [`Truth::settle`], but a request on the way to a breach was right about
    /// it however late it said the breach would be (how late is measured by the time errors), and one on the
    /// way to where a deploy or a restart ended a climb is neither right nor wrong, whenever that was.
    pub fn settle_request(
        &self,
        service: &str,
        kind: BreachKind,
        labels: &LabelSet,
        at: Timestamp,
        horizon: Duration,
    ) -> Outcome {
        let about: Vec<Facts<'_>> = self.about(service, kind, labels, at).collect();
        facts::settle_request(&about, at, horizon)
    }

    /// The live targets of `service` that agree with `labels`.
    fn about<'a>(
        &'a self,
        service: &str,
        kind: BreachKind,
        labels: &'a LabelSet,
        at: Timestamp,
    ) -> impl Iterator<Item = Facts<'a>> {
        let indices = self.by_service.get(service).into_iter().flatten();
        let about = indices.map(|i| &self.targets[*i]).filter(move |t| t.kind == kind && agree(&t.labels, labels));
        about.map(TargetTruth::facts).filter(move |facts| facts.lived(at))
    }
}

impl TargetTruth {
    fn facts(&self) -> Facts<'_> {
        Facts { first: self.first, last: self.last, data_end: self.data_end, walked: &self.walked }
    }
}

impl Breach {
    fn of(way: &Way, service: &Arc<str>, signal: &str, kind: BreachKind, labels: &LabelSet) -> Self {
        let &Way { onset, at, over, limit } = way;
        Self {
            service: Arc::clone(service),
            signal: signal.to_owned(),
            kind,
            labels: labels.clone(),
            limit,
            onset,
            at,
            over,
        }
    }

    /// Whether anybody could have announced it: a jump gave nobody a chance.
    pub fn is_sudden(&self) -> bool {
        self.at.seconds_since(self.onset) < SUDDEN.as_secs_f64()
    }

    /// How long before it a request must come to help: as is required of its kind, but never more than half of the way, which is taken to
    /// begin at `from` at the earliest.
    pub fn required_lead(&self, from: Timestamp) -> Duration {
        let way = self.at.seconds_since(self.onset.max(from)).max(0.0);
        required_lead(self.kind).min(Duration::from_secs_f64(way / 2.0))
    }

    /// Whether a replica of the same workload came to its limit side by side with it: what is said of them is one thing said.
    pub fn side_by_side(&self, other: &Self) -> bool {
        /// Their ways overlap by this share of the shorter.
        const SIDE_BY_SIDE: f64 = 0.5;
        let overlap = self.at.min(other.at).seconds_since(self.onset.max(other.onset));
        let shorter = self.at.seconds_since(self.onset).min(other.at.seconds_since(other.onset));
        self.service == other.service
            && self.signal == other.signal
            && self.labels.without(&["pod"]) == other.labels.without(&["pod"])
            && overlap > 0.0
            && overlap >= SIDE_BY_SIDE * shorter
    }
}

/// How long before a breach of this kind a request must come to help.
pub fn required_lead(kind: BreachKind) -> Duration {
    Duration::from_secs(match kind {
        BreachKind::DiskFull => 2 * 3600,
        BreachKind::CertificateExpiry => 24 * 3600,
        _ => 15 * 60,
    })
}

impl Outcome {
    /// Best for the announcement first.
    fn rank(&self) -> (u8, Timestamp) {
        match self {
            Self::Breached { at } => (0, *at),
            Self::InBreach => (1, Timestamp::default()),
            Self::Averted => (2, Timestamp::default()),
            Self::Unsettled => (3, Timestamp::default()),
            Self::FalseAlarm => (4, Timestamp::default()),
        }
    }
}

/// Whether every label that both have is the same.
pub fn agree(a: &LabelSet, b: &LabelSet) -> bool {
    a.iter().all(|(name, value)| b.get(name).is_none_or(|other| other == value))
}

/// The points of every target that has a limit, sorted by signal and labels.
fn target_points(steps: &[ServiceStep], signals: &SignalSet) -> Vec<(String, Arc<LabelSet>, Vec<Point>)> {
    let mut targets: BTreeMap<(Arc<str>, Arc<LabelSet>), Vec<Point>> = BTreeMap::new();
    for step in steps {
        for seen in &step.observations {
            let limited = signals.get(&seen.signal).is_some_and(|s| s.kind.breach().is_some());
            let Some(limit) = seen.limit.filter(|l| limited && l.is_finite() && !seen.value.is_nan()) else { continue };
            let key = (Arc::clone(&seen.signal), Arc::clone(&seen.labels));
            let point = Point { at: step.at, value: seen.value, limit, would_have: WouldHave::Unknown };
            targets.entry(key).or_default().push(point);
        }
    }
    targets.into_iter().map(|((signal, labels), points)| (signal.to_string(), labels, points)).collect()
}

#[cfg(test)]
mod tests {
    use forewarn_features::Observation;

    use super::*;

    fn minute(m: i64) -> Timestamp {
        Timestamp::from_seconds(m * 60)
    }

    fn minutes(m: u64) -> Duration {
        Duration::from_secs(m * 60)
    }

    /// One pod of one service, a value a minute; NaN is a missing step.
    fn truth_of(signal: &str, limit: f64, values: &[f64]) -> Truth {
        let signals =
            SignalSet::new(&["kubernetes", "hikaricp", "http", "node", "blackbox"].map(str::to_owned), vec![]);
        let steps = values.iter().enumerate().map(|(m, value)| ServiceStep {
            service: "cart".into(),
            at: minute(m as i64),
            observations: if value.is_nan() {
                vec![]
            } else {
                vec![Observation {
                    signal: signal.into(),
                    labels: Arc::new(LabelSet::from([("pod", "cart-1")])),
                    value: *value,
                    limit: Some(limit),
                }]
            },
        });
        Truth::from_histories(&BTreeMap::from([("cart".into(), steps.collect())]), &signals.unwrap())
    }

    fn breach_minutes(truth: &Truth) -> Vec<i64> {
        let all = TimeRange { start: minute(0), end: minute(1_000_000) };
        truth.breaches(all).iter().map(|b| b.at.millis() / 60_000).collect()
    }

    #[test]
    fn a_full_pool_is_one_breach_until_it_was_free_for_a_while() {
        let mut values = vec![100.0; 60];
        values.extend([500.0, 480.0, 500.0, 490.0, 500.0]);
        values.extend([100.0; 40]);
        values.push(500.0);
        assert_eq!(breach_minutes(&truth_of("pool", 500.0, &values)), [60, 105]);
    }

    #[test]
    fn errors_that_swing_about_their_limit_are_one_breach_and_a_burst_is_none() {
        let mut errors = vec![0.01; 120];
        errors.extend([0.2; 5]);
        errors.extend([0.01; 55]);
        errors.extend((0..180).map(|m| 0.01 + 0.04 * f64::from(m) / 180.0));
        // At the limit from minute 360 on; in the night it falls to four fifths of it, and comes back.
        errors.extend((0..60).map(|m| if m % 3 == 0 { 0.045 } else { 0.06 }));
        errors.extend([0.04; 120]);
        errors.extend([0.07; 60]);
        errors.extend([0.01; 120]);
        let truth = truth_of("errors", 0.05, &errors);
        let all = TimeRange { start: minute(0), end: minute(10_000) };
        let breaches = truth.breaches(all);
        assert_eq!(breaches.len(), 1, "{breaches:?}");
        let minutes = |at: Timestamp| at.millis() / 60_000;
        assert!((355..=365).contains(&minutes(breaches[0].at)), "{breaches:?}");
        assert!((170..=200).contains(&minutes(breaches[0].onset)), "{breaches:?}");
        assert!((595..=605).contains(&minutes(breaches[0].over)), "{breaches:?}");
    }

    #[test]
    fn a_jump_after_days_of_noise_had_no_way() {
        let noise = |m: i32| f64::from(m * 7 % 11) * 0.001;
        let values: Vec<f64> = (0..3000).map(|m| noise(m) + if m >= 2900 { 0.2 } else { 0.0 }).collect();
        let truth = truth_of("errors", 0.05, &values);
        let breach = truth.breaches(TimeRange { start: minute(0), end: minute(10_000) })[0].clone();
        assert!(breach.at.seconds_since(breach.onset) < SUDDEN.as_secs_f64(), "{breach:?}");
    }

    #[test]
    fn a_request_on_the_way_was_right_however_late_it_said_the_breach_would_be() {
        let mut values: Vec<f64> = vec![30.0; 100];
        values.extend((0..=700).map(|m| 30.0 + f64::from(m) / 10.0));
        values.extend([20.0; 300]);
        let truth = truth_of("memory", 100.0, &values);
        let labels = LabelSet::new();
        let within_an_hour = |at| truth.settle_request("cart", BreachKind::Oom, &labels, minute(at), minutes(60));
        assert_eq!(within_an_hour(400), Outcome::Breached { at: minute(800) });
        assert_eq!(within_an_hour(20), Outcome::FalseAlarm, "nothing had begun");
    }

    #[test]
    fn a_container_killed_between_scrapes_has_reached_its_limit() {
        let mut values: Vec<f64> = (0..=100).map(|m| 30.0 + 0.68 * f64::from(m)).collect();
        values.extend([98.0, 98.0, 25.0, 25.0]);
        // 98 is first seen at minute 100 and held until the new container shows at 103.
        assert_eq!(breach_minutes(&truth_of("memory", 100.0, &values)), [100]);
        let deploy_at_half: Vec<f64> = [vec![60.0; 60], vec![20.0; 60]].concat();
        assert!(breach_minutes(&truth_of("memory", 100.0, &deploy_at_half)).is_empty());
    }

    #[test]
    fn a_disk_is_full_at_no_bytes_left_and_a_history_that_starts_full_is_no_breach() {
        let filling: Vec<f64> = (0..=60).map(|m| f64::from(60 - m)).collect();
        assert_eq!(breach_minutes(&truth_of("disk", 0.0, &filling)), [60]);
        assert!(breach_minutes(&truth_of("disk", 0.0, &[0.0; 60])).is_empty());
    }

    #[test]
    fn the_onset_is_where_the_climb_leaves_the_usual() {
        let mut values: Vec<f64> = (0..1000).map(|m| 30.0 + f64::from(m % 3)).collect();
        values.extend((0..=70).map(|m| 33.0 + f64::from(m)));
        let truth = truth_of("memory", 100.0, &values);
        let onset = truth.breaches(TimeRange { start: minute(0), end: minute(2000) })[0].onset;
        assert!((990..=1001).contains(&(onset.millis() / 60_000)), "onset {onset}");
    }

    #[test]
    fn an_announcement_is_settled_by_what_came() {
        let mut values: Vec<f64> = vec![30.0; 600];
        values.extend((0..=100).map(|m| 30.0 + f64::from(m)));
        values.extend([20.0; 300]);
        let truth = truth_of("memory", 100.0, &values);
        let settle =
            |at, horizon| truth.settle("cart", BreachKind::Oom, &LabelSet::new(), minute(at), minutes(horizon));
        assert_eq!(settle(620, 120), Outcome::Breached { at: minute(670) });
        assert_eq!(settle(100, 60), Outcome::FalseAlarm);
        assert_eq!(settle(680, 60), Outcome::InBreach);
        assert_eq!(settle(950, 600), Outcome::Unsettled);
        let other_pod = LabelSet::from([("pod", "cart-2")]);
        assert_eq!(truth.settle("cart", BreachKind::Oom, &other_pod, minute(620), minutes(120)), Outcome::Unsettled);
    }

    #[test]
    fn a_climb_that_a_deploy_ended_is_neither_right_nor_wrong_however_late_the_deploy_came() {
        let mut values: Vec<f64> = vec![30.0; 300];
        values.extend((0..600).map(|m| 30.0 + f64::from(m) / 12.0));
        values.extend([20.0; 600]);
        let settle = |values: &[f64], at| {
            let truth = truth_of("memory", 100.0, values);
            truth.settle_request("cart", BreachKind::Oom, &LabelSet::new(), minute(at), minutes(120))
        };
        assert_eq!(settle(&values, 500), Outcome::Averted);
        assert_eq!(settle(&values, 100), Outcome::FalseAlarm, "nothing had begun");
        let mut plateau: Vec<f64> = values[..500].to_vec();
        plateau.extend([47.0; 1000]);
        assert_eq!(settle(&plateau, 450), Outcome::FalseAlarm, "it went on living at half of its limit");
    }

    #[test]
    fn connections_that_halve_by_chance_are_no_new_process() {
        let mut values: Vec<f64> = (0..300).map(|m| if m % 2 == 0 { 270.0 } else { 130.0 }).collect();
        values.extend(vec![100.0; 300]);
        let truth = truth_of("pool", 500.0, &values);
        let outcome =
            truth.settle_request("cart", BreachKind::PoolExhaustion, &LabelSet::new(), minute(100), minutes(60));
        assert_eq!(outcome, Outcome::FalseAlarm);
    }

    #[test]
    fn a_restart_on_the_way_is_neither_right_nor_wrong() {
        let mut values: Vec<f64> = (0..60).map(|m| 30.0 + f64::from(m)).collect();
        values.extend([20.0; 600]);
        let truth = truth_of("memory", 100.0, &values);
        assert_eq!(truth.settle("cart", BreachKind::Oom, &LabelSet::new(), minute(40), minutes(120)), Outcome::Averted);
    }
}

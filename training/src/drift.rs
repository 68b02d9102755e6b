//! Whether the last week still looks like what a model has learnt from, signal by signal.
//!
//! A drift refuses nothing: it says where to look, and when to train again. All targets of a service are
//! taken together, as pods come and go.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_features::{ServiceStep, SignalSet};
use forewarn_schema::{BreachKind, Direction, TimeRange};
use serde::{Deserialize, Serialize};

use crate::metrics::quantile;

/// What is compared with the training window: so much of the end of the range, later than the training.
const LAST: Duration = Duration::from_secs(7 * 86_400);
/// Less than a day would compare a morning with a week.
const LEAST: Duration = Duration::from_secs(86_400);
/// Values of one signal and window that are looked at, spread evenly: the quantiles move by less than a
/// hundredth of the spread.
const MOST_VALUES: usize = 5000;
const DECILES: usize = 10;
/// The usual reading of the population stability index: below 0.1 nothing, from 0.25 on something
/// (Siddiqi 2006).
const PSI_SOME: f64 = 0.1;
const PSI_MUCH: f64 = 0.25;
/// One week differs from the next, so a distance has to exceed what weeks of the training differ by.
const BEYOND_USUAL: f64 = 1.5;

/// How far a signal has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moved {
    /// As it was, or no further than weeks of the training differ.
    #[default]
    Steady,
    /// Further than that.
    Somewhat,
    /// Most of its values lie where few did.
    Much,
}

/// One signal of one service, in training and in the last week.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignalDrift {
    /// The signal.
    pub signal: String,
    /// What it may breach; `None` for context.
    pub kind: Option<BreachKind>,
    /// The quantiles 0.1, 0.5 and 0.9 in training: of a signal that rises to its limit as a share of that
    /// limit, of others in their unit.
    pub training: [f64; 3],
    /// The same in the last week.
    pub last_week: [f64; 3],
    /// How far the median has moved, in robust standard deviations of the training (from its quartiles);
    /// `None` where that has no spread.
    pub shift: Option<f64>,
    /// The largest difference of the two distribution functions, 0..=1: Kolmogorov and Smirnov.
    pub distance: f64,
    /// The same between the last week of the training and what came before it; `None` where that is
    /// shorter than a day.
    pub usual_distance: Option<f64>,
    /// The population stability index over the deciles of the training; 0 or more.
    pub stability_index: f64,
    /// What all that comes to.
    pub moved: Moved,
}

/// Compares `training` with the last week of `range`; sorted by signal. Empty where either is shorter than a
/// day. Certificates are left out: they run down by themselves.
pub fn drift(steps: &[ServiceStep], signals: &SignalSet, training: TimeRange, range: TimeRange) -> Vec<SignalDrift> {
    let now = TimeRange { start: training.end.max(range.end - LAST), end: range.end.max(training.end) };
    if now.duration() < LEAST || training.duration() < LEAST {
        return Vec::new();
    }
    let then = values(steps, signals, training);
    let mut last = values(steps, signals, now);
    let split = training.start.max(training.end - LAST);
    let long_enough = split.seconds_since(training.start) >= LEAST.as_secs_f64();
    let earlier = TimeRange { start: training.start, end: split };
    let later = TimeRange { start: split, end: training.end };
    let (mut earlier, mut later) =
        if long_enough { (values(steps, signals, earlier), values(steps, signals, later)) } else { Default::default() };
    let drift = then.into_iter().filter_map(|(signal, then)| {
        let now = last.remove(&signal)?;
        let usual = earlier.remove(&signal).zip(later.remove(&signal)).map(|(a, b)| distance(&a, &b));
        let kind = signals.get(&signal).and_then(|s| s.kind.breach());
        compare(&signal, kind, &then, &now, usual)
    });
    drift.collect()
}

/// Per signal, sorted, thinned; NaN left out.
fn values(steps: &[ServiceStep], signals: &SignalSet, range: TimeRange) -> BTreeMap<String, Vec<f64>> {
    let from = steps.partition_point(|s| s.at < range.start);
    let to = steps.partition_point(|s| s.at < range.end);
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for seen in steps[from..to].iter().flat_map(|s| &s.observations) {
        let Some(signal) = signals.get(&seen.signal) else { continue };
        let value = match (signal.kind.breach(), signal.direction, seen.limit) {
            (Some(BreachKind::CertificateExpiry), _, _) => continue,
            (Some(_), Direction::Above, Some(limit)) => seen.value / limit,
            _ => seen.value,
        };
        if value.is_finite() {
            values.entry(&signal.name).or_default().push(value);
        }
    }
    let thin = |all: Vec<f64>| {
        let mut thinned: Vec<f64> = all.iter().copied().step_by(all.len().div_ceil(MOST_VALUES).max(1)).collect();
        thinned.sort_by(f64::total_cmp);
        thinned
    };
    values.into_iter().map(|(signal, all)| (signal.to_owned(), thin(all))).collect()
}

fn compare(
    signal: &str,
    kind: Option<BreachKind>,
    then: &[f64],
    now: &[f64],
    usual_distance: Option<f64>,
) -> Option<SignalDrift> {
    let three = |of: &[f64]| Some([at(of, 0.1)?, at(of, 0.5)?, at(of, 0.9)?]);
    let (training, last_week) = (three(then)?, three(now)?);
    // 1.349 standard deviations of a normal distribution lie between its quartiles.
    let spread = (at(then, 0.75)? - at(then, 0.25)?) / 1.349;
    let shift = (spread > 0.0).then(|| (last_week[1] - training[1]) / spread);
    let (distance, stability_index) = (distance(then, now), stability_index(then, now));
    let beyond_usual = distance > BEYOND_USUAL * usual_distance.unwrap_or(0.0);
    let moved = match stability_index {
        index if index >= PSI_MUCH && beyond_usual && shift.is_none_or(|s| s.abs() >= 1.0) => Moved::Much,
        index if index >= PSI_SOME && beyond_usual => Moved::Somewhat,
        _ => Moved::Steady,
    };
    let signal = signal.to_owned();
    Some(SignalDrift { signal, kind, training, last_week, shift, distance, usual_distance, stability_index, moved })
}

fn at(sorted: &[f64], q: f64) -> Option<f64> {
    quantile(sorted.iter().copied(), q)
}

/// The largest difference of two distribution functions; both sorted. Equals scipy's `ks_2samp(a, b).statistic`.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let below = |of: &[f64], x: f64| of.partition_point(|v| *v <= x) as f64 / of.len().max(1) as f64;
    a.iter().chain(b).map(|x| (below(a, *x) - below(b, *x)).abs()).fold(0.0, f64::max)
}

/// `Σ (now − then) · ln(now / then)` over the shares in the deciles of `then`, half a value added to each so
/// that an empty one does not make it infinite; both sorted.
fn stability_index(then: &[f64], now: &[f64]) -> f64 {
    let edges: Vec<f64> = (1..DECILES).filter_map(|i| at(then, i as f64 / DECILES as f64)).collect();
    let shares = |of: &[f64]| -> Vec<f64> {
        let mut bounds: Vec<usize> = edges.iter().map(|edge| of.partition_point(|v| v <= edge)).collect();
        bounds.insert(0, 0);
        bounds.push(of.len());
        let total = of.len() as f64 + 0.5 * DECILES as f64;
        bounds.windows(2).map(|b| ((b[1] - b[0]) as f64 + 0.5) / total).collect()
    };
    shares(then).iter().zip(shares(now)).map(|(then, now)| (now - then) * (now / then).ln()).sum()
}

/// The words for a reader: which way, and how far.
pub(crate) fn words(drift: &SignalDrift) -> String {
    let Some(shift) = drift.shift else {
        return if drift.moved == Moved::Steady { "steady".to_owned() } else { "other values than before".to_owned() };
    };
    let direction = if shift > 0.0 { "higher" } else { "lower" };
    match drift.moved {
        Moved::Steady => "steady".to_owned(),
        _ if shift.abs() < 0.25 => "another spread, the same middle".to_owned(),
        _ => {
            let (then, now) = (drift.training[1], drift.last_week[1]);
            let share = ((now - then) / then.abs()).abs();
            let by = if share.is_finite() { format!("{:.0} % ", share * 100.0) } else { String::new() };
            format!("{by}{direction} ({:.1} spreads)", shift.abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use forewarn_features::Observation;
    use forewarn_schema::{LabelSet, Timestamp};

    use super::*;

    const DAY: i64 = 1440;

    fn drift_of(value: impl Fn(i64) -> f64) -> Vec<SignalDrift> {
        let steps: Vec<ServiceStep> = (0..21 * DAY)
            .map(|m| ServiceStep {
                service: "cart".into(),
                at: Timestamp::from_seconds(m * 60),
                observations: vec![Observation {
                    signal: "traffic".into(),
                    labels: Arc::new(LabelSet::new()),
                    value: value(m),
                    limit: None,
                }],
            })
            .collect();
        let days = |from: i64, to: i64| TimeRange {
            start: Timestamp::from_seconds(from * 86_400),
            end: Timestamp::from_seconds(to * 86_400),
        };
        let signals = SignalSet::new(&["http".to_owned()], vec![]).unwrap();
        drift(&steps, &signals, days(0, 14), days(14, 21))
    }

    fn wave(m: i64) -> f64 {
        100.0 + 50.0 * (m as f64 / DAY as f64 * std::f64::consts::TAU).sin()
    }

    #[test]
    fn the_same_waves_are_steady_and_twice_the_traffic_is_not() {
        let steady = &drift_of(wave)[0];
        assert_eq!((steady.moved, words(steady).as_str()), (Moved::Steady, "steady"));
        assert!(steady.distance < 0.01 && steady.stability_index < 0.01, "{steady:?}");
        let twice = &drift_of(|m| if m < 14 * DAY { wave(m) } else { 2.0 * wave(m) })[0];
        assert_eq!(twice.moved, Moved::Much, "{twice:?}");
        assert!(words(twice).starts_with("100 % higher"), "{}", words(twice));
    }

    #[test]
    fn what_differs_from_week_to_week_anyway_is_no_drift() {
        let drifting = drift_of(|m| wave(m) + 6.0 * (m / (7 * DAY)) as f64);
        assert_eq!(drifting[0].moved, Moved::Steady, "{drifting:?}");
    }

    #[test]
    fn a_constant_that_moves_has_no_spread_to_measure_it_by() {
        let constant = &drift_of(|m| if m < 14 * DAY { 3.0 } else { 4.0 })[0];
        assert_eq!((constant.shift, constant.distance), (None, 1.0));
        assert_eq!(constant.moved, Moved::Much);
        assert!(drift_of(|_| f64::NAN).is_empty());
    }

    #[test]
    fn distances_are_scipys() {
        // scipy 1.14: ks_2samp([1, 2, 3, 4], [3, 4, 5, 6]).statistic = 0.5.
        assert_eq!(distance(&[1.0, 2.0, 3.0, 4.0], &[3.0, 4.0, 5.0, 6.0]), 0.5);
        assert_eq!(distance(&[1.0], &[1.0]), 0.0);
    }
}

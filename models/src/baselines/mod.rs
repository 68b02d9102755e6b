//! The rules that are always there: a robust trend and a seasonal-naive forecast, and what they need
//! to know of a service.
//!
//! Everything here speaks of a target's *fraction*: 0 at the start of its way, 1 at its limit (see
//! [`fraction`]), so that one rule serves bytes, connections and ratios.

mod errors;
mod trend;

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_features::seasonal::median;
use forewarn_features::{SeasonalProfile, ServiceStep, SignalSet};
use forewarn_schema::{BreachKind, Direction, LabelSet, SignalKind, Step, Timestamp};
use serde::{Deserialize, Serialize};

use crate::forecast_input::regular;

pub use errors::{ForecastErrors, HORIZONS, QUANTILES, recent_slope, seasonal_naive};
pub use trend::{Trend, TrendPoint, UsualRises, fit_trend};

/// What the rules know of one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// Per signal that may breach.
    pub signals: BTreeMap<String, SignalBaseline>,
    /// Traffic by time of day, relative to its mean: leaks grow with load.
    pub traffic: Option<SeasonalProfile>,
}

/// What the rules know of one signal of a service, all its targets together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignalBaseline {
    /// The normal fraction by time of day.
    pub profile: SeasonalProfile,
    /// How far the fraction strays from the profile for hours: one robust standard deviation of three-hour
    /// medians. Saws and spikes do not count; a different weekday does.
    pub wander: f64,
    /// How much it rises by itself.
    pub usual_rises: UsualRises,
    /// One robust standard deviation of a one-step change of the fraction; more than 0. The unit in
    /// which forecast errors and the LSTM's inputs are measured.
    pub scale: f64,
    /// For [`Direction::Below`]: the largest value seen, which stands for fraction 0.
    pub reference: f64,
    /// How far the two rules were off on the training data, per horizon.
    pub errors: ForecastErrors,
}

/// How far a value is on its way: 0 at `reference` (above: at zero), 1 at the limit, more past it.
///
/// `None` where that says nothing: a limit of 0 or less to rise to, or a reference that is not above
/// the limit to fall to, or anything NaN.
pub fn fraction(direction: Direction, value: f64, limit: f64, reference: f64) -> Option<f64> {
    let fraction = match direction {
        Direction::Above if limit > 0.0 => value / limit,
        Direction::Below if reference > limit => (reference - value) / (reference - limit),
        _ => return None,
    };
    fraction.is_finite().then_some(fraction)
}

/// The value at a fraction: the inverse of [`fraction`].
pub fn value_at(direction: Direction, fraction: f64, limit: f64, reference: f64) -> f64 {
    match direction {
        Direction::Above => fraction * limit,
        Direction::Below => reference - fraction * (reference - limit),
    }
}

impl Baselines {
    /// Learns from the steps of one service, all of which must lie before the training ends.
    ///
    /// A signal seen too little for a profile has no entry: the rules then serve it without a normal.
    pub fn fit(steps: &[ServiceStep], signals: &SignalSet, step: Step) -> Self {
        let mut baselines = Self { signals: BTreeMap::new(), traffic: relative_traffic(steps) };
        for signal in signals.iter() {
            let SignalKind::Breach(kind) = signal.kind else { continue };
            if kind == BreachKind::CertificateExpiry {
                continue; // The clock serves it: nothing to learn.
            }
            let series = fractions_by_target(steps, &signal.name, signal.direction);
            let everything = series.values().flat_map(|s| s.points.iter().copied());
            let Some(profile) = SeasonalProfile::fit(everything) else { continue };
            let scale = step_scale(&series, &profile);
            let wander = wander(&series, &profile, step);
            let reference = series.values().map(|s| s.reference).fold(f64::NEG_INFINITY, f64::max);
            let all: Vec<&[(Timestamp, f64)]> = series.values().map(|s| s.points.as_slice()).collect();
            let errors = ForecastErrors::measure(&all, &profile, scale, step);
            let runs: Vec<Vec<TrendPoint>> = all
                .iter()
                .map(|points| baselines.trend_points(Some(&profile), regular(points, step).into_iter()))
                .collect();
            let usual_rises = UsualRises::measure(&runs);
            let baseline = SignalBaseline { profile, wander, usual_rises, scale, reference, errors };
            baselines.signals.insert(signal.name.clone(), baseline);
        }
        baselines
    }

    /// What the trend is fitted to: `fractions` at every step (gaps as NaN) less the normal of their time
    /// of day, with the clocks of time and of load.
    pub fn trend_points(
        &self,
        profile: Option<&SeasonalProfile>,
        fractions: impl Iterator<Item = (Timestamp, f64)>,
    ) -> Vec<TrendPoint> {
        let mut load = 0.0;
        fractions
            .enumerate()
            .map(|(i, (at, fraction))| {
                load += self.load(at);
                let residual = fraction - profile.map_or(0.0, |p| p.level(at));
                TrendPoint { time: i as f64, load, residual }
            })
            .collect()
    }

    /// Whether what was deserialised hangs together.
    pub fn is_well_formed(&self) -> bool {
        self.traffic.as_ref().is_none_or(SeasonalProfile::is_well_formed)
            && self
                .signals
                .values()
                .all(|s| s.profile.is_well_formed() && s.wander >= 0.0 && s.scale > 0.0 && s.errors.is_well_formed())
    }

    /// Traffic at that time of day over its daily mean; 1 where it is not known; never under 0.05, so
    /// that a quiet night slows a load-dependent leak and never stops it.
    pub fn load(&self, at: Timestamp) -> f64 {
        self.traffic.as_ref().map_or(1.0, |t| t.level(at).max(0.05))
    }
}

/// One target's way, in fractions.
pub struct FractionSeries {
    /// Sorted by time.
    pub points: Vec<(Timestamp, f64)>,
    /// For [`Direction::Below`]: the largest value seen.
    pub reference: f64,
}

/// The fractions of every target of one signal.
pub fn fractions_by_target(
    steps: &[ServiceStep],
    signal: &str,
    direction: Direction,
) -> BTreeMap<LabelSet, FractionSeries> {
    let mut references: BTreeMap<&LabelSet, f64> = BTreeMap::new();
    let observations =
        || steps.iter().flat_map(|s| s.observations.iter().filter(|o| &*o.signal == signal).map(move |o| (s.at, o)));
    for (_, o) in observations().filter(|(_, o)| o.value.is_finite()) {
        let reference = references.entry(&o.labels).or_insert(f64::NEG_INFINITY);
        *reference = reference.max(o.value);
    }
    let mut series: BTreeMap<LabelSet, FractionSeries> = BTreeMap::new();
    for (at, o) in observations() {
        let Some(reference) = references.get(&*o.labels).copied() else { continue };
        let Some(limit) = o.limit else { continue };
        let Some(fraction) = fraction(direction, o.value, limit, reference) else { continue };
        if !series.contains_key(&*o.labels) {
            series.insert((*o.labels).clone(), FractionSeries { points: Vec::new(), reference });
        }
        if let Some(entry) = series.get_mut(&*o.labels) {
            entry.points.push((at, fraction));
        }
    }
    series
}

fn relative_traffic(steps: &[ServiceStep]) -> Option<SeasonalProfile> {
    let values: Vec<(Timestamp, f64)> = steps
        .iter()
        .filter_map(|s| s.observations.iter().find(|o| &*o.signal == "traffic").map(|o| (s.at, o.value)))
        .collect();
    let mean = SeasonalProfile::fit(values.iter().copied())?.mean_level();
    (mean > 0.0).then(|| SeasonalProfile::fit(values.into_iter().map(|(at, v)| (at, v / mean))))?
}

fn wander(series: &BTreeMap<LabelSet, FractionSeries>, profile: &SeasonalProfile, step: Step) -> f64 {
    let three_hours = step.count_in(Duration::from_secs(3 * 3600)).max(30);
    let mut strays = Vec::new();
    for one in series.values() {
        for part in one.points.chunks_exact(three_hours) {
            let mut residuals: Vec<f64> = part.iter().map(|(at, f)| f - profile.level(*at)).collect();
            strays.push(median(&mut residuals).abs());
        }
    }
    let wander = 1.4826 * median(&mut strays);
    if wander.is_nan() { profile.spread() } else { wander }
}

fn step_scale(series: &BTreeMap<LabelSet, FractionSeries>, profile: &SeasonalProfile) -> f64 {
    let mut changes: Vec<f64> =
        series.values().flat_map(|s| s.points.windows(2).map(|w| (w[1].1 - w[0].1).abs())).collect();
    let scale = 1.4826 * median(&mut changes);
    if scale.is_nan() { profile.spread() } else { scale.max(profile.spread() / 50.0).max(1e-9) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_one_at_the_limit_and_inverts() {
        assert_eq!(fraction(Direction::Above, 500.0, 500.0, f64::NAN), Some(1.0));
        assert_eq!(fraction(Direction::Below, 0.0, 0.0, 100.0), Some(1.0));
        assert_eq!(fraction(Direction::Below, 75.0, 0.0, 100.0), Some(0.25));
        assert_eq!(fraction(Direction::Above, 5.0, 0.0, 0.0), None);
        assert_eq!(fraction(Direction::Above, f64::NAN, 5.0, 0.0), None);
        for direction in [Direction::Above, Direction::Below] {
            let f = fraction(direction, 30.0, 10.0, 90.0).unwrap();
            assert!((value_at(direction, f, 10.0, 90.0) - 30.0).abs() < 1e-9);
        }
    }
}

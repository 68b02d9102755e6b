//! What is always there: what is known of a service's load and levels, and the two rules that a learnt forecaster has to beat.
//!
//! Everything here speaks of a target's *fraction*: 0 at the start of its way, 1 at its limit (see
//! [`fraction`]), so that one rule serves bytes, connections and ratios.

mod errors;
mod load;

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_features::seasonal::median;
use forewarn_features::{Calendar, SeasonalProfile, ServiceStep, SignalSet};
use forewarn_schema::{BreachKind, Direction, LabelSet, SignalKind, Step, Timestamp};
use serde::{Deserialize, Serialize};

use crate::forecast_input::regular;
use crate::growth::{LoadShare, Saw};

pub use errors::{ForecastErrors, HORIZONS, QUANTILES, recent_slope, seasonal_naive};
pub use load::{LOAD_SIGNAL, LoadProfile};

/// What the rules know of one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// Per signal that may breach.
    pub signals: BTreeMap<String, SignalBaseline>,
    /// Its load, or that of all services where it has none of its own: leaks grow with load.
    pub load: Option<LoadProfile>,
}

/// What the rules know of one signal of a service, all its targets together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignalBaseline {
    /// The normal fraction by time of day.
    pub profile: SeasonalProfile,
    /// How much of the fraction follows the load.
    pub load_share: LoadShare,
    /// The saw that its targets draw, where most do.
    pub saw: Option<Saw>,
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
    /// Learns from the steps of one service, all of which must lie before the training ends. `fleet` stands in for the load of a
    /// service without traffic.
    ///
    /// A signal seen too little for a profile has no entry: it is then served without a normal.
    pub fn fit(steps: &[ServiceStep], signals: &SignalSet, step: Step, fleet: Option<&LoadProfile>) -> Self {
        Self::fit_in(&Calendar::default(), steps, signals, step, fleet)
    }

    /// The same, by the clock of `calendar`.
    pub fn fit_in(
        calendar: &Calendar,
        steps: &[ServiceStep],
        signals: &SignalSet,
        step: Step,
        fleet: Option<&LoadProfile>,
    ) -> Self {
        let load = LoadProfile::fit_in(calendar, steps).or_else(|| fleet.cloned());
        let mut baselines = Self { signals: BTreeMap::new(), load };
        let loads = baselines.load.as_ref().map(|load| steps.iter().map(|s| (s.at, load.at(s))).collect::<Vec<_>>());
        for signal in signals.iter() {
            let SignalKind::Breach(kind) = signal.kind else { continue };
            if kind == BreachKind::CertificateExpiry {
                continue; // The clock serves it: nothing to learn.
            }
            let series = fractions_by_target(steps, &signal.name, signal.direction);
            let everything = series.values().flat_map(|s| s.points.iter().copied());
            let Some(profile) = SeasonalProfile::fit_in(calendar, everything) else { continue };
            let scale = step_scale(&series, &profile);
            let reference = series.values().map(|s| s.reference).fold(f64::NEG_INFINITY, f64::max);
            let all: Vec<&[(Timestamp, f64)]> = series.values().map(|s| s.points.as_slice()).collect();
            let errors = ForecastErrors::measure(&all, &profile, scale, step);
            let load_share = loads.as_ref().map_or_else(LoadShare::default, |loads| load_share(&all, loads, step));
            let dense: Vec<Vec<f64>> =
                all.iter().map(|points| regular(points, step).into_iter().map(|(_, f)| f).collect()).collect();
            let saw = Saw::learn(dense.iter().flat_map(|fractions| fractions.chunks_exact(day_of(step))));
            let baseline = SignalBaseline { profile, load_share, saw, scale, reference, errors };
            baselines.signals.insert(signal.name.clone(), baseline);
        }
        baselines
    }

    /// Whether what was deserialised hangs together.
    pub fn is_well_formed(&self) -> bool {
        self.load.as_ref().is_none_or(LoadProfile::is_well_formed)
            && self.signals.values().all(SignalBaseline::is_well_formed)
    }

    /// The expected load at a time over its mean; 1 where it is not known.
    pub fn load(&self, at: Timestamp) -> f64 {
        self.load.as_ref().map_or(1.0, |load| load.level(at))
    }
}

impl SignalBaseline {
    fn is_well_formed(&self) -> bool {
        let LoadShare { mean, spread } = self.load_share;
        self.profile.is_well_formed()
            && self.saw.is_none_or(|saw| saw.is_well_formed())
            && mean.is_finite()
            && spread > 0.0
            && self.scale > 0.0
            && self.errors.is_well_formed()
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

fn day_of(step: Step) -> usize {
    step.count_in(Duration::from_secs(86_400)).max(2)
}

/// Days of every target, overlapping by halves, beside the load of the service.
fn load_share(targets: &[&[(Timestamp, f64)]], loads: &[(Timestamp, f64)], step: Step) -> LoadShare {
    let day = day_of(step);
    let load_at = |at: Timestamp| loads.binary_search_by_key(&at, |l| l.0).map_or(f64::NAN, |i| loads[i].1);
    let targets: Vec<(Vec<f64>, Vec<f64>)> = targets
        .iter()
        .map(|points| regular(points, step).into_iter().map(|(at, fraction)| (fraction, load_at(at))).unzip())
        .collect();
    let days = targets.iter().flat_map(|(fractions, loads)| {
        let starts = (0..=fractions.len().saturating_sub(day)).step_by(day / 2);
        starts.filter_map(move |s| Some((fractions.get(s..s + day)?, loads.get(s..s + day)?)))
    });
    LoadShare::learn(days)
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

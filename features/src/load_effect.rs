//! How far a signal follows the load: what is normal for latency at this traffic, rather than at this hour.
//!
//! Learnt between residuals, each from its own time of day: that both are high at noon says nothing of either.

use forewarn_schema::Timestamp;
use serde::{Deserialize, Serialize};

use crate::seasonal::median;

/// Residuals count for no more than so many of their spreads, so that an incident does not set the slope.
const CLIP: f64 = 3.0;
/// No load further from what is usual than so many of its spreads is believed to move a signal along the line.
const FURTHEST: f64 = 6.0;
/// The line must leave less than this share of the spread, or it is not worth its risk.
const MOST_LEFT: f64 = 0.9;
/// Pairs, at least.
const LEAST_PAIRS: usize = 200;

/// Signal residual = slope · load residual.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoadEffect {
    /// In the signal's unit for each unit of load.
    slope: f64,
    /// One robust standard deviation of the load's residual; more than 0.
    load_spread: f64,
    /// Which share of the signal's spread is left; 0..1.
    spread_left: f64,
}

impl LoadEffect {
    /// Learns from the residuals of a signal and of the load, each with its time and sorted by it. `None` where the load does
    /// not explain the signal, or too few times have both.
    pub(crate) fn fit(signal: &[(Timestamp, f64)], load: &[(Timestamp, f64)]) -> Option<Self> {
        let load_at = |at: Timestamp| load.binary_search_by_key(&at, |l| l.0).ok().map(|i| load[i].1);
        let pairs: Vec<(f64, f64)> =
            signal.iter().filter_map(|(at, residual)| Some((load_at(*at)?, *residual))).collect();
        if pairs.len() < LEAST_PAIRS {
            return None;
        }
        let spread = |of: &dyn Fn(&(f64, f64)) -> f64| {
            1.4826 * median(&mut pairs.iter().map(|pair| of(pair).abs()).collect::<Vec<_>>())
        };
        let (load_spread, signal_spread) = (spread(&|pair| pair.0), spread(&|pair| pair.1));
        if !(load_spread > 0.0 && signal_spread > 0.0) {
            return None;
        }
        let clip = |residual: f64, spread: f64| residual.clamp(-CLIP * spread, CLIP * spread);
        let (mut both, mut squares) = (0.0, 0.0);
        for (load, signal) in &pairs {
            let load = clip(*load, load_spread);
            both += load * clip(*signal, signal_spread);
            squares += load * load;
        }
        let slope = both / squares;
        let spread_left = spread(&|(load, signal)| signal - slope * load) / signal_spread;
        (slope.is_finite() && spread_left < MOST_LEFT).then_some(Self {
            slope,
            load_spread,
            spread_left: spread_left.max(0.05),
        })
    }

    /// What the load adds to the signal where it differs by `residual` from what is usual at the time.
    pub(crate) fn of(&self, residual: f64) -> f64 {
        self.slope * residual.clamp(-FURTHEST * self.load_spread, FURTHEST * self.load_spread)
    }

    /// What is normal at that load; `normal` is a level and its spread.
    pub(crate) fn apply(&self, (level, spread): (f64, f64), load_residual: f64) -> (f64, f64) {
        (level + self.of(load_residual), spread * self.spread_left)
    }

    /// Whether what was deserialised hangs together.
    pub(crate) fn is_well_formed(&self) -> bool {
        self.slope.is_finite() && self.load_spread > 0.0 && self.spread_left > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(i: i64, k: i64) -> f64 {
        ((i * k) % 101) as f64 / 50.0 - 1.0
    }

    fn series(of: impl Fn(i64) -> f64) -> Vec<(Timestamp, f64)> {
        (0..2000).map(|i| (Timestamp::from_seconds(60 * i), of(i))).collect()
    }

    #[test]
    fn a_signal_that_follows_the_load_is_explained_in_spite_of_an_incident() {
        let load = series(|i| 10.0 * noise(i, 7919));
        let latency = series(|i| 0.5 * 10.0 * noise(i, 7919) + noise(i, 104_729) + if i > 1900 { 80.0 } else { 0.0 });
        let effect = LoadEffect::fit(&latency, &load).unwrap();
        assert!((effect.slope - 0.5).abs() < 0.1, "{effect:?}");
        assert!(effect.spread_left < 0.5, "{effect:?}");
        let (level, spread) = effect.apply((100.0, 4.0), 8.0);
        assert!((level - 104.0).abs() < 1.0 && spread < 2.0, "{level} ± {spread}");
        assert_eq!(effect.of(1e9), effect.of(6.0 * effect.load_spread), "nobody has seen such a load");
    }

    #[test]
    fn what_goes_its_own_way_is_not_explained() {
        let (load, other) = (series(|i| noise(i, 7919)), series(|i| noise(i, 104_729)));
        assert_eq!(LoadEffect::fit(&other, &load), None);
        assert_eq!(LoadEffect::fit(&load, &load[..100]), None);
        assert_eq!(LoadEffect::fit(&load, &series(|_| 0.0)), None);
    }
}

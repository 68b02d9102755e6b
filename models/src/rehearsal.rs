//! What a replay of the training window through the serving code taught: how far intervals are to be stretched, when to speak
//! up, which shapes growth takes here.
//!
//! Breaches are rare, so every lesson starts from what is believed without any and moves from there by evidence: a few episodes
//! cannot swing it. Not here: the replay itself (`training`).

use std::collections::BTreeMap;

use forewarn_schema::{BreachKind, TimeToBreach};
use serde::{Deserialize, Serialize};

use crate::growth::{CLASSES, SETTLING_CLASS};

/// What the intervals promise: from the 0.1 to the 0.9 quantile.
const PROMISED: f64 = 0.8;
/// Episodes that what is believed beforehand counts for.
const PRIOR_EPISODES: f64 = 10.0;
/// A stretch is held within these.
const STRETCHES: (f64, f64) = (0.5, 2.0);

/// What the replay of one service taught. The default is what is believed without any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rehearsed {
    /// By how much the logarithm of the times between p50 and p10 or p90 is stretched, 0.5..=2; 1 where a kind is missing.
    pub stretch: BTreeMap<BreachKind, f64>,
    /// From which probability on a breach is urgent, 0..=1; `None`: the decision's own default.
    pub min_probability: Option<f64>,
    /// Per signal, how much likelier than believed beforehand each class of growth is, above 0.
    pub shapes: BTreeMap<String, [f64; CLASSES]>,
}

impl Rehearsed {
    /// The stretch of a kind.
    pub fn stretch(&self, kind: BreachKind) -> f64 {
        self.stretch.get(&kind).copied().unwrap_or(1.0)
    }

    /// Whether what was deserialised hangs together.
    pub fn is_well_formed(&self) -> bool {
        self.stretch.values().all(|s| (STRETCHES.0..=STRETCHES.1).contains(s))
            && self.min_probability.is_none_or(|p| (0.0..=1.0).contains(&p))
            && self.shapes.values().flatten().all(|f| *f > 0.0 && f.is_finite())
    }
}

/// How far `truth_seconds` lies from p50 in units of the way to p10 or p90, on a scale of logarithms: 1 is the edge of the
/// interval. An interval without width is missed by everything but its median.
pub fn miss(said: &TimeToBreach, truth_seconds: f64) -> f64 {
    let log = |seconds: f64| seconds.max(1.0).ln();
    let off = log(truth_seconds) - log(said.p50());
    let side = if off > 0.0 { log(said.p90()) - log(said.p50()) } else { log(said.p50()) - log(said.p10()) };
    if off == 0.0 { 0.0 } else { off.abs() / side.max(1e-6) }
}

/// The stretch with which intervals hold what they promise: the 0.8 quantile of the misses, as in split conformal prediction with
/// a score relative to the interval's own width (Lei et al. 2018), and from there towards what is believed, by the number of
/// episodes.
///
/// `episodes` are the misses of each episode; each counts as one, however often something was said in it, for what is said within
/// an episode errs alike. `believed` is the stretch beforehand; it counts for ten. NaN misses are left out.
pub fn stretch(episodes: &[Vec<f64>], believed: f64) -> f64 {
    let mut misses: Vec<(f64, f64)> = Vec::new();
    let mut count = 0.0;
    for episode in episodes {
        let seen: Vec<f64> = episode.iter().copied().filter(|m| !m.is_nan()).collect();
        misses.extend(seen.iter().map(|miss| (*miss, 1.0 / seen.len() as f64)));
        count += if seen.is_empty() { 0.0 } else { 1.0 };
    }
    misses.sort_by(|a, b| a.0.total_cmp(&b.0));
    // One more episode than were seen is asked for: the one to come.
    let wanted = PROMISED * (count + 1.0);
    let mut passed = 0.0;
    let at = misses.iter().find(|(_, weight)| {
        passed += weight;
        passed >= wanted - 1e-9
    });
    let Some((seen, _)) = at.or(misses.last()) else { return believed };
    let trust = count / (count + PRIOR_EPISODES);
    let log = |stretch: f64| stretch.clamp(STRETCHES.0, STRETCHES.1).ln();
    (trust * log(*seen) + (1.0 - trust) * log(believed)).exp()
}

/// How much likelier each class of growth is than `priors` say, after episodes that were of each class with the given shares.
/// `episodes_believed` is what the priors count for.
///
/// Episodes are breaches, and what came to rest is never one: settling keeps its prior, the others share theirs.
pub fn shape_factors(priors: &[f64; CLASSES], episodes: &[[f64; CLASSES]], episodes_believed: f64) -> [f64; CLASSES] {
    let grows = |class: usize| class != SETTLING_CLASS;
    let total_prior: f64 = (0..CLASSES).filter(|c| grows(*c)).map(|c| priors[c]).sum();
    let mut counted = [0.0; CLASSES];
    for shares in episodes {
        let total: f64 = (0..CLASSES).filter(|c| grows(*c)).map(|c| shares[c]).sum();
        if total > 0.0 {
            (0..CLASSES).filter(|c| grows(*c)).for_each(|c| counted[c] += shares[c] / total);
        }
    }
    let seen: f64 = counted.iter().sum();
    std::array::from_fn(|class| {
        let prior = priors[class] / total_prior;
        if !grows(class) || prior.is_nan() || prior <= 0.0 {
            return 1.0;
        }
        (episodes_believed * prior + counted[class]) / (episodes_believed + seen) / prior
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_one_at_the_edges_of_the_interval() {
        let said = TimeToBreach::new(1800.0, 3600.0, 14_400.0).unwrap();
        for (truth, wanted) in [(1800.0, 1.0), (3600.0, 0.0), (14_400.0, 1.0), (900.0, 2.0), (7200.0, 0.5)] {
            assert!((miss(&said, truth) - wanted).abs() < 1e-9, "{truth} s: {}", miss(&said, truth));
        }
    }

    #[test]
    fn intervals_that_hold_what_they_promise_stay_and_others_move_with_the_evidence() {
        assert_eq!(stretch(&[], 1.3), 1.3);
        let of = |n: usize, miss: f64| stretch(&vec![vec![miss]; n], 1.0);
        assert!(of(3, 3.0) > 1.0 && of(3, 3.0) < 1.3, "three episodes do not swing it: {}", of(3, 3.0));
        assert!(of(1000, 3.0) > 1.9 && of(1000, 3.0) <= 2.0, "held at the most");
        assert!(of(100, 0.7) < 0.75);
        let talkative = [vec![vec![3.0; 1000]], vec![vec![1.0]; 30]].concat();
        assert!((stretch(&talkative, 1.0) - 1.0).abs() < 1e-9, "an episode counts once, however much was said in it");
    }

    #[test]
    fn shapes_are_believed_by_what_was_seen_and_settling_stays() {
        let priors = [0.225, 0.225, 0.2, 0.05, 0.3];
        assert_eq!(shape_factors(&priors, &[], 8.0), [1.0; CLASSES]);
        let accelerating = [0.0, 0.0, 1.0, 0.0, 0.0];
        let factors = shape_factors(&priors, &[accelerating; 8], 8.0);
        assert!(factors[2] > 2.0 && factors[0] < 0.6, "{factors:?}");
        assert_eq!(factors[4], 1.0);
        let believed: f64 = (0..4).map(|c| priors[c] * factors[c]).sum();
        assert!((believed - 0.7).abs() < 1e-9, "growth as such is as likely as before");
    }
}

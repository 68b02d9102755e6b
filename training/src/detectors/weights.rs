//! How much each detector counts: the equal weights of the best set of them, on steps that none has seen.
//!
//! Best is what ranks incidents above calm steps (average precision), among the sets that stay calm there: a detector that
//! calls five times as many steps rare as there can be has not learnt what is normal. A set must be clearly better than all
//! together to serve instead: detectors that fail in different ways are worth more than the last hundredth.

use forewarn_models::ensemble::{AnomalyEnsemble, Detector, RawScores};
use serde::{Deserialize, Serialize};

use crate::metrics::average_precision;

/// Steps without which nothing is judged: incidents, and calm ones.
const LEAST_STEPS: usize = 40;
/// How rare is what alarms are counted at: one in a hundred.
const RARE: f64 = 0.99;
/// More than so many times as many alarms as that means are too many.
const MOST_EXCESS: f64 = 5.0;
/// By so much average precision another set must be better than all together.
const CLEARLY: f64 = 0.01;

/// Which detectors make the score of a service, and how they did on the tail of the training window, fitted on what is before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnomalyQuality {
    /// In a fixed order; those that could be calibrated.
    pub detectors: Vec<DetectorQuality>,
    /// Of the score as it serves: how well it ranks the incidents above the calm steps, 0..=1.
    pub average_precision: f64,
    /// How many times as many calm steps score 0.99 or more as should.
    pub alarm_excess: f64,
    /// Calm steps of the tail.
    pub calm_steps: u64,
    /// Steps in incidents, real and made up.
    pub incident_steps: u64,
}

/// One detector by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectorQuality {
    /// Which.
    pub detector: Detector,
    /// How much it counts, 0..=1.
    pub weight: f64,
    /// As in [`AnomalyQuality`], of it alone.
    pub average_precision: f64,
    /// As in [`AnomalyQuality`], of it alone.
    pub alarm_excess: f64,
}

/// `known` are normal steps that the detectors were fitted on, `calm` and `incidents` are of the tail. `None` where these are too few.
pub(super) fn weigh(known: &[RawScores], calm: &[RawScores], incidents: &[RawScores]) -> Option<AnomalyQuality> {
    if calm.len() < LEAST_STEPS || incidents.len() < LEAST_STEPS {
        return None;
    }
    let judge = |set: &[Detector]| -> Option<(f64, f64)> {
        let weights: Vec<(Detector, f64)> = set.iter().map(|detector| (*detector, 1.0)).collect();
        let ensemble = AnomalyEnsemble::fit(known, &weights, None).ok().filter(|e| e.parts().len() == set.len())?;
        let of = |raw: &RawScores| ensemble.surprise(raw).unwrap_or(0.0);
        let alarms = calm.iter().filter(|raw| ensemble.score(raw).get() >= RARE).count() as f64;
        let pairs = calm.iter().map(|raw| (of(raw), false)).chain(incidents.iter().map(|raw| (of(raw), true)));
        Some((average_precision(pairs)?, alarms / calm.len() as f64 / (1.0 - RARE)))
    };
    let alone: Vec<(Detector, f64, f64)> =
        Detector::ALL.into_iter().filter_map(|d| judge(&[d]).map(|(ap, excess)| (d, ap, excess))).collect();
    let calm_ones: Vec<Detector> = alone.iter().filter(|one| one.2 <= MOST_EXCESS).map(|one| one.0).collect();
    let eligible = if calm_ones.is_empty() { alone.iter().map(|one| one.0).collect() } else { calm_ones };
    let mut best = (eligible.clone(), judge(&eligible)?);
    let all = best.1.0;
    for chosen in 1_usize..1 << eligible.len() {
        let set: Vec<Detector> =
            eligible.iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1).map(|(_, d)| *d).collect();
        let Some(judged) = judge(&set) else { continue };
        if judged.0 > best.1.0 && judged.0 > all + CLEARLY {
            best = (set, judged);
        }
    }
    let (set, (average_precision, alarm_excess)) = best;
    let weight = |d: &Detector| if set.contains(d) { (set.len() as f64).recip() } else { 0.0 };
    let detectors = alone
        .into_iter()
        .map(|(detector, average_precision, alarm_excess)| DetectorQuality {
            weight: weight(&detector),
            detector,
            average_precision,
            alarm_excess,
        })
        .collect();
    let (calm_steps, incident_steps) = (calm.len() as u64, incidents.len() as u64);
    Some(AnomalyQuality { detectors, average_precision, alarm_excess, calm_steps, incident_steps })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise in 0..1, the same for the same place.
    fn noise(i: usize, k: usize) -> f64 {
        ((i * k) % 1009) as f64 / 1009.0
    }

    fn steps(n: usize, of: impl Fn(usize) -> RawScores) -> Vec<RawScores> {
        (0..n).map(of).collect()
    }

    #[test]
    fn what_sees_the_incidents_serves_and_what_sees_nothing_does_not() {
        let quiet = |i: usize| [noise(i, 7919), noise(i, 104_729), noise(i, 613), f64::NAN];
        let incident = |i: usize| [noise(i, 7919), noise(i, 104_729), 0.9 + noise(i, 613), f64::NAN];
        let quality = weigh(&steps(1000, quiet), &steps(400, |i| quiet(i + 333)), &steps(100, incident)).unwrap();
        let weights: Vec<f64> = quality.detectors.iter().map(|d| d.weight).collect();
        assert_eq!(weights, [0.0, 0.0, 1.0], "{quality:?}");
        assert!(quality.average_precision > 0.9, "{quality:?}");
    }

    #[test]
    fn detectors_that_see_it_alike_count_alike() {
        let quiet = |i: usize| [noise(i, 7919), noise(i, 104_729), f64::NAN, f64::NAN];
        let incident = |i: usize| [0.8 + noise(i, 7919), 0.8 + noise(i, 104_729), f64::NAN, f64::NAN];
        let quality = weigh(&steps(1000, quiet), &steps(400, |i| quiet(i + 333)), &steps(100, incident)).unwrap();
        assert!(quality.detectors.iter().all(|d| d.weight == 0.5), "{quality:?}");
    }

    #[test]
    fn what_is_not_calm_on_calm_days_has_no_say() {
        let known = |i: usize| [noise(i, 7919), noise(i, 104_729), f64::NAN, f64::NAN];
        // The first has drifted, and sees the incidents best.
        let calm = |i: usize| [1.1 * noise(i, 7919), noise(i + 333, 104_729), f64::NAN, f64::NAN];
        let incident = |i: usize| [9.0, 0.5 + noise(i, 104_729), f64::NAN, f64::NAN];
        let quality = weigh(&steps(1000, known), &steps(400, calm), &steps(100, incident)).unwrap();
        assert_eq!(quality.detectors[0].weight, 0.0, "{quality:?}");
        assert!(quality.detectors[0].average_precision > quality.detectors[1].average_precision);
        assert!(weigh(&steps(1000, known), &steps(10, known), &steps(100, incident)).is_none());
    }
}

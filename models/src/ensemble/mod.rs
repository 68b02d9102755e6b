//! A service's anomaly score: several detectors, each calibrated on the normal of that service, together.
//!
//! A calibrated detector says by how little of the normal a step is outdone. In nats (minus the logarithm of that share)
//! such statements add up, as in Fisher's combination of p-values (1932); the sum, weighted, is calibrated once more, since
//! the detectors look at the same step and agree more often than chance. Which detector counts how much is learnt by
//! training on history that none of them has seen. Not here: what a detector measures (`isolation_forest`, `joint`, the
//! scorer for the rest), or how weights are chosen (the training crate).

mod joint;

use forewarn_schema::AnomalyScore;
use serde::{Deserialize, Serialize};

pub use joint::JointDistance;

use crate::calibration::{CalibrationError, ScoreCalibrator};

/// What can be asked how unusual a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// How easily the row of features is told from all others, one feature at a time.
    IsolationForest,
    /// How far the signals lie from what is normal at this time: root mean square, in robust standard deviations.
    SeasonalResidual,
    /// How badly the features go together: their Mahalanobis distance.
    JointResidual,
    /// How far the worst target is from what the LSTM forecast a few steps ago, in its own standard deviations.
    LstmResidual,
}

impl Detector {
    /// All of them, in the order of [`RawScores`].
    pub const ALL: [Self; 4] = [Self::IsolationForest, Self::SeasonalResidual, Self::JointResidual, Self::LstmResidual];
}

/// What each of [`Detector::ALL`] says of a step, in its own unit, more being more unusual; NaN where it says nothing.
pub type RawScores = [f64; Detector::ALL.len()];

/// One detector of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsemblePart {
    /// Which.
    pub detector: Detector,
    /// How much it counts, 0..=1; the weights of an ensemble sum to 1. One of 0 is not asked.
    pub weight: f64,
    /// What is normal for it here.
    pub calibrator: ScoreCalibrator,
}

/// The detectors of one service. See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnomalyEnsemble {
    parts: Vec<EnsemblePart>,
    joint: Option<JointDistance>,
    /// What is normal for the weighted sum.
    calibrator: ScoreCalibrator,
}

impl AnomalyEnsemble {
    /// Calibrates the detectors that `weights` names, and their weighted sum, on what they say of normal steps.
    ///
    /// A detector that says too little to be calibrated is left out, whatever its weight; the weights of the others are
    /// scaled to sum to 1, or are equal where nothing is left of them. Fails where no detector is left, or where all of them together
    /// say too little.
    pub fn fit(
        normal: &[RawScores],
        weights: &[(Detector, f64)],
        joint: Option<JointDistance>,
    ) -> Result<Self, CalibrationError> {
        let mut parts = Vec::new();
        for (detector, weight) in weights {
            let said: Vec<f64> = normal.iter().map(|raw| raw[*detector as usize]).filter(|r| r.is_finite()).collect();
            match ScoreCalibrator::fit(&said) {
                Ok(calibrator) => parts.push(EnsemblePart { detector: *detector, weight: *weight, calibrator }),
                Err(CalibrationError::TooFew { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let total: f64 = parts.iter().map(|part| part.weight).sum();
        let equal = (parts.len() as f64).recip();
        parts.iter_mut().for_each(|p| p.weight = if total > 0.0 { p.weight / total } else { equal });
        let sums: Vec<f64> = normal.iter().filter_map(|raw| weighted(&parts, raw)).collect();
        let calibrator = ScoreCalibrator::fit(&sums)?;
        Ok(Self { parts, joint, calibrator })
    }

    /// How unusual a step is of which the detectors say `raw`: the share of normal steps that are less so. 0 where all
    /// that count say nothing.
    pub fn score(&self, raw: &RawScores) -> AnomalyScore {
        self.calibrator.calibrate(self.surprise(raw).unwrap_or(f64::NAN))
    }

    /// The weighted mean of the detectors' surprise, in nats; those that say nothing do not count. `None` where all of
    /// them say nothing.
    pub fn surprise(&self, raw: &RawScores) -> Option<f64> {
        weighted(&self.parts, raw)
    }

    /// Which share of the surprise each detector has; they sum to 1, or are all 0 where nothing is surprising.
    pub fn shares(&self, raw: &RawScores) -> [f64; Detector::ALL.len()] {
        let mut shares = [0.0; Detector::ALL.len()];
        for part in self.parts.iter().filter(|part| raw[part.detector as usize].is_finite()) {
            shares[part.detector as usize] = part.weight * part.calibrator.surprise(raw[part.detector as usize]);
        }
        let total: f64 = shares.iter().sum();
        if total > 0.0 { shares.map(|share| share / total) } else { [0.0; Detector::ALL.len()] }
    }

    /// The detectors that were calibrated, and how much each counts.
    pub fn parts(&self) -> &[EnsemblePart] {
        &self.parts
    }

    /// Whether the detector has a say.
    pub fn asks(&self, detector: Detector) -> bool {
        self.parts.iter().any(|part| part.detector == detector && part.weight > 0.0)
    }

    /// How the features go together, where that was learnt.
    pub fn joint(&self) -> Option<&JointDistance> {
        self.joint.as_ref()
    }

    /// What is normal for one detector.
    pub fn calibrator_of(&self, detector: Detector) -> Option<&ScoreCalibrator> {
        self.parts.iter().find(|part| part.detector == detector).map(|part| &part.calibrator)
    }

    /// Whether what was deserialised hangs together, for rows of `width` features.
    pub fn is_well_formed(&self, width: usize) -> bool {
        let total: f64 = self.parts.iter().map(|part| part.weight).sum();
        !self.parts.is_empty()
            && self.parts.is_sorted_by(|a, b| a.detector < b.detector)
            && self.parts.iter().all(|part| (0.0..=1.0).contains(&part.weight))
            && (total - 1.0).abs() < 1e-6
            && self.joint.as_ref().is_none_or(|joint| joint.is_well_formed(width))
    }
}

fn weighted(parts: &[EnsemblePart], raw: &RawScores) -> Option<f64> {
    let (mut sum, mut weights) = (0.0, 0.0);
    for part in parts.iter().filter(|part| part.weight > 0.0) {
        let said = raw[part.detector as usize];
        if said.is_finite() {
            sum += part.weight * part.calibrator.surprise(said);
            weights += part.weight;
        }
    }
    (weights > 0.0).then(|| sum / weights)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Two detectors that see the same noise by halves, and a third that is silent every other step.
    fn normal(n: usize, seed: u64) -> Vec<RawScores> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = || -> f64 { -(1.0 - rng.random::<f64>()).ln() };
        (0..n)
            .map(|i| {
                let (shared, own, other) = (draw(), draw(), draw());
                [
                    0.4 + 0.01 * (shared + own),
                    2.0 * (shared + other),
                    if i.is_multiple_of(2) { f64::NAN } else { other },
                    f64::NAN,
                ]
            })
            .collect()
    }

    fn thirds() -> Vec<(Detector, f64)> {
        Detector::ALL.into_iter().map(|detector| (detector, 0.25)).collect()
    }

    #[test]
    fn the_share_of_normal_steps_above_is_what_the_score_says() {
        let ensemble = AnomalyEnsemble::fit(&normal(8000, 1), &thirds(), None).unwrap();
        let unseen = normal(100_000, 2);
        for level in [0.5, 0.9, 0.99] {
            let above = unseen.iter().filter(|raw| ensemble.score(raw).get() >= level).count() as f64 / 100_000.0;
            assert!((above / (1.0 - level) - 1.0).abs() < 0.2, "{above} at or above {level}");
        }
    }

    #[test]
    fn a_detector_that_never_spoke_is_left_out_and_one_that_is_silent_does_not_count() {
        let ensemble = AnomalyEnsemble::fit(&normal(2000, 1), &thirds(), None).unwrap();
        assert_eq!(ensemble.parts().len(), 3);
        assert!(!ensemble.asks(Detector::LstmResidual));
        assert!(ensemble.is_well_formed(0));
        let (silent, nothing) = ([0.6, 30.0, f64::NAN, f64::NAN], [f64::NAN; 4]);
        assert!(ensemble.score(&silent).get() > 0.999);
        assert_eq!(ensemble.score(&nothing).get(), 0.0);
        let shares = ensemble.shares(&silent);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12 && shares[2] == 0.0, "{shares:?}");
        assert_eq!(
            AnomalyEnsemble::fit(&[nothing; 100], &thirds(), None).unwrap_err().to_string(),
            "calibration needs at least 20 scores, got 0"
        );
    }

    #[test]
    fn one_detector_alone_keeps_the_order_of_its_scores() {
        let ensemble = AnomalyEnsemble::fit(&normal(2000, 1), &[(Detector::SeasonalResidual, 1.0)], None).unwrap();
        let scores: Vec<f64> =
            (0..60).map(|i| ensemble.score(&[f64::NAN, f64::from(i) / 4.0, 0.0, 0.0]).get()).collect();
        assert!(scores.is_sorted(), "{scores:?}");
    }
}

//! From raw scores to [`AnomalyScore`]: the share of normal steps that look less unusual. The body is the
//! empirical distribution of the scores it was fitted on; the upper tenth is a fitted curve, so that
//! 0.999 means one normal step in a thousand although a few hundred scores do not show it.

use forewarn_schema::AnomalyScore;
use serde::{Deserialize, Serialize};

/// Fewest scores that a distribution can be read from.
pub const MIN_SCORES: usize = 20;
/// Most points that the body is kept as, so that a bundle does not grow with its history.
const MAX_KNOTS: usize = 256;
/// Share of the scores that the curve of the tail is fitted to.
const TAIL_SHARE: f64 = 0.1;
/// Beyond this nothing that was fitted to a history of days can be told apart, in nats: two in a billion.
const MOST_SURPRISE: f64 = 20.0;
/// Weight of an exponential that is mixed into the tail. A fitted tail may end at a finite score, but
/// beyond it there are still more and less unusual ones.
const EXPONENTIAL_SHARE: f64 = 1e-3;

/// Why a calibrator could not be fitted or read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// Too few scores to read a distribution from.
    #[error("calibration needs at least {MIN_SCORES} scores, got {got}")]
    TooFew {
        /// Scores given.
        got: usize,
    },
    /// A score is NaN or infinite.
    #[error("scores must be finite, got {got} (score {index})")]
    NotFinite {
        /// Which one.
        index: usize,
        /// The score.
        got: f64,
    },
    /// Stored numbers are no distribution.
    #[error("stored calibration is damaged: {problem}")]
    Damaged {
        /// What is wrong.
        problem: &'static str,
    },
}

/// A fitted map from raw scores to calibrated ones: never falling, and rising strictly beyond the 90 %
/// quantile of the scores it was fitted on, until 64-bit floats end near 1.
///
/// ```
/// use forewarn_models::calibration::ScoreCalibrator;
///
/// let normal: Vec<f64> = (0..1000).map(|i| 0.4 + 0.0001 * f64::from(i)).collect();
/// let calibrator = ScoreCalibrator::fit(&normal)?;
/// assert!((calibrator.calibrate(0.45).get() - 0.5).abs() < 0.01);
/// assert!(calibrator.calibrate(0.60).get() > 0.999);
/// # Ok::<(), forewarn_models::calibration::CalibrationError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct ScoreCalibrator(Stored);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// Points of the body: raw score, strictly rising, and the share of scores below it (half of its
    /// equals included), strictly rising. The last one is where the tail begins.
    knots: Vec<(f64, f64)>,
    /// Scale of the generalised Pareto curve over the excess beyond the last knot, in raw scores.
    scale: f64,
    /// Its shape, -0.5..=0.5: below 0 the tail ends, at 0 it is exponential, above 0 it is heavy.
    shape: f64,
}

impl ScoreCalibrator {
    /// Fits the distribution of the scores of normal steps, in any order.
    ///
    /// The tail is a generalised Pareto distribution over what exceeds the 90 % quantile, by
    /// probability-weighted moments (Hosking and Wallis 1987): closed form, and steady with the few dozen
    /// values that a tenth may be. Its shape is held in -0.5..=0.5. Scores that end more abruptly, as a
    /// uniform distribution does, are calibrated too low at their end: that errs to the quiet side.
    pub fn fit(raw_scores: &[f64]) -> Result<Self, CalibrationError> {
        if let Some(index) = raw_scores.iter().position(|score| !score.is_finite()) {
            return Err(CalibrationError::NotFinite { index, got: raw_scores[index] });
        }
        if raw_scores.len() < MIN_SCORES {
            return Err(CalibrationError::TooFew { got: raw_scores.len() });
        }
        let mut sorted = raw_scores.to_vec();
        sorted.sort_by(f64::total_cmp);
        let tail_start = sorted.len() - (sorted.len() as f64 * TAIL_SHARE).ceil() as usize - 1;
        let knots = body_knots(&sorted, sorted[tail_start]);
        let (scale, shape) = fit_tail(&sorted[tail_start..]);
        Ok(Self(Stored { knots, scale, shape }))
    }

    /// The share of normal steps that look less unusual than `raw`. NaN is 0: nothing is known to be
    /// unusual.
    pub fn calibrate(&self, raw: f64) -> AnomalyScore {
        let knots = &self.0.knots;
        let (tail_start, tail_below) = knots[knots.len() - 1];
        if raw > tail_start {
            let survival = (1.0 - tail_below) * self.tail_survival(raw - tail_start);
            return AnomalyScore::saturating(1.0 - survival);
        }
        let after = knots.partition_point(|(score, _)| *score < raw);
        if raw.is_nan() || after == 0 {
            // Below the first knot nothing was seen; its own share keeps the map from falling.
            return AnomalyScore::saturating(if raw == knots[0].0 { knots[0].1 } else { 0.0 });
        }
        let ((low, low_share), (high, high_share)) = (knots[after - 1], knots[after]);
        let way = (raw - low) / (high - low);
        AnomalyScore::saturating(low_share + way * (high_share - low_share))
    }

    /// How surprising `raw` is, in nats: minus the logarithm of the share of normal steps that look at least as unusual.
    /// 0..=20, since no history tells rarer things apart. NaN is 0.
    pub fn surprise(&self, raw: f64) -> f64 {
        let (tail_start, tail_below) = self.0.knots[self.0.knots.len() - 1];
        let nats = if raw > tail_start {
            // From the share itself: 1 less the calibrated score has no digits left out here.
            -((1.0 - tail_below) * self.tail_survival(raw - tail_start)).ln()
        } else {
            -(-self.calibrate(raw).get()).ln_1p()
        };
        nats.clamp(0.0, MOST_SURPRISE)
    }

    /// Share of the tail beyond `excess` > 0.
    fn tail_survival(&self, excess: f64) -> f64 {
        let Stored { scale, shape, .. } = self.0;
        let reduced = excess / scale;
        let exponential = (-reduced).exp();
        let pareto = if shape.abs() < 1e-9 {
            exponential
        } else {
            // ln_1p keeps small shapes exact; beyond the end of a tail that ends, nothing is left.
            let argument = (shape * reduced).max(-1.0);
            (-argument.ln_1p() / shape).exp()
        };
        (1.0 - EXPONENTIAL_SHARE) * pareto + EXPONENTIAL_SHARE * exponential
    }
}

/// Distinct scores up to `last` with the share of scores below them, thinned to `MAX_KNOTS`.
fn body_knots(sorted: &[f64], last: f64) -> Vec<(f64, f64)> {
    let n = sorted.len() as f64;
    let mut knots = Vec::new();
    let mut start = 0;
    while start < sorted.len() && sorted[start] <= last {
        let score = sorted[start];
        let equal = sorted[start..].partition_point(|other| *other <= score);
        knots.push((score, (start as f64 + 0.5 * equal as f64) / n));
        start += equal;
    }
    if knots.len() <= MAX_KNOTS {
        return knots;
    }
    // Evenly by rank, the first and the last always among them.
    let spread = (knots.len() - 1) as f64 / (MAX_KNOTS - 1) as f64;
    (0..MAX_KNOTS).map(|at| knots[(at as f64 * spread).round() as usize]).collect()
}

/// Scale and shape of a generalised Pareto distribution; `tail` is sorted and begins with its threshold.
fn fit_tail(tail: &[f64]) -> (f64, f64) {
    let threshold = tail[0];
    let excesses = &tail[1..];
    let n = excesses.len() as f64;
    // a0 is the mean excess, a1 the mean weighted by the share above.
    let (mut a0, mut a1) = (0.0, 0.0);
    for (rank, score) in excesses.iter().enumerate() {
        let excess = score - threshold;
        let share_below = (rank as f64 + 0.65) / n;
        a0 += excess / n;
        a1 += (1.0 - share_below) * excess / n;
    }
    // A spread of nothing (all scores alike) still leaves a scale to measure strangers with.
    let smallest_scale = (1e-4 * threshold.abs()).max(1e-9);
    let difference = a0 - 2.0 * a1;
    if a0 <= smallest_scale || difference <= 0.0 {
        return (a0.max(smallest_scale), 0.0);
    }
    let shape = (2.0 - a0 / difference).clamp(-0.5, 0.5);
    // With the shape held, the scale follows from the mean excess, scale / (1 - shape).
    (a0 * (1.0 - shape), shape)
}

impl TryFrom<Stored> for ScoreCalibrator {
    type Error = CalibrationError;

    fn try_from(stored: Stored) -> Result<Self, CalibrationError> {
        let refuse = |problem| Err(CalibrationError::Damaged { problem });
        if stored.knots.is_empty() || stored.knots.len() > MAX_KNOTS {
            return refuse("must have 1 to 256 knots");
        }
        if !stored.knots.iter().all(|(score, below)| score.is_finite() && (0.0..1.0).contains(below)) {
            return refuse("knots must be finite scores with shares in 0..1");
        }
        if !stored.knots.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1) {
            return refuse("knots must rise strictly");
        }
        if !(stored.scale > 0.0 && stored.scale.is_finite()) {
            return refuse("scale must be positive");
        }
        if !(-0.5..=0.5).contains(&stored.shape) {
            return refuse("shape must be in -0.5..=0.5");
        }
        Ok(Self(stored))
    }
}

impl From<ScoreCalibrator> for Stored {
    fn from(calibrator: ScoreCalibrator) -> Self {
        calibrator.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Draws by inverting a distribution: one that ends (shape -0.25), exponential, heavy (shape 0.25).
    fn draws(n: usize, seed: u64, inverse: fn(f64) -> f64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..n).map(|_| inverse(rng.random())).collect()
    }

    const INVERSES: [fn(f64) -> f64; 3] =
        [|u| 0.6 - 0.2 * (1.0 - u).powf(0.25), |u| 0.4 - 0.02 * (1.0 - u).ln(), |u| 0.4 + 0.02 * (1.0 - u).powf(-0.25)];

    #[test]
    fn share_of_normal_steps_below_is_what_it_says() {
        for inverse in INVERSES {
            let calibrator = ScoreCalibrator::fit(&draws(20_000, 1, inverse)).unwrap();
            let unseen = draws(200_000, 2, inverse);
            // The tail is fitted from 2,000 draws: over many seeds, nine fits of ten are within 40 % at one
            // in a thousand.
            for (level, tolerance) in [(0.1, 0.02), (0.5, 0.03), (0.9, 0.1), (0.99, 0.2), (0.999, 0.45)] {
                let above = unseen.iter().filter(|raw| calibrator.calibrate(**raw).get() >= level).count();
                let share = above as f64 / unseen.len() as f64;
                assert!((share / (1.0 - level) - 1.0).abs() < tolerance, "{share} at or above {level}");
            }
        }
    }

    #[test]
    fn a_week_of_scores_is_enough_for_one_in_a_thousand() {
        for inverse in INVERSES {
            let calibrator = ScoreCalibrator::fit(&draws(2_016, 3, inverse)).unwrap();
            let unseen = draws(200_000, 4, inverse);
            let above = unseen.iter().filter(|raw| calibrator.calibrate(**raw).get() >= 0.999).count();
            // A factor of three either way is what 200 draws in the tail allow (nine fits of ten).
            assert!((50..=600).contains(&above), "{above} of 200,000 instead of 200");
        }
    }

    #[test]
    fn never_falls_and_rises_beyond_all_that_was_seen() {
        for inverse in INVERSES {
            let scores = draws(3_000, 5, inverse);
            let calibrator = ScoreCalibrator::fit(&scores).unwrap();
            let most = scores.iter().copied().fold(0.0, f64::max);
            let mut last = -1.0;
            for step in 0..2_000 {
                let calibrated = calibrator.calibrate(f64::from(step) * most / 1_000.0).get();
                assert!(calibrated >= last, "falls at {step}");
                last = calibrated;
            }
            assert!(calibrator.calibrate(most + 0.01).get() < calibrator.calibrate(most + 0.02).get());
            assert_eq!(calibrator.calibrate(f64::INFINITY).get(), 1.0);
            assert_eq!(calibrator.calibrate(f64::NEG_INFINITY).get(), 0.0);
            assert_eq!(calibrator.calibrate(f64::NAN).get(), 0.0);
        }
    }

    #[test]
    fn surprise_is_the_logarithm_of_the_share_above() {
        let calibrator = ScoreCalibrator::fit(&draws(3_000, 5, INVERSES[1])).unwrap();
        let mut last = 0.0;
        for raw in (0..400).map(|i| 0.4 + 0.001 * f64::from(i)) {
            let (nats, score) = (calibrator.surprise(raw), calibrator.calibrate(raw).get());
            assert!(nats >= last && nats <= 20.0, "{nats} after {last}");
            assert!(score > 0.999_999 || ((-nats).exp() - (1.0 - score)).abs() < 1e-9, "{nats} and {score}");
            last = nats;
        }
        assert_eq!(calibrator.surprise(f64::NAN), 0.0);
        assert_eq!(calibrator.surprise(f64::INFINITY), 20.0);
    }

    #[test]
    fn equal_scores_are_normal_and_a_stranger_is_not() {
        let calibrator = ScoreCalibrator::fit(&[0.5; 100]).unwrap();
        assert_eq!(calibrator.calibrate(0.5).get(), 0.5);
        assert!(calibrator.calibrate(0.6).get() > 0.999);
        assert_eq!(calibrator.calibrate(0.4).get(), 0.0);
    }

    #[test]
    fn too_few_and_not_finite_are_refused() {
        assert_eq!(
            ScoreCalibrator::fit(&[0.5; 19]).unwrap_err().to_string(),
            "calibration needs at least 20 scores, got 19"
        );
        let error = ScoreCalibrator::fit(&[f64::NAN]).unwrap_err();
        assert_eq!(error.to_string(), "scores must be finite, got NaN (score 0)");
    }

    #[test]
    fn stored_and_read_it_is_the_same_and_damage_is_refused() {
        let calibrator = ScoreCalibrator::fit(&draws(5_000, 6, INVERSES[1])).unwrap();
        let json = serde_json::to_string(&calibrator).unwrap();
        assert!(json.len() < 20_000, "{} bytes", json.len());
        assert_eq!(serde_json::from_str::<ScoreCalibrator>(&json).unwrap(), calibrator);
        for damaged in [
            r#"{"knots":[],"scale":1.0,"shape":0.0}"#,
            r#"{"knots":[[0.5,0.9],[0.4,0.95]],"scale":1.0,"shape":0.0}"#,
            r#"{"knots":[[0.5,1.5]],"scale":1.0,"shape":0.0}"#,
            r#"{"knots":[[0.5,0.9]],"scale":0.0,"shape":0.0}"#,
            r#"{"knots":[[0.5,0.9]],"scale":1.0,"shape":-3.0}"#,
        ] {
            assert!(serde_json::from_str::<ScoreCalibrator>(damaged).is_err(), "{damaged}");
        }
    }
}

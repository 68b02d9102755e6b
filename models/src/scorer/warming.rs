//! A service that nothing was learnt of yet: what services alike have in common stands in for its own normal, until it has one.
//!
//! From other services comes how far a signal usually strays, relative to its level, the day's swing included, as a young
//! service's time of day is not known; from its own samples comes the level. The spread goes over to its own as samples
//! come. Errs to the quiet side: a service that is busier by day than at night is not unusual at noon.

use std::collections::BTreeMap;
use std::sync::Arc;

use forewarn_features::seasonal::median;
use forewarn_features::{ServiceStep, SignalSet, service_value};
use forewarn_schema::{AnomalyScore, SignalEvidence};
use serde::{Deserialize, Serialize};

use super::anomaly::Anomaly;
use crate::bundle::ModelBundle;
use crate::calibration::ScoreCalibrator;
use crate::ensemble::Detector;

/// Samples of a signal before anything is said of it.
const FIRST_SAMPLES: f64 = 10.0;
/// What the other services say of a spread counts as much as so many samples of its own.
const PRIOR_SAMPLES: f64 = 60.0;
/// Its own level is the mean of about so many samples: a day at the default step.
const MEMORY: f64 = 1440.0;
/// What is learnt from one sample is held within so many spreads.
const CLIP: f64 = 3.0;
/// As features are clipped.
const FURTHEST: f64 = 20.0;
/// More services than these do not make a better prior.
const MOST_SERVICES: usize = 64;

/// What the services that have a bundle have in common.
#[derive(Debug)]
pub struct FleetPrior {
    signals: BTreeMap<String, Spread>,
    /// What is normal for a seasonal residual, service by service.
    calibrators: Vec<ScoreCalibrator>,
}

/// How far a signal usually strays from its mean level.
#[derive(Clone, Copy, Debug)]
enum Spread {
    /// As a share of the level.
    Relative(f64),
    /// In the signal's unit, where levels are about 0.
    Absolute(f64),
}

impl FleetPrior {
    /// Medians over the first 64 of `bundles`, which are sorted by service. `None` where they know of no signal.
    pub fn pooled<'a>(bundles: impl Iterator<Item = &'a ModelBundle>) -> Option<Self> {
        let mut spreads: BTreeMap<&str, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
        let mut calibrators = Vec::new();
        for bundle in bundles.take(MOST_SERVICES) {
            for (signal, profile) in bundle.pipeline.profiles() {
                // A wave goes so far beyond its standard deviation, and all signals are at its crest at once.
                let crest = std::f64::consts::SQRT_2 * profile.swing();
                let (level, spread) = (profile.mean_level().abs(), profile.spread().hypot(crest));
                let (relative, absolute) = spreads.entry(signal).or_default();
                absolute.push(spread);
                if level > spread {
                    relative.push(spread / level);
                }
            }
            calibrators.extend(bundle.ensemble.calibrator_of(Detector::SeasonalResidual).cloned());
        }
        let pool = |(relative, absolute): &mut (Vec<f64>, Vec<f64>)| match relative.len() * 2 > absolute.len() {
            true => Spread::Relative(median(relative)),
            false => Spread::Absolute(median(absolute)),
        };
        let signals: BTreeMap<String, Spread> =
            spreads.into_iter().map(|(signal, mut of)| (signal.to_owned(), pool(&mut of))).collect();
        (!signals.is_empty() && !calibrators.is_empty()).then_some(Self { signals, calibrators })
    }

    fn spread(&self, signal: &str, level: f64) -> Option<f64> {
        let spread = match self.signals.get(signal)? {
            Spread::Relative(share) => share * level.abs(),
            Spread::Absolute(spread) => *spread,
        };
        Some(spread.max(1e-12))
    }

    /// The mean over the services of what each would call a residual of so much.
    fn calibrate(&self, residual: f64) -> AnomalyScore {
        let sum: f64 = self.calibrators.iter().map(|of_one| of_one.calibrate(residual).get()).sum();
        AnomalyScore::saturating(sum / self.calibrators.len() as f64)
    }
}

/// What a service without a bundle has shown of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Warming {
    prior: Option<Arc<FleetPrior>>,
    pub(super) seen: Seen,
}

/// Its own samples, in a few numbers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Seen {
    signals: BTreeMap<String, Own>,
    /// Of the last step.
    readings: Vec<Reading>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Own {
    count: f64,
    level: f64,
    squares: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Reading {
    signal: String,
    seen: f64,
    expected: f64,
    /// In spreads.
    z: f64,
}

impl Warming {
    pub(super) fn set_prior(&mut self, prior: Option<Arc<FleetPrior>>) {
        self.prior = prior;
    }

    /// Takes a step: first what is to be said of it, then what is learnt from it.
    pub(super) fn observe(&mut self, step: &ServiceStep, signals: &SignalSet) {
        self.seen.readings.clear();
        let Some(prior) = &self.prior else { return };
        for signal in signals.iter().filter(|signal| prior.signals.contains_key(&signal.name)) {
            let Some(seen) = service_value(step, signal) else { continue };
            let own = self.seen.signals.entry(signal.name.clone()).or_insert(Own { level: seen, ..Own::default() });
            let Some(usual) = prior.spread(&signal.name, own.level) else { continue };
            let spread = ((PRIOR_SAMPLES * usual * usual + own.squares) / (PRIOR_SAMPLES + own.count)).sqrt();
            let z = ((seen - own.level) / spread).clamp(-FURTHEST, FURTHEST);
            if own.count >= FIRST_SAMPLES {
                self.seen.readings.push(Reading { signal: signal.name.clone(), seen, expected: own.level, z });
            }
            let held = z.clamp(-CLIP, CLIP) * spread;
            own.count = (own.count + 1.0).min(MEMORY);
            own.level += held / own.count;
            own.squares += held * held - if own.count < MEMORY { 0.0 } else { own.squares / MEMORY };
        }
    }

    /// What is said of the last step, where that is `fresh`.
    pub(super) fn anomaly(&self, fresh: bool) -> Anomaly {
        let readings = &self.seen.readings;
        let (Some(prior), true) = (&self.prior, fresh && !readings.is_empty()) else { return Anomaly::default() };
        let total: f64 = readings.iter().map(|r| r.z * r.z).sum();
        let evidence = readings.iter().map(|r| SignalEvidence {
            signal: r.signal.clone(),
            seen: r.seen,
            expected: Some(r.expected),
            weight: if total > 0.0 { r.z * r.z / total } else { 0.0 },
        });
        Anomaly::new(prior.calibrate((total / readings.len() as f64).sqrt()), evidence.collect())
    }
}

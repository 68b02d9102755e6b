//! The anomaly score of one service: its detectors fitted on normal steps, weighed on the tail of the training window, which
//! they have not seen, and calibrated.
//!
//! What a detector says is always taken from the scorer that serves, replayed over the steps. Not here: which weights are
//! best (`weights`), the incidents that are made to find out (`made_up`).

mod made_up;
mod normal;
mod weights;

use std::sync::Arc;

use forewarn_features::{FeaturePipelineParams, FittedFeaturePipeline, ServiceStep, SignalSet};
use forewarn_models::ModelBundle;
use forewarn_models::baselines::Baselines;
use forewarn_models::calibration::CalibrationError;
use forewarn_models::ensemble::{AnomalyEnsemble, Detector, JointDistance, RawScores};
use forewarn_models::isolation_forest::{IsolationForest, IsolationForestParams};
use forewarn_models::scorer::ServiceScorer;
use forewarn_schema::{TimeRange, Timestamp};

use crate::exclusions::Normal;
use crate::fit::{FitError, FitOptions};

pub use weights::{AnomalyQuality, DetectorQuality};

/// Steps on which what is normal for the score is learnt, at most.
const NORMAL_STEPS: usize = 8000;
/// The same where the LSTM is asked, which costs a hundred times what the others do.
const NORMAL_STEPS_OF_LSTM: usize = 1200;
/// Steps of the tail that the weights are judged on, at most.
const TAIL_STEPS: usize = 600;

/// What is fitted on the normal steps of one service.
pub(crate) struct Detectors {
    pub(crate) pipeline: FittedFeaturePipeline,
    pub(crate) forest: IsolationForest,
    /// The forest alone, and how features go together: until the weights are known.
    pub(crate) ensemble: AnomalyEnsemble,
    /// Rows that were learnt from.
    pub(crate) rows: usize,
    /// Times that look like incidents, though no limit was reached; sorted.
    pub(crate) set_apart: Vec<Timestamp>,
}

impl Detectors {
    /// Fits on the steps that are normal, less what looks like an incident by itself though nobody says that it was none.
    pub(crate) fn fit(
        service: &str,
        steps: &[ServiceStep],
        signals: &SignalSet,
        options: &FitOptions,
        normal: &Normal,
    ) -> Result<Self, FitError> {
        let excluded = &normal.excluded;
        let params = FeaturePipelineParams { calendar: options.calendar.clone(), ..FeaturePipelineParams::default() };
        let pipeline = params.fit(steps, signals, options.step, excluded);
        let width = pipeline.names().len();
        let mut state = pipeline.new_state();
        let (mut times, mut rows): (Vec<Timestamp>, Vec<f32>) = (Vec::new(), Vec::with_capacity(steps.len() * width));
        for step in steps {
            // Excluded steps still pass through, so that the change after them has something to compare with.
            let row = pipeline.transform(&mut state, step);
            let is_normal = !excluded.iter().any(|range| range.contains(step.at));
            if is_normal && row.iter().any(|v| !v.is_nan()) {
                rows.extend(row);
                times.push(step.at);
            }
        }
        if times.len() < 2 {
            let (service, until) = (service.to_owned(), options.until);
            return Err(FitError::NothingToLearn { service, until, steps: steps.len() });
        }
        let mut set_apart = normal::incidents(&times, &rows, width);
        set_apart.retain(|at| !normal.is_certain(*at));
        if !set_apart.is_empty() {
            let kept = |at: &Timestamp| set_apart.binary_search(at).is_err();
            rows = times
                .iter()
                .zip(rows.chunks(width))
                .filter(|(at, _)| kept(at))
                .flat_map(|(_, row)| row.to_vec())
                .collect();
        }
        let count = rows.len() / width;
        let params =
            IsolationForestParams { trees: options.trees, sample_size: options.sample_size, seed: options.seed };
        let refused = |source| FitError::Forest { service: service.to_owned(), source };
        let forest = params.check().map_err(refused)?.fit(&rows, width).map_err(refused)?;
        let mut scores = vec![0.0; count];
        // One thread: the services are what runs side by side.
        forest.score_rows(&rows, &mut scores, 1);
        let raw: Vec<RawScores> = scores.into_iter().map(|score| [score, f64::NAN, f64::NAN, f64::NAN]).collect();
        let joint = JointDistance::fit(&rows, width);
        let ensemble = AnomalyEnsemble::fit(&raw, &[(Detector::IsolationForest, 1.0)], joint)
            .map_err(|source| FitError::Calibration { service: service.to_owned(), source })?;
        Ok(Self { pipeline, forest, ensemble, rows: count, set_apart })
    }
}

/// Weighs the detectors of `bundle` and calibrates them. `earlier` is what was fitted on the steps before `validation` alone;
/// without it, or without enough of a tail, the detectors count alike and `None` comes back. `set_apart` as in [`Detectors`].
/// What is normal for certain is calibrated on in full, not by samples: it is what was called odd and was not.
pub(crate) fn settle(
    bundle: &mut ModelBundle,
    earlier: Option<(Detectors, Baselines)>,
    steps: &[ServiceStep],
    validation: TimeRange,
    set_apart: &[Timestamp],
    normal: &Normal,
) -> Result<Option<AnomalyQuality>, CalibrationError> {
    let is_normal =
        |at: Timestamp| set_apart.binary_search(&at).is_err() && !normal.excluded.iter().any(|r| r.contains(at));
    let quality = earlier.and_then(|(detectors, baselines)| {
        let trial = Arc::new(ModelBundle {
            pipeline: detectors.pipeline,
            forest: detectors.forest,
            ensemble: detectors.ensemble,
            baselines,
            ..bundle.clone()
        });
        judge(&trial, steps, validation, &is_normal)
    });
    let weights: Vec<(Detector, f64)> = match &quality {
        Some(quality) => quality.detectors.iter().map(|d| (d.detector, d.weight)).collect(),
        // The LSTM earns its place or has none.
        None => Detector::ALL.into_iter().map(|d| (d, if d == Detector::LstmResidual { 0.0 } else { 1.0 })).collect(),
    };
    let asks_lstm = weights.iter().any(|(detector, weight)| *detector == Detector::LstmResidual && *weight > 0.0);
    let most = if asks_lstm { NORMAL_STEPS_OF_LSTM } else { NORMAL_STEPS };
    let mut chosen = spread(steps.iter().map(|s| s.at).filter(|at| is_normal(*at)).collect(), most);
    chosen.extend(steps.iter().map(|s| s.at).filter(|at| normal.is_certain(*at) && is_normal(*at)));
    chosen.sort_unstable();
    chosen.dedup();
    let normal = replay(&Arc::new(bundle.clone()), steps, &chosen, asks_lstm);
    let asked: Vec<(Detector, f64)> =
        weights.into_iter().filter(|(detector, _)| asks_lstm || *detector != Detector::LstmResidual).collect();
    bundle.ensemble = AnomalyEnsemble::fit(&normal, &asked, bundle.ensemble.joint().cloned())?;
    Ok(quality)
}

/// How the detectors of `trial` do on the tail, which it has not seen.
fn judge(
    trial: &Arc<ModelBundle>,
    steps: &[ServiceStep],
    validation: TimeRange,
    is_normal: &dyn Fn(Timestamp) -> bool,
) -> Option<AnomalyQuality> {
    let (has_lstm, tail) = (trial.lstm.is_some(), steps.partition_point(|s| s.at < validation.start));
    let times = |steps: &[ServiceStep], normal: bool| -> Vec<Timestamp> {
        steps.iter().map(|s| s.at).filter(|at| is_normal(*at) == normal).collect()
    };
    let known = spread(times(&steps[..tail], true), NORMAL_STEPS_OF_LSTM);
    let calm = spread(times(&steps[tail..], true), TAIL_STEPS);
    let incident = spread(times(&steps[tail..], false), TAIL_STEPS / 2);
    let said = |steps: &[ServiceStep], at: &[Timestamp]| replay(trial, steps, at, has_lstm);
    let (made_up, made_up_at) = made_up::incidents(trial, steps, tail);
    let mut incidents = said(steps, &incident);
    incidents.extend(said(&made_up, &spread(made_up_at, TAIL_STEPS)));
    weights::weigh(&said(steps, &known), &said(steps, &calm), &incidents)
}

/// What the detectors say at the times `at` (sorted), all before having been taken in.
fn replay(bundle: &Arc<ModelBundle>, steps: &[ServiceStep], at: &[Timestamp], with_lstm: bool) -> Vec<RawScores> {
    let Some(first) = steps.first() else { return Vec::new() };
    let (signals, step) = (Arc::new(bundle.signals.clone()), bundle.manifest.step);
    let mut scorer = ServiceScorer::new(Arc::clone(&first.service), signals, step, Some(Arc::clone(bundle)));
    let mut said = Vec::with_capacity(at.len());
    let mut wanted = at.iter().peekable();
    for step in steps {
        if wanted.peek().is_none() {
            break;
        }
        scorer.observe(step);
        if wanted.next_if(|at| **at == step.at).is_some() {
            said.extend(scorer.raw_scores(step.at, with_lstm));
        }
    }
    said
}

/// At most `most` of them, evenly.
fn spread(times: Vec<Timestamp>, most: usize) -> Vec<Timestamp> {
    let stride = times.len().div_ceil(most).max(1);
    times.into_iter().step_by(stride).collect()
}

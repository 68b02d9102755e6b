//! The evaluation report: what was measured, as data (its JSON is `docs/formats/report.md`) and as
//! a page for people ([`render_html`]). Measuring is `evaluate`'s business.

mod html;

use std::collections::BTreeMap;

use forewarn_models::ForecastModel;
use forewarn_schema::{BreachKind, FeedbackSubject, LabelSet, LabelSource, Step, TimeRange, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

pub use self::html::render_html;
use crate::gate::{GateVerdict, PromotionGate};
use crate::settle::Outcome;

/// The version of the JSON form; a reader refuses what it does not know.
pub const FORMAT_VERSION: u32 = 1;

/// Candidates against what serves now, the rules and the baselines, on one held-out range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationReport {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Whether the models beat the baselines, in one sentence.
    pub headline: String,
    /// The held-out range.
    pub range: TimeRange,
    /// Of the dataset.
    pub step: Step,
    /// Between two origins, seconds.
    pub every_seconds: f64,
    /// What the verdicts were judged by.
    pub gate: PromotionGate,
    /// Requests over all services, with the candidates.
    pub candidate: AlarmQuality,
    /// The same with what serves now.
    pub current: AlarmQuality,
    /// The same with the rules alone.
    pub rules: AlarmQuality,
    /// Sorted by service.
    pub services: Vec<ServiceReport>,
    /// What people and alerts said.
    pub feedback: FeedbackReport,
    /// Who measured.
    pub forewarn_version: String,
}

/// One service's part of the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// The workload.
    pub service: String,
    /// What might serve; `None` where there is no candidate.
    pub candidate: Option<ModelCard>,
    /// What serves now; `rules` where no model does.
    pub current_version: String,
    /// May the candidate serve? `None` without a candidate.
    pub verdict: Option<GateVerdict>,
    /// How the forecasts did; `None` where no origin could be judged.
    pub forecast: Option<ForecastQuality>,
    /// How unusual the service looked; `None` where nothing was predicted.
    pub anomaly: Option<AnomalySummary>,
    /// Requests with the candidate (or, without one, with what serves now).
    pub candidate_alarms: AlarmQuality,
    /// Requests with what serves now.
    pub current_alarms: AlarmQuality,
    /// Requests with the rules alone.
    pub rules_alarms: AlarmQuality,
    /// Each breach in the range, by time, as the candidate saw it coming.
    pub breaches: Vec<BreachReport>,
    /// Each request of the candidate, by time, and what became of it.
    pub requests: Vec<RequestReport>,
    /// Forecast against truth, for looking at.
    pub forecast_charts: Vec<ForecastChart>,
    /// The candidate's anomaly score over time, at most some hundred points, the highest of each stretch.
    pub anomaly_scores: Vec<ScorePoint>,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Its version in the registry.
    pub version: String,
    /// Which forecast it serves.
    pub serves: ForecastModel,
    /// What it learnt from.
    pub data: TimeRange,
    /// Of the dataset that it learnt from.
    pub dataset_digest: String,
    /// Of everything random in its training.
    pub seed: u64,
    /// How it was fitted.
    pub params: serde_json::Value,
    /// What was measured while it was fitted.
    pub quality: Option<serde_json::Value>,
    /// What fitted it.
    pub forewarn_version: String,
}

/// Forecasts of several models on the same origins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastQuality {
    /// Targets times origins that were judged.
    pub origins: u64,
    /// How far ahead, seconds.
    pub horizons_seconds: Vec<f64>,
    /// Sorted by name of the model; the models that could forecast every judged origin.
    pub scores: Vec<ForecastScore>,
}

/// One model's forecasts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastScore {
    /// Which.
    pub model: ForecastModel,
    /// Mean over origins, horizons and the quantiles 0.1, 0.5 and 0.9, in the forecast's scale (each
    /// target's own, so that bytes and connections weigh alike).
    pub pinball_loss: f64,
    /// Share of truths in `[p10, p90]`, 0..=1; 0.8 is honest.
    pub interval_coverage: Option<f64>,
    /// The pinball loss of each horizon.
    pub by_horizon: Vec<f64>,
}

impl ForecastQuality {
    /// The score of `model`, `None` where it could not forecast.
    pub fn score(&self, model: ForecastModel) -> Option<&ForecastScore> {
        self.scores.iter().find(|s| s.model == model)
    }
}

/// Requests and times to breach, settled from the data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AlarmQuality {
    /// Breaches in the range that took a quarter of an hour or more to come.
    pub breaches: u64,
    /// Breaches that came faster: nothing could be seen early enough, so the figures leave them out.
    pub sudden: u64,
    /// Those announced by a request early enough.
    pub predicted: u64,
    /// `predicted / breaches`, 0..=1; `None` without a breach.
    pub recall: Option<f64>,
    /// Requests emitted.
    pub requests: u64,
    /// Requests whose horizon passed without a breach.
    pub false_alarms: u64,
    /// `false_alarms` over the range's length in weeks.
    pub false_alarms_per_week: f64,
    /// Requests whose target ended or was reset first, or that came during a breach.
    pub neutral: u64,
    /// Requests whose horizon the data do not cover.
    pub unsettled: u64,
    /// Median of breach minus first request, seconds.
    pub median_lead_seconds: Option<f64>,
    /// Median of `|p50 − truth| / truth` half-way to each breach, 0..=1.
    pub median_time_to_breach_error: Option<f64>,
    /// Mean over breaches (certificates left out: their time is known) of the share of predictions on
    /// the way whose `[p10, p90]` holds the truth.
    pub interval_coverage: Option<f64>,
    /// Harrell's C of predicted and true times half-way to each breach.
    pub concordance: Option<f64>,
    /// Brier score of the breach probability over the predictions that can be settled.
    pub brier_score: Option<f64>,
    /// Average precision of the breach probability over the same.
    pub average_precision: Option<f64>,
}

/// How unusual a service looked, from the candidate's calibrated score at each origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnomalySummary {
    /// Origins with a score.
    pub origins: u64,
    /// Half of the origins looked less unusual.
    pub median: f64,
    /// One in a hundred looked more unusual.
    pub p99: f64,
    /// The most unusual.
    pub max: f64,
    /// Share of origins at 0.999 or above; about 0.001 where held-out data look like the training's.
    pub share_above_0_999: f64,
}

/// One breach, and how it was seen coming.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BreachReport {
    /// The signal.
    pub signal: String,
    /// What kind.
    pub kind: BreachKind,
    /// The target.
    pub labels: LabelSet,
    /// When it began, as estimated from the data.
    pub onset: Timestamp,
    /// When the limit was reached.
    pub at: Timestamp,
    /// Whether it took less than a quarter of an hour to come.
    pub sudden: bool,
    /// Whether a request came early enough.
    pub predicted: bool,
    /// From the first request to the breach, seconds; `None` without a request.
    pub lead_seconds: Option<f64>,
    /// What was early enough, seconds.
    pub required_lead_seconds: f64,
    /// Half-way from onset to breach, 0..=1; 1 where nothing was predicted.
    pub time_to_breach_error: f64,
    /// What was said on the way, at most some hundred points.
    pub path: Vec<PathPoint>,
}

/// One time to breach beside the truth, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathPoint {
    /// When it was said.
    pub at: Timestamp,
    /// How long it really took from then.
    pub truth: f64,
    /// `[p10, p50, p90]`; `None`: no breach in sight.
    pub predicted: Option<[f64; 3]>,
}

/// One request, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestReport {
    /// Its id.
    pub id: String,
    /// When it was emitted.
    pub at: Timestamp,
    /// What kind of breach it announced.
    pub kind: BreachKind,
    /// The target.
    pub labels: LabelSet,
    /// The announced time (median).
    pub predicted_breach: Timestamp,
    /// What became of it.
    pub outcome: Outcome,
    /// Which model said so.
    pub model_version: String,
}

/// A forecast a fixed time ahead, beside what came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastChart {
    /// The signal.
    pub signal: String,
    /// What kind of breach it may come to.
    pub kind: BreachKind,
    /// The target.
    pub labels: LabelSet,
    /// Which forecast.
    pub model: ForecastModel,
    /// How far ahead, seconds.
    pub horizon_seconds: f64,
    /// The limit, in the signal's unit; `None` where it is missing.
    pub limit: Option<f64>,
    /// By time.
    pub points: Vec<ForecastPoint>,
}

/// What was forecast for a time, and what came, in the signal's unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastPoint {
    /// The time that the forecast is for.
    pub at: Timestamp,
    /// What came.
    pub truth: f64,
    /// `[p10, p50, p90]`.
    pub forecast: [f64; 3],
}

/// An anomaly score at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScorePoint {
    /// When.
    pub at: Timestamp,
    /// 0..=1.
    pub score: f64,
}

/// Labels, and what they say of our precision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeedbackReport {
    /// Newest last.
    pub labels: Vec<LabelReport>,
    /// How many of each verdict; a verdict nobody gave is left out.
    pub counts: BTreeMap<String, u64>,
    /// `true_positive / (true_positive + false_positive)`, the newest label of each prediction; `None`
    /// without either.
    pub precision: Option<f64>,
}

/// One label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelReport {
    /// Of the label.
    pub id: String,
    /// What it is of.
    pub subject: FeedbackSubject,
    /// The workload, where the subject names it or the prediction was replayed.
    pub service: Option<String>,
    /// The kind of breach, likewise.
    pub kind: Option<BreachKind>,
    /// When the prediction was made or the breach came, likewise.
    pub at: Option<Timestamp>,
    /// What that turned out to be.
    pub verdict: Verdict,
    /// Why, in the labeller's words.
    pub note: Option<String>,
    /// Who says so.
    pub source: LabelSource,
    /// Since when.
    pub created_at: Timestamp,
}

//! The evaluation report: what was measured, as data (its JSON is `docs/formats/report.md`) and as
//! a page for people ([`render_html`]). Measuring is `evaluate`'s business.

mod html;
mod not_learnt;
mod parts;

use std::collections::BTreeMap;

use forewarn_schema::{BreachKind, FeedbackSubject, LabelSource, Step, TimeRange, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

pub use self::html::render_html;
pub use self::not_learnt::NotLearnt;
pub use self::parts::{
    AlarmIntervals, AlarmQuality, AnomalySummary, BreachReport, Calibration, ForecastChart, ForecastPoint,
    ForecastQuality, ForecastScore, KindReport, ModelCard, PathPoint, Picture, PictureFan, ReliabilityBin,
    RequestReport, RightRequests, ScorePoint, TimeBin, Timing,
};
use crate::changes::Change;
use crate::compare::Comparison;
use crate::drift::SignalDrift;
use crate::gate::{GateVerdict, PromotionGate};

/// The version of the JSON form; a reader refuses what it does not know.
pub const FORMAT_VERSION: u32 = 2;

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
    /// The same kind by kind, of those with a breach or a request; sorted by kind.
    pub kinds: Vec<KindReport>,
    /// All candidates beside what serves now; `None` where no model serves yet.
    pub beside_current: Option<Comparison>,
    /// All candidates beside the rules.
    pub beside_rules: Comparison,
    /// Whether the candidates' probabilities and intervals mean what they say.
    pub calibration: Calibration,
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
    /// What is different about the candidate; empty where nothing is, or where the rules serve now.
    pub changes: Vec<Change>,
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
    /// The candidate beside what serves now; `None` where the rules serve or there is no candidate.
    pub beside_current: Option<Comparison>,
    /// The candidate (or what serves now) beside the rules.
    pub beside_rules: Comparison,
    /// Whether the last week looks like what the model learnt from; sorted by signal, empty where there is
    /// less than a day of it.
    pub drift: Vec<SignalDrift>,
    /// Each breach in the range, by time, as the candidate saw it coming.
    pub breaches: Vec<BreachReport>,
    /// Each request of the candidate, by time, and what became of it.
    pub requests: Vec<RequestReport>,
    /// Forecast against truth, for looking at.
    pub forecast_charts: Vec<ForecastChart>,
    /// The candidate's anomaly score over time, at most some hundred points, the highest of each stretch.
    pub anomaly_scores: Vec<ScorePoint>,
}

/// Labels, and what they say of our precision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeedbackReport {
    /// Newest last.
    pub labels: Vec<LabelReport>,
    /// How many of each verdict; a verdict nobody gave is left out.
    pub counts: BTreeMap<String, u64>,
    /// `true_positive / (true_positive + false_positive)`, the newest label of each prediction, of a person where one said anything; a
    /// label of a request or a span speaks for the predictions that emitted one. `None` without either.
    pub precision: Option<f64>,
}

/// One label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelReport {
    /// Of the label.
    pub id: String,
    /// What it is of.
    pub subject: FeedbackSubject,
    /// The workload, where the subject names it or it is known what was said.
    pub service: Option<String>,
    /// The kind of breach, likewise.
    pub kind: Option<BreachKind>,
    /// When the prediction was made, the breach came or the span began, likewise.
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

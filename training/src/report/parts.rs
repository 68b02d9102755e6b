//! What an evaluation report is made of: models, figures, breaches and requests as they were settled, and
//! what is drawn of them. The whole is in the module above.

use forewarn_models::ForecastModel;
use forewarn_schema::{BreachKind, LabelSet, PredictedBreach, Sample, TimeRange, Timestamp};
use serde::{Deserialize, Serialize};

use crate::compare::Difference;
use crate::intervals::Interval;
use crate::report::NotLearnt;
use forewarn_models::settle::Outcome;

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
    /// What it did not learn from; `None` where its manifest does not say.
    #[serde(default)]
    pub not_learnt: Option<NotLearnt>,
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
    /// The LSTM's pinball loss beside the better baseline's; `None` without either.
    pub lstm_beside_baseline: Option<Difference>,
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
    /// How many episodes those are: replicas that went the same way at the same time share one.
    pub episodes: u64,
    /// Breaches that came faster: nothing could be seen early enough, so the figures leave them out.
    pub sudden: u64,
    /// Those announced by a request early enough.
    pub predicted: u64,
    /// `predicted / breaches`, 0..=1; `None` without a breach.
    pub recall: Option<f64>,
    /// Requests emitted.
    pub requests: u64,
    /// Requests that were right, by where the breach came beside their interval; replicas that share a request count once.
    #[serde(default)]
    pub right: RightRequests,
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
    /// Where these figures may as well lie.
    pub intervals: AlarmIntervals,
}

/// Requests that a breach followed, see [`Timing`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightRequests {
    /// It came before their p10.
    pub early: u64,
    /// It came within their interval.
    pub within: u64,
    /// It came when they had expired.
    pub late: u64,
}

/// The 90 % intervals of [`AlarmQuality`]'s figures, in their units; `None` with fewer than five episodes (or
/// days) to resample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AlarmIntervals {
    /// Wilson, with as many trials as episodes.
    pub recall: Option<Interval>,
    /// Exact, of a Poisson count.
    pub false_alarms_per_week: Option<Interval>,
    /// Resampled by episode.
    pub median_lead_seconds: Option<Interval>,
    /// Resampled by episode.
    pub median_time_to_breach_error: Option<Interval>,
    /// Resampled by episode.
    pub interval_coverage: Option<Interval>,
    /// Resampled by episode; `None` for more than 300 breaches.
    pub concordance: Option<Interval>,
    /// Resampled by service and day.
    pub brier_score: Option<Interval>,
}

/// One kind of breach, over all services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindReport {
    /// Which.
    pub kind: BreachKind,
    /// With the candidates.
    pub candidate: AlarmQuality,
    /// With what serves now.
    pub current: AlarmQuality,
    /// With the rules alone.
    pub rules: AlarmQuality,
}

/// Whether what is said means what it says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The breach probability, in bins of a tenth; empty ones are left out.
    pub probability: Vec<ReliabilityBin>,
    /// Where the true time to breach lay, by how far away the breach was; certificates left out.
    pub time_to_breach: Vec<TimeBin>,
}

/// Predictions that said about the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// The mean probability, 0..=1.
    pub predicted: f64,
    /// The share of them whose breach came within the horizon, 0..=1.
    pub observed: f64,
    /// Of `observed`, resampled by service and day.
    pub interval: Interval,
    /// Predictions.
    pub count: u64,
    /// Services times days that they are of.
    pub blocks: u64,
}

/// Predictions as far from their breach as each other; the four shares add up to 1, and honest quantiles
/// give 0.1, 0.4, 0.4 and 0.1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeBin {
    /// The true time to breach, from here on, seconds.
    pub from_seconds: f64,
    /// To here, not included; `None`: whatever is longer.
    pub to_seconds: Option<f64>,
    /// Episodes that they are of.
    pub episodes: u64,
    /// Predictions with an interval.
    pub predictions: u64,
    /// Share of `[p10, p90]` that hold the truth; 0.8 is honest.
    pub coverage: f64,
    /// Of `coverage`, resampled by episode.
    pub interval: Interval,
    /// Share of truths that came before p10.
    pub below_p10: f64,
    /// Between.
    pub p10_to_p50: f64,
    /// Between.
    pub p50_to_p90: f64,
    /// After p90.
    pub above_p90: f64,
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
    /// What was said half-way; `None` where nothing was.
    pub halfway: Option<PathPoint>,
    /// What was said on the way, at most some hundred points.
    pub path: Vec<PathPoint>,
    /// What the target did.
    pub picture: Option<Picture>,
}

/// A target around the time that matters, at most some hundred points.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// The target that is drawn: of a request that several share, the one that was nearest to its breach.
    pub labels: LabelSet,
    /// Its limit at the end of the picture, in the signal's unit.
    pub limit: Option<f64>,
    /// What it did, by time; of a stretch that one point stands for, the value nearest to the limit.
    pub points: Vec<Sample>,
    /// Where it was thought to go when the (first) request went out; empty without one.
    pub fan: Vec<PictureFan>,
}

/// Where a target was thought to be at a time, in the signal's unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PictureFan {
    /// When.
    pub at: Timestamp,
    /// `[p10, p50, p90]`.
    pub forecast: [f64; 3],
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
    /// That the limit is reached within the horizon, 0..=1.
    pub probability: f64,
}

/// One request, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestReport {
    /// Its id.
    pub id: String,
    /// When it was emitted.
    pub at: Timestamp,
    /// The signal.
    pub signal: String,
    /// What kind of breach it announced.
    pub kind: BreachKind,
    /// The target.
    pub labels: LabelSet,
    /// The announced time.
    pub predicted_breach: PredictedBreach,
    /// The announced probability, 0..=1.
    pub probability: f64,
    /// Why, in a sentence.
    pub summary: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Where the breach came, if one did.
    #[serde(default)]
    pub timing: Option<Timing>,
    /// Which model said so.
    pub model_version: String,
    /// What the target did; for requests that were not followed by a breach.
    pub picture: Option<Picture>,
}

/// Where a breach came, beside the 80 % interval of the request that was right about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// Before p10.
    Early,
    /// From p10 until the request expired, which is at p90 or sooner.
    Within,
    /// After that, on the way that the request saw: weeks after, as may be.
    Late,
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

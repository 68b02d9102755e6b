//! What Forewarn says of one target at one time. The same object is a line of `predictions.jsonl`
//! and an entry of `GET /api/v1/predictions`.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{AnomalyScore, BreachKind, LabelSet, Probability, Timestamp, stable_id};

/// Seconds until the limit is reached: an 80 % interval and its median. `0 <= p10 <= p50 <= p90`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Quantiles")]
pub struct TimeToBreach {
    p10: f64,
    p50: f64,
    p90: f64,
}

/// The three numbers are not an interval around a median.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("time to breach must hold 0 <= p10 <= p50 <= p90 and be finite, got {p10}, {p50}, {p90}")]
pub struct TimeToBreachError {
    p10: f64,
    p50: f64,
    p90: f64,
}

#[derive(Deserialize)]
struct Quantiles {
    p10: f64,
    p50: f64,
    p90: f64,
}

impl TryFrom<Quantiles> for TimeToBreach {
    type Error = TimeToBreachError;
    fn try_from(q: Quantiles) -> Result<Self, TimeToBreachError> {
        Self::new(q.p10, q.p50, q.p90)
    }
}

impl TimeToBreach {
    /// Refuses negative, NaN, infinite and unordered quantiles (seconds).
    pub fn new(p10: f64, p50: f64, p90: f64) -> Result<Self, TimeToBreachError> {
        if 0.0 <= p10 && p10 <= p50 && p50 <= p90 && p90.is_finite() {
            Ok(Self { p10, p50, p90 })
        } else {
            Err(TimeToBreachError { p10, p50, p90 })
        }
    }

    /// One in ten breaches comes before this many seconds.
    pub fn p10(&self) -> f64 {
        self.p10
    }

    /// As many breaches come before this many seconds as after.
    pub fn p50(&self) -> f64 {
        self.p50
    }

    /// Nine in ten breaches come before this many seconds.
    pub fn p90(&self) -> f64 {
        self.p90
    }

    /// The same median in an interval `times` as wide on either side, as far as that is after now. `times` is at least 1
    /// and finite; others leave it as it is.
    #[must_use]
    pub fn widened(self, times: f64) -> Self {
        let p10 = (self.p50 - times * (self.p50 - self.p10)).max(0.0);
        let p90 = self.p50 + times * (self.p90 - self.p50);
        if times >= 1.0 && p90.is_finite() { Self { p10, p90, ..self } } else { self }
    }
}

/// One signal's part in a prediction: what was seen, and what was expected at that time of the week.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignalEvidence {
    /// The signal's name.
    pub signal: String,
    /// What was seen: of a signal with a limit the fraction of that limit (1 = at the limit), of a context signal the
    /// value in its own unit.
    pub seen: f64,
    /// What is normal at this time, as `seen` is given; `None` while that is being learnt.
    pub expected: Option<f64>,
    /// Its share of the anomaly score; the shares of one prediction add up to at most 1.
    pub weight: f64,
}

/// Why: for a person to read, and for the request's evidence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// One sentence.
    pub summary: String,
    /// Strongest first, at most five; the targets of one service share them.
    pub signals: Arc<[SignalEvidence]>,
    /// Which forecast the time to breach comes from: `trend`, `seasonal_naive`, `lstm`, `clock`.
    pub forecast: Cow<'static, str>,
    /// Too little was seen of the service to learn its normal: intervals are wider, and nothing acts by itself on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warming: bool,
    /// What the models call the probability, where labels taught that it is worth another; what is announced rests on this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncalibrated: Option<Probability>,
}

/// What is said of one target (one label set of one signal) at one time, from samples up to then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// See [`Prediction::derive_id`].
    pub id: String,
    /// When it was made; it uses no sample later than this.
    pub at: Timestamp,
    /// The workload (the node, for disks).
    pub service: String,
    /// The signal that may breach.
    pub signal: String,
    /// What kind of breach.
    pub kind: BreachKind,
    /// What tells the target apart within the service: `pod`, or `node` and `mountpoint`.
    pub labels: Arc<LabelSet>,
    /// The signal's value, in its unit.
    pub value: f64,
    /// The limit it may reach, in the same unit.
    pub limit: f64,
    /// That the limit is reached within `horizon_seconds`.
    pub breach_probability: Probability,
    /// How far ahead the probability looks, seconds, more than 0.
    pub horizon_seconds: f64,
    /// `None`: no breach in sight.
    pub time_to_breach_seconds: Option<TimeToBreach>,
    /// On the prediction that first emits this remediation request.
    pub request_id: Option<String>,
    /// How unusual the service looks.
    pub anomaly_score: AnomalyScore,
    /// `rules` where no model is promoted.
    pub model_version: Arc<str>,
    /// Why.
    pub explanation: Explanation,
}

impl Prediction {
    /// The identifier of what is said of this target at this time: the same facts, the same id.
    pub fn derive_id(service: &str, signal: &str, labels: &LabelSet, at: Timestamp) -> String {
        stable_id("p", &[service, signal, &labels.to_string(), &at.millis().to_string()])
    }

    /// The probability as the models call it, before any recalibration.
    pub fn uncalibrated(&self) -> Probability {
        self.explanation.uncalibrated.unwrap_or(self.breach_probability)
    }

    /// What stays the same from step to step: service, signal and labels, as one text.
    pub fn target_key(&self) -> String {
        format!("{}/{}{}", self.service, self.signal, self.labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_widened_interval_keeps_its_median_and_does_not_begin_before_now() {
        let ttb = TimeToBreach::new(40.0, 100.0, 130.0).unwrap();
        assert_eq!(ttb.widened(1.5), TimeToBreach::new(10.0, 100.0, 145.0).unwrap());
        assert_eq!(ttb.widened(4.0), TimeToBreach::new(0.0, 100.0, 220.0).unwrap());
        assert_eq!((ttb.widened(f64::NAN), ttb.widened(0.5), ttb.widened(f64::INFINITY)), (ttb, ttb, ttb));
    }

    #[test]
    fn quantiles_are_in_order() {
        assert!(TimeToBreach::new(3.0, 2.0, 4.0).is_err());
        assert!(TimeToBreach::new(-1.0, 2.0, 4.0).is_err());
        assert!(TimeToBreach::new(1.0, 2.0, f64::INFINITY).is_err());
        assert!(serde_json::from_str::<TimeToBreach>(r#"{"p10":2,"p50":1,"p90":3}"#).is_err());
    }
}

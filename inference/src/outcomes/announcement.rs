//! What was said, as it is kept until it is settled.

use std::time::Duration;

use forewarn_models::decision::window;
use forewarn_models::settle::{Announced, CERTAIN_AFTER};
use forewarn_schema::{Became, BreachKind, LabelSet, Prediction, Probability, Settlement, TimeToBreach, Timestamp};
use serde::{Deserialize, Serialize};

/// A prediction, without what settles nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Announcement {
    /// The prediction's.
    pub id: String,
    /// The request that it emitted.
    pub request_id: Option<String>,
    /// The workload.
    pub service: String,
    /// The signal.
    pub signal: String,
    /// What kind of breach.
    pub kind: BreachKind,
    /// The target.
    pub labels: LabelSet,
    /// When it was said.
    pub at: Timestamp,
    /// The value then.
    pub value: f64,
    /// How probable the breach was called.
    pub probability: Probability,
    /// Within how long, seconds.
    pub horizon_seconds: f64,
    /// When it was thought to come.
    pub time_to_breach_seconds: Option<TimeToBreach>,
    /// Which model said it.
    pub model_version: String,
}

impl Announcement {
    /// Of a prediction.
    pub fn of(prediction: &Prediction) -> Self {
        Self {
            id: prediction.id.clone(),
            request_id: prediction.request_id.clone(),
            service: prediction.service.clone(),
            signal: prediction.signal.clone(),
            kind: prediction.kind,
            labels: (*prediction.labels).clone(),
            at: prediction.at,
            value: prediction.value,
            probability: prediction.breach_probability,
            horizon_seconds: prediction.horizon_seconds,
            time_to_breach_seconds: prediction.time_to_breach_seconds,
            model_version: prediction.model_version.to_string(),
        }
    }

    /// How long it has to come true: a request may say that it will be later than the horizon, up to a maximum.
    fn horizon(&self) -> Duration {
        match self.time_to_breach_seconds.filter(|_| self.request_id.is_some()) {
            Some(ttb) => window::speaks_for(self.kind, self.at, self.at + seconds(ttb.p90())),
            None => seconds(self.horizon_seconds),
        }
    }

    /// Until when it has to come true.
    pub fn deadline(&self) -> Timestamp {
        self.at + self.horizon()
    }

    /// When it is certain what became of it, unless it came true before.
    pub fn due(&self) -> Timestamp {
        self.deadline() + CERTAIN_AFTER
    }

    /// To be settled.
    pub fn announced(&self) -> Announced {
        Announced {
            service: self.service.clone(),
            signal: self.signal.clone(),
            kind: self.kind,
            labels: self.labels.clone(),
            at: self.at,
            horizon: self.horizon(),
            value: self.value,
            requested: self.request_id.is_some(),
        }
    }

    /// It is settled.
    pub fn settled(self, became: Became, settled_at: Timestamp) -> Settlement {
        Settlement {
            id: self.id,
            request_id: self.request_id,
            service: self.service,
            signal: self.signal,
            kind: self.kind,
            labels: self.labels,
            at: self.at,
            probability: Some(self.probability),
            horizon_seconds: self.horizon_seconds,
            time_to_breach_seconds: self.time_to_breach_seconds,
            model_version: self.model_version,
            became,
            settled_at,
        }
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// One prediction of one step in so many is settled whatever it says: what is kept otherwise is what was likely, and of that alone nobody
/// could tell whether probabilities mean what they say.
const SAMPLED_STEPS: u64 = 10;

/// The prediction that is sampled of what is said at one step; of most steps none. The same step, the same one.
pub(crate) fn sampled(predictions: &[Prediction]) -> Option<&Prediction> {
    let lot = lot(predictions.first()?.at);
    let drawn = lot.is_multiple_of(SAMPLED_STEPS).then_some(lot / SAMPLED_STEPS)?;
    predictions.get(usize::try_from(drawn % predictions.len() as u64).ok()?)
}

/// A number that looks like chance (Steele, Lea and Flood 2014: the finalizer of SplitMix).
fn lot(at: Timestamp) -> u64 {
    let mut x = (at.millis() as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_step_in_ten_is_sampled_however_time_is_divided() {
        for seconds in [15, 60, 300, 600] {
            let drawn = (0..10_000).filter(|n| lot(Timestamp::from_seconds(n * seconds)).is_multiple_of(SAMPLED_STEPS));
            let drawn = drawn.count();
            assert!((900..=1100).contains(&drawn), "{drawn} of steps of {seconds} s");
        }
        assert!(sampled(&[]).is_none());
    }
}

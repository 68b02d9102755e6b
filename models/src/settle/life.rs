//! What is remembered of a target while its life is walked: all of it where a history is judged, what the server keeps
//! where it is judged as it goes.

use std::time::Duration;

use forewarn_schema::{Prediction, Timestamp};
use serde::{Deserialize, Serialize};

/// When a breach would have come that something else forestalled, by the last thing said before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WouldHave {
    /// Nothing had been said.
    #[default]
    Unknown,
    /// No breach was in sight.
    None,
    /// About then.
    At(Timestamp),
}

impl WouldHave {
    /// What a prediction says.
    pub fn said(prediction: &Prediction) -> Self {
        let ahead = prediction.time_to_breach_seconds.map(|ttb| Duration::try_from_secs_f64(ttb.p50()));
        match ahead {
            Some(Ok(ahead)) => Self::At(prediction.at + ahead),
            Some(Err(_)) | None => Self::None,
        }
    }

    /// Whether it would have come by `deadline`; `None`: it cannot be told.
    pub fn by(self, deadline: Timestamp) -> Option<bool> {
        match self {
            Self::None => Some(false),
            Self::At(at) if at <= deadline => Some(true),
            Self::At(_) | Self::Unknown => None,
        }
    }
}

/// What was seen of a target at one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// In the signal's unit.
    pub value: f64,
    /// In the same unit.
    pub limit: f64,
    /// What was said last before it. It settles nothing; it says what would have been.
    pub would_have: WouldHave,
}

/// The past of one target, oldest first. Where its old steps are remembered in stretches, a stretch is one point.
pub trait Life {
    /// What came after `after` and not after `until`; `after` is `None` for all there is.
    fn between(&self, after: Option<Timestamp>, until: Timestamp) -> Vec<Point>;

    /// The last `count` of that, without the rest of it being looked at.
    fn last(&self, after: Option<Timestamp>, until: Timestamp, count: usize) -> Vec<Point> {
        let mut all = self.between(after, until);
        all.split_off(all.len().saturating_sub(count))
    }
}

/// Everything, sorted by time.
impl Life for &[Point] {
    fn between(&self, after: Option<Timestamp>, until: Timestamp) -> Vec<Point> {
        within(self, after, until).to_vec()
    }

    fn last(&self, after: Option<Timestamp>, until: Timestamp, count: usize) -> Vec<Point> {
        let all = within(self, after, until);
        all[all.len().saturating_sub(count)..].to_vec()
    }
}

fn within(points: &[Point], after: Option<Timestamp>, until: Timestamp) -> &[Point] {
    let begin = after.map_or(0, |after| points.partition_point(|p| p.at <= after));
    let end = points.partition_point(|p| p.at <= until);
    points.get(begin..end).unwrap_or_default()
}

/// Nothing is remembered.
impl Life for () {
    fn between(&self, _after: Option<Timestamp>, _until: Timestamp) -> Vec<Point> {
        Vec::new()
    }
}

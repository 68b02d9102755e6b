//! What became of an announcement, as the data themselves say: kept apart from what people say of it.

use serde::{Deserialize, Serialize};

use crate::{BreachKind, LabelSet, Probability, TimeToBreach, Timestamp, Verdict};

/// What the data show of an announcement after its horizon, or of a breach that nobody announced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "was")]
pub enum Became {
    /// The breach came within the horizon (of a request: however late it said that would be).
    Breached {
        /// When.
        at: Timestamp,
    },
    /// Said during a breach, or shortly after it: neither right nor wrong.
    InBreach,
    /// The target ended, was reset, scaled or given another limit before the horizon was over.
    Averted {
        /// What happened first, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Happening>,
        /// Whether the limit would have been reached otherwise, as the last forecast before it says; `None`: it cannot tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        would_have: Option<bool>,
    },
    /// The horizon passed and no breach came.
    FalseAlarm,
    /// Nothing was seen of the target for too much of the horizon.
    Unsettled,
    /// A breach that no request announced in time.
    Missed {
        /// When it came.
        at: Timestamp,
    },
}

/// What can happen to a target besides its values moving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// The kernel killed its container for want of memory.
    OomKilled,
    /// Its container or process began anew.
    Restarted,
    /// Other pods took the place of the workload's pods.
    RolledOut,
    /// The workload got more or fewer pods.
    Scaled,
    /// Its limit was changed.
    LimitChanged,
    /// It was seen no longer.
    Ended,
}

/// One announcement and what became of it. Its id is the prediction's; a miss has one of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settlement {
    /// See above.
    pub id: String,
    /// The request that the prediction emitted, where it did.
    pub request_id: Option<String>,
    /// The workload.
    pub service: String,
    /// The signal.
    pub signal: String,
    /// What kind of breach.
    pub kind: BreachKind,
    /// The target.
    pub labels: LabelSet,
    /// When it was said; of a miss, when the breach came.
    pub at: Timestamp,
    /// How probable the breach was called; of a miss the most that was said on the way, where that is known.
    pub probability: Option<Probability>,
    /// How far ahead that looked, seconds.
    pub horizon_seconds: f64,
    /// When the breach was thought to come.
    pub time_to_breach_seconds: Option<TimeToBreach>,
    /// Which model said it.
    pub model_version: String,
    /// What became of it; not flattened, as it has times of its own.
    pub became: Became,
    /// When that was known.
    pub settled_at: Timestamp,
}

impl Became {
    /// As a label would say it; `None` where the data do not tell.
    pub fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Breached { .. } | Self::Averted { would_have: Some(true), .. } => Some(Verdict::TruePositive),
            Self::FalseAlarm | Self::Averted { would_have: Some(false), .. } => Some(Verdict::FalsePositive),
            Self::Missed { .. } => Some(Verdict::Missed),
            Self::InBreach | Self::Averted { would_have: None, .. } | Self::Unsettled => None,
        }
    }
}

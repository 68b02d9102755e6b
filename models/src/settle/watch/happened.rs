//! One thing that happened to a target.

use std::sync::Arc;

use forewarn_schema::{BreachKind, Happening, LabelSet, Timestamp, stable_id};
use serde::{Deserialize, Serialize};

use crate::settle::{Breach, WouldHave};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The limit was reached.
    Reached {
        /// When the climb to it began, an estimate.
        onset: Timestamp,
        /// The limit, in the signal's unit.
        limit: f64,
    },
    /// The breach was over.
    Left,
    /// Something else.
    Happening(Happening),
}

/// One thing that happened to a target, or to a workload as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Happened {
    /// The workload.
    pub service: Arc<str>,
    /// The signal on which it showed.
    pub signal: Arc<str>,
    /// What kind of breach that is about.
    pub kind: BreachKind,
    /// The target; empty for a workload as a whole.
    pub labels: Arc<LabelSet>,
    /// When; known some steps later.
    pub at: Timestamp,
    /// What.
    pub what: What,
    /// When the breach would have come, by what was said last before.
    #[serde(default)]
    pub would_have: WouldHave,
}

impl What {
    /// In a word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Reached { .. } => "reached",
            Self::Left => "left",
            Self::Happening(Happening::OomKilled) => "oom_killed",
            Self::Happening(Happening::Restarted) => "restarted",
            Self::Happening(Happening::RolledOut) => "rolled_out",
            Self::Happening(Happening::Scaled) => "scaled",
            Self::Happening(Happening::LimitChanged) => "limit_changed",
            Self::Happening(Happening::Ended) => "ended",
        }
    }
}

impl Happened {
    /// The same thing has the same id, whoever noticed it.
    pub fn id(&self) -> String {
        let (labels, at) = (self.labels.to_string(), self.at.millis().to_string());
        stable_id("h", &[&self.service, &self.signal, &labels, self.what.as_str(), &at])
    }

    pub(super) fn key(&self) -> (&str, &str, &LabelSet, Timestamp, &'static str) {
        (&self.service, &self.signal, &self.labels, self.at, self.what.as_str())
    }

    /// The breach that began with it; its end is not known yet.
    pub fn breach(&self) -> Option<Breach> {
        let What::Reached { onset, limit } = self.what else { return None };
        Some(Breach {
            service: Arc::clone(&self.service),
            signal: self.signal.to_string(),
            kind: self.kind,
            labels: (*self.labels).clone(),
            limit,
            onset,
            at: self.at,
            over: self.at,
        })
    }
}

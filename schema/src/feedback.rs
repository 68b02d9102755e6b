//! Labels: what people, alerts and the data itself say of a prediction.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{BreachKind, Timestamp};

/// What a prediction turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The breach came, or would have.
    TruePositive,
    /// Nothing was coming.
    FalsePositive,
    /// A breach that nobody announced.
    Missed,
    /// Looked at, cannot tell.
    Unclear,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 4] = [Self::TruePositive, Self::FalsePositive, Self::Missed, Self::Unclear];

    /// As it is written on the command line, in JSON and in the state database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TruePositive => "true_positive",
            Self::FalsePositive => "false_positive",
            Self::Missed => "missed",
            Self::Unclear => "unclear",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Verdict {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|v| v.as_str() == text)
            .ok_or_else(|| format!("unknown verdict {text:?}, wanted true_positive, false_positive, missed or unclear"))
    }
}

/// What a label is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum FeedbackSubject {
    /// A prediction (or the request that it emitted), by the prediction's id.
    Prediction {
        /// Its id.
        prediction_id: String,
    },
    /// A breach that nobody announced.
    Breach {
        /// The workload.
        service: String,
        /// What kind of breach.
        kind: BreachKind,
        /// When it happened.
        at: Timestamp,
    },
}

/// Who a label comes from. People's labels outrank the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelSource {
    /// A person, over HTTP.
    #[default]
    Api,
    /// A person, on the page.
    Page,
    /// A person, from the shell.
    Shell,
    /// An alert that fired or did not.
    Alertmanager,
}

impl LabelSource {
    /// As it is written in JSON and in the state database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Page => "page",
            Self::Shell => "shell",
            Self::Alertmanager => "alertmanager",
        }
    }
}

/// One label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// Its id, given by the server.
    pub id: String,
    /// What it is of.
    pub subject: FeedbackSubject,
    /// What that turned out to be.
    pub verdict: Verdict,
    /// Why, in the labeller's words.
    pub note: Option<String>,
    /// Where it came from.
    pub source: LabelSource,
    /// When it was given.
    pub created_at: Timestamp,
}

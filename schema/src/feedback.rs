//! Labels: what people, alerts and the data itself say of a prediction.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{BreachKind, Probability, TimeRange, Timestamp};

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
    /// A prediction, by its id.
    Prediction {
        /// Its id.
        prediction_id: String,
    },
    /// A remediation request, by its id: speaks for the prediction that emitted it.
    Request {
        /// Its id.
        request_id: String,
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
    /// All that was said of a service, or of one kind of breach of it, in a span of time.
    Span {
        /// The workload.
        service: String,
        /// What kind of breach; `None`: every kind.
        kind: Option<BreachKind>,
        /// From when until when.
        range: TimeRange,
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
    /// A person, by a signed link in a message.
    Link,
}

impl LabelSource {
    /// As it is written in JSON and in the state database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Page => "page",
            Self::Shell => "shell",
            Self::Alertmanager => "alertmanager",
            Self::Link => "link",
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
    /// Who gave it: a name from the server's access list, `unauthenticated` where nobody is asked.
    #[serde(default)]
    pub who: String,
    /// When it was given.
    pub created_at: Timestamp,
}

/// Who settled what became of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// The data themselves: the limit was reached, or was not.
    Data,
    /// An alert or a person; what they say outweighs the data.
    Label,
}

/// One announcement, or one breach without any, and what it turned out to be: what thresholds and probabilities are
/// learnt from. Each announcement counts once, by its newest label, or by the data where nobody said anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The workload.
    pub service: String,
    /// What kind of breach.
    pub kind: BreachKind,
    /// When it was said; of a breach that nobody announced, when it came.
    pub at: Timestamp,
    /// How probable the breach was called; of a miss the most that was said on the way, where that is known.
    pub probability: Option<Probability>,
    /// Whether it led to a request.
    pub requested: bool,
    /// What it turned out to be.
    pub verdict: Verdict,
    /// Who said so.
    pub judge: Judge,
}

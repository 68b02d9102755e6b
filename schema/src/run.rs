//! The record of one run of the pipeline: which steps it took, what each said, what it cost.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Timestamp;

/// One run of the weekly job, stored as `<store>/runs/<id>.json` while it goes on and when it is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`RunRecord::FORMAT_VERSION`].
    pub format_version: u32,
    /// The same for every attempt at the same scheduled time.
    pub id: String,
    /// When the schedule wanted it; of a run by hand, when it was started.
    pub scheduled_for: Timestamp,
    /// When its first step began.
    pub started_at: Timestamp,
    /// When its last step ended; `None` while it goes on, or where it died.
    pub finished_at: Option<Timestamp>,
    /// In the order in which they were taken.
    pub steps: Vec<RunStep>,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStep {
    /// `pull`, `train`, `evaluate`, `promote`, `report`.
    pub name: String,
    /// When it began; of a step that was taken again, the last time.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: RunStepOutcome,
    /// Processor time that it took, seconds; `None` where it could not be read.
    pub cpu_seconds: Option<f64>,
    /// What the command says with `--json`, or `{"error": …}`.
    pub detail: Value,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStepOutcome {
    /// It goes on, or its process died.
    Running,
    /// Done.
    Done,
    /// Failed: `detail` says why.
    Failed,
}

impl RunRecord {
    /// The version that this program writes and reads.
    pub const FORMAT_VERSION: u32 = 1;
}

//! What the gate said of a candidate, as an evaluation's `report.json` has it. The rest of that file is training's.

use serde::Deserialize;

/// A version that was judged.
#[derive(Deserialize)]
pub(crate) struct Candidate {
    pub(crate) version: String,
}

/// Whether it may serve, and why.
#[derive(Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub(crate) enum Verdict {
    Pass { reason: String },
    Refuse { reason: String },
}

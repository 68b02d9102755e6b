//! A service that looked unusual, noted so that the week can be looked back at.

use serde::{Deserialize, Serialize};

use crate::{AnomalyScore, SignalEvidence, Timestamp};

/// How unusual a service looked at one step, and by what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// The workload.
    pub service: String,
    /// When.
    pub at: Timestamp,
    /// How unusual.
    pub score: AnomalyScore,
    /// By which signals, strongest first; weights as in a prediction's explanation.
    pub signals: Vec<SignalEvidence>,
}

//! Remediation requests: what leaves, and where it stands.

use serde::{Deserialize, Serialize};

use crate::{BreachKind, Explanation, LabelSet, Probability, TimeRange, Timestamp};

/// How far a request may act by itself. Autonomy is earned, per service and playbook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing may act on it: it says what would be asked.
    #[default]
    DryRun,
    /// A person must approve it.
    Approval,
    /// The controller may act.
    Automatic,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestStatus {
    /// Emitted; nobody has decided.
    #[default]
    Open,
    /// A person said yes.
    Approved,
    /// A person said no.
    Rejected,
    /// The controller reported that it helped.
    Succeeded,
    /// The controller reported that it did not.
    Failed,
    /// Too late to act.
    Expired,
}

impl RequestStatus {
    /// As it is written in JSON and in the state database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }
}

/// A proactive remediation request: one per episode and workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemediationRequest {
    /// Idempotency key: a resend carries the same one.
    pub id: String,
    /// The prediction that emitted it.
    pub prediction_id: String,
    /// When it was emitted.
    pub at: Timestamp,
    /// The workload (the node, for disks).
    pub service: String,
    /// The signal that will breach.
    pub signal: String,
    /// What kind of breach.
    pub kind: BreachKind,
    /// The target.
    pub labels: LabelSet,
    /// When the breach is predicted, as times: p10, p50, p90.
    pub predicted_breach: PredictedBreach,
    /// That the breach comes within the prediction's horizon.
    pub probability: Probability,
    /// What was seen and expected, and one sentence.
    pub evidence: Explanation,
    /// What to do, by name; `None` where the signal names none.
    pub playbook: Option<String>,
    /// When it hurts least: the quietest time before p10, from the traffic profile.
    pub window: Option<TimeRange>,
    /// How far it may act by itself.
    pub mode: Mode,
    /// It must not be delivered or acted on after this.
    pub expires_at: Timestamp,
    /// Where the controller reports what happened; filled in by the server.
    pub outcome_url: Option<String>,
}

/// The predicted breach as times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictedBreach {
    /// One in ten comes before this.
    pub p10: Timestamp,
    /// The median.
    pub p50: Timestamp,
    /// Nine in ten come before this.
    pub p90: Timestamp,
}

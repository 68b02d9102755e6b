//! What labels teach: how cautious to be before a breach is announced, by service and kind; and what a probability is worth.
//!
//! All of it is a pure function of where the configuration and the bundles start and of what was judged: the same labels in any
//! order give the same thresholds, on any server and after any restart, and without labels everything is as it was at first, bit
//! for bit. Not here: reading labels (`inference`, `training`) and deciding what is announced ([`crate::decision`]).
//!
//! How: each announcement is remembered by how cautious one could have been and still have made it, in time (`watch`); those of one
//! breach are one (`case`). Where those that a step of more caution would have silenced are most likely false alarms, although some
//! labels are wrong and few are there (`worth`), the step is taken, at most one a day (`thresholds`).

mod case;
mod caution;
mod recalibration;
mod thresholds;
mod watch;
mod worth;

use std::time::Duration;

use forewarn_schema::{Judged, Timestamp};

pub use self::caution::{Caution, CautionScale, Thresholds};
pub use self::recalibration::{Recalibration, Stretch};
pub use self::thresholds::{Because, Learnt, Move, Standing, learn};
pub use self::watch::{Followed, Watch, in_time};
pub use self::worth::Worth;

use serde::{Deserialize, Serialize};

/// One judged announcement as learning sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// What was said and what it turned out to be. Its probability is the models' own, before any recalibration.
    pub judged: Judged,
    /// How cautious one could have been and still have announced it; of a true one, in time. Empty: not followed.
    pub reached: Vec<Reached>,
    /// When the verdict came: nothing is learnt from it before.
    pub known_at: Timestamp,
    /// What the data say of it, if anything; also where somebody labelled it.
    pub settled: Option<Settled>,
}

/// Whether the limit was reached, as the data say, whatever a label says of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settled {
    /// When it was reached; `None`: it was not, and nobody intervened.
    pub breach: Option<Timestamp>,
    /// Since when that is certain: it counts from then on.
    pub at: Timestamp,
}

/// So cautious one could have been, and would have announced it then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reached {
    /// How cautious.
    #[serde(flatten)]
    pub caution: Caution,
    /// When that would have announced it.
    pub at: Timestamp,
}

/// How much labels are believed. Counts are of judged announcements.
#[derive(Clone, Debug, PartialEq)]
pub struct LearningParams {
    /// The share of labels that are wrong, 0..0.5. Default 0.1.
    pub label_error: f64,
    /// From this share of true ones on, announcements are worth making, 0..1. Default 0.6: a false alarm costs half as much again as a miss.
    pub worth: f64,
    /// A step is taken where they are worth it with at most this probability, 0..1. Default 0.1: three false ones and no true one.
    pub doubt: f64,
    /// What other services' announcements of a kind count for at most beside a service's own, and those of other kinds. Default 6.
    pub fleet_counts: f64,
    /// What a verdict of the data counts for; a person's counts 1. 0..=1, default 0.5.
    pub data_counts: f64,
    /// What a label counts for that the data contradict, 0..=1. Default 0.5: where both err alike, it is as likely right as wrong.
    pub contradicted_counts: f64,
    /// So many breaches, beyond what wrong labels explain, may fall under a threshold: less than one. Default 0.95.
    pub may_lose: f64,
    /// No step below the start before so many misses of the service. Default 3.
    pub least: f64,
    /// Between two steps of one threshold. Default a day.
    pub step_every: Duration,
}

impl Default for LearningParams {
    fn default() -> Self {
        Self {
            label_error: 0.1,
            worth: 0.6,
            doubt: 0.1,
            fleet_counts: 6.0,
            data_counts: 0.5,
            contradicted_counts: 0.5,
            may_lose: 0.95,
            least: 3.0,
            step_every: Duration::from_secs(86_400),
        }
    }
}

#[cfg(test)]
mod tests;

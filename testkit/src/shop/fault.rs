//! What goes wrong: the plan that a shop is given and the key that it returns.

use std::time::Duration;

use forewarn_schema::{BreachKind, LabelSet, Timestamp};

/// A fault to put into the shop.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    /// The service; for [`BreachKind::DiskFull`] the node.
    pub service: String,
    /// The pod (or, of a disk, the mount point: 0 is `/data`, 1 is `/`). No meaning for error rates.
    pub pod: usize,
    /// Oom, pool exhaustion, error rate or disk full; other kinds are left out.
    pub kind: BreachKind,
    /// When it begins.
    pub onset: Timestamp,
    /// About how long it takes to the limit; the key has the exact time.
    pub takes: Duration,
}

/// A fault as it came out: the key.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The service (the node, for disks).
    pub service: String,
    /// What is breached.
    pub kind: BreachKind,
    /// `pod`, or `node` and `mountpoint`; empty where the whole service is meant.
    pub labels: LabelSet,
    /// When it begins.
    pub onset: Timestamp,
    /// The first whole minute at which the value is at or past its limit.
    pub breach: Timestamp,
    /// When somebody, or the kernel, has ended it.
    pub end: Timestamp,
}

/// How long after the breach a fault is ended: the kernel kills at once, people need a while.
pub(super) fn repair_time(kind: BreachKind) -> Duration {
    match kind {
        BreachKind::Oom => Duration::ZERO,
        BreachKind::ErrorRate => Duration::from_secs(30 * 60),
        _ => Duration::from_secs(20 * 60),
    }
}

/// The first minute from `onset` at which `breached` holds, within four times the planned duration.
pub(super) fn first_minute(plan: &FaultPlan, breached: impl Fn(Timestamp) -> bool) -> Option<Timestamp> {
    let minutes = plan.takes.as_secs() * 4 / 60;
    let first = plan.onset.align_up(forewarn_schema::Step::MINUTE);
    (0..=minutes).map(|m| first + Duration::from_secs(60 * m)).find(|at| breached(*at))
}

//! What became of what was said about a target, from what is known of its life: the rules, for histories and as it goes.

use std::time::Duration;

use forewarn_schema::{TimeRange, Timestamp};

use super::walk::Walked;
use super::{ENDED, GRACE, Outcome};

/// What is known of one target's life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    /// The last step of all the data, of any target.
    pub(super) data_end: Timestamp,
    pub(super) walked: &'a Walked,
}

impl Facts<'_> {
    /// Whether the target was there at `at`.
    pub(super) fn lived(&self, at: Timestamp) -> bool {
        self.first <= at && self.last + ENDED >= at
    }

    /// Whether it ended before `deadline`, for all that is known.
    pub(super) fn ended_before(&self, deadline: Timestamp) -> bool {
        self.last + ENDED < deadline && self.last + ENDED < self.data_end
    }

    /// What became of "a breach by `deadline`", said at `at`.
    fn settle(&self, at: Timestamp, deadline: Timestamp) -> Outcome {
        let ways = &self.walked.ways;
        if ways.iter().any(|b| b.at <= at && at <= b.over + GRACE) {
            return Outcome::InBreach;
        }
        if let Some(breach) = ways.iter().find(|b| at < b.at && b.at <= deadline) {
            return Outcome::Breached { at: breach.at };
        }
        if self.ended_before(deadline) || self.walked.resets.iter().any(|r| at < r.at && r.at <= deadline) {
            return Outcome::Averted;
        }
        if deadline > self.data_end { Outcome::Unsettled } else { Outcome::FalseAlarm }
    }

    /// The climb on which `at` lies and that something other than its breach ended.
    pub(super) fn averted_climb(&self, at: Timestamp) -> Option<TimeRange> {
        let climbs = self.walked.averted.iter();
        climbs.copied().find(|way| way.start <= at && at <= way.end && way.end + ENDED < self.data_end)
    }
}

/// What became of "a breach within `horizon`" said at `at` about targets that were there. The best for the announcement wins: one pod of
/// a workload that breaches makes it right.
pub(super) fn settle<'a>(targets: impl Iterator<Item = Facts<'a>>, at: Timestamp, horizon: Duration) -> Outcome {
    let outcomes = targets.map(|target| target.settle(at, at + horizon));
    outcomes.min_by_key(|outcome| outcome.rank()).unwrap_or(Outcome::Unsettled)
}

/// What became of a request: as [`settle`], but a request on the way to a breach was right about it however late it said the breach
/// would be (how late is measured by the time errors), and one on the way to where a deploy or a restart ended a climb is neither right
/// nor wrong, whenever that was.
pub(super) fn settle_request(targets: &[Facts<'_>], at: Timestamp, horizon: Duration) -> Outcome {
    let ways = targets.iter().flat_map(|t| &t.walked.ways);
    let on_the_way = ways.filter(|b| b.onset <= at && at < b.at).map(|b| b.at).min();
    match (settle(targets.iter().copied(), at, horizon), on_the_way) {
        (Outcome::Breached { at }, _) | (_, Some(at)) => Outcome::Breached { at },
        (Outcome::FalseAlarm, None) if targets.iter().any(|t| t.averted_climb(at).is_some()) => Outcome::Averted,
        (outcome, None) => outcome,
    }
}

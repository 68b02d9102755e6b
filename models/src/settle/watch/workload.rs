//! The pods of one workload together: one that is replaced was rolled out, one that is not was scaled down.

use std::sync::Arc;
use std::time::Duration;

use forewarn_schema::{BreachKind, Happening, LabelSet, Timestamp};
use serde::{Deserialize, Serialize};

use super::target::{Change, WatchedTarget};
use super::{ByLabels, Happened, What};
use crate::settle::{ENDED, WouldHave};

/// So long there have to be more or fewer pods before the workload was scaled: a rollout has more of them for a while.
const SETTLED: Duration = Duration::from_secs(15 * 60);
/// A pod that is first seen so long before another one ends took its place.
const HANDOVER: Duration = Duration::from_secs(30 * 60);

/// How many pods a workload has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Workload {
    steady: u32,
    /// Since when there are more or fewer.
    differs_since: Option<Timestamp>,
}

impl Workload {
    /// Looks at the targets of one signal after the step at `at`; `since` is the first step of all.
    #[expect(clippy::too_many_arguments, reason = "one caller; they are what an event is made of")]
    pub(super) fn look(
        &mut self,
        at: Timestamp,
        since: Timestamp,
        service: &Arc<str>,
        signal: &Arc<str>,
        kind: BreachKind,
        targets: &mut ByLabels,
        happened: &mut Vec<Happened>,
    ) {
        let mut tell = |labels: &Arc<LabelSet>, at, what, would_have| {
            let (service, signal, labels) = (Arc::clone(service), Arc::clone(signal), Arc::clone(labels));
            happened.push(Happened { service, signal, kind, labels, at, what: What::Happening(what), would_have });
        };
        // Those that are seen no more.
        let gone: Vec<Arc<LabelSet>> = targets
            .iter()
            .filter(|(_, target)| !target.ended && target.last + ENDED < at)
            .map(|(labels, _)| Arc::clone(labels))
            .collect();
        let mut replaced = 0;
        for labels in &gone {
            let (what, end) = {
                let end = targets[labels].last;
                let newcomer = |t: &WatchedTarget| t.first + HANDOVER > end && t.first > since + ENDED && !t.ended;
                let newcomers = targets.values().filter(|target| newcomer(target)).count();
                let others = targets.values().any(|t| t.last == at);
                match labels.get("pod") {
                    Some(_) if newcomers > replaced => (Happening::RolledOut, end),
                    Some(_) if others => (Happening::Scaled, end),
                    _ => (Happening::Ended, end),
                }
            };
            replaced += usize::from(what == Happening::RolledOut);
            let Some(target) = targets.get_mut(labels) else { continue };
            let would_have = target.would_have;
            target.ended = true;
            target.changed(Change { at: end, what, would_have, ends: true });
            tell(labels, end, what, would_have);
        }
        self.count(at, targets, &mut tell);
    }

    /// Notes that there are more or fewer pods, and tells of it once that lasts.
    fn count(
        &mut self,
        at: Timestamp,
        targets: &mut ByLabels,
        tell: &mut impl FnMut(&Arc<LabelSet>, Timestamp, Happening, WouldHave),
    ) {
        let seen = targets.iter().filter(|(labels, target)| labels.get("pod").is_some() && target.last == at);
        let count = seen.count() as u32;
        if count == 0 || self.steady == 0 {
            self.steady = self.steady.max(count);
            return;
        }
        match self.differs_since {
            Some(since) if count == self.steady => {
                self.differs_since = None;
                targets.values_mut().for_each(|target| target.unchanged(since, Happening::Scaled));
            }
            Some(since) if at >= since + SETTLED => {
                (self.steady, self.differs_since) = (count, None);
                tell(&Arc::default(), since, Happening::Scaled, WouldHave::Unknown);
            }
            None if count != self.steady => {
                self.differs_since = Some(at);
                // What is said of the others after it is said of another workload. Only where a breach was in sight may it have been forestalled.
                for target in targets.values_mut().filter(|target| target.last == at) {
                    if let would_have @ WouldHave::At(_) = target.would_have {
                        target.changed(Change { at, what: Happening::Scaled, would_have, ends: false });
                    }
                }
            }
            Some(_) | None => {}
        }
    }
}

//! What was noticed, kept over a restart; and what was stored of it elsewhere, taken back.

use std::sync::Arc;

use forewarn_schema::{Happening, LabelSet, TimeRange, Timestamp};
use serde::{Deserialize, Serialize};

use super::target::WatchedTarget;
use super::workload::Workload;
use super::{ByLabels, CounterKey, Happened, Watch, What};
use crate::settle::walk::{Reset, Way};

/// What is watched besides the services.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WatchMemory {
    seen: Option<(Timestamp, Timestamp)>,
    blind: Vec<TimeRange>,
    counters: Vec<(CounterKey, (f64, Timestamp))>,
}

/// One service as it is watched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WatchedService {
    service: Arc<str>,
    signals: Vec<WatchedSignal>,
}

type WatchedSignal = (Arc<str>, Workload, Vec<(Arc<LabelSet>, Box<WatchedTarget>)>);

impl Watch {
    /// A copy of what it holds but for the services.
    pub fn memory(&self) -> WatchMemory {
        let counters = self.counters.iter().map(|(key, last)| (key.clone(), *last)).collect();
        WatchMemory { seen: self.seen, blind: self.blind.clone(), counters }
    }

    /// A copy of each service, one by one.
    pub fn services(&self) -> impl Iterator<Item = WatchedService> + '_ {
        self.services.iter().map(|(service, targets)| WatchedService {
            service: Arc::clone(service),
            signals: targets
                .iter()
                .map(|(signal, (workload, targets))| {
                    let targets = targets.iter().map(|(labels, target)| (Arc::clone(labels), target.clone()));
                    (Arc::clone(signal), workload.clone(), targets.collect())
                })
                .collect(),
        })
    }

    /// Goes on from what an earlier watch had seen, where this one saw nothing. What is not a signal with a limit any more is left out.
    pub fn remember(&mut self, memory: WatchMemory, services: Vec<WatchedService>) {
        (self.seen, self.blind) = (memory.seen, memory.blind);
        self.counters = memory.counters.into_iter().collect();
        for WatchedService { service, signals } in services {
            let limited = |signal: &str| self.signals.get(signal).is_some_and(|s| s.kind.breach().is_some());
            let signals = signals.into_iter().filter(|(signal, ..)| limited(signal));
            let targets =
                signals.map(|(signal, workload, targets)| (signal, (workload, targets.into_iter().collect())));
            self.services.insert(service, targets.collect());
        }
    }

    /// Takes back what was stored of what happened, oldest first, where it is not known yet: a breach or a restart that came after the
    /// memory that this watch goes on from.
    pub fn recall(&mut self, happened: &[Happened]) {
        for one in happened {
            if self.signals.get(&one.signal).and_then(|s| s.kind.breach()) != Some(one.kind) {
                continue;
            }
            let is_new = match one.what {
                What::Reached { .. } | What::Happening(Happening::Restarted) => true,
                What::Left | What::Happening(_) => false,
            };
            let of_signal = self.services.get_mut(&one.service).and_then(|targets| targets.get_mut(&one.signal));
            let known = of_signal.and_then(|(_, targets)| targets.get_mut(&one.labels));
            let target = match known {
                Some(target) => target,
                None if is_new => {
                    let targets = self.services.entry(Arc::clone(&one.service)).or_default();
                    let (_, targets): &mut (Workload, ByLabels) = targets.entry(Arc::clone(&one.signal)).or_default();
                    targets.entry(Arc::clone(&one.labels)).or_insert_with(|| Box::new(WatchedTarget::new(one.at)))
                }
                None => continue,
            };
            match one.what {
                What::Reached { onset, limit } => {
                    target.first = target.first.min(onset);
                    target.recall_breach(Way { onset, at: one.at, over: one.at, limit });
                }
                What::Left => target.recall_left(one.at),
                What::Happening(Happening::Restarted) => {
                    target.recall_reset(Reset { at: one.at, would_have: one.would_have });
                }
                What::Happening(_) => {}
            }
        }
    }
}

//! What a service's scorer has seen, to be kept over a restart: not what was learnt, which the registry has.

use std::sync::Arc;

use forewarn_features::{FeatureState, ServiceStep};
use forewarn_schema::{LabelSet, Timestamp};
use serde::{Deserialize, Serialize};

use super::ServiceScorer;
use super::history::TargetHistory;
use super::pyramid::Pyramid;
use super::warming::Seen;

/// The memory of one service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceMemory {
    /// The workload.
    pub service: Arc<str>,
    /// What served it: features are remembered in its units.
    version: Arc<str>,
    first: Option<Timestamp>,
    latest: Option<ServiceStep>,
    features: FeatureState,
    row: Vec<f32>,
    loads: Option<Pyramid>,
    targets: Vec<(Arc<str>, Arc<LabelSet>, TargetHistory)>,
    warming: Seen,
}

impl ServiceScorer {
    /// A copy of what it has seen.
    pub fn memory(&self) -> ServiceMemory {
        ServiceMemory {
            service: Arc::clone(&self.service),
            version: Arc::clone(&self.version),
            first: self.first,
            latest: self.latest.clone(),
            features: self.feature_state.clone(),
            row: self.row.clone(),
            loads: self.loads.clone(),
            targets: self
                .targets
                .iter()
                .map(|((signal, labels), history)| (Arc::clone(signal), Arc::clone(labels), (**history).clone()))
                .collect(),
            warming: self.warming.seen.clone(),
        }
    }

    /// Goes on from `memory` as if it had seen that itself. What does not fit is left out: targets of signals that are not
    /// watched any more or of another step, and, where another version serves now, what is remembered in units of the old one.
    pub fn remember(&mut self, memory: ServiceMemory) {
        (self.first, self.latest) = (memory.first, memory.latest);
        let fits = |signal: &str, history: &TargetHistory| {
            let signal = self.signals.get(signal);
            history.step() == self.step && signal.is_some_and(|signal| signal.direction == history.direction())
        };
        self.targets = memory
            .targets
            .into_iter()
            .filter(|(signal, _, history)| fits(signal, history))
            .map(|(signal, labels, history)| ((signal, labels), Box::new(history)))
            .collect();
        let width = self.bundle.as_ref().map_or(0, |bundle| bundle.pipeline.names().len());
        if memory.version == self.version && memory.row.len() == width {
            self.feature_state = memory.features;
            self.row = memory.row;
            self.loads = memory.loads.filter(|loads| loads.step() == self.step);
            self.warming.seen = memory.warming;
        }
    }
}

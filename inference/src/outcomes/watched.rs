//! What is noticed of targets, and what of that is not stored yet.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use forewarn_features::{ServiceStep, SignalSet};
use forewarn_models::EngineOutput;
use forewarn_models::settle::{Happened, Lives, Watch, WatchMemory, WatchedService};
use forewarn_schema::Timestamp;

/// What another server leads to be stored by itself; after so long it has been.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(1800);
/// More is not kept for a database that is away: what is oldest goes.
const MOST_UNSTORED: usize = 20_000;

/// See above.
pub(crate) struct Watched {
    watch: Watch,
    unstored: Vec<Happened>,
    /// Whether what was stored before was taken back.
    recalled: bool,
}

impl Watched {
    pub(crate) fn new(signals: Arc<SignalSet>) -> Self {
        Self { watch: Watch::new(signals), unstored: Vec::new(), recalled: false }
    }

    /// Takes a step, after what was said at it.
    pub(crate) fn observe(&mut self, at: Timestamp, steps: &[ServiceStep], lives: &dyn Lives, said: &EngineOutput) {
        let happened = self.watch.observe(at, steps, lives);
        self.unstored.extend(happened);
        let over = self.unstored.len().saturating_sub(MOST_UNSTORED);
        self.unstored.drain(..over);
        self.watch.heard(&said.predictions);
    }

    /// What is to be stored; say [`Self::stored`] when it is.
    pub(crate) fn unstored(&self) -> Vec<Happened> {
        self.unstored.clone()
    }

    /// The first so many are stored. Nothing was taken meanwhile: one step is stored before the next is evaluated.
    pub(crate) fn stored(&mut self, count: usize) {
        self.unstored.drain(..count.min(self.unstored.len()));
    }

    /// Another server stores what happened at the step at `at`; should it not come to that, this one does.
    pub(crate) fn leave_to_others(&mut self, at: Timestamp) {
        self.unstored.retain(|one| one.at + LEFT_TO_OTHERS > at);
    }

    pub(crate) fn remember(&mut self, memory: WatchMemory, services: Vec<WatchedService>) {
        self.watch.remember(memory, services);
    }

    /// Whether what was stored is to be taken back.
    pub(crate) fn wants_recall(&self) -> bool {
        !self.recalled
    }

    pub(crate) fn recall(&mut self, happened: &[Happened]) {
        self.watch.recall(happened);
        self.recalled = true;
    }

    /// Another server stored until now.
    pub(crate) fn recall_again(&mut self) {
        self.recalled = false;
    }
}

impl Deref for Watched {
    type Target = Watch;
    fn deref(&self) -> &Watch {
        &self.watch
    }
}

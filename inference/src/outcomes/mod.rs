//! What really happened, by itself: after each step the server that leads stores what happened to targets and settles what was said of
//! them, by the rules that an evaluation judges by ([`forewarn_models::settle`]). What people say outweighs it: see [`Rolling`].

mod announcement;
mod cache;
mod labels;
mod listed;
mod missed;
mod rolling;
mod watched;

use forewarn_models::settle::{PATIENCE, Settled};
use forewarn_schema::{Settlement, Timestamp};

pub use self::announcement::Announcement;
pub(crate) use self::announcement::sampled;
pub(crate) use self::cache::RollingCache;
pub use self::cache::{Outcomes, WINDOWS, Window};
pub use self::labels::{Labels, Miss};
pub use self::listed::ListedSettlement;
pub use self::rolling::{Cases, Rolling, Scope};
pub(crate) use self::watched::Watched;
use crate::app::AppState;
use crate::error::chain;
use crate::scoring::blocking;
use crate::state::StateError;

/// So far back what happened is asked for: the longest horizon, twice, and what is waited for after it.
fn recalled_since(now: Timestamp) -> Timestamp {
    now - PATIENCE - PATIENCE
}

impl AppState {
    /// Takes back what was stored of what happened, once; where that cannot be read it is tried again at the next step.
    pub(crate) async fn recall_happenings(&self, now: Timestamp) {
        if !self.0.scorer.watched().wants_recall() {
            return;
        }
        match self.0.store.happenings_since(recalled_since(now)).await {
            Ok(happened) => self.0.scorer.watched().recall(&happened),
            Err(error) => tracing::error!(error = chain(&error), "what happened before is not known, trying again"),
        }
    }

    /// Stores what happened up to the step at `at`, and settles what is due. Where that fails nothing is lost, and the next step tries
    /// again.
    pub(crate) async fn settle(&self, at: Timestamp) {
        match self.try_settle(at).await {
            // Who leads now settles.
            Err(error) if error.is_not_leading() => self.0.leadership.watch(&self.0.store),
            Err(error) => tracing::error!(error = chain(&error), step = %at, "not settled, trying again"),
            Ok(()) => {}
        }
    }

    async fn try_settle(&self, at: Timestamp) -> Result<(), StateError> {
        let (store, scorer) = (&self.0.store, &self.0.scorer);
        let happened = scorer.watched().unstored();
        let missed = self.missed(&happened, at).await?;
        store.add_happenings(&happened, &missed, at).await?;
        scorer.watched().stored(happened.len());
        for one in &missed {
            self.tell(one);
        }
        let due = store.due(at).await?;
        if due.is_empty() {
            return Ok(());
        }
        let (scorer, asked) = (std::sync::Arc::clone(scorer), due.clone());
        let Ok(became) = blocking(move || scorer.settle(&asked)).await else { return Ok(()) };
        let (mut settlements, mut later) = (Vec::new(), Vec::new());
        for (said, settled) in due.into_iter().zip(became) {
            match settled {
                Settled::Became(became) => settlements.push(said.settled(became, at)),
                Settled::NotBefore(time) => later.push((said.id, time.max(at + self.0.options.step.duration()))),
            }
        }
        store.add_settlements(&settlements).await?;
        store.postpone(&later).await?;
        for one in &settlements {
            self.tell(one);
        }
        Ok(())
    }

    fn tell(&self, settled: &Settlement) {
        let was = crate::state::became_word(&settled.became);
        self.0.metrics.settled(settled.kind, was);
        if let Some(request_id) = &settled.request_id {
            tracing::info!(%request_id, service = %settled.service, kind = %settled.kind, was, "request settled");
        } else if matches!(settled.became, forewarn_schema::Became::Missed { .. }) {
            tracing::info!(service = %settled.service, kind = %settled.kind, at = %settled.at, "breach that no request announced");
        }
    }
}

//! Settlements as they are shown to programs: with the verdict that counts.

use forewarn_schema::{Judge, Settlement, Timestamp, Verdict};
use serde::Serialize;

use super::Labels;
use crate::app::AppState;
use crate::error::AppError;

/// What became of an announcement, and the last word on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListedSettlement {
    /// What the data say.
    #[serde(flatten)]
    pub settlement: Settlement,
    /// Right, wrong or missed; `None` where nobody can tell.
    pub verdict: Option<Verdict>,
    /// Who says so: a label outweighs the data.
    pub judge: Judge,
}

impl AppState {
    /// What was settled at or after `since` (of that very time after the id `after`), in the order in which it was known; at most `limit`.
    pub async fn settlements(
        &self,
        since: Timestamp,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ListedSettlement>, AppError> {
        let settled = self.0.store.settlements_page(since, after, limit).await?;
        let labels = Labels::of(&self.0.store.feedback().await?);
        let listed = |settlement: Settlement| match labels.verdict_of(&settlement) {
            Some(verdict) => ListedSettlement { settlement, verdict: Some(verdict), judge: Judge::Label },
            None => ListedSettlement { verdict: settlement.became.verdict(), settlement, judge: Judge::Data },
        };
        Ok(settled.into_iter().map(listed).collect())
    }
}

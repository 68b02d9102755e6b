//! What is on its way out, and what did not get there: for the API, the shell and the page.

use serde::Serialize;

use crate::app::AppState;
use crate::delivery::AlertmanagerStatus;
use crate::error::AppError;
use crate::state::{AuditEntry, MessageState, OutboxMessage};

/// Messages that are listed at most.
const MOST_MESSAGES: u32 = 500;
/// Entries of the audit trail on one page, at most.
const MOST_ENTRIES: u32 = 1000;

/// The outbox.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outbox {
    /// Messages to the webhook, newest first, at most 500.
    pub messages: Vec<OutboxMessage>,
    /// How each Alertmanager is doing.
    pub alertmanagers: Vec<AlertmanagerStatus>,
}

impl AppState {
    /// Messages in these states (none named: those that wait, were refused or expired), and how each Alertmanager is doing.
    pub async fn outbox(&self, states: &[MessageState]) -> Result<Outbox, AppError> {
        const NOT_THERE: [MessageState; 3] = [MessageState::Pending, MessageState::Refused, MessageState::Expired];
        let states = if states.is_empty() { &NOT_THERE } else { states };
        let messages = self.0.store.outbox_messages(states, MOST_MESSAGES).await?;
        let alertmanagers = self.0.alertmanagers.iter().map(|instance| instance.status()).collect();
        Ok(Outbox { messages, alertmanagers })
    }

    /// Sends a message again, at once; see [`StateStore::resend`](crate::StateStore::resend).
    pub async fn resend(&self, event_id: &str, after_expiry: bool) -> Result<OutboxMessage, AppError> {
        let message = self.0.store.resend(event_id, after_expiry, self.now()).await?;
        self.0.hurry.store(true, std::sync::atomic::Ordering::Relaxed);
        self.ring();
        Ok(message)
    }

    /// The audit trail before entry `before`, newest first, at most `limit` (1 to 1000).
    pub async fn trail(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditEntry>, AppError> {
        Ok(self.0.store.trail(before, limit.clamp(1, MOST_ENTRIES)).await?)
    }

    /// Wakes whoever sends: something is new, or may leave now.
    pub(crate) fn ring(&self) {
        self.0.outbox.notify_one();
        for instance in &self.0.alertmanagers {
            instance.ring();
        }
    }
}

//! `forewarn outbox`: messages that wait, were refused or expired, and how to send one again. It reads and writes the state itself, also
//! while a server runs, which then sends within seconds.

use forewarn_inference::{MessageState, OutboxMessage};
use serde_json::json;

use super::{now, open};
use crate::cli::{Outbox, OutboxAction};
use crate::config::Config;
use crate::outcome::Outcome;

const SHOWN: u32 = 500;

pub(super) async fn outbox(config: &Config, arguments: &Outbox) -> anyhow::Result<Outcome> {
    let state = open::served_state(config).await?;
    match &arguments.action {
        None => {
            let states = [MessageState::Pending, MessageState::Refused, MessageState::Expired];
            let messages = state.outbox_messages(&states, SHOWN).await?;
            let text = match messages.as_slice() {
                [] => "every message was delivered".to_owned(),
                messages => messages.iter().map(line).collect::<Vec<_>>().join("\n"),
            };
            Ok(Outcome::new(text, json!({"messages": messages})))
        }
        Some(OutboxAction::Resend { event_id, after_expiry }) => {
            let message = state.resend(event_id, *after_expiry, now()).await?;
            let text = format!("{event_id} waits for delivery, until {}", message.expires_at);
            Ok(Outcome::new(text, serde_json::to_value(&message)?))
        }
    }
}

fn line(message: &OutboxMessage) -> String {
    let error = message.last_error.as_deref().unwrap_or("not tried yet");
    let state = message.state.as_str();
    let OutboxMessage { event_id, target_key, attempts, expires_at, .. } = message;
    format!("{event_id}  {state}  {target_key}  {attempts} tries, expires {expires_at}: {error}")
}

//! `/api/v1/outbox`: messages that did not leave, and how to send them again; and `/api/v1/audit`, who decided what.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Problem;
use super::requests::read;
use crate::app::AppState;
use crate::outbox::Outbox;
use crate::state::{MessageState, OutboxMessage};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    state: Option<MessageState>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Resend {
    after_expiry: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    before: Option<i64>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(app): State<AppState>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Outbox>, Problem> {
    let Query(wanted) = wanted?;
    let states: Vec<MessageState> = wanted.state.into_iter().collect();
    Ok(Json(app.outbox(&states).await?))
}

pub(super) async fn resend(
    State(app): State<AppState>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<OutboxMessage>, Problem> {
    let Resend { after_expiry } = if body.is_empty() { Resend::default() } else { read(&body)? };
    Ok(Json(app.resend(&id, after_expiry).await?))
}

/// A page of the trail, and the number to ask for the next one with; null on the last.
pub(super) async fn audit(
    State(app): State<AppState>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    const USUAL: u32 = 100;
    let Query(page) = page?;
    let limit = page.limit.unwrap_or(USUAL).clamp(1, 1000);
    let entries = app.trail(page.before, limit).await?;
    let next = entries.last().filter(|_| entries.len() == limit as usize).map(|last| last.seq);
    Ok(Json(json!({"entries": entries, "before": next})))
}

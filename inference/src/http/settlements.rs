//! `GET /api/v1/settlements`: what became of what was said, in the order in which that was known.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use forewarn_schema::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Problem;
use crate::app::AppState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    since: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

/// A page of them, each with the verdict that counts and whose it is; `next` is what to ask for the next page with, null on the last.
pub(super) async fn list(
    State(app): State<AppState>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    const USUAL: u32 = 100;
    let Query(page) = page?;
    let limit = page.limit.unwrap_or(USUAL).clamp(1, 1000);
    let since = match &page.since {
        Some(since) => {
            since.parse().map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("since: {error}")))?
        }
        None => Timestamp::default(),
    };
    let settled = app.settlements(since, page.after.as_deref().unwrap_or_default(), limit).await?;
    let last = settled.last().filter(|_| settled.len() == limit as usize);
    let next = last.map(|last| json!({"since": last.settlement.settled_at, "after": last.settlement.id}));
    Ok(Json(json!({"settlements": settled, "next": next})))
}

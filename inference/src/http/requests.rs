//! `/api/v1/requests`: remediation requests, what people say to them and what became of them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Problem;
use crate::app::AppState;
use crate::state::{Decision, Outcome, StoredRequest};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    pub(super) note: Option<String>,
}

impl Note {
    /// The note is optional, and so is the body around it.
    pub(super) fn read(body: &Bytes) -> Result<Self, Problem> {
        if body.is_empty() { Ok(Self::default()) } else { read(body) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomeReport {
    outcome: Outcome,
    note: Option<String>,
}

pub(super) async fn list(State(app): State<AppState>) -> Result<Json<Vec<StoredRequest>>, Problem> {
    Ok(Json(app.requests().await?))
}

pub(super) async fn approve(
    State(app): State<AppState>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<StoredRequest>, Problem> {
    decide(&app, &id, Decision::Approve, &body).await
}

pub(super) async fn reject(
    State(app): State<AppState>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<StoredRequest>, Problem> {
    decide(&app, &id, Decision::Reject, &body).await
}

pub(super) async fn outcome(
    State(app): State<AppState>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<StoredRequest>, Problem> {
    let report: OutcomeReport = read(&body)?;
    Ok(Json(app.report_outcome(&id, report.outcome, report.note.as_deref()).await?))
}

async fn decide(app: &AppState, id: &str, decision: Decision, body: &Bytes) -> Result<Json<StoredRequest>, Problem> {
    let note = Note::read(body)?;
    Ok(Json(app.decide(id, decision, note.note.as_deref()).await?))
}

pub(super) fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not what is wanted: {error}")))
}

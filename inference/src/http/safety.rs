//! What people may do about requests as a whole: stop and resume them, silences, modes.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use forewarn_schema::Mode;
use serde::Deserialize;

use super::Problem;
use super::requests::{Note, read};
use crate::app::AppState;
use crate::safety::{Modes, NewSilence, Safety};
use crate::state::{Silence, StoredMode};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewMode {
    mode: Mode,
    #[serde(default)]
    unearned: bool,
    note: Option<String>,
}

pub(super) async fn show(State(app): State<AppState>) -> Result<Json<Safety>, Problem> {
    Ok(Json(app.safety().await?))
}

pub(super) async fn stop(State(app): State<AppState>, body: Bytes) -> Result<Json<Safety>, Problem> {
    Ok(Json(app.stop_requests(Note::read(&body)?.note.as_deref()).await?))
}

pub(super) async fn resume(State(app): State<AppState>, body: Bytes) -> Result<Json<Safety>, Problem> {
    Ok(Json(app.resume_requests(Note::read(&body)?.note.as_deref()).await?))
}

pub(super) async fn silences(State(app): State<AppState>) -> Result<Json<Vec<Silence>>, Problem> {
    Ok(Json(app.silences().await?))
}

pub(super) async fn silence(State(app): State<AppState>, body: Bytes) -> Result<(StatusCode, Json<Silence>), Problem> {
    let new: NewSilence = read(&body)?;
    Ok((StatusCode::CREATED, Json(app.silence(new).await?)))
}

pub(super) async fn end_silence(State(app): State<AppState>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    gone(app.end_silence(&id).await?, || format!("no silence with id {id} that is not over"))
}

pub(super) async fn modes(State(app): State<AppState>) -> Result<Json<Modes>, Problem> {
    Ok(Json(app.modes().await?))
}

pub(super) async fn set_mode(
    State(app): State<AppState>,
    Path((service, playbook)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<StoredMode>, Problem> {
    let NewMode { mode, unearned, note } = read(&body)?;
    Ok(Json(app.set_mode(&service, &playbook, mode, unearned, note.as_deref()).await?))
}

pub(super) async fn forget_mode(
    State(app): State<AppState>,
    Path((service, playbook)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    gone(app.forget_mode(&service, &playbook).await?, || format!("{playbook} of {service} has the default mode"))
}

fn gone(found: bool, what: impl FnOnce() -> String) -> Result<StatusCode, Problem> {
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::new(StatusCode::NOT_FOUND, what())) }
}

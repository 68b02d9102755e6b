//! `/api/v1/feedback`: labels, given and taken back.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use forewarn_schema::{BreachKind, Feedback, FeedbackSubject, LabelSource, Timestamp, Verdict};
use serde::Deserialize;

use super::Problem;
use crate::app::{AppState, NewFeedback};
use crate::error::AppError;

/// Either of a prediction, or of a breach that nobody announced.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LabelBody {
    prediction_id: Option<String>,
    service: Option<String>,
    kind: Option<BreachKind>,
    at: Option<Timestamp>,
    verdict: Verdict,
    note: Option<String>,
}

pub(super) async fn list(State(app): State<AppState>) -> Result<Json<Vec<Feedback>>, Problem> {
    Ok(Json(app.feedback().await?))
}

pub(super) async fn add(
    State(app): State<AppState>,
    body: Result<Json<LabelBody>, JsonRejection>,
) -> Result<(StatusCode, Json<Feedback>), Problem> {
    let Json(body) = body?;
    let (verdict, note) = (body.verdict, body.note.clone());
    let subject = subject(body)?;
    let new = NewFeedback { subject, verdict, note, source: LabelSource::Api };
    Ok((StatusCode::CREATED, Json(app.add_feedback(new).await?)))
}

pub(super) async fn remove(State(app): State<AppState>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    if app.delete_feedback(&id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(AppError::NotFound { what: "label", id }.into())
    }
}

fn subject(body: LabelBody) -> Result<FeedbackSubject, AppError> {
    let invalid = |reason: &str| AppError::Invalid { reason: reason.to_owned() };
    match (body.prediction_id, body.service, body.kind, body.at) {
        (Some(prediction_id), None, None, None) if body.verdict != Verdict::Missed => {
            Ok(FeedbackSubject::Prediction { prediction_id })
        }
        (Some(_), None, None, None) => {
            Err(invalid("a prediction cannot be missed; label the breach: service, kind, at, verdict missed"))
        }
        (None, Some(service), Some(kind), Some(at)) if body.verdict == Verdict::Missed => {
            Ok(FeedbackSubject::Breach { service, kind, at })
        }
        (None, Some(_), Some(_), Some(_)) => {
            Err(invalid("a breach without a prediction must have verdict missed; label a prediction by prediction_id"))
        }
        _ => Err(invalid("a label must have either prediction_id, or service, kind and at (with verdict missed)")),
    }
}

//! What an operator's tools ask: metrics, health, readiness, reload.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Problem;
use crate::app::AppState;

pub(super) async fn metrics(State(app): State<AppState>) -> impl IntoResponse {
    let text = app.0.metrics.expose(&app).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// Alive: answers whatever else is broken, so that nobody restarts what a restart cannot mend.
pub(super) async fn healthy() -> &'static str {
    "forewarn is healthy\n"
}

/// Ready: takes samples, and can store what it decides.
pub(super) async fn ready(State(app): State<AppState>) -> Result<&'static str, Problem> {
    match app.not_ready() {
        None => Ok("forewarn is ready\n"),
        Some(reason) => Err(Problem::unavailable(reason)),
    }
}

/// Serves what the registry's pointers name now. 500 where a promoted model was refused; what served
/// before still serves.
pub(super) async fn reload(State(app): State<AppState>) -> Result<Response, Problem> {
    let report = app.reload().await?;
    if report.refused.is_empty() {
        return Ok(Json(report).into_response());
    }
    let refused: Vec<String> = report.refused.iter().map(|(service, reason)| format!("{service}: {reason}")).collect();
    let problem = Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("promoted models refused, what served before still serves: {}", refused.join("; ")),
    );
    Err(problem.with("serving", serde_json::json!(report.serving)).with("refused", serde_json::json!(report.refused)))
}

//! Evaluation reports, as they were written. They are self-contained pages of another program's making,
//! so they are shown in a sandbox: no script, no form, nothing loaded.

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use forewarn_models::registry::RegistryError;

use super::error::PageError;
use crate::app::AppState;
use crate::error::AppError;

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; sandbox allow-popups allow-top-navigation-by-user-activation";

/// `GET /reports/{name}/{file}`.
pub(super) async fn file(State(app): State<AppState>, Path((name, file)): Path<(String, String)>) -> Response {
    let body = match app.report(&name, &file).await {
        Ok(body) => body,
        // A name that no report can have is not here either.
        Err(AppError::Registry(RegistryError::UnknownReport { .. } | RegistryError::Name { .. })) => {
            let missing = AppError::NotFound { what: "report file", id: format!("{name}/{file}") };
            return PageError::of(&app, missing).await.into_response();
        }
        Err(error) => return PageError::of(&app, error).await.into_response(),
    };
    let kind = match file.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("json") => "application/json",
        Some("csv" | "jsonl" | "txt") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY)], body).into_response()
}

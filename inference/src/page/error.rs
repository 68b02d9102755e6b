//! Errors as a page: what was wanted, and the way back. Programs get problem JSON from the API instead.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::html;
use super::view::Shell;
use crate::app::AppState;
use crate::error::AppError;
use crate::http::Problem;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    shell: Shell,
    headline: &'static str,
    detail: String,
}

/// An answer that is not the page that was asked for.
pub(super) struct PageError {
    shell: Shell,
    status: StatusCode,
    detail: String,
}

impl PageError {
    /// `status` as the API would answer; what failed inside goes to the log.
    pub(super) async fn of(app: &AppState, error: AppError) -> Self {
        let detail = sentence(&error.to_string());
        Self { shell: Shell::of(app, "Error").await, status: Problem::from(error).status(), detail }
    }

    /// For what was asked wrongly.
    pub(super) async fn invalid(app: &AppState, reason: String) -> Self {
        Self::of(app, AppError::Invalid { reason }).await
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let headline = match self.status {
            StatusCode::NOT_FOUND => "Not here",
            StatusCode::CONFLICT => "That cannot be done now",
            StatusCode::UNPROCESSABLE_ENTITY => "That was not understood",
            StatusCode::INSUFFICIENT_STORAGE => "The disk is full",
            _ => "Something failed",
        };
        let mut response = html(&ErrorPage { shell: self.shell, headline, detail: self.detail });
        *response.status_mut() = self.status;
        response
    }
}

/// Error texts begin in lower case and have no full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), chars.as_str()),
        None => String::new(),
    }
}

//! Errors as RFC 9457 problem JSON: a status, a title that stays the same, a sentence that says what
//! was wanted and what was got. What went wrong inside goes to the log, not to the caller.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use crate::error::{AppError, chain};
use crate::state::StateError;

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    more: Map<String, Value>,
    retry_after_s: Option<u32>,
}

impl Problem {
    /// `detail`: one line, what was wanted and what was got.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), more: Map::new(), retry_after_s: None }
    }

    /// Nothing was taken, and the same may work in a few seconds.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after_s: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// When to ask again.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_s: Some(u32::try_from(seconds).unwrap_or(u32::MAX)), ..self }
    }

    /// Adds a member for programs to read.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// What was wanted and what was got.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = Map::new();
        body.insert("type".to_owned(), "about:blank".into());
        body.insert("title".to_owned(), self.status.canonical_reason().unwrap_or("Error").into());
        body.insert("status".to_owned(), self.status.as_u16().into());
        body.insert("detail".to_owned(), self.detail.into());
        body.extend(self.more);
        let mut response = (self.status, Json(Value::Object(body))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<AppError> for Problem {
    fn from(error: AppError) -> Self {
        match &error {
            AppError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            AppError::Invalid { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
            AppError::Conflict { .. } => Self::new(StatusCode::CONFLICT, error.to_string()),
            AppError::State(StateError::NotFound { .. }) => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            AppError::State(StateError::Decided { .. } | StateError::NotResent { .. }) => {
                Self::new(StatusCode::CONFLICT, error.to_string())
            }
            AppError::State(inner) if inner.is_storage_full() => {
                tracing::error!(error = chain(&error), "state storage full");
                Self { status: StatusCode::INSUFFICIENT_STORAGE, ..Self::unavailable(error.to_string()) }
            }
            AppError::State(_) => {
                tracing::error!(error = chain(&error), "state database failed");
                Self::unavailable(error.to_string())
            }
            AppError::Registry(inner) if inner.is_refused_model() => Self::new(StatusCode::CONFLICT, chain(inner)),
            AppError::Registry(inner) => {
                tracing::error!(error = chain(inner), "model registry failed");
                Self::unavailable(chain(inner))
            }
            AppError::Internal { .. } => {
                tracing::error!(error = chain(&error), "request failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
        }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

pub(super) async fn no_such_path(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

pub(super) async fn method_not_allowed(method: axum::http::Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}

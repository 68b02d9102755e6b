//! `POST /api/v1/write`: Prometheus remote write 1.0.
//!
//! 204: every sample is in memory, or nobody wants it. 400: at least one can never be taken; the good
//! ones were kept. 413: over a cap. 415: not this format. 503 with Retry-After: nothing was taken, the
//! sender keeps its samples.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use forewarn_wire::remote_write::{DecodeError, Limits};

use super::Problem;
use crate::app::AppState;
use crate::receive::{Account, receive};
use crate::scoring::blocking;

/// A sender that takes longer for a body has stalled; Prometheus gives up after 30 s itself.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Waiting longer for a free decoder means that there is more than this machine can take.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn write(State(app): State<AppState>, request: Request) -> Result<StatusCode, Problem> {
    let result = take(&app, request).await;
    let (status, account) = match &result {
        Ok(account) if account.refused_count() == 0 => (StatusCode::NO_CONTENT, Some(account)),
        Ok(account) => (StatusCode::BAD_REQUEST, Some(account)),
        Err(problem) => (problem.status(), None),
    };
    match account {
        Some(account) => {
            app.0.metrics.write(status.as_u16(), account.kept, account.unwanted, &account.refused);
        }
        None => app.0.metrics.write(status.as_u16(), 0, 0, &BTreeMap::new()),
    }
    let account = result?;
    if account.refused_count() == 0 { Ok(StatusCode::NO_CONTENT) } else { Err(partly_refused(&account)) }
}

async fn take(app: &AppState, request: Request) -> Result<Account, Problem> {
    check_headers(request.headers())?;
    if let Some(reason) = app.not_ready() {
        return Err(Problem::unavailable(format!("not taking samples: {reason}")));
    }
    let options = &app.0.options;
    let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, app))
        .await
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 30s"))?
        .map_err(|rejection| {
            let detail = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    format!("the compressed body must be at most {} bytes", options.max_write_bytes)
                }
                _ => rejection.body_text(),
            };
            Problem::new(rejection.status(), detail)
        })?;
    let permit = tokio::time::timeout(QUEUE_TIMEOUT, app.0.decoders.acquire()).await;
    let Ok(Ok(_permit)) = permit else {
        return Err(Problem::unavailable("too many writes at once"));
    };
    let (scorer, now) = (app.0.scorer.clone(), app.now());
    let limits = Limits { max_decoded_bytes: options.max_decoded_bytes };
    let (future, past) = (options.future_cutoff, options.max_catch_up);
    let received = blocking(move || receive(&body, limits, &scorer, now, future, past)).await?;
    received.map_err(|error| {
        let status = match error {
            DecodeError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            DecodeError::Version2 => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            DecodeError::Snappy(_) | DecodeError::Malformed { .. } => StatusCode::BAD_REQUEST,
        };
        Problem::new(status, error.to_string())
    })
}

/// Looked at before the body: a message in another format must not be half read as this one.
fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    let wrong = |detail: String| Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    let text = |name| headers.get(name).and_then(|v: &header::HeaderValue| v.to_str().ok());
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next().unwrap_or_default().eq_ignore_ascii_case("application/x-protobuf") {
        return wrong(format!("content-type must be application/x-protobuf, got {content_type:?}"));
    }
    for part in parts {
        if let Some(("proto", proto)) = part.split_once('=')
            && proto.trim_matches('"') != "prometheus.WriteRequest"
        {
            return wrong(format!("this receiver takes proto=prometheus.WriteRequest (remote write 1.0), got {proto}"));
        }
    }
    match text(header::CONTENT_ENCODING) {
        Some(encoding) if encoding.eq_ignore_ascii_case("snappy") => Ok(()),
        encoding => wrong(format!("content-encoding must be snappy, got {:?}", encoding.unwrap_or("none"))),
    }
}

fn partly_refused(account: &Account) -> Problem {
    let reasons: Vec<String> = account.refused.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    let total = account.refused_count() + account.kept + account.unwanted;
    let example = account.example.as_deref().unwrap_or("none");
    Problem::new(
        StatusCode::BAD_REQUEST,
        format!(
            "{} of {total} samples refused ({}), the others kept; the first: {example}",
            account.refused_count(),
            reasons.join(", ")
        ),
    )
    .with("kept", account.kept)
    .with("unwanted", account.unwanted)
    .with("refused", serde_json::json!(account.refused))
}

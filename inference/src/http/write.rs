//! `POST /api/v1/write`: Prometheus remote write 1.0 and 2.0, told apart by the content type.
//!
//! 204: every sample is in memory, or nobody wants it. 400: at least one can never be taken; the good
//! ones were kept. 413: over a cap. 415: not this format. 503 with Retry-After: nothing was taken, the
//! sender keeps its samples. Every answer to a message that was read says how much was taken (`…-Written`): what nobody wants
//! counts as taken, as it was sent to the right place.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use forewarn_wire::remote_write::{DecodeError, Version};
use tokio::sync::SemaphorePermit;

use super::Problem;
use crate::app::AppState;
use crate::receive::{Account, receive};
use crate::scoring::blocking;

/// A sender that takes longer for a body has stalled; Prometheus gives up after 30 s itself.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bodies in memory at a time, KiB, before they are unpacked.
pub(crate) const ROOM: usize = 256 << 10;
/// Waiting longer for room or a free decoder means that there is more than this machine can take.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn write(State(app): State<AppState>, request: Request) -> Response {
    let result = take(&app, request).await;
    let (status, account) = match &result {
        Ok(account) if account.refused_count() == 0 => (StatusCode::NO_CONTENT, Some(account)),
        Ok(account) => (StatusCode::BAD_REQUEST, Some(account)),
        Err(problem) => (problem.status(), None),
    };
    match account {
        Some(account) => {
            let kept = account.kept + account.histograms_kept;
            let unwanted = account.unwanted + account.histograms_unwanted;
            app.0.metrics.write(status.as_u16(), kept, unwanted, &account.refused);
        }
        None => app.0.metrics.write(status.as_u16(), 0, 0, &BTreeMap::new()),
    }
    match result {
        Ok(account) if account.refused_count() == 0 => (StatusCode::NO_CONTENT, written(&account)).into_response(),
        Ok(account) => (written(&account), partly_refused(&account)).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// The headers that say how much was taken.
fn written(account: &Account) -> [(&'static str, String); 3] {
    [
        ("x-prometheus-remote-write-samples-written", (account.kept + account.unwanted).to_string()),
        (
            "x-prometheus-remote-write-histograms-written",
            (account.histograms_kept + account.histograms_unwanted).to_string(),
        ),
        ("x-prometheus-remote-write-exemplars-written", account.exemplars.to_string()),
    ]
}

async fn take(app: &AppState, request: Request) -> Result<Account, Problem> {
    let version = version_of(request.headers())?;
    if let Some(reason) = app.not_ready() {
        return Err(Problem::unavailable(format!("not taking samples: {reason}")));
    }
    let (body, _room) = body_of(app, request).await?;
    let _permit = a_decoder(app).await?;
    let (scorer, timely, most) = (app.0.scorer.clone(), app.timely(), app.0.options.max_decoded_bytes);
    let received = blocking(move || receive(&body, version, most, &scorer, timely)).await?;
    received.map_err(|error| {
        let status = match error {
            DecodeError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            DecodeError::OtherVersion { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            DecodeError::Snappy(_) | DecodeError::Malformed { .. } => StatusCode::BAD_REQUEST,
        };
        Problem::new(status, error.to_string())
    })
}

/// The body, as far as it may go and as long as it may take. All bodies that are in memory at a time share [`ROOM`]: whoever finds
/// none is told to come again.
pub(super) async fn body_of(app: &AppState, request: Request) -> Result<(Bytes, SemaphorePermit<'_>), Problem> {
    let most = app.0.options.max_write_bytes;
    let too_large = || format!("the compressed body must be at most {most} bytes");
    let said = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let size: usize = said.unwrap_or(most);
    if size > most {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, too_large()));
    }
    let kib = u32::try_from(size.div_ceil(1024).min(ROOM)).unwrap_or(u32::MAX);
    let room = tokio::time::timeout(QUEUE_TIMEOUT, app.0.body_room.acquire_many(kib)).await;
    let Ok(Ok(room)) = room else { return Err(Problem::unavailable("too many writes at once")) };
    let bytes = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, app))
        .await
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 30s"))?
        .map_err(|rejection| {
            let detail = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => too_large(),
                _ => rejection.body_text(),
            };
            Problem::new(rejection.status(), detail)
        })?;
    Ok((bytes, room))
}

/// Leave to unpack a body; there are few at a time, so that memory stays bounded.
pub(super) async fn a_decoder(app: &AppState) -> Result<SemaphorePermit<'_>, Problem> {
    match tokio::time::timeout(QUEUE_TIMEOUT, app.0.decoders.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Problem::unavailable("too many writes at once")),
    }
}

/// Looked at before the body: a message in another format must not be half read as this one. By RFC 9110: names in any case, the
/// parameter quoted or not; without one it is 1.0.
fn version_of(headers: &HeaderMap) -> Result<Version, Problem> {
    let wrong = |detail: String| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail);
    let text = |name| headers.get(name).and_then(|v: &header::HeaderValue| v.to_str().ok());
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next().unwrap_or_default().eq_ignore_ascii_case("application/x-protobuf") {
        return Err(wrong(format!("content-type must be application/x-protobuf, got {content_type:?}")));
    }
    let proto =
        parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("proto"));
    let version = match proto.map(|(_, value)| value.trim().trim_matches('"')) {
        None | Some("prometheus.WriteRequest") => Version::V1,
        Some("io.prometheus.write.v2.Request") => Version::V2,
        Some(other) => {
            let detail = "proto must be prometheus.WriteRequest or io.prometheus.write.v2.Request";
            return Err(wrong(format!("{detail}, got {other}")));
        }
    };
    match text(header::CONTENT_ENCODING) {
        Some(encoding) if encoding.eq_ignore_ascii_case("snappy") => Ok(version),
        encoding => Err(wrong(format!("content-encoding must be snappy, got {:?}", encoding.unwrap_or("none")))),
    }
}

fn partly_refused(account: &Account) -> Problem {
    let reasons: Vec<String> = account.refused.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    let (kept, unwanted) = (account.kept + account.histograms_kept, account.unwanted + account.histograms_unwanted);
    let total = account.refused_count() + kept + unwanted;
    let example = account.example.as_deref().unwrap_or("none");
    Problem::new(
        StatusCode::BAD_REQUEST,
        format!(
            "{} of {total} samples refused ({}), the others kept; the first: {example}",
            account.refused_count(),
            reasons.join(", ")
        ),
    )
    .with("kept", kept)
    .with("unwanted", unwanted)
    .with("refused", serde_json::json!(account.refused))
}

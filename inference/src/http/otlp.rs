//! `POST /api/v1/otlp/v1/metrics`: OTLP metrics as Prometheus takes them at the same path, in protobuf, plain or in gzip.
//!
//! 200: read; where points were refused the answer says how many and why, and nobody sends them again. 400: not the message. 413:
//! over a cap. 415: not this format. 503 with Retry-After: nothing was taken. What is not 200 or 415 is a `google.rpc.Status`.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use forewarn_wire::otlp::{Encoding, Limits, OtlpError, error_status, read, response};

use super::Problem;
use super::write::{a_decoder, body_of};
use crate::app::AppState;
use crate::receive::{Account, take_points};
use crate::scoring::blocking;

const PROTOBUF: &str = "application/x-protobuf";

/// What became of the points of one message.
struct Taken {
    account: Account,
    refused: BTreeMap<&'static str, usize>,
    example: Option<String>,
}

pub(super) async fn metrics(State(app): State<AppState>, request: Request) -> Response {
    let encoding = match encoding_of(request.headers()) {
        Ok(encoding) => encoding,
        // Whoever sends something else may not read protobuf.
        Err(problem) => {
            app.0.metrics.write(problem.status().as_u16(), 0, 0, &BTreeMap::new());
            return problem.into_response();
        }
    };
    match take(&app, encoding, request).await {
        Ok(taken) => {
            let Taken { account, refused, example } = taken;
            let (kept, unwanted) = (account.kept + account.histograms_kept, account.unwanted);
            app.0.metrics.write(StatusCode::OK.as_u16(), kept, unwanted, &refused);
            let reasons: Vec<String> = refused.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            let why = format!("{}; the first: {}", reasons.join(", "), example.unwrap_or_default());
            protobuf(StatusCode::OK, response(refused.values().sum(), &why))
        }
        Err(problem) => {
            app.0.metrics.write(problem.status().as_u16(), 0, 0, &BTreeMap::new());
            let code = match problem.status() {
                StatusCode::PAYLOAD_TOO_LARGE => 8,
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => 14,
                StatusCode::INTERNAL_SERVER_ERROR => 13,
                _ => 3,
            };
            let mut answer = protobuf(problem.status(), error_status(code, problem.detail()));
            if let Some(seconds) = problem.into_response().headers().get(header::RETRY_AFTER) {
                answer.headers_mut().insert(header::RETRY_AFTER, seconds.clone());
            }
            answer
        }
    }
}

fn protobuf(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, PROTOBUF)], body).into_response()
}

async fn take(app: &AppState, encoding: Encoding, request: Request) -> Result<Taken, Problem> {
    if let Some(reason) = app.not_ready() {
        return Err(Problem::unavailable(format!("not taking samples: {reason}")));
    }
    let (body, _room) = body_of(app, request).await?;
    let _permit = a_decoder(app).await?;
    let (shared, timely) = (app.0.clone(), app.timely());
    let taken = blocking(move || {
        let options = &shared.options;
        let limits = Limits { max_decoded_bytes: options.max_decoded_bytes, promote: &options.otlp_promote };
        let mut incoming = {
            let live = shared.scorer.live();
            read(&body, encoding, limits, &|labels| live.wants(labels))?
        };
        let account = take_points(&mut incoming, &shared.scorer, timely);
        Ok(Taken { account, refused: incoming.refused, example: incoming.example })
    });
    taken.await?.map_err(|error: OtlpError| {
        let status = match error {
            OtlpError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            OtlpError::Gzip(_) | OtlpError::Malformed { .. } => StatusCode::BAD_REQUEST,
        };
        Problem::new(status, error.to_string())
    })
}

/// Looked at before the body.
fn encoding_of(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let wrong = |detail: String| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail);
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case(PROTOBUF) {
        return Err(wrong(format!("content-type must be {PROTOBUF}, got {content_type:?}")));
    }
    match text(header::CONTENT_ENCODING).map(str::trim) {
        None | Some("") => Ok(Encoding::Identity),
        Some(encoding) if encoding.eq_ignore_ascii_case("identity") => Ok(Encoding::Identity),
        Some(encoding) if encoding.eq_ignore_ascii_case("gzip") => Ok(Encoding::Gzip),
        Some(other) => Err(wrong(format!("content-encoding must be gzip or identity, got {other:?}"))),
    }
}

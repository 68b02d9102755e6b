//! `/api/v1/feedback`: labels, given one by one or many at once, listed, taken back and given back; and links to label by.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use forewarn_schema::{BreachKind, Feedback, FeedbackSubject, LabelSource, Timestamp, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Problem;
use super::requests::read;
use crate::app::AppState;
use crate::error::AppError;
use crate::labels::{LabelFilter, LabelText, WrittenLabelError, read_labels};

/// Labels in an answer, unless fewer are asked for.
const MOST_LISTED: u32 = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    service: Option<String>,
    kind: Option<BreachKind>,
    verdict: Option<Verdict>,
    source: Option<LabelSource>,
    since: Option<Timestamp>,
    before: Option<String>,
    taken_back: Option<bool>,
    limit: Option<u32>,
}

/// Which links are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinksBody {
    prediction_id: Option<String>,
    request_id: Option<String>,
    who: Option<String>,
}

/// Newest first. While there are more, `Link` says where they are.
pub(super) async fn list(
    State(app): State<AppState>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted?;
    let limit = wanted.limit.unwrap_or(MOST_LISTED).clamp(1, MOST_LISTED);
    let filter = LabelFilter {
        service: wanted.service,
        kind: wanted.kind,
        verdict: wanted.verdict,
        source: wanted.source,
        since: wanted.since,
        before: wanted.before,
        taken_back: wanted.taken_back.unwrap_or(false),
    };
    let mut labels = app.labels(&filter, limit + 1).await?;
    let more = labels.len() > limit as usize;
    labels.truncate(limit as usize);
    let next = labels.last().filter(|_| more).and_then(|last| HeaderValue::from_str(&next(&filter, limit, last)).ok());
    let mut response = Json(labels).into_response();
    if let Some(next) = next {
        response.headers_mut().insert(header::LINK, next);
    }
    Ok(response)
}

/// The query for what comes after `last`, as RFC 8288 writes it.
fn next(filter: &LabelFilter, limit: u32, last: &Feedback) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let texts = [
        ("service", filter.service.clone()),
        ("kind", filter.kind.map(|kind| kind.as_str().to_owned())),
        ("verdict", filter.verdict.map(|verdict| verdict.as_str().to_owned())),
        ("source", filter.source.map(|source| source.as_str().to_owned())),
        ("since", filter.since.map(|since| since.to_string())),
        ("taken_back", filter.taken_back.then(|| "true".to_owned())),
        ("limit", Some(limit.to_string())),
        ("before", Some(last.id.clone())),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    format!("</api/v1/feedback?{}>; rel=\"next\"", query.finish())
}

/// One label, or many: all of them or none.
pub(super) async fn add(State(app): State<AppState>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let as_text = text_of(&headers)?;
    let (is_single, labels) = read_labels(&body, as_text, LabelSource::Api)?;
    let mut stored = app.add_labels(&labels).await?;
    Ok(match stored.pop() {
        Some(only) if is_single => (StatusCode::CREATED, Json(only)).into_response(),
        last => {
            stored.extend(last);
            (StatusCode::CREATED, Json(stored)).into_response()
        }
    })
}

pub(super) async fn remove(State(app): State<AppState>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    if app.delete_feedback(&id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(AppError::NotFound { what: "label", id }.into())
    }
}

/// One that is there already was given back by somebody else, or never taken: no error.
pub(super) async fn restore(State(app): State<AppState>, Path(id): Path<String>) -> Result<Json<Feedback>, Problem> {
    app.restore(std::slice::from_ref(&id)).await?;
    match app.0.store.label(&id).await.map_err(AppError::from)? {
        Some((label, false)) => Ok(Json(label)),
        _ => Err(AppError::NotFound { what: "label", id }.into()),
    }
}

/// Links for whoever gets them: asking for some needs the role that labelling does.
pub(super) async fn links(State(app): State<AppState>, body: Bytes) -> Result<Json<Value>, Problem> {
    let wanted: LinksBody = read(&body)?;
    let invalid = |reason: &str| AppError::Invalid { reason: reason.to_owned() };
    let subject = match (wanted.prediction_id, wanted.request_id) {
        (Some(prediction_id), None) => FeedbackSubject::Prediction { prediction_id },
        (None, Some(request_id)) => FeedbackSubject::Request { request_id },
        _ => return Err(invalid("links are for either prediction_id or request_id").into()),
    };
    let (until, links) = app.make_links(&subject, wanted.who.as_deref()).await?;
    let mut answer: Map<String, Value> = links.into_iter().map(|(of, url)| (of.to_string(), url.into())).collect();
    answer.insert("expires_at".to_owned(), json!(until));
    Ok(Json(answer.into()))
}

fn text_of(headers: &HeaderMap) -> Result<LabelText, Problem> {
    let written = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match written.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" => Ok(LabelText::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(LabelText::Lines),
        _ => {
            let detail = format!("wanted application/json or application/x-ndjson, got {written:?}");
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

impl From<WrittenLabelError> for Problem {
    fn from(error: WrittenLabelError) -> Self {
        let status = match &error {
            WrittenLabelError::Unreadable(_) => StatusCode::BAD_REQUEST,
            WrittenLabelError::Wrong(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.to_string())
    }
}

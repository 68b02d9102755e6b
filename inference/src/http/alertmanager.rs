//! `POST /api/v1/alertmanager`: Alertmanager's webhook (version 4). A firing alert is a label:
//!
//! - with the label `forewarn_prediction_id`: that prediction came true;
//! - with labels that name a service and a kind of breach: a breach. Where a request for it was emitted in the day before
//!   and had not expired, its prediction came true; where not, the breach was missed. Which labels those are, and which
//!   kind an alert of which name is about, says [`AlertMapping`]; by default `service` or `node`, and `kind` (as in
//!   predictions) or an `alertname` that is such a kind;
//! - an alert of our own (see `delivery::alert`) that comes back says only what we said;
//! - any other alert says nothing, and is counted.
//!
//! Alertmanager repeats a firing alert; a repetition adds nothing, also where somebody took back what the first one said, and where
//! several servers are told at the same instant. A resolved alert says nothing: a label is of when a breach came.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use forewarn_schema::{BreachKind, FeedbackSubject, LabelSource, Timestamp, Verdict};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

use super::Problem;
use crate::app::{AppState, NewFeedback};
use crate::delivery::{ALERT_NAME, WORSENED_NAME};
use crate::error::AppError;
use crate::options::AlertMapping;

/// How long before the alert a request may have been emitted and still be about it.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(86_400);

#[derive(Deserialize)]
pub(super) struct Notification {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    starts_at: Option<Timestamp>,
}

pub(super) async fn receive(
    State(app): State<AppState>,
    body: Result<Json<Notification>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(notification) = body?;
    let mut labelled = 0;
    let mut ignored = 0;
    for alert in &notification.alerts {
        let result = take(&app, alert).await?;
        match result {
            "labelled" => labelled += 1,
            _ => ignored += 1,
        }
        app.0.metrics.alert(result);
    }
    Ok(Json(json!({"labelled": labelled, "ignored": ignored})))
}

/// `labelled`, or why not: `resolved`, `own`, `unknown`, `repeated`.
async fn take(app: &AppState, alert: &Alert) -> Result<&'static str, AppError> {
    if alert.status != "firing" {
        return Ok("resolved");
    }
    let label = |name: &str| alert.labels.get(name).map(String::as_str);
    if matches!(label("alertname"), Some(ALERT_NAME | WORSENED_NAME)) {
        return Ok("own");
    }
    let mapping = &app.0.options.feedback.alerts;
    let (subject, verdict) = if let Some(id) = label("forewarn_prediction_id") {
        if app.prediction(id).await?.is_none() {
            return Ok("unknown");
        }
        (FeedbackSubject::Prediction { prediction_id: id.to_owned() }, Verdict::TruePositive)
    } else {
        let (Some(service), Some(kind)) = (mapping.service(&alert.labels), mapping.kind(&alert.labels)) else {
            return Ok("unknown");
        };
        judge(app, service, kind, alert.starts_at.unwrap_or_else(|| app.now())).await?
    };
    let note = label("alertname").map(|name| format!("alert {name}"));
    let new = NewFeedback { subject, verdict, note, source: LabelSource::Alertmanager };
    let first = app.add_alert_label(alert.identity().as_deref(), &new).await?;
    Ok(if first { "labelled" } else { "repeated" })
}

impl Alert {
    /// The same however often it is told and whoever of an HA pair tells it: what it is about and when it began. `None` where it does
    /// not say when.
    fn identity(&self) -> Option<String> {
        let facts = serde_json::to_vec(&(self.starts_at?, &self.labels)).ok()?;
        Some(Sha256::digest(&facts).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl AlertMapping {
    fn service<'a>(&self, labels: &'a BTreeMap<String, String>) -> Option<&'a str> {
        let named = self.service_labels.iter().filter_map(|name| labels.get(name));
        named.map(String::as_str).find(|service| !service.is_empty())
    }

    fn kind(&self, labels: &BTreeMap<String, String>) -> Option<BreachKind> {
        let by_name = labels.get("alertname").and_then(|name| self.kinds.get(name)).copied();
        by_name.or_else(|| self.kind_labels.iter().find_map(|name| labels.get(name)?.parse().ok()))
    }
}

/// Whether a breach of `service` at `at` was announced.
async fn judge(
    app: &AppState,
    service: &str,
    kind: BreachKind,
    at: Timestamp,
) -> Result<(FeedbackSubject, Verdict), AppError> {
    let requests = app.0.store.requests_since(at - ANNOUNCED_WITHIN).await?;
    let announced = requests.into_iter().rev().map(|stored| stored.request).find(|request| {
        request.service == service && request.kind == kind && request.at <= at && at <= request.expires_at
    });
    Ok(match announced {
        Some(request) => (FeedbackSubject::Prediction { prediction_id: request.prediction_id }, Verdict::TruePositive),
        None => (FeedbackSubject::Breach { service: service.to_owned(), kind, at }, Verdict::Missed),
    })
}

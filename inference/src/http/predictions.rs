//! `GET /api/v1/predictions`: what is said now; and one, with what it was said from.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use forewarn_models::TargetView;
use serde_json::{Value, json};

use super::Problem;
use crate::app::AppState;
use crate::error::AppError;

pub(super) async fn list(State(app): State<AppState>, headers: HeaderMap) -> Response {
    app.0.scorer.rendered(app.now()).answer(&headers)
}

/// A prediction; while its target is live, with the target's history, expectation and forecast as they
/// are now (which may be some steps later than the prediction).
pub(super) async fn one(State(app): State<AppState>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let Some(prediction) = app.prediction(&id).await? else {
        return Err(AppError::NotFound { what: "prediction", id }.into());
    };
    let view = app.view(&prediction.target_key()).await;
    let mut body = json!(prediction);
    if let (Some(view), Some(members)) = (view, body.as_object_mut()) {
        members.insert("target".to_owned(), target(&view));
    }
    Ok(Json(body))
}

fn target(view: &TargetView) -> Value {
    // A gap is NaN inside and null in JSON.
    let history: Vec<Value> = view.history.iter().map(|s| json!({"at": s.at, "value": s.value})).collect();
    let expected: Vec<Value> =
        view.expected.iter().map(|b| json!({"at": b.at, "low": b.low, "mid": b.mid, "high": b.high})).collect();
    let forecast: Vec<Value> =
        view.fan.iter().map(|f| json!({"at": f.at, "p10": f.p10, "p50": f.p50, "p90": f.p90})).collect();
    json!({
        "prediction_id": view.prediction.id,
        "at": view.prediction.at,
        "direction": view.direction,
        "limit": view.limit,
        "history": history,
        "expected": expected,
        "forecast": forecast,
    })
}

//! `/api/v1/models`: what serves each service, and the two ways to change it.

use axum::Json;
use axum::extract::{Path, State};

use super::Problem;
use crate::app::{AppState, ServiceModel};

pub(super) async fn list(State(app): State<AppState>) -> Result<Json<Vec<ServiceModel>>, Problem> {
    Ok(Json(app.models().await?))
}

pub(super) async fn promote(
    State(app): State<AppState>,
    Path(service): Path<String>,
) -> Result<Json<ServiceModel>, Problem> {
    Ok(Json(app.promote(&service).await?))
}

pub(super) async fn rollback(
    State(app): State<AppState>,
    Path(service): Path<String>,
) -> Result<Json<ServiceModel>, Problem> {
    Ok(Json(app.rollback(&service).await?))
}

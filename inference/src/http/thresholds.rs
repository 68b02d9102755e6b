//! `/api/v1/thresholds`: from when on breaches are announced, and what labels taught of that.

use axum::Json;
use axum::extract::State;

use super::Problem;
use crate::app::AppState;
use crate::learning::ThresholdsView;

pub(super) async fn show(State(app): State<AppState>) -> Result<Json<ThresholdsView>, Problem> {
    Ok(Json(app.thresholds().await?))
}

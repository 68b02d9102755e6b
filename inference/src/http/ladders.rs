//! `/api/v1/ladders`: what playbooks have earned, and how they moved. Setting a mode is [`super::safety`]'s.

use axum::Json;
use axum::extract::{Path, State};

use super::Problem;
use crate::app::AppState;
use crate::autonomy::Autonomy;
use crate::state::LadderMove;

pub(super) async fn list(State(app): State<AppState>) -> Result<Json<Autonomy>, Problem> {
    Ok(Json(app.autonomy().await?))
}

pub(super) async fn moves(
    State(app): State<AppState>,
    Path((service, playbook)): Path<(String, String)>,
) -> Result<Json<Vec<LadderMove>>, Problem> {
    Ok(Json(app.ladder_moves(&service, &playbook).await?))
}

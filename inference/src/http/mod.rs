//! The HTTP interface: one table of routes, the same order as in `docs/`, and what all of them share
//! (caps, security headers, who may ask).

mod alertmanager;
mod feedback;
mod guard;
mod models;
mod openapi;
mod operations;
mod otlp;
mod predictions;
mod problem;
mod requests;
mod write;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};

pub(crate) use self::problem::Problem;
pub(crate) use self::write::ROOM as BODY_ROOM;
use crate::app::AppState;

/// Every route but the page's: path, and what it answers to. [`openapi`] describes exactly these.
fn routes(app: &AppState) -> Vec<(&'static str, MethodRouter<AppState>)> {
    let write_limit = DefaultBodyLimit::max(app.0.options.max_write_bytes);
    vec![
        ("/api/v1/write", post(write::write).layer(write_limit)),
        ("/api/v1/otlp/v1/metrics", post(otlp::metrics).layer(write_limit)),
        ("/api/v1/predictions", get(predictions::list)),
        ("/api/v1/predictions/{id}", get(predictions::one)),
        ("/api/v1/requests", get(requests::list)),
        ("/api/v1/requests/{id}/approve", post(requests::approve)),
        ("/api/v1/requests/{id}/reject", post(requests::reject)),
        ("/api/v1/requests/{id}/outcome", post(requests::outcome)),
        ("/api/v1/feedback", get(feedback::list).post(feedback::add)),
        ("/api/v1/feedback/{id}", delete(feedback::remove)),
        ("/api/v1/alertmanager", post(alertmanager::receive)),
        ("/api/v1/models", get(models::list)),
        ("/api/v1/models/{service}/promote", post(models::promote)),
        ("/api/v1/models/{service}/rollback", post(models::rollback)),
        ("/api/v1/openapi.json", get(openapi::serve)),
        ("/metrics", get(operations::metrics)),
        ("/-/healthy", get(operations::healthy)),
        ("/-/ready", get(operations::ready)),
        ("/-/reload", post(operations::reload)),
    ]
}

/// The whole server as a function from request to answer: the page, and every route of the API. Serve it with
/// `into_make_service_with_connect_info::<SocketAddr>()`, so that callers are told apart by their addresses; certificates of
/// clients are known only to [`Server::run`](crate::Server::run).
pub fn router(app: AppState) -> Router {
    let mut router = Router::new().merge(crate::page::router());
    for (path, methods) in routes(&app) {
        router = router.route(path, methods.fallback(problem::method_not_allowed));
    }
    router
        .fallback(problem::no_such_path)
        .layer(DefaultBodyLimit::max(app.0.options.max_body_bytes))
        .layer(from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}

#[cfg(test)]
mod tests;

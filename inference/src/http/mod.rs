//! The HTTP interface: one table of routes, the same order as in `docs/`, and what all of them share
//! (caps, security headers, who may ask).

mod alertmanager;
pub(crate) mod deliver;
mod feedback;
mod guard;
mod ladders;
mod models;
mod openapi;
mod operations;
mod otlp;
mod outbox;
mod predictions;
mod problem;
mod rendered;
mod requests;
mod safety;
mod settlements;
mod thresholds;
mod write;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post, put};

pub(crate) use self::problem::Problem;
pub(crate) use self::rendered::Rendered;
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
        ("/api/v1/requests/stop", post(safety::stop)),
        ("/api/v1/requests/resume", post(safety::resume)),
        ("/api/v1/safety", get(safety::show)),
        ("/api/v1/silences", get(safety::silences).post(safety::silence)),
        ("/api/v1/silences/{id}", delete(safety::end_silence)),
        ("/api/v1/modes", get(safety::modes)),
        ("/api/v1/modes/{service}/{playbook}", put(safety::set_mode).delete(safety::forget_mode)),
        ("/api/v1/ladders", get(ladders::list)),
        ("/api/v1/ladders/{service}/{playbook}", get(ladders::moves)),
        ("/api/v1/outbox", get(outbox::list)),
        ("/api/v1/outbox/{id}/resend", post(outbox::resend)),
        ("/api/v1/audit", get(outbox::audit)),
        ("/api/v1/settlements", get(settlements::list)),
        ("/api/v1/feedback", get(feedback::list).post(feedback::add)),
        ("/api/v1/feedback/links", post(feedback::links)),
        ("/api/v1/feedback/{id}", delete(feedback::remove)),
        ("/api/v1/feedback/{id}/restore", post(feedback::restore)),
        ("/api/v1/alertmanager", post(alertmanager::receive)),
        ("/api/v1/thresholds", get(thresholds::show)),
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

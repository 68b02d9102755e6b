//! The page: what will breach, when and why; requests to decide; predictions to label; models; reports.
//!
//! Rendered on the server, complete without a script; the script only refreshes it, sends its forms without a
//! page load and lets a chart be dragged. It shows what [`AppState`] says and changes nothing by itself: every change is
//! a form that goes through the same methods as the API. Cross-site requests are refused before they
//! come here (`http::guard`).

mod actions;
mod assets;
mod became;
mod chart;
mod error;
mod filter;
mod fleet;
mod given;
mod home;
mod labelling;
mod labels;
mod ladders;
mod link;
mod operating;
mod outcomes;
mod quality;
mod queue;
mod reports;
mod requests;
mod safety;
mod shadow;
mod target;
mod toast;
mod view;
mod words;
mod zoom;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};

pub(crate) use self::quality::QualityCache;
use crate::app::AppState;
use crate::http::deliver;

/// Scripts and styles only from this server and never inline; nothing from anywhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The routes of the page.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/", get(home::show))
        .route("/targets/{*key}", get(target::show))
        .route("/requests", get(queue::show))
        .route("/models", get(fleet::show))
        .route("/outcomes", get(outcomes::show))
        .route("/labels", get(given::show))
        .route("/reports", get(reports::list))
        .route("/reports/{name}/{file}", get(reports::file))
        .route("/assets/{file}", get(assets::file))
        .route("/l/page.css", get(assets::style))
        .route("/l/{token}", get(link::ask).post(link::answer))
        .route("/actions/label", post(labelling::label))
        .route("/actions/unlabel", post(labelling::unlabel))
        .route("/actions/relabel", post(labelling::relabel))
        .route("/actions/links", post(labelling::links))
        .route("/actions/decide", post(actions::decide))
        .route("/actions/promote", post(actions::promote))
        .route("/actions/rollback", post(actions::rollback))
        .route("/actions/stop", post(operating::stop))
        .route("/actions/resume", post(operating::resume))
        .route("/actions/silence", post(operating::silence))
        .route("/actions/end-silence", post(operating::end_silence))
        .route("/actions/resend", post(operating::resend))
        .route("/actions/mode", post(operating::mode))
        .layer(axum::middleware::from_fn(deliver::deliver))
}

/// A template as an answer. `Err` only where the template itself is wrong, which the tests would show.
fn html(page: &impl askama::Template) -> Response {
    match page.render() {
        Ok(text) => {
            let policy = [(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY))];
            (policy, Html(text)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "page not rendered");
            (axum::http::StatusCode::INTERNAL_SERVER_ERROR, "the page could not be rendered").into_response()
        }
    }
}

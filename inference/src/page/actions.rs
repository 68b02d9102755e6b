//! What the page's forms do. Each ends in a redirect (303) back to where it was pressed, so that a
//! reload does not do it again.

use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::error::PageError;
use crate::app::AppState;
use crate::error::AppError;
use crate::state::Decision;

pub(super) type Input<T> = Result<Form<T>, FormRejection>;

#[derive(Deserialize)]
pub(super) struct DecisionForm {
    id: String,
    decision: Decision,
    back: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ModelForm {
    service: String,
    back: Option<String>,
}

/// `POST /actions/decide`.
pub(super) async fn decide(State(app): State<AppState>, form: Input<DecisionForm>) -> Response {
    match form {
        Ok(Form(form)) => done(&app, app.decide(&form.id, form.decision, None).await, form.back).await,
        Err(rejection) => refused(&app, &rejection).await,
    }
}

/// `POST /actions/promote`.
pub(super) async fn promote(State(app): State<AppState>, form: Input<ModelForm>) -> Response {
    match form {
        Ok(Form(form)) => done(&app, app.promote(&form.service).await, form.back).await,
        Err(rejection) => refused(&app, &rejection).await,
    }
}

/// `POST /actions/rollback`.
pub(super) async fn rollback(State(app): State<AppState>, form: Input<ModelForm>) -> Response {
    match form {
        Ok(Form(form)) => done(&app, app.rollback(&form.service).await, form.back).await,
        Err(rejection) => refused(&app, &rejection).await,
    }
}

pub(super) async fn done<T>(app: &AppState, result: Result<T, AppError>, back: Option<String>) -> Response {
    match result {
        Ok(_) => Redirect::to(way_back(back.as_deref())).into_response(),
        Err(error) => PageError::of(app, error).await.into_response(),
    }
}

pub(super) async fn refused(app: &AppState, rejection: &FormRejection) -> Response {
    PageError::invalid(app, rejection.body_text()).await.into_response()
}

/// Only to a page of ours: a form field must not send a reader elsewhere.
pub(super) fn way_back(back: Option<&str>) -> &str {
    let is_ours = |path: &str| path.starts_with('/') && !path.starts_with("//");
    let is_plain = |path: &str| path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    back.filter(|path| is_ours(path) && is_plain(path)).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_cannot_send_a_reader_elsewhere() {
        for evil in ["//evil.example", "https://evil.example", "/\\evil.example", "/targets/\r\nSet-Cookie: a", ""] {
            assert_eq!(way_back(Some(evil)), "/", "{evil:?}");
        }
        for ours in ["/targets/cart%2Fmemory#l-1", "/?service=cart&page=2", "/requests#r-1"] {
            assert_eq!(way_back(Some(ours)), ours);
        }
    }
}

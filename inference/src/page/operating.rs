//! Forms about requests as a whole: stop and resume, silences, messages sent again, modes. Like those of [`super::actions`] they end in
//! a redirect back, and like all that changes something they need the role `operate` (`http::guard`).

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use forewarn_schema::Mode;
use serde::Deserialize;

use super::actions::{Input, done, refused};
use super::error::PageError;
use crate::app::AppState;
use crate::safety::NewSilence;

#[derive(Deserialize)]
pub(super) struct StopForm {
    note: Option<String>,
    back: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct SilenceForm {
    service: Option<String>,
    /// The button for every service was pressed: one that was only left empty must not silence all.
    all: Option<String>,
    length: Length,
    note: Option<String>,
    back: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
enum Length {
    #[serde(rename = "1h")]
    Hour,
    #[serde(rename = "4h")]
    FourHours,
    #[serde(rename = "1d")]
    Day,
}

#[derive(Deserialize)]
pub(super) struct EndForm {
    id: String,
    back: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ResendForm {
    id: String,
    after_expiry: Option<bool>,
    back: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ModeForm {
    service: String,
    playbook: String,
    mode: Wanted,
    note: Option<String>,
    back: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    Default,
    DryRun,
    Approval,
    Automatic,
}

/// `POST /actions/stop`.
pub(super) async fn stop(State(app): State<AppState>, form: Input<StopForm>) -> Response {
    match form {
        Ok(axum::Form(form)) => done(&app, app.stop_requests(said(&form.note)).await, form.back).await,
        Err(rejection) => refused(&app, &rejection).await,
    }
}

/// `POST /actions/resume`.
pub(super) async fn resume(State(app): State<AppState>, form: Input<StopForm>) -> Response {
    match form {
        Ok(axum::Form(form)) => done(&app, app.resume_requests(said(&form.note)).await, form.back).await,
        Err(rejection) => refused(&app, &rejection).await,
    }
}

/// `POST /actions/silence`.
pub(super) async fn silence(State(app): State<AppState>, form: Input<SilenceForm>) -> Response {
    let form = match form {
        Ok(axum::Form(form)) => form,
        Err(rejection) => return refused(&app, &rejection).await,
    };
    let service = match (&form.all, said(&form.service)) {
        (Some(_), _) => None,
        (None, Some(service)) => Some(service.to_owned()),
        (None, None) => {
            let reason = "a silence needs a service, or the button for every service".to_owned();
            return PageError::invalid(&app, reason).await.into_response();
        }
    };
    let hours = match form.length {
        Length::Hour => 1,
        Length::FourHours => 4,
        Length::Day => 24,
    };
    let until = app.now() + Duration::from_secs(hours * 3600);
    let note = said(&form.note).map(str::to_owned);
    done(&app, app.silence(NewSilence { service, from: None, until, note }).await, form.back).await
}

/// `POST /actions/end-silence`. One that is over already was ended by somebody else, or by the clock: no error.
pub(super) async fn end_silence(State(app): State<AppState>, form: Input<EndForm>) -> Response {
    match form {
        Ok(axum::Form(form)) => done(&app, app.end_silence(&form.id).await, form.back).await,
        Err(rejection) => refused(&app, &rejection).await,
    }
}

/// `POST /actions/resend`.
pub(super) async fn resend(State(app): State<AppState>, form: Input<ResendForm>) -> Response {
    match form {
        Ok(axum::Form(form)) => {
            let late = form.after_expiry.unwrap_or(false);
            done(&app, app.resend(&form.id, late).await, form.back).await
        }
        Err(rejection) => refused(&app, &rejection).await,
    }
}

/// `POST /actions/mode`. What is not earned cannot be had here: that takes the API, by name.
pub(super) async fn mode(State(app): State<AppState>, form: Input<ModeForm>) -> Response {
    let form = match form {
        Ok(axum::Form(form)) => form,
        Err(rejection) => return refused(&app, &rejection).await,
    };
    let (service, playbook) = (form.service.trim(), form.playbook.trim());
    let mode = match form.mode {
        // Somebody else may have given it back already.
        Wanted::Default => return done(&app, app.forget_mode(service, playbook).await, form.back).await,
        Wanted::DryRun => Mode::DryRun,
        Wanted::Approval => Mode::Approval,
        Wanted::Automatic => Mode::Automatic,
    };
    done(&app, app.set_mode(service, playbook, mode, false, said(&form.note)).await, form.back).await
}

/// A field that was left empty says nothing.
fn said(field: &Option<String>) -> Option<&str> {
    field.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

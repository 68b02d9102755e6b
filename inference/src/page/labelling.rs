//! Forms that label, one thing or many, take labels back and give them back; and links to label by. Like those of
//! [`super::actions`] they end in a redirect back, with what was done in its query.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use forewarn_schema::{BreachKind, FeedbackSubject, LabelSource, Timestamp, Verdict};
use serde::Deserialize;

use super::actions::{Input, refused, way_back};
use super::error::PageError;
use super::toast::{list, with_labels};
use super::view::Shell;
use super::{html, words};
use crate::app::{AppState, NewFeedback};
use crate::error::AppError;
use crate::labels::WrittenLabel;

/// A form's fields as they come: those of what is chosen are there once for each.
type Fields = Vec<(String, String)>;

#[derive(Deserialize)]
pub(super) struct UndoForm {
    /// Ids, with commas.
    id: String,
    back: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct LinksForm {
    prediction_id: Option<String>,
    request_id: Option<String>,
    back: Option<String>,
}

/// Links to copy.
#[derive(Template)]
#[template(path = "links.html")]
struct LinksPage {
    shell: Shell,
    back: String,
    until: String,
    /// What it says, and the link.
    links: Vec<(&'static str, String)>,
}

/// `POST /actions/label`: of every `prediction_id` and `request_id` in it, or else of a span or a breach.
pub(super) async fn label(State(app): State<AppState>, form: Input<Fields>) -> Response {
    let fields = match form {
        Ok(Form(fields)) => fields,
        Err(rejection) => return refused(&app, &rejection).await,
    };
    let back = field(&fields, "back").map(str::to_owned);
    let stored = match read(&fields) {
        Ok(labels) => app.add_labels(&labels).await,
        Err(error) => Err(error),
    };
    match stored {
        Ok(stored) => {
            let ids: Vec<String> = stored.into_iter().map(|label| label.id).collect();
            Redirect::to(&with_labels(way_back(back.as_deref()), "labelled", &ids)).into_response()
        }
        Err(error) => PageError::of(&app, error).await.into_response(),
    }
}

/// `POST /actions/unlabel`. A label that is gone already was taken back by somebody else: no error.
pub(super) async fn unlabel(State(app): State<AppState>, form: Input<UndoForm>) -> Response {
    let Form(form) = match form {
        Ok(form) => form,
        Err(rejection) => return refused(&app, &rejection).await,
    };
    let ids: Vec<String> = list(&form.id).map(str::to_owned).collect();
    match app.take_back(&ids).await {
        Ok(0) => Redirect::to(way_back(form.back.as_deref())).into_response(),
        Ok(_) => Redirect::to(&with_labels(way_back(form.back.as_deref()), "unlabelled", &ids)).into_response(),
        Err(error) => PageError::of(&app, error).await.into_response(),
    }
}

/// `POST /actions/relabel`. A label that is there again was given back by somebody else: no error.
pub(super) async fn relabel(State(app): State<AppState>, form: Input<UndoForm>) -> Response {
    let Form(form) = match form {
        Ok(form) => form,
        Err(rejection) => return refused(&app, &rejection).await,
    };
    let ids: Vec<String> = list(&form.id).map(str::to_owned).collect();
    match app.restore(&ids).await {
        Ok(_) => Redirect::to(&with_labels(way_back(form.back.as_deref()), "labelled", &ids)).into_response(),
        Err(error) => PageError::of(&app, error).await.into_response(),
    }
}

/// `POST /actions/links`: a page of links; the script shows it in a dialog. A form and not a page, because who may only look
/// must not get what labels.
pub(super) async fn links(State(app): State<AppState>, form: Input<LinksForm>) -> Response {
    let Form(form) = match form {
        Ok(form) => form,
        Err(rejection) => return refused(&app, &rejection).await,
    };
    let subject = match (form.prediction_id, form.request_id) {
        (_, Some(request_id)) => FeedbackSubject::Request { request_id },
        (Some(prediction_id), None) => FeedbackSubject::Prediction { prediction_id },
        (None, None) => {
            let reason = "links are for a prediction or a request".to_owned();
            return PageError::invalid(&app, reason).await.into_response();
        }
    };
    match app.make_links(&subject, None).await {
        Ok((until, links)) => html(&LinksPage {
            shell: Shell::of(&app, "Links").await,
            back: way_back(form.back.as_deref()).to_owned(),
            until: forewarn_plots::format_utc(until),
            links: links.into_iter().map(|(verdict, url)| (words::verdict(verdict), url)).collect(),
        }),
        Err(error) => PageError::of(&app, error).await.into_response(),
    }
}

fn read(fields: &Fields) -> Result<Vec<NewFeedback>, AppError> {
    let invalid = |reason: String| AppError::Invalid { reason };
    let verdict = field(fields, "verdict").map(str::parse::<Verdict>).transpose().map_err(invalid)?;
    let common = WrittenLabel { verdict, note: field(fields, "note").map(str::to_owned), ..WrittenLabel::default() };
    let mut written = Vec::new();
    for (name, value) in fields {
        match name.as_str() {
            "prediction_id" => written.push(WrittenLabel { prediction_id: Some(value.clone()), ..common.clone() }),
            "request_id" => written.push(WrittenLabel { request_id: Some(value.clone()), ..common.clone() }),
            _ => {}
        }
    }
    if written.is_empty() {
        let Some(service) = field(fields, "service") else {
            return Err(invalid("nothing is chosen to be labelled".to_owned()));
        };
        let kind = field(fields, "kind").map(str::parse::<BreachKind>).transpose();
        written.push(WrittenLabel {
            service: Some(service.to_owned()),
            kind: kind.map_err(|e| invalid(e.to_string()))?,
            at: time(fields, "at")?,
            from: time(fields, "from")?,
            to: time(fields, "to")?,
            ..common
        });
    }
    written.into_iter().map(|label| Ok(label.read(LabelSource::Page)?)).collect()
}

/// What was written into a field; nothing where it was left empty.
fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(of, _)| of == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
}

/// A time as a browser's field has it: UTC, as everything on the page, without saying so.
fn time(fields: &Fields, name: &str) -> Result<Option<Timestamp>, AppError> {
    let Some(text) = field(fields, name) else { return Ok(None) };
    let complete = match text.len() {
        16 if text.contains('T') => format!("{text}:00Z"),
        19 if text.contains('T') => format!("{text}Z"),
        _ => text.to_owned(),
    };
    complete.parse().map(Some).map_err(|e: forewarn_schema::TimeError| AppError::Invalid { reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_form_labels_each_thing_that_is_chosen_in_the_same_words() {
        let chosen = [("prediction_id", "p-1"), ("request_id", "r-1"), ("note", " a test "), ("verdict", "unclear")];
        let labels = read(&fields(&chosen)).unwrap();
        assert_eq!(labels.len(), 2);
        assert!(labels.iter().all(|l| l.note.as_deref() == Some("a test") && l.source == LabelSource::Page));
        let error = read(&fields(&[("verdict", "unclear"), ("service", "  ")])).unwrap_err();
        assert_eq!(error.to_string(), "nothing is chosen to be labelled");
    }

    #[test]
    fn a_time_without_a_zone_is_utc() {
        let missed = [("service", "cart"), ("kind", "oom"), ("at", "2026-01-08T14:20"), ("verdict", "missed")];
        let label = read(&fields(&missed)).unwrap().swap_remove(0);
        let at: Timestamp = "2026-01-08T14:20:00Z".parse().unwrap();
        assert_eq!(label.subject, FeedbackSubject::Breach { service: "cart".into(), kind: BreachKind::Oom, at });
        let span = [("service", "cart"), ("kind", ""), ("from", "2026-01-08T14:20:30"), ("to", "yesterday")];
        let error = read(&fields(&span)).unwrap_err().to_string();
        assert!(error.contains("yesterday"), "{error}");
    }
}

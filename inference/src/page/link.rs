//! `/l/{token}`: what somebody sees who followed a link in a message (`crate::links`), perhaps without a login. Looking changes
//! nothing; the button labels, and says so when it is pressed again. The page has nothing but what the link is about.

use askama::Template;
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use forewarn_schema::loudest;
use serde::Deserialize;

use super::{html, view, words};
use crate::access::as_caller;
use crate::app::{AppState, NewFeedback};
use crate::error::AppError;
use crate::http::Problem;
use crate::links::{Link, LinkError};

#[derive(Template)]
#[template(path = "link.html")]
struct LinkPage {
    title: String,
    /// Why there is nothing to ask, where there is not.
    problem: Option<String>,
    question: Option<Question>,
}

struct Question {
    verdict: &'static str,
    tone: &'static str,
    subject: String,
    said: String,
    who: Option<String>,
    until: String,
    /// When this link labelled, where that stands.
    given: Option<String>,
    /// Whether nothing was said since.
    speaks: bool,
}

#[derive(Deserialize)]
pub(super) struct Answer {
    note: Option<String>,
    /// There: take it back.
    undo: Option<String>,
}

/// `GET /l/{token}`.
pub(super) async fn ask(State(app): State<AppState>, Path(token): Path<String>) -> Response {
    match read(&app, &token).await {
        Ok(link) => match question(&app, &link).await {
            Ok(Some(question)) => {
                html(&LinkPage { title: "Was it right?".to_owned(), problem: None, question: Some(question) })
            }
            Ok(None) => nothing(StatusCode::GONE, "What this link is about is not kept any more."),
            Err(error) => failed(error),
        },
        Err(response) => response,
    }
}

/// `POST /l/{token}`.
pub(super) async fn answer(
    State(app): State<AppState>,
    Path(token): Path<String>,
    form: Result<Form<Answer>, FormRejection>,
) -> Response {
    let link = match read(&app, &token).await {
        Ok(link) => link,
        Err(response) => return response,
    };
    let Form(form) = match form {
        Ok(form) => form,
        Err(rejection) => return nothing(rejection.status(), &rejection.body_text()),
    };
    let done = async {
        let given = app.given_by(&link).await?;
        if form.undo.is_some() {
            let last: Vec<String> = given.into_iter().next_back().map(|label| label.id).into_iter().collect();
            app.take_back(&last).await?;
        } else if !speaks(&app, &link).await? {
            let note = form.note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty());
            let source = forewarn_schema::LabelSource::Link;
            app.add_feedback(NewFeedback { subject: link.subject.clone(), verdict: link.verdict, note, source })
                .await?;
        }
        Ok::<(), AppError>(())
    };
    match as_caller(link.who().into(), done).await {
        // To itself, as seen from itself: whatever path the server is behind.
        Ok(()) => Redirect::to(&token).into_response(),
        Err(error) => failed(error),
    }
}

async fn read(app: &AppState, token: &str) -> Result<Link, Response> {
    let links = app.links().await.map_err(failed)?;
    let Some(links) = links else { return Err(nothing(StatusCode::NOT_FOUND, "There are no such links here.")) };
    links.read(token, app.now()).map_err(|error| match error {
        LinkError::Unknown => nothing(StatusCode::NOT_FOUND, "This link is not one of this server's, or not whole."),
        LinkError::Expired => nothing(StatusCode::GONE, "This link was good for a while only, and that is over."),
    })
}

async fn question(app: &AppState, link: &Link) -> Result<Option<Question>, AppError> {
    let Some(about) = app.about(&link.subject).await? else { return Ok(None) };
    let kind = words::kind(about.kind, &about.signal).to_lowercase();
    let target = words::target(&about.labels, &about.service);
    let target = if target.is_empty() { target } else { format!(", {target}") };
    let given = app.given_by(link).await?.pop();
    Ok(Some(Question {
        verdict: words::verdict(link.verdict),
        tone: words::verdict_tone(link.verdict),
        subject: format!("{}{target}: {kind}", about.service),
        said: format!(
            "Predicted {}, {} likely.",
            forewarn_plots::format_utc(about.at),
            view::percent(about.probability.get())
        ),
        who: link.who.clone(),
        until: forewarn_plots::format_utc(link.expires_at),
        given: given.map(|label| words::ago(label.created_at, app.now())),
        speaks: speaks(app, link).await?,
    }))
}

/// Whether what this link says is what counts already.
async fn speaks(app: &AppState, link: &Link) -> Result<bool, AppError> {
    let labels = app.0.store.labels_of(&link.subject).await?;
    let standing: Vec<_> = labels.into_iter().filter(|(_, taken_back)| !taken_back).map(|(label, _)| label).collect();
    Ok(loudest(&standing).is_some_and(|label| link.gave(label)))
}

fn failed(error: AppError) -> Response {
    let text = error.to_string();
    nothing(Problem::from(error).status(), &text)
}

fn nothing(status: StatusCode, problem: &str) -> Response {
    let page = LinkPage { title: "Not labelled".to_owned(), problem: Some(problem.to_owned()), question: None };
    let mut response = html(&page);
    *response.status_mut() = status;
    response
}

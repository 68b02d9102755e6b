//! `GET /labels`: what people, alerts and programs said of predictions, and the way to take it back.

use askama::Template;
use axum::extract::{Query as UrlQuery, State};
use axum::response::{IntoResponse, Response};

use super::error::PageError;
use super::filter::{Filter, KindChoice, Pager, Query};
use super::html;
use super::labels::{GivenLabel, LabelBook};
use super::toast::Toast;
use super::view::{Shell, count_open};
use crate::app::AppState;
use crate::error::AppError;

const LABELS_A_PAGE: usize = 50;
/// Services to choose from while typing.
const MOST_SUGGESTIONS: usize = 300;

#[derive(Template)]
#[template(path = "given.html")]
struct GivenPage {
    shell: Shell,
    back: String,
    given: Vec<GivenLabel>,
    pager: Pager,
    kinds: Vec<KindChoice>,
    services: Vec<String>,
}

/// `GET /labels`.
pub(super) async fn show(State(app): State<AppState>, UrlQuery(query): UrlQuery<Query>) -> Response {
    match page(&app, &query).await {
        Ok(page) => html(&page),
        Err(error) => PageError::of(&app, error).await.into_response(),
    }
}

async fn page(app: &AppState, query: &Query) -> Result<GivenPage, AppError> {
    let status = app.status().await;
    let requests = app.requests().await?;
    let book = LabelBook::read(app).await?;
    let filter = Filter::read(query);
    let (pager, shown) =
        Pager::of(&Filter { page: filter.page, ..Filter::default() }, "/labels", book.len(), LABELS_A_PAGE);
    let back = if pager.page > 1 { format!("/labels?page={}", pager.page) } else { "/labels".to_owned() };
    let mut services: Vec<String> = app.predictions().await.into_iter().map(|p| p.service).collect();
    services.sort();
    services.dedup();
    services.truncate(MOST_SUGGESTIONS);
    let mut shell = Shell::new(&status, "labels", "Labels", count_open(&requests));
    shell.toast = Toast::of(app, query, &book, &back).await?;
    Ok(GivenPage { shell, back, given: book.shown(shown), pager, kinds: filter.kinds(), services })
}

//! Evaluations and weekly reports, as they were written. They are self-contained pages of another program's making,
//! so they are shown in a sandbox: no script, no form, nothing loaded.

use askama::Template;
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use forewarn_models::ModelRegistry;
use forewarn_models::registry::RegistryError;

use super::error::PageError;
use super::filter::{Filter, Pager, Query};
use super::view::{Shell, count_open};
use super::{html, words};
use crate::app::AppState;
use crate::error::AppError;

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; sandbox allow-popups allow-top-navigation-by-user-activation";

const REPORTS_A_PAGE: usize = 50;

#[derive(Template)]
#[template(path = "reports.html")]
struct ReportsPage {
    shell: Shell,
    reports: Vec<ReportLink>,
    /// What the newest one says.
    headline: String,
    pager: Pager,
}

struct ReportLink {
    name: String,
    /// Of the page.
    href: String,
    json: String,
    /// `week` or `evaluation`.
    what: &'static str,
}

impl ReportLink {
    fn of(name: &str) -> Self {
        let (what, file) = match name.ends_with(ModelRegistry::WEEK_SUFFIX) {
            true => ("week", "week"),
            false => ("evaluation", "report"),
        };
        let folder = href(name);
        Self {
            name: name.to_owned(),
            href: format!("{folder}/{file}.html"),
            json: format!("{folder}/{file}.json"),
            what,
        }
    }
}

/// `GET /reports`.
pub(super) async fn list(State(app): State<AppState>, UrlQuery(query): UrlQuery<Query>) -> Response {
    match page(&app, &query).await {
        Ok(page) => html(&page),
        Err(error) => PageError::of(&app, error).await.into_response(),
    }
}

async fn page(app: &AppState, query: &Query) -> Result<ReportsPage, AppError> {
    let status = app.status().await;
    let requests = app.requests().await?;
    let names = app.reports().await?;
    let evaluations = app.0.registry.evaluations().await?;
    let newest = app.0.quality.newest(app, &evaluations).await?;
    let filter = Filter { page: Filter::read(query).page, ..Filter::default() };
    let (pager, shown) = Pager::of(&filter, "/reports", names.len(), REPORTS_A_PAGE);
    Ok(ReportsPage {
        shell: Shell::new(&status, "reports", "Reports", count_open(&requests)),
        reports: names[shown].iter().map(|name| ReportLink::of(name)).collect(),
        headline: newest.map(|newest| newest.headline.clone()).unwrap_or_default(),
        pager,
    })
}

/// Where the files of a report are.
pub(super) fn href(name: &str) -> String {
    format!("/reports/{}", words::percent_encoded(name))
}

/// `GET /reports/{name}/{file}`.
pub(super) async fn file(State(app): State<AppState>, Path((name, file)): Path<(String, String)>) -> Response {
    let body = match app.report(&name, &file).await {
        Ok(body) => body,
        // A name that no report can have is not here either.
        Err(AppError::Registry(RegistryError::UnknownReport { .. } | RegistryError::Name { .. })) => {
            let missing = AppError::NotFound { what: "report file", id: format!("{name}/{file}") };
            return PageError::of(&app, missing).await.into_response();
        }
        Err(error) => return PageError::of(&app, error).await.into_response(),
    };
    let kind = match file.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("json") => "application/json",
        Some("csv" | "jsonl" | "txt" | "md") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY)], body).into_response()
}

//! `GET /`: everything that matters now, most urgent first.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use forewarn_plots::format_utc;
use forewarn_schema::RequestStatus;

use super::chart::{self, Charts};
use super::error::PageError;
use super::labels::{GivenLabel, LabelBook};
use super::requests::RequestCard;
use super::view::{Card, Row, Shell, request_markers, request_of, will_breach};
use super::{html, view, words};
use crate::app::{AppState, ServiceModel, Status};
use crate::error::AppError;

/// Cards with charts; more would make the page slow to load and to read.
const MOST_CARDS: usize = 12;
const MOST_ROWS: usize = 500;
const MOST_LABELS: usize = 20;
const MOST_REPORTS: usize = 50;
const MOST_OLDER_REQUESTS: usize = 30;
/// The past that a card's chart shows.
pub(super) const CARD_PAST: Duration = Duration::from_secs(86_400);

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    shell: Shell,
    back: &'static str,
    warming: Option<Warming>,
    quiet_line: String,
    cards: Vec<Card>,
    more_cards: usize,
    requests: Vec<RequestCard>,
    older_requests: Vec<RequestCard>,
    rows: Vec<Row>,
    hidden_rows: usize,
    models: Vec<ModelRow>,
    given: Vec<GivenLabel>,
    reports: Vec<ReportLink>,
}

/// Why nothing is said yet.
struct Warming {
    headline: String,
    text: String,
    snippet: Option<String>,
}

struct ModelRow {
    anchor: String,
    service: String,
    serving: String,
    candidate: Option<String>,
    can_roll_back: bool,
    error: Option<String>,
}

struct ReportLink {
    name: String,
    href: String,
}

/// `GET /`.
pub(super) async fn show(State(app): State<AppState>) -> Response {
    match page(&app).await {
        Ok(page) => html(&page),
        Err(error) => PageError::of(&app, error).await.into_response(),
    }
}

async fn page(app: &AppState) -> Result<HomePage, AppError> {
    let (status, now) = (app.status().await, app.now());
    let predictions = app.predictions().await;
    let requests = app.requests().await?;
    let book = LabelBook::read(app).await?;

    let urgent: Vec<_> = predictions.iter().filter(|p| will_breach(p)).collect();
    let mut cards = Vec::new();
    for prediction in urgent.iter().take(MOST_CARDS) {
        let charts = match app.view(&prediction.target_key()).await {
            Some(view) => {
                let mut markers = request_markers(&view, &requests);
                markers.extend(book.markers(&prediction.target_key()));
                chart::charts(&view, words::unit(app.signals(), &view.signal), Some(CARD_PAST), &markers)
            }
            None => Charts::default(),
        };
        let labels = book.of_target(prediction, &view::anchor(prediction), "/");
        cards.push(Card::new(prediction, app.signals(), charts, request_of(prediction, &requests), labels, now));
    }

    let (open, over): (Vec<_>, Vec<_>) =
        requests.iter().partition(|r| matches!(r.status, RequestStatus::Open | RequestStatus::Approved));
    let request_card = |r: &&_| RequestCard::new(r, &predictions, &book, status.webhook, now, "/");
    // What cannot be read must not take the rest of the page with it.
    let (models, models_problem) = apart(app.models().await);
    let (reports, reports_problem) = apart(app.reports().await);

    let mut shell = Shell::new(
        &status,
        headline(urgent.len()).as_str(),
        open.iter().filter(|r| r.status == RequestStatus::Open).count(),
    );
    shell.alerts.extend([models_problem, reports_problem].into_iter().flatten().take(1));
    Ok(HomePage {
        shell,
        back: "/",
        warming: warming(app, &status, predictions.is_empty()),
        quiet_line: quiet_line(&status),
        more_cards: urgent.len().saturating_sub(cards.len()),
        cards,
        requests: open.iter().map(request_card).collect(),
        older_requests: over.iter().take(MOST_OLDER_REQUESTS).map(request_card).collect(),
        hidden_rows: predictions.len().saturating_sub(MOST_ROWS),
        rows: predictions.iter().take(MOST_ROWS).map(|p| Row::new(p, app.signals(), now)).collect(),
        models: models.unwrap_or_default().into_iter().map(model_row).collect(),
        given: book.newest(MOST_LABELS),
        reports: reports.unwrap_or_default().into_iter().take(MOST_REPORTS).map(report_link).collect(),
    })
}

fn headline(urgent: usize) -> String {
    match urgent {
        0 => "Nothing will breach".to_owned(),
        1 => "1 breach ahead".to_owned(),
        n => format!("{n} breaches ahead"),
    }
}

fn apart<T>(result: Result<T, AppError>) -> (Option<T>, Option<String>) {
    match result {
        Ok(value) => (Some(value), None),
        Err(error) => {
            tracing::warn!(error = crate::error::chain(&error), "part of the page not read");
            (
                None,
                Some(
                    "The model registry cannot be read: what serves keeps serving, models and reports are not shown."
                        .to_owned(),
                ),
            )
        }
    }
}

fn warming(app: &AppState, status: &Status, is_silent: bool) -> Option<Warming> {
    if !is_silent {
        return None;
    }
    if status.live_series == 0 {
        return Some(Warming {
            headline: "Warming up: no samples yet".to_owned(),
            text:
                "Forewarn learns from what Prometheus sends. The first predictions come with the first minute of data; \
                   what is normal at which time of the day takes a few days."
                    .to_owned(),
            snippet: Some(format!("remote_write:\n  - url: {}/api/v1/write", app.0.public_url)),
        });
    }
    let series = if status.live_series == 1 { "1 series".to_owned() } else { format!("{} series", status.live_series) };
    Some(match status.evaluated_at {
        Some(at) => Warming {
            headline: "No target with fresh samples".to_owned(),
            text: format!(
                "{series} in memory; the last step was evaluated at {}. Targets come back with their next samples.",
                format_utc(at)
            ),
            snippet: None,
        },
        None => Warming {
            headline: "Warming up".to_owned(),
            text: format!("{series} arrived. The first step is evaluated in a moment."),
            snippet: None,
        },
    })
}

fn quiet_line(status: &Status) -> String {
    let targets =
        if status.targets == 1 { "1 target is".to_owned() } else { format!("{} targets are", status.targets) };
    match status.evaluated_at {
        Some(at) => format!("{targets} watched. Last looked at {}.", format_utc(at)),
        None => format!("{targets} watched."),
    }
}

fn model_row(model: ServiceModel) -> ModelRow {
    ModelRow {
        anchor: forewarn_schema::stable_id("s", &[&model.service]),
        serving: model.serving.unwrap_or_else(|| "rules".to_owned()),
        candidate: model.candidate,
        can_roll_back: model.current.is_some(),
        error: model.error,
        service: model.service,
    }
}

fn report_link(name: String) -> ReportLink {
    ReportLink { href: format!("/reports/{}", words::percent_encoded(&name)), name }
}

//! `GET /`: what will breach, soonest first; then everything that is watched, a page at a time.

use askama::Template;
use axum::extract::{Query as UrlQuery, State};
use axum::response::{IntoResponse, Response};
use forewarn_plots::format_utc;
use forewarn_schema::{Prediction, Timestamp};

use super::became::BecameBook;
use super::chart::{self, Charts};
use super::error::PageError;
use super::filter::{Filter, KindChoice, Pager, Query};
use super::labels::LabelBook;
use super::toast::Toast;
use super::view::{Card, Row, Shell, count_open, request_markers, request_of, will_breach};
use super::zoom::Zoom;
use super::{html, view, words};
use crate::app::{AppState, Status};
use crate::error::AppError;
use crate::state::StoredRequest;

/// Cards with charts, on the first page of the list; more would make the page slow to load and to read.
const MOST_CARDS: usize = 6;
const ROWS_A_PAGE: usize = 50;
/// Services to choose from while typing.
const MOST_SUGGESTIONS: usize = 300;

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    shell: Shell,
    headline: String,
    subline: String,
    is_calm: bool,
    filter: Filter,
    kinds: Vec<KindChoice>,
    services: Vec<String>,
    /// With the filter: where forms lead back to.
    back: String,
    warming: Option<Warming>,
    cards: Vec<Card>,
    more_cards: usize,
    rows: Vec<Row>,
    matching: usize,
    watched: usize,
    pager: Pager,
}

/// Why nothing is said yet.
struct Warming {
    headline: String,
    text: String,
    snippet: Option<String>,
}

/// `GET /`.
pub(super) async fn show(State(app): State<AppState>, UrlQuery(query): UrlQuery<Query>) -> Response {
    match page(&app, &query).await {
        Ok(page) => html(&page),
        Err(error) => PageError::of(&app, error).await.into_response(),
    }
}

async fn page(app: &AppState, query: &Query) -> Result<HomePage, AppError> {
    let (status, now) = (app.status().await, app.now());
    let snapshot = app.0.scorer.current(now);
    let predictions = &snapshot.predictions;
    let requests = app.requests().await?;
    let became = BecameBook::read(app, &requests).await?;
    let book = LabelBook::read(app).await?;

    let filter = Filter::read(query);
    let matching: Vec<&Prediction> = predictions.iter().filter(|p| filter.takes(p)).collect();
    let (pager, shown) = Pager::of(&filter, "/", matching.len(), ROWS_A_PAGE);
    let back = format!("/{}", filter.query(pager.page));
    // Sorted by when, what will breach is on the first page.
    let urgent: Vec<&Prediction> =
        if pager.page == 1 { matching.iter().copied().filter(|p| will_breach(p)).collect() } else { Vec::new() };
    let mut cards = Vec::new();
    for prediction in urgent.iter().take(MOST_CARDS) {
        cards.push(card(app, prediction, (&requests, &became), &book, &back, now).await);
    }

    let all_urgent: Vec<&Prediction> = predictions.iter().filter(|p| will_breach(p)).collect();
    let headline = headline(all_urgent.len());
    let mut shell = Shell::new(&status, "breaches", &headline, count_open(&requests));
    shell.toast = Toast::of(app, query, &book, &back).await?;
    let mut services: Vec<String> = predictions.iter().map(|p| p.service.clone()).collect();
    services.sort();
    services.dedup();
    services.truncate(MOST_SUGGESTIONS);
    Ok(HomePage {
        shell,
        subline: subline(&all_urgent, &status, now),
        is_calm: all_urgent.is_empty(),
        headline,
        kinds: filter.kinds(),
        services,
        back,
        warming: warming(app, &status, predictions.is_empty()),
        more_cards: urgent.len().saturating_sub(cards.len()),
        cards,
        rows: matching[shown].iter().map(|p| Row::new(p, app.signals(), now)).collect(),
        matching: matching.len(),
        watched: predictions.len(),
        pager,
        filter,
    })
}

async fn card(
    app: &AppState,
    prediction: &Prediction,
    (requests, became): (&[StoredRequest], &BecameBook),
    book: &LabelBook,
    back: &str,
    now: Timestamp,
) -> Card {
    let charts = match app.view(&prediction.target_key()).await {
        Some(view) => {
            let mut markers = request_markers(&view, requests, became);
            markers.extend(became.breaches(prediction));
            markers.extend(book.markers(&prediction.target_key()));
            let usual = Zoom::read(&Query::new());
            chart::charts(&view, words::unit(app.signals(), &view.signal), &usual, &markers)
        }
        None => Charts::default(),
    };
    let labels = book.of_target(prediction, &view::anchor(prediction), back);
    Card::new(prediction, app.signals(), charts, request_of(prediction, requests), labels, now)
}

fn headline(urgent: usize) -> String {
    match urgent {
        0 => "Nothing will breach".to_owned(),
        1 => "1 breach ahead".to_owned(),
        n => format!("{n} breaches ahead"),
    }
}

/// The next breach in a sentence; without one, how many are watched.
fn subline(urgent: &[&Prediction], status: &Status, now: Timestamp) -> String {
    let next = urgent.first().and_then(|p| Some((p, words::when(p.time_to_breach_seconds?, p.at, now))));
    if let Some((p, when)) = next {
        let kind = words::kind(p.kind, &p.signal).to_lowercase();
        let which = if urgent.len() == 1 { "It comes" } else { "The next comes" };
        return format!("{which} {}: {}, {kind}.", when.headline, p.service);
    }
    let targets =
        if status.targets == 1 { "1 target is".to_owned() } else { format!("{} targets are", status.targets) };
    match status.evaluated_at {
        Some(at) => format!("{targets} watched. Last looked at {}.", format_utc(at)),
        None => format!("{targets} watched."),
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

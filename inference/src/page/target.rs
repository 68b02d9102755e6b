//! `GET /targets/{key}`: one target in full.

use askama::Template;
use axum::extract::{Path, Query as UrlQuery, State};
use axum::response::{IntoResponse, Response};
use forewarn_plots::format_utc;

use super::became::BecameBook;
use super::chart::{self, Readings};
use super::error::PageError;
use super::filter::Query;
use super::labels::LabelBook;
use super::requests::RequestCard;
use super::toast::Toast;
use super::view::{Card, Shell, concerns, count_open, request_markers, request_of};
use super::zoom::{RangeChoice, Zoom};
use super::{html, view, words};
use crate::app::AppState;
use crate::error::AppError;

const MOST_REQUESTS: usize = 20;

#[derive(Template)]
#[template(path = "target.html")]
struct TargetPage {
    shell: Shell,
    back: String,
    card: Card,
    path: String,
    /// What else is watched of the service.
    service_href: String,
    ranges: Vec<RangeChoice>,
    /// Between which times, where it is not a range back from now.
    zoomed: Option<String>,
    /// The chart in words.
    readings: Readings,
    requests: Vec<RequestCard>,
    prediction_id: String,
    made_at: String,
}

/// `GET /targets/{key}`.
pub(super) async fn show(
    State(app): State<AppState>,
    Path(key): Path<String>,
    UrlQuery(query): UrlQuery<Query>,
) -> Response {
    match page(&app, &key, &query).await {
        Ok(page) => html(&page),
        Err(error) => PageError::of(&app, error).await.into_response(),
    }
}

async fn page(app: &AppState, key: &str, query: &Query) -> Result<TargetPage, AppError> {
    let target = app.view(key).await.ok_or_else(|| AppError::NotFound { what: "live target", id: key.to_owned() })?;
    let (status, now) = (app.status().await, app.now());
    let requests = app.requests().await?;
    let book = LabelBook::read(app).await?;
    let prediction = &target.prediction;

    let became = BecameBook::read(app, &requests).await?;
    let mut markers = request_markers(&target, &requests, &became);
    markers.extend(became.breaches(prediction));
    markers.extend(book.markers(key));
    let unit = words::unit(app.signals(), &target.signal);
    let zoom = Zoom::read(query);
    let charts = chart::charts(&target, unit, &zoom, &markers);
    let path = format!("/targets/{}", words::percent_encoded(key));
    let back = format!("{path}{}", zoom.query());
    let labels = book.of_target(prediction, &view::anchor(prediction), &back);
    let title = format!("{} {}", target.service, words::kind(target.kind, &target.signal).to_lowercase());
    let mut shell = Shell::new(&status, "", &title, count_open(&requests));
    shell.toast = Toast::of(app, query, &book, &back).await?;
    Ok(TargetPage {
        shell,
        ranges: zoom.choices(&path),
        zoomed: zoom.between(&target).map(|range| words::times(range.start, range.end)),
        service_href: format!("/?service={}", words::percent_encoded(&target.service)),
        path,
        readings: chart::readings_json(&target, unit, &zoom),
        card: Card {
            has_heading: false,
            ..Card::new(prediction, app.signals(), charts, request_of(prediction, &requests), labels, now)
        },
        requests: requests
            .iter()
            .filter(|r| concerns(r, prediction))
            .take(MOST_REQUESTS)
            .map(|r| {
                RequestCard::new(r, std::slice::from_ref(prediction), &book, status.webhook, now, &back)
                    .settled(&became)
            })
            .collect(),
        prediction_id: prediction.id.clone(),
        made_at: format_utc(prediction.at),
        back,
    })
}

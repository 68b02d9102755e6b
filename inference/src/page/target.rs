//! `GET /targets/{key}`: one target in full.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use forewarn_plots::format_utc;
use forewarn_schema::stable_id;

use super::chart;
use super::error::PageError;
use super::home::CARD_PAST;
use super::html;
use super::labels::LabelBook;
use super::requests::RequestCard;
use super::view::{Card, Shell, concerns, request_markers, request_of};
use super::words;
use crate::app::AppState;
use crate::error::AppError;

const MOST_REQUESTS: usize = 20;

#[derive(Template)]
#[template(path = "target.html")]
struct TargetPage {
    shell: Shell,
    back: String,
    card: Card,
    history_wide: String,
    history_narrow: String,
    requests: Vec<RequestCard>,
    prediction_id: String,
    made_at: String,
}

/// `GET /targets/{key}`.
pub(super) async fn show(State(app): State<AppState>, Path(key): Path<String>) -> Response {
    match page(&app, &key).await {
        Ok(page) => html(&page),
        Err(error) => PageError::of(&app, error).await.into_response(),
    }
}

async fn page(app: &AppState, key: &str) -> Result<TargetPage, AppError> {
    let view = app.view(key).await.ok_or_else(|| AppError::NotFound { what: "live target", id: key.to_owned() })?;
    let (status, now) = (app.status().await, app.now());
    let requests = app.requests().await?;
    let book = LabelBook::read(app).await?;
    let prediction = &view.prediction;

    let mut markers = request_markers(&view, &requests);
    markers.extend(book.markers(key));
    let unit = words::unit(app.signals(), &view.signal);
    let charts = chart::charts(&view, unit, Some(CARD_PAST), &markers);
    let remembered = view.history.first().map_or(0.0, |first| prediction.at.seconds_since(first.at));
    let history = if remembered > CARD_PAST.as_secs_f64() * 1.1 {
        chart::charts(&view, unit, None, &markers)
    } else {
        chart::Charts::default()
    };

    let back = format!("/targets/{}", words::percent_encoded(key));
    let labels = book.of_target(prediction, &stable_id("t", &[key]), &back);
    let shell = Shell::new(&status, &format!("{} {}", view.service, view.signal), 0);
    Ok(TargetPage {
        shell: Shell { open_requests: requests.iter().filter(|r| r.status == forewarn_schema::RequestStatus::Open).count(), ..shell },
        card: Card::new(prediction, app.signals(), charts, request_of(prediction, &requests), labels, now),
        history_wide: history.wide,
        history_narrow: history.narrow,
        requests: requests
            .iter()
            .filter(|r| concerns(r, prediction))
            .take(MOST_REQUESTS)
            .map(|r| RequestCard::new(r, &book, status.webhook, now, &back))
            .collect(),
        prediction_id: prediction.id.clone(),
        made_at: format_utc(prediction.at),
        back,
    })
}

//! `GET /targets/{key}`: one target in full.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use forewarn_plots::format_utc;
use forewarn_schema::RequestStatus;

use super::chart;
use super::error::PageError;
use super::home::CARD_PAST;
use super::labels::LabelBook;
use super::requests::RequestCard;
use super::view::{Card, Shell, concerns, request_markers, request_of};
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
    let target = app.view(key).await.ok_or_else(|| AppError::NotFound { what: "live target", id: key.to_owned() })?;
    let (status, now) = (app.status().await, app.now());
    let requests = app.requests().await?;
    let book = LabelBook::read(app).await?;
    let prediction = &target.prediction;

    let mut markers = request_markers(&target, &requests);
    markers.extend(book.markers(key));
    let unit = words::unit(app.signals(), &target.signal);
    let charts = chart::charts(&target, unit, Some(CARD_PAST), &markers);
    let remembered = target.history.first().map_or(0.0, |first| prediction.at.seconds_since(first.at));
    let history = if remembered > CARD_PAST.as_secs_f64() * 1.1 {
        chart::charts(&target, unit, None, &markers)
    } else {
        chart::Charts::default()
    };

    let back = format!("/targets/{}", words::percent_encoded(key));
    let labels = book.of_target(prediction, &view::anchor(prediction), &back);
    let open = requests.iter().filter(|r| r.status == RequestStatus::Open).count();
    Ok(TargetPage {
        shell: Shell::new(&status, &format!("{} {}", target.service, target.signal), open),
        card: Card {
            has_heading: false,
            ..Card::new(prediction, app.signals(), charts, request_of(prediction, &requests), labels, now)
        },
        history_wide: history.wide,
        history_narrow: history.narrow,
        requests: requests
            .iter()
            .filter(|r| concerns(r, prediction))
            .take(MOST_REQUESTS)
            .map(|r| RequestCard::new(r, std::slice::from_ref(prediction), &book, status.webhook, now, &back))
            .collect(),
        prediction_id: prediction.id.clone(),
        made_at: format_utc(prediction.at),
        back,
    })
}

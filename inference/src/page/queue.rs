//! `GET /requests`: remediation requests that wait for somebody, and those that are over.

use askama::Template;
use axum::extract::{Query as UrlQuery, State};
use axum::response::{IntoResponse, Response};
use forewarn_schema::RequestStatus;

use super::became::BecameBook;
use super::error::PageError;
use super::filter::{Filter, KindChoice, Pager, Query};
use super::html;
use super::labels::LabelBook;
use super::requests::RequestCard;
use super::safety::SafetyPanel;
use super::toast::Toast;
use super::view::{Shell, count_open};
use crate::app::AppState;
use crate::error::AppError;
use crate::state::StoredRequest;

/// Cards; what comes later waits its turn.
const MOST_OPEN: usize = 40;
const EARLIER_A_PAGE: usize = 25;

#[derive(Template)]
#[template(path = "queue.html")]
struct QueuePage {
    shell: Shell,
    filter: Filter,
    kinds: Vec<KindChoice>,
    safety: SafetyPanel,
    back: String,
    open: Vec<RequestCard>,
    /// How many there are, with those that are not shown.
    waiting: usize,
    approved: Vec<RequestCard>,
    earlier: Vec<RequestCard>,
    pager: Pager,
    /// Whether there is any request at all, whatever the filter.
    has_any: bool,
}

/// `GET /requests`.
pub(super) async fn show(State(app): State<AppState>, UrlQuery(query): UrlQuery<Query>) -> Response {
    match page(&app, &query).await {
        Ok(page) => html(&page),
        Err(error) => PageError::of(&app, error).await.into_response(),
    }
}

async fn page(app: &AppState, query: &Query) -> Result<QueuePage, AppError> {
    let (status, now) = (app.status().await, app.now());
    let requests = app.requests().await?;
    let book = LabelBook::read(app).await?;
    let snapshot = app.0.scorer.current(now);
    let safety = SafetyPanel::read(app, &requests, &snapshot.predictions, status.webhook).await?;
    let filter = Filter::read(query);
    let is_wanted = |r: &&StoredRequest| {
        filter.takes_service(&r.request.service) && filter.kind.is_none_or(|kind| kind == r.request.kind)
    };
    let of = |wanted: fn(RequestStatus) -> bool| -> Vec<&StoredRequest> {
        requests.iter().filter(is_wanted).filter(|r| wanted(r.status)).collect()
    };
    let mut open = of(|status| status == RequestStatus::Open);
    // What runs out first is decided first.
    open.sort_by_key(|r| (r.request.predicted_breach.p50, r.request.id.clone()));
    let earlier = of(super::view::is_over);
    let (pager, shown) = Pager::of(&filter, "/requests", earlier.len(), EARLIER_A_PAGE);
    let back = format!("/requests{}", filter.query(pager.page));
    let became = BecameBook::read(app, &requests).await?;
    let card = |r: &&StoredRequest| {
        RequestCard::new(r, &snapshot.predictions, &book, status.webhook, now, &back).settled(&became)
    };
    let mut shell = Shell::new(&status, "requests", "Requests", count_open(&requests));
    shell.toast = Toast::of(app, query, &book, &back).await?;
    Ok(QueuePage {
        shell,
        kinds: filter.kinds(),
        safety,
        waiting: open.len(),
        open: open.iter().take(MOST_OPEN).map(card).collect(),
        approved: of(|status| status == RequestStatus::Approved).iter().map(card).collect(),
        earlier: earlier[shown].iter().map(card).collect(),
        has_any: !requests.is_empty(),
        back,
        pager,
        filter,
    })
}

//! `GET /outcomes`: how good it has been lately, and what became of what was said.

use askama::Template;
use axum::extract::{Query as UrlQuery, State};
use axum::response::{IntoResponse, Response};
use forewarn_plots::{Line, Size, TimeChart, Unit, format_utc, time_chart};
use forewarn_schema::{Sample, Settlement, Timestamp};

use super::became::{self, BecameBadge};
use super::chart::Charts;
use super::error::PageError;
use super::filter::{Filter, Pager, Query};
use super::view::{Shell, count_open, percent};
use super::{html, words};
use crate::app::AppState;
use crate::error::AppError;
use crate::outcomes::{Outcomes, Rolling, Window};

const A_PAGE: usize = 50;
/// Of the newest.
const MOST_SHOWN: u32 = 500;
/// Services with the most cases.
const MOST_SERVICES: usize = 50;
const WIDE: Size = Size { width: 960, height: 200 };
const NARROW: Size = Size { width: 344, height: 200 };

#[derive(Template)]
#[template(path = "outcomes.html")]
struct OutcomesPage {
    shell: Shell,
    windows: Vec<WindowTable>,
    services: Vec<FigureLine>,
    charts: Option<Charts>,
    settled: Vec<SettledLine>,
    pager: Pager,
}

struct WindowTable {
    title: String,
    lines: Vec<FigureLine>,
}

/// A line of figures, each with the number of its cases; a dash where there is none.
struct FigureLine {
    name: String,
    recall: String,
    precision: String,
    false_alarms: String,
    lead: String,
    coverage: String,
    error: String,
}

struct SettledLine {
    anchor: String,
    subject: String,
    said: String,
    badge: BecameBadge,
    label: Option<&'static str>,
}

/// `GET /outcomes`.
pub(super) async fn show(State(app): State<AppState>, UrlQuery(query): UrlQuery<Query>) -> Response {
    match page(&app, &query).await {
        Ok(page) => html(&page),
        Err(error) => PageError::of(&app, error).await.into_response(),
    }
}

async fn page(app: &AppState, query: &Query) -> Result<OutcomesPage, AppError> {
    let (status, now) = (app.status().await, app.now());
    let requests = app.requests().await?;
    let outcomes = app.outcomes().await?;
    let settled = app.0.store.settlements_shown(MOST_SHOWN).await?;
    let labels = crate::outcomes::Labels::of(&app.0.store.feedback().await?);
    let filter = Filter { page: Filter::read(query).page, ..Filter::default() };
    let (pager, shown) = Pager::of(&filter, "/outcomes", settled.len(), A_PAGE);
    let line = |one: &Settlement| SettledLine {
        anchor: format!("s-{}", one.id),
        subject: subject(one),
        said: said(one, now),
        badge: became::badge(one),
        label: labels.verdict_of(one).map(words::verdict),
    };
    Ok(OutcomesPage {
        shell: Shell::new(&status, "outcomes", "Outcomes", count_open(&requests)),
        windows: outcomes.windows.iter().filter(|window| !window.all.is_empty()).map(WindowTable::of).collect(),
        services: outcomes.windows.last().map(services).unwrap_or_default(),
        charts: charts(&outcomes),
        settled: settled[shown].iter().map(line).collect(),
        pager,
    })
}

fn subject(settled: &Settlement) -> String {
    let target = words::target(&settled.labels, &settled.service);
    let kind = words::kind(settled.kind, &settled.signal).to_lowercase();
    format!("{} {target}, {kind}", settled.service).replace(" ,", ",")
}

fn said(settled: &Settlement, now: Timestamp) -> String {
    let ago = words::ago(settled.at, now);
    match (&settled.request_id, settled.probability) {
        (Some(_), Some(p)) => format!("request of {} ({ago}), {}", format_utc(settled.at), percent(p.get())),
        (Some(_), None) => format!("request of {} ({ago})", format_utc(settled.at)),
        (None, Some(p)) => format!("{ago}; at most {} was said", percent(p.get())),
        (None, None) => ago,
    }
}

impl WindowTable {
    fn of(window: &Window) -> Self {
        let mut lines = vec![FigureLine::of("All".to_owned(), &window.all)];
        // One kind alone says the same again.
        if window.kinds.len() > 1 {
            let line = |(kind, r): (&forewarn_schema::BreachKind, &Rolling)| {
                FigureLine::of(words::kind(*kind, "signals of one's own"), r)
            };
            lines.extend(window.kinds.iter().map(line));
        } else if let Some((kind, _)) = window.kinds.first_key_value() {
            lines[0].name = words::kind(*kind, "signals of one's own");
        }
        let days = window.name.trim_end_matches('d');
        Self { title: format!("Last {days} days"), lines }
    }
}

/// Those with the most cases first, where there is more than one.
fn services(window: &Window) -> Vec<FigureLine> {
    let mut services: Vec<(&String, &Rolling)> = window.services.iter().collect();
    if services.len() < 2 {
        return Vec::new();
    }
    let cases = |r: &Rolling| r.cases.requests + r.cases.breaches;
    services.sort_by(|a, b| cases(b.1).cmp(&cases(a.1)).then_with(|| a.0.cmp(b.0)));
    services.into_iter().take(MOST_SERVICES).map(|(service, r)| FigureLine::of(service.clone(), r)).collect()
}

impl FigureLine {
    fn of(name: String, r: &Rolling) -> Self {
        let figure = |value: Option<String>, cases: u32| {
            value.map_or_else(|| "–".to_owned(), |value| format!("{value} of\u{a0}{cases}"))
        };
        let share = |value: Option<f64>| value.map(|share| Unit::Ratio.format(share));
        Self {
            name,
            recall: figure(share(r.recall), r.cases.breaches),
            precision: figure(share(r.precision), r.cases.requests),
            false_alarms: r.false_alarms_per_week.map_or_else(|| "–".to_owned(), |rate| Unit::Count.format(rate)),
            lead: figure(r.median_lead_seconds.map(words::span), r.cases.leads),
            coverage: figure(share(r.interval_coverage), r.cases.intervals),
            error: figure(share(r.time_to_breach_error), r.cases.intervals),
        }
    }
}

/// Recall and precision from day to day; `None` while there are not two days to compare.
fn charts(outcomes: &Outcomes) -> Option<Charts> {
    let line = |name: &str, of: fn(&Rolling) -> Option<f64>| {
        let sample = |(at, r): &(Timestamp, Rolling)| Sample { at: *at, value: of(r).unwrap_or(f64::NAN) };
        Line { name: name.to_owned(), samples: outcomes.weeks.iter().map(sample).collect() }
    };
    let lines = vec![line("precision", |r| r.precision), line("recall", |r| r.recall)];
    let known = |line: &Line| line.samples.iter().filter(|s| !s.value.is_nan()).count() >= 2;
    if !lines.iter().any(known) {
        return None;
    }
    let draw = |size| {
        time_chart(&TimeChart {
            title: "Precision and recall of the week before each day".to_owned(),
            description: "A gap is a week without a case.".to_owned(),
            unit: Unit::Ratio,
            size,
            lines: lines.clone(),
            ..TimeChart::default()
        })
    };
    Some(Charts { wide: draw(WIDE), narrow: draw(NARROW) })
}

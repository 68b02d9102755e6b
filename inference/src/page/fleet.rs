//! `GET /models`: what serves each service, how good it was on history it had not seen, and the two ways to change it.

use askama::Template;
use axum::extract::{Query as UrlQuery, State};
use axum::response::{IntoResponse, Response};
use forewarn_models::learning::{Caution, Standing};
use forewarn_models::registry::{VersionInfo, VersionState};
use forewarn_plots::format_day_time;

use super::error::PageError;
use super::filter::{Filter, Pager, Query};
use super::quality::{Evaluation, Figures, Gate};
use super::shadow::ShadowCard;
use super::view::{Shell, count_open};
use super::{html, words};
use crate::app::{AppState, ServiceModel};
use crate::error::AppError;

/// The registry is asked for each of them.
const SERVICES_A_PAGE: usize = 20;
const MOST_VERSIONS: usize = 12;

#[derive(Template)]
#[template(path = "fleet.html")]
struct FleetPage {
    shell: Shell,
    filter: Filter,
    back: String,
    models: Vec<ModelCard>,
    pager: Pager,
    in_registry: usize,
    /// Of services that nobody labelled.
    fleet_thresholds: Vec<ThresholdLine>,
}

struct ModelCard {
    anchor: String,
    service: String,
    /// `rules` where no model does.
    serving: String,
    candidate: Option<String>,
    gate: Option<Gate>,
    figures: Vec<Figures>,
    report: Option<String>,
    shadow: Option<ShadowCard>,
    can_roll_back: bool,
    error: Option<String>,
    /// From when on it is announced, where labels moved that.
    thresholds: Vec<ThresholdLine>,
    versions: Vec<VersionRow>,
    more_versions: usize,
}

struct ThresholdLine {
    kind: String,
    start: String,
    now: String,
    why: String,
}

struct VersionRow {
    version: String,
    state: &'static str,
    tone: &'static str,
    /// Of the data it was trained on.
    data: String,
    made_by: String,
    problem: Option<String>,
}

/// `GET /models`.
pub(super) async fn show(State(app): State<AppState>, UrlQuery(query): UrlQuery<Query>) -> Response {
    match page(&app, &query).await {
        Ok(page) => html(&page),
        Err(error) => PageError::of(&app, error).await.into_response(),
    }
}

async fn page(app: &AppState, query: &Query) -> Result<FleetPage, AppError> {
    let status = app.status().await;
    let requests = app.requests().await?;
    let shared = &app.0;
    let services = shared.registry.services().await?;
    let filter = Filter { kind: None, ahead: false, ..Filter::read(query) };
    let matching: Vec<&String> = services.iter().filter(|service| filter.takes_service(service)).collect();
    let (pager, shown) = Pager::of(&filter, "/models", matching.len(), SERVICES_A_PAGE);
    let reports = shared.registry.evaluations().await?;
    let evaluation = shared.quality.newest(app, &reports).await?;
    let standing = shared.learning.standing();
    let mut models = Vec::new();
    for service in &matching[shown] {
        let (model, versions) = shared.slots.one(&shared.registry, service).await?;
        let refused = shared.shadows.of(service).and_then(|(shadow, refused)| Some((shadow, refused?)));
        let mut card = card(model, &versions, evaluation.as_deref());
        if let Some((shadow, refused)) = refused {
            card.shadow = Some(ShadowCard::new(&shadow, Some(refused)));
        }
        card.thresholds = thresholds(&standing, Some(service));
        if !card.figures.is_empty() {
            card.report = reports.first().map(|name| super::reports::href(name));
        }
        models.push(card);
    }
    Ok(FleetPage {
        shell: Shell::new(&status, "models", "Models", count_open(&requests)),
        back: format!("/models{}", filter.query(pager.page)),
        in_registry: services.len(),
        fleet_thresholds: thresholds(&standing, None),
        models,
        pager,
        filter,
    })
}

/// The thresholds of a service (`None`: of those that nobody labelled) that labels moved.
fn thresholds(standing: &[Standing], service: Option<&String>) -> Vec<ThresholdLine> {
    let said = |c: &Caution| format!("{:.0} % for {} steps", 100.0 * c.min_probability, c.persistence);
    let moved = standing.iter().filter(|one| one.service.as_ref() == service && one.now != one.start);
    let line = |one: &Standing| ThresholdLine {
        kind: words::kind(one.kind, "a signal").to_lowercase(),
        start: said(&one.start),
        now: said(&one.now),
        why: format!(
            "labels: {} true ({} missed), {} false; of all services {} true, {} false",
            one.because.trues,
            one.because.missed,
            one.because.falses,
            one.because.fleet_trues,
            one.because.fleet_falses
        ),
    };
    moved.map(line).collect()
}

fn card(model: ServiceModel, versions: &[VersionInfo], evaluation: Option<&Evaluation>) -> ModelCard {
    let gate = |version: &String| evaluation?.gate(&model.service, version);
    ModelCard {
        anchor: forewarn_schema::stable_id("s", &[&model.service]),
        gate: model.candidate.as_ref().and_then(gate),
        figures: evaluation.map(|evaluation| evaluation.figures(&model.service)).unwrap_or_default(),
        report: None,
        shadow: model.shadow.as_ref().map(|shadow| ShadowCard::new(shadow, None)),
        thresholds: Vec::new(),
        serving: model.serving.unwrap_or_else(|| "rules".to_owned()),
        candidate: model.candidate,
        can_roll_back: model.current.is_some(),
        error: model.error,
        more_versions: versions.len().saturating_sub(MOST_VERSIONS),
        versions: versions.iter().take(MOST_VERSIONS).map(row).collect(),
        service: model.service,
    }
}

fn row(info: &VersionInfo) -> VersionRow {
    let (state, tone) = match info.state {
        VersionState::Current => ("Promoted", "good"),
        VersionState::Candidate => ("Candidate", "warn"),
        VersionState::Previous => ("Previous", ""),
        VersionState::RolledBack => ("Rolled back", "bad"),
        VersionState::Stored => ("Stored", ""),
    };
    let manifest = info.manifest.as_ref();
    VersionRow {
        version: info.version.to_string(),
        state,
        tone,
        data: manifest.map_or_else(String::new, |manifest| {
            let range = manifest.created_from;
            let span = words::span(range.end.seconds_since(range.start));
            format!("{span} up to {}", format_day_time(range.end))
        }),
        made_by: manifest.map_or_else(String::new, |manifest| manifest.forewarn_version.clone()),
        problem: info.problem.clone(),
    }
}

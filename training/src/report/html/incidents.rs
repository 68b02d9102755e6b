//! Breaches and requests one by one: what happened, what was said, and the picture of both.

use forewarn_plots::{Unit, format_day_time, format_utc};

use super::charts;
use crate::report::{BreachReport, PathPoint, RequestReport, ServiceReport};
use crate::words::{anchor, kind_words, outcome_words, percent, shown, span, timing_words};
use forewarn_models::settle::Outcome;

/// A breach that was missed or announced, or a false alarm.
pub(super) struct Incident {
    pub(super) service: String,
    pub(super) anchor: String,
    pub(super) what: String,
    pub(super) began: String,
    pub(super) at: String,
    pub(super) predicted: bool,
    pub(super) sudden: bool,
    pub(super) lead: String,
    pub(super) required: String,
    pub(super) error: String,
    /// What happened and what was said, in a sentence or two.
    pub(super) story: String,
    pub(super) pictures: Vec<String>,
}

pub(super) struct RequestRow<'a> {
    pub(super) at: String,
    pub(super) what: String,
    pub(super) predicted: String,
    pub(super) probability: String,
    pub(super) outcome: String,
    pub(super) model_version: &'a str,
}

/// The breaches that somebody could have announced: the missed ones, and the others.
pub(super) fn breaches(services: &[ServiceReport]) -> (Vec<Incident>, Vec<Incident>) {
    let all = services.iter().flat_map(|s| s.breaches.iter().map(move |b| (s, b))).filter(|(_, b)| !b.sudden);
    let incident = |(service, breach): (&ServiceReport, &BreachReport)| Incident {
        pictures: [charts::breach_picture(service, breach), charts::path_chart(service, breach)]
            .into_iter()
            .flatten()
            .collect(),
        ..breach_row(service, breach)
    };
    all.map(incident).partition(|incident| !incident.predicted)
}

/// One breach without its pictures.
pub(super) fn breach_row(service: &ServiceReport, breach: &BreachReport) -> Incident {
    Incident {
        service: service.service.clone(),
        anchor: anchor(&service.service),
        what: format!("{} {}", kind_words(breach.kind), shown(&breach.labels)),
        began: format_utc(breach.onset),
        at: format_utc(breach.at),
        predicted: breach.predicted,
        sudden: breach.sudden,
        lead: span(breach.lead_seconds),
        required: span(Some(breach.required_lead_seconds)),
        error: percent(Some(breach.time_to_breach_error)),
        story: breach_story(breach),
        pictures: Vec::new(),
    }
}

fn breach_story(breach: &BreachReport) -> String {
    let way = span(Some(breach.at.seconds_since(breach.onset)));
    let announced = match breach.lead_seconds {
        Some(lead) if breach.predicted => format!("announced {} before", span(Some(lead))),
        Some(lead) => {
            let (lead, needed) = (span(Some(lead)), span(Some(breach.required_lead_seconds)));
            format!("announced only {lead} before, {needed} were needed")
        }
        None => "never announced".to_owned(),
    };
    let halfway = breach.halfway.as_ref().map_or_else(String::new, said_halfway);
    format!("Limit reached at {} after {way}; {announced}.{halfway}", format_utc(breach.at))
}

fn said_halfway(said: &PathPoint) -> String {
    let left = span(Some(said.truth));
    match said.predicted {
        Some([p10, p50, p90]) => format!(
            " Half-way, {left} before, it said {} ({} to {}), probability {}.",
            span(Some(p50)),
            span(Some(p10)),
            span(Some(p90)),
            percent(Some(said.probability)),
        ),
        None => format!(
            " Half-way, {left} before, it saw no breach coming (probability {}).",
            percent(Some(said.probability))
        ),
    }
}

/// The requests that no breach followed.
pub(super) fn false_alarms(services: &[ServiceReport]) -> Vec<Incident> {
    let all = services.iter().flat_map(|s| s.requests.iter().map(move |r| (s, r)));
    let wrong = all.filter(|(_, r)| r.outcome == Outcome::FalseAlarm);
    wrong.map(|(service, request)| false_alarm(service, request)).collect()
}

fn false_alarm(service: &ServiceReport, request: &RequestReport) -> Incident {
    let due = request.predicted_breach;
    Incident {
        service: service.service.clone(),
        anchor: anchor(&service.service),
        what: format!("{} {}", kind_words(request.kind), shown(&request.labels)),
        began: String::new(),
        at: format_utc(request.at),
        predicted: false,
        sudden: false,
        lead: String::new(),
        required: String::new(),
        error: String::new(),
        story: format!(
            "At {} a breach was announced for {} ({} to {}), probability {}; none came. It said: {}",
            format_utc(request.at),
            format_utc(due.p50),
            format_utc(due.p10),
            format_utc(due.p90),
            Unit::Ratio.format(request.probability),
            request.summary,
        ),
        pictures: charts::request_picture(service, request).into_iter().collect(),
    }
}

pub(super) fn request_row(request: &RequestReport) -> RequestRow<'_> {
    RequestRow {
        at: format_utc(request.at),
        what: format!("{} {}", request.kind, shown(&request.labels)),
        predicted: format!(
            "{} ({} to {})",
            format_utc(request.predicted_breach.p50),
            format_day_time(request.predicted_breach.p10),
            format_day_time(request.predicted_breach.p90),
        ),
        probability: percent(Some(request.probability)),
        outcome: match request.timing {
            Some(timing) => format!("{}, {}", outcome_words(&request.outcome), timing_words(timing)),
            None => outcome_words(&request.outcome),
        },
        model_version: &request.model_version,
    }
}

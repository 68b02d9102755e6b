//! The report as one page that a person reads and mails: no script, nothing loaded from outside, light
//! and dark as the reader's system is. What the one on call needs comes first, what an engineer checks
//! after it. The words are in `templates/evaluation.html`.

mod charts;
mod incidents;
mod tables;

use askama::Template;
use forewarn_models::ForecastModel;
use forewarn_plots::{Unit, format_utc};
use forewarn_schema::FeedbackSubject;

use self::incidents::{Incident, RequestRow};
use self::tables::{ComparisonTable, FigureTable, ForecastRow, KindRow, Tile, TimeRow};
use super::{EvaluationReport, ModelCard, NotLearnt, ServiceReport};
use crate::changes::Change;
use crate::drift::Moved;
use crate::gate::{GateVerdict, words};
use crate::words::{NOTHING, anchor, percent, span, subject};

#[derive(Template)]
#[template(path = "evaluation.html")]
struct Page<'a> {
    style: &'static str,
    headline: &'a str,
    range: String,
    step: String,
    every: String,
    forewarn_version: &'a str,
    tiles: Vec<Tile>,
    refused: Vec<Refused<'a>>,
    passed: usize,
    missed: Vec<Incident>,
    false_alarms: Vec<Incident>,
    hits: Vec<Incident>,
    sudden: usize,
    drifted: Vec<Drifted>,
    totals: FigureTable,
    comparisons: Vec<ComparisonTable>,
    kinds: Vec<KindRow>,
    reliability: String,
    coverage: String,
    times: Vec<TimeRow>,
    services: Vec<ServiceView<'a>>,
    labels: Vec<LabelRow<'a>>,
    label_counts: String,
    label_precision: String,
    gate: String,
}

/// A candidate that may not serve.
struct Refused<'a> {
    service: &'a str,
    anchor: String,
    reason: &'a str,
}

/// A service that does not look like what its model learnt from.
struct Drifted {
    service: String,
    anchor: String,
    signals: String,
}

struct ServiceView<'a> {
    service: &'a str,
    anchor: String,
    serves: &'static str,
    card: Option<CardView<'a>>,
    current_version: &'a str,
    verdict: &'static str,
    verdict_class: &'static str,
    reason: &'a str,
    lstm: String,
    trend: String,
    naive: String,
    coverage: String,
    predicted: String,
    false_alarms: String,
    horizons: Vec<String>,
    forecast_rows: Vec<ForecastRow>,
    figures: FigureTable,
    comparisons: Vec<ComparisonTable>,
    changes: &'a [Change],
    drift: Option<String>,
    anomaly: String,
    anomaly_chart: Option<String>,
    forecast_charts: Vec<String>,
    breaches: Vec<Incident>,
    requests: Vec<RequestRow<'a>>,
}

struct CardView<'a> {
    card: &'a ModelCard,
    data: String,
    days: String,
    params: String,
    quality: String,
    not_learnt: String,
    /// The newest times of it, and how many older ones there are.
    times: Vec<String>,
    older: usize,
}

/// So many times that were not learnt from are listed.
const MOST_TIMES: usize = 20;

struct LabelRow<'a> {
    created_at: String,
    subject: String,
    verdict: &'static str,
    note: &'a str,
    source: &'static str,
}

/// The report as self-contained HTML, opening with its headline. Every text from outside is escaped; a
/// report without services gives a page that says so.
pub fn render_html(report: &EvaluationReport) -> String {
    let gate = &report.gate;
    let services = &report.services;
    let with_verdict = services.iter().filter_map(|s| Some((s, s.verdict.as_ref()?)));
    let refused = with_verdict.clone().filter(|(_, verdict)| !verdict.passes()).map(|(s, verdict)| Refused {
        service: &s.service,
        anchor: anchor(&s.service),
        reason: verdict.reason(),
    });
    let refused: Vec<Refused<'_>> = refused.collect();
    let (missed, hits) = incidents::breaches(services);
    let page = Page {
        style: forewarn_plots::STYLE,
        headline: &report.headline,
        range: format!("{} to {}", format_utc(report.range.start), format_utc(report.range.end)),
        step: report.step.to_string(),
        every: Unit::Seconds.format(report.every_seconds),
        forewarn_version: &report.forewarn_version,
        tiles: tables::tiles(report),
        passed: with_verdict.count() - refused.len(),
        refused,
        missed,
        false_alarms: incidents::false_alarms(services),
        hits,
        sudden: services.iter().flat_map(|s| &s.breaches).filter(|b| b.sudden).count(),
        drifted: services.iter().filter_map(drifted).collect(),
        totals: tables::figures(&report.candidate, &report.current, &report.rules),
        comparisons: tables::comparisons(report.beside_current.as_ref(), Some(&report.beside_rules)),
        kinds: report.kinds.iter().map(tables::kind_row).collect(),
        reliability: charts::reliability_chart(&report.calibration),
        coverage: charts::coverage_chart(&report.calibration),
        times: report.calibration.time_to_breach.iter().map(tables::time_row).collect(),
        services: services.iter().map(service_view).collect(),
        labels: label_rows(report),
        label_counts: counts_of_labels(report),
        label_precision: percent(report.feedback.precision),
        gate: format!(
            "A candidate is refused where it announces fewer breaches than the current model or the rules, or has a larger time \
             error, intervals further from their 80 %, or a higher Brier score, each beyond the 90 % interval of the difference \
             between the two on the same incidents; where an LSTM that it serves has over {:.0} % more pinball loss than the best \
             baseline, beyond the same interval; and, without any benefit of the doubt, where it raises more false alarms, unless \
             it announces {} more incidents for each.",
            gate.forecast_tolerance * 100.0,
            gate.incidents_per_false_alarm,
        ),
    };
    // Rendering writes to a string, so it fails only where `Display` of a field does, and none does.
    page.render().unwrap_or_else(|error| format!("<!doctype html><p>the report cannot be shown: {error}</p>"))
}

fn drifted(report: &ServiceReport) -> Option<Drifted> {
    let moved = report.drift.iter().filter(|d| d.moved == Moved::Much);
    let signals: Vec<String> = moved.map(|d| format!("{} {}", d.signal, crate::drift::words(d))).collect();
    let service = report.service.clone();
    (!signals.is_empty()).then(|| Drifted { anchor: anchor(&service), service, signals: signals.join(", ") })
}

fn service_view(report: &ServiceReport) -> ServiceView<'_> {
    let loss = |model| {
        let score = report.forecast.as_ref().and_then(|f| f.score(model));
        score.map_or_else(|| NOTHING.to_owned(), |s| format!("{:.3}", s.pinball_loss))
    };
    let serves = report.candidate.as_ref().map(|c| c.serves);
    let served = report.forecast.as_ref().zip(serves).and_then(|(f, model)| f.score(model));
    let (verdict, verdict_class) = match &report.verdict {
        Some(GateVerdict::Pass { .. }) => ("pass", "good"),
        Some(GateVerdict::Refuse { .. }) => ("refused", "bad"),
        None => ("no candidate", "soft"),
    };
    let alarms = &report.candidate_alarms;
    let three = [alarms, &report.current_alarms, &report.rules_alarms].map(|a| a.false_alarms.to_string());
    ServiceView {
        service: &report.service,
        anchor: anchor(&report.service),
        serves: serves.map_or(NOTHING, words),
        card: report.candidate.as_ref().map(card_view),
        current_version: &report.current_version,
        verdict,
        verdict_class,
        reason: report.verdict.as_ref().map_or("Measured with what serves it now.", |v| v.reason()),
        lstm: loss(ForecastModel::Lstm),
        trend: loss(ForecastModel::Trend),
        naive: loss(ForecastModel::SeasonalNaive),
        coverage: percent(served.and_then(|s| s.interval_coverage)),
        predicted: format!("{} of {}", alarms.predicted, alarms.breaches),
        false_alarms: three.join(" / "),
        horizons: report.forecast.iter().flat_map(|f| &f.horizons_seconds).map(|s| Unit::Seconds.format(*s)).collect(),
        forecast_rows: report.forecast.as_ref().map(tables::forecast_rows).unwrap_or_default(),
        figures: tables::figures(alarms, &report.current_alarms, &report.rules_alarms),
        comparisons: tables::comparisons(
            report.beside_current.as_ref(),
            Some(&report.beside_rules).filter(|beside| beside.breaches > 0 || beside.brier_score.is_some()),
        ),
        changes: &report.changes,
        drift: charts::drift_chart(&report.service, &report.drift),
        anomaly: report.anomaly.as_ref().map_or_else(String::new, |a| {
            let above = percent(Some(a.share_above_0_999));
            format!(
                "Median {:.3}, 99th percentile {:.3}, highest {:.4}; {above} of origins at 0.999 or above.",
                a.median, a.p99, a.max
            )
        }),
        anomaly_chart: charts::anomaly_chart(report),
        forecast_charts: report.forecast_charts.iter().map(|c| charts::forecast_chart(&report.service, c)).collect(),
        breaches: report.breaches.iter().map(|b| incidents::breach_row(report, b)).collect(),
        requests: report.requests.iter().map(incidents::request_row).collect(),
    }
}

fn card_view(card: &ModelCard) -> CardView<'_> {
    let pretty = |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap_or_default();
    let (times, older) = card.not_learnt.as_ref().map(|n| n.newest(MOST_TIMES)).unwrap_or_default();
    CardView {
        card,
        data: format!("{} to {}", format_utc(card.data.start), format_utc(card.data.end)),
        days: span(Some(card.data.duration().as_secs_f64())),
        params: pretty(&card.params),
        quality: card.quality.as_ref().map_or_else(|| NOTHING.to_owned(), pretty),
        not_learnt: card
            .not_learnt
            .as_ref()
            .map_or_else(|| "Its manifest does not say what was left out of its normal.".to_owned(), NotLearnt::words),
        times,
        older,
    }
}

fn label_rows(report: &EvaluationReport) -> Vec<LabelRow<'_>> {
    let rows = report.feedback.labels.iter().map(|label| {
        let about = label.service.as_ref().zip(label.kind).map(|(service, kind)| format!("{kind} of {service}"));
        let at = label.at.map(|at| format!(" at {}", format_utc(at))).unwrap_or_default();
        let shown = match (&label.subject, about) {
            (FeedbackSubject::Prediction { prediction_id: id }, Some(about))
            | (FeedbackSubject::Request { request_id: id }, Some(about)) => format!("{about}{at} ({id})"),
            _ => subject(&label.subject),
        };
        LabelRow {
            created_at: format_utc(label.created_at),
            subject: shown,
            verdict: label.verdict.as_str(),
            note: label.note.as_deref().unwrap_or_default(),
            source: label.source.as_str(),
        }
    });
    rows.collect()
}

fn counts_of_labels(report: &EvaluationReport) -> String {
    let counts = report.feedback.counts.iter().map(|(verdict, n)| format!("{n} {verdict}"));
    counts.collect::<Vec<_>>().join(", ")
}

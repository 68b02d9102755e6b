//! The report as one page that a person reads and mails: no script, nothing loaded from outside, light
//! and dark as the reader's system is. The words are in `templates/evaluation.html`.

use askama::Template;
use forewarn_models::ForecastModel;
use forewarn_plots::{FanPoint, Limit, Line, Marker, MarkerKind, Size, TimeChart, Unit, format_utc, time_chart};
use forewarn_schema::{BreachKind, FeedbackSubject, LabelSet, Sample};

use super::{AlarmQuality, BreachReport, EvaluationReport, ForecastChart, ForecastQuality, ModelCard, ServiceReport};
use crate::gate::{GateVerdict, words};
use crate::settle::Outcome;

/// Of the charts, pixels.
const CHART: Size = Size { width: 720, height: 240 };
const NOTHING: &str = "–";
/// A time to breach that is this many times the longest true one leaves the chart: the rest would be flat.
const LONGEST_SHOWN: f64 = 3.0;

#[derive(Template)]
#[template(path = "evaluation.html")]
struct Page<'a> {
    style: &'static str,
    headline: &'a str,
    range: String,
    step: String,
    every: String,
    forewarn_version: &'a str,
    totals: Vec<AlarmRow>,
    by_kind: Vec<KindRow>,
    services: Vec<ServiceView<'a>>,
    labels: Vec<LabelRow<'a>>,
    label_counts: String,
    label_precision: String,
    gate: String,
}

struct AlarmRow {
    name: &'static str,
    quality: AlarmView,
}

struct AlarmView {
    breaches: String,
    sudden: u64,
    recall: String,
    requests: u64,
    false_alarms: u64,
    per_week: String,
    neutral: u64,
    unsettled: u64,
    lead: String,
    error: String,
    coverage: String,
    brier: String,
    average_precision: String,
}

struct KindRow {
    kind: BreachKind,
    breaches: usize,
    predicted: usize,
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
    alarms: Vec<AlarmRow>,
    anomaly: String,
    anomaly_chart: Option<String>,
    forecast_charts: Vec<String>,
    breaches: Vec<BreachRow>,
    requests: Vec<RequestRow<'a>>,
}

struct CardView<'a> {
    card: &'a ModelCard,
    data: String,
    params: String,
    quality: String,
}

struct ForecastRow {
    model: &'static str,
    loss: String,
    coverage: String,
    by_horizon: Vec<String>,
}

struct BreachRow {
    what: String,
    onset: String,
    at: String,
    predicted: bool,
    sudden: bool,
    lead: String,
    required: String,
    error: String,
    chart: Option<String>,
}

struct RequestRow<'a> {
    at: String,
    what: String,
    predicted: String,
    outcome: String,
    model_version: &'a str,
}

struct LabelRow<'a> {
    created_at: String,
    subject: String,
    verdict: &'static str,
    note: &'a str,
    source: &'static str,
}

/// The report as self-contained HTML. The first line says whether the models beat the baselines. Every
/// text from outside is escaped; a report without services gives a page that says so.
pub fn render_html(report: &EvaluationReport) -> String {
    let gate = &report.gate;
    let page = Page {
        style: forewarn_plots::STYLE,
        headline: &report.headline,
        range: format!("{} to {}", format_utc(report.range.start), format_utc(report.range.end)),
        step: report.step.to_string(),
        every: Unit::Seconds.format(report.every_seconds),
        forewarn_version: &report.forewarn_version,
        totals: alarm_rows(&report.candidate, &report.current, &report.rules),
        by_kind: by_kind(&report.services),
        services: report.services.iter().map(service_view).collect(),
        labels: label_rows(report),
        label_counts: counts_of_labels(report),
        label_precision: percent(report.feedback.precision),
        gate: format!(
            "A candidate passes where its LSTM, if it serves one, has at most {:.0} % more pinball loss than the best \
             baseline, where its recall is at most {:.0} points under that of the current model and of the rules, and where \
             it raises at most {} false alarms more than each of them.",
            gate.forecast_tolerance * 100.0,
            gate.recall_tolerance * 100.0,
            gate.extra_false_alarms,
        ),
    };
    // Rendering writes to a string, so it fails only where `Display` of a field does, and none does.
    page.render().unwrap_or_else(|error| format!("<!doctype html><p>the report cannot be shown: {error}</p>"))
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
        forecast_rows: report.forecast.as_ref().map(forecast_rows).unwrap_or_default(),
        alarms: alarm_rows(alarms, &report.current_alarms, &report.rules_alarms),
        anomaly: report.anomaly.as_ref().map_or_else(String::new, |a| {
            let above = percent(Some(a.share_above_0_999));
            format!(
                "Median {:.3}, 99th percentile {:.3}, highest {:.4}; {above} of origins at 0.999 or above.",
                a.median, a.p99, a.max
            )
        }),
        anomaly_chart: anomaly_chart(report),
        forecast_charts: report.forecast_charts.iter().map(|c| forecast_chart(&report.service, c)).collect(),
        breaches: report.breaches.iter().map(|b| breach_row(report, b)).collect(),
        requests: report
            .requests
            .iter()
            .map(|r| RequestRow {
                at: format_utc(r.at),
                what: format!("{} {}", r.kind, shown(&r.labels)),
                predicted: format_utc(r.predicted_breach),
                outcome: outcome_words(&r.outcome),
                model_version: &r.model_version,
            })
            .collect(),
    }
}

fn card_view(card: &ModelCard) -> CardView<'_> {
    let pretty = |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap_or_default();
    CardView {
        card,
        data: format!("{} to {}", format_utc(card.data.start), format_utc(card.data.end)),
        params: pretty(&card.params),
        quality: card.quality.as_ref().map_or_else(|| NOTHING.to_owned(), pretty),
    }
}

fn forecast_rows(forecast: &ForecastQuality) -> Vec<ForecastRow> {
    let row = |score: &super::ForecastScore| ForecastRow {
        model: words(score.model),
        loss: format!("{:.3}", score.pinball_loss),
        coverage: percent(score.interval_coverage),
        by_horizon: score.by_horizon.iter().map(|loss| format!("{loss:.3}")).collect(),
    };
    forecast.scores.iter().map(row).collect()
}

fn alarm_rows(candidate: &AlarmQuality, current: &AlarmQuality, rules: &AlarmQuality) -> Vec<AlarmRow> {
    [("candidate", candidate), ("current", current), ("rules", rules)]
        .map(|(name, quality)| AlarmRow { name, quality: alarm_view(quality) })
        .into()
}

fn alarm_view(quality: &AlarmQuality) -> AlarmView {
    let number = |value: Option<f64>| value.map_or_else(|| NOTHING.to_owned(), |v| format!("{v:.3}"));
    AlarmView {
        breaches: format!("{} of {}", quality.predicted, quality.breaches),
        sudden: quality.sudden,
        recall: percent(quality.recall),
        requests: quality.requests,
        false_alarms: quality.false_alarms,
        per_week: format!("{:.1}", quality.false_alarms_per_week),
        neutral: quality.neutral,
        unsettled: quality.unsettled,
        lead: span(quality.median_lead_seconds),
        error: percent(quality.median_time_to_breach_error),
        coverage: percent(quality.interval_coverage),
        brier: number(quality.brier_score),
        average_precision: number(quality.average_precision),
    }
}

fn by_kind(services: &[ServiceReport]) -> Vec<KindRow> {
    let of = |kind| services.iter().flat_map(|s| &s.breaches).filter(move |b| b.kind == kind && !b.sudden);
    let row = |kind| KindRow { kind, breaches: of(kind).count(), predicted: of(kind).filter(|b| b.predicted).count() };
    BreachKind::ALL.into_iter().map(row).filter(|row| row.breaches > 0).collect()
}

fn breach_row(report: &ServiceReport, breach: &BreachReport) -> BreachRow {
    BreachRow {
        what: format!("{} {}", breach.kind, shown(&breach.labels)),
        onset: format_utc(breach.onset),
        at: format_utc(breach.at),
        predicted: breach.predicted,
        sudden: breach.sudden,
        lead: span(breach.lead_seconds),
        required: span(Some(breach.required_lead_seconds)),
        error: percent(Some(breach.time_to_breach_error)),
        chart: time_to_breach_chart(report, breach),
    }
}

fn time_to_breach_chart(report: &ServiceReport, breach: &BreachReport) -> Option<String> {
    let longest = breach.path.iter().map(|p| p.truth).fold(0.0, f64::max);
    if breach.path.len() < 2 {
        return None;
    }
    let requests =
        report.requests.iter().filter(|r| r.kind == breach.kind && crate::settle::agree(&r.labels, &breach.labels));
    let first = breach.path[0].at;
    let markers = requests.filter(|r| first <= r.at && r.at <= breach.at).map(|r| Marker {
        at: r.at,
        kind: MarkerKind::Request,
        text: "request".to_owned(),
    });
    let fan = |p: &super::PathPoint| {
        let [p10, p50, p90] = p.predicted.unwrap_or([f64::NAN; 3]).map(|v| v.min(longest * LONGEST_SHOWN));
        FanPoint { at: p.at, p10, p50, p90 }
    };
    let title = format!("Time to breach of {}, {} {}", report.service, breach.kind, shown(&breach.labels));
    Some(time_chart(&TimeChart {
        description: "What was predicted on the way to the breach, beside how long it really took.".to_owned(),
        title,
        show_title: true,
        unit: Unit::Seconds,
        size: CHART,
        lines: vec![Line {
            name: "truth".to_owned(),
            samples: breach.path.iter().map(|p| Sample { at: p.at, value: p.truth }).collect(),
        }],
        fan: breach.path.iter().map(fan).collect(),
        markers: markers.collect(),
        ..TimeChart::default()
    }))
}

fn forecast_chart(service: &str, chart: &ForecastChart) -> String {
    let ahead = Unit::Seconds.format(chart.horizon_seconds);
    let title = format!(
        "{} of {service} {}, forecast {ahead} ahead ({})",
        chart.signal,
        shown(&chart.labels),
        words(chart.model)
    );
    time_chart(&TimeChart {
        title,
        description: format!("What came, and what had been forecast for that time {ahead} earlier."),
        show_title: true,
        unit: unit_of(chart.kind),
        size: CHART,
        lines: vec![Line {
            name: "came".to_owned(),
            samples: chart.points.iter().map(|p| Sample { at: p.at, value: p.truth }).collect(),
        }],
        fan: chart
            .points
            .iter()
            .map(|p| FanPoint { at: p.at, p10: p.forecast[0], p50: p.forecast[1], p90: p.forecast[2] })
            .collect(),
        limit: chart.limit.map(|value| Limit { value, name: "limit".to_owned() }),
        ..TimeChart::default()
    })
}

fn anomaly_chart(report: &ServiceReport) -> Option<String> {
    if report.anomaly_scores.len() < 2 {
        return None;
    }
    let breaches = report.breaches.iter().map(|b| Marker {
        at: b.at,
        kind: MarkerKind::Breach,
        text: format!("{} {}", b.kind, shown(&b.labels)),
    });
    let requests = report.requests.iter().map(|r| Marker {
        at: r.at,
        kind: MarkerKind::Request,
        text: format!("{} {}", r.kind, shown(&r.labels)),
    });
    Some(time_chart(&TimeChart {
        title: format!("Anomaly score of {}", report.service),
        description: "The highest calibrated score of each stretch of time, with requests and breaches.".to_owned(),
        show_title: true,
        size: CHART,
        lines: vec![Line {
            name: "score".to_owned(),
            samples: report.anomaly_scores.iter().map(|p| Sample { at: p.at, value: p.score }).collect(),
        }],
        markers: breaches.chain(requests).collect(),
        ..TimeChart::default()
    }))
}

fn label_rows(report: &EvaluationReport) -> Vec<LabelRow<'_>> {
    let rows = report.feedback.labels.iter().map(|label| {
        let about = label.service.as_ref().zip(label.kind).map(|(service, kind)| format!("{kind} of {service}"));
        let at = label.at.map(|at| format!(" at {}", format_utc(at))).unwrap_or_default();
        let subject = match (&label.subject, about) {
            (FeedbackSubject::Prediction { prediction_id }, Some(about)) => format!("{about}{at} ({prediction_id})"),
            (FeedbackSubject::Prediction { prediction_id }, None) => prediction_id.clone(),
            (FeedbackSubject::Breach { .. }, about) => format!("breach: {}{at}", about.unwrap_or_default()),
        };
        LabelRow {
            created_at: format_utc(label.created_at),
            subject,
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

fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Breached { at } => format!("breach came at {}", format_utc(*at)),
        Outcome::InBreach => "said during a breach".to_owned(),
        Outcome::Averted => "target ended or was reset first".to_owned(),
        Outcome::Unsettled => "the data end too early to tell".to_owned(),
        Outcome::FalseAlarm => "false alarm".to_owned(),
    }
}

fn unit_of(kind: BreachKind) -> Unit {
    match kind {
        BreachKind::Oom | BreachKind::DiskFull => Unit::Bytes,
        BreachKind::CertificateExpiry => Unit::Seconds,
        BreachKind::ErrorRate => Unit::Ratio,
        BreachKind::PoolExhaustion | BreachKind::Custom => Unit::Count,
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| NOTHING.to_owned(), |share| Unit::Ratio.format(share))
}

fn span(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| NOTHING.to_owned(), |seconds| Unit::Seconds.format(seconds))
}

fn shown(labels: &LabelSet) -> String {
    if labels.is_empty() { String::new() } else { labels.to_string() }
}

/// A fragment of a URL: letters, digits and dashes, others as their code, so that no two services share one.
fn anchor(service: &str) -> String {
    let mut anchor = String::from("service-");
    for c in service.chars() {
        if c.is_ascii_alphanumeric() || c == '-' {
            anchor.push(c);
        } else {
            anchor.push_str(&format!("_{:x}", u32::from(c)));
        }
    }
    anchor
}

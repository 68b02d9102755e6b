//! The week as one page that a person reads and mails: no script, nothing loaded from outside. The words are in
//! `templates/week.html`.

use std::collections::BTreeMap;

use askama::Template;
use forewarn_plots::{
    BarChart, BarGroup, BreachInterval, Limit, Line, Marker, MarkerKind, Size, TimeChart, Unit, bar_chart, format_utc,
    time_chart,
};
use forewarn_schema::{Became, FeedbackSubject, TimeRange, Verdict};

use super::{Announced, Decided, Missed, PlaybookRecord, WeeklyReport, markdown};
use crate::drift::Moved;
use crate::report::{Picture, Timing};
use crate::words::{NOTHING, kind_words, percent, shown, span, timing_words, unit_of};

const CHART: Size = Size { width: 720, height: 240 };

#[derive(Template)]
#[template(path = "week.html")]
struct Page<'a> {
    style: &'static str,
    report: &'a WeeklyReport,
    range: String,
    figures: Vec<(&'static str, String, String)>,
    tiles: Vec<Tile>,
    missed: Vec<Incident>,
    false_alarms: Vec<Incident>,
    saved: Vec<Row>,
    announced: Vec<Row>,
    decided: Vec<DecidedTable>,
    refused: Vec<(&'a str, &'a str)>,
    passed: Vec<(&'a str, &'a str)>,
    drift: Vec<[String; 3]>,
    patterns: Vec<PatternView>,
    playbooks: Vec<PlaybookRow<'a>>,
    held: Vec<[String; 3]>,
    labels: Vec<LabelRow>,
    label_counts: String,
    spent: Vec<[String; 3]>,
    spent_chart: String,
}

struct Tile {
    name: &'static str,
    value: String,
    beside: String,
}

/// A miss or a false alarm.
struct Incident {
    what: String,
    story: String,
    picture: String,
}

struct Row {
    at: String,
    what: String,
    predicted: String,
    probability: String,
    became: String,
    status: String,
}

struct DecidedTable {
    title: &'static str,
    none: &'static str,
    rows: Vec<[String; 4]>,
}

struct PatternView {
    title: String,
    signals: String,
    episodes: Vec<String>,
}

struct PlaybookRow<'a> {
    record: &'a PlaybookRecord,
    rate: String,
    by_status: String,
}

struct LabelRow {
    at: String,
    subject: String,
    verdict: &'static str,
    who: String,
    note: String,
}

/// The page; an empty week gives a page that says so.
pub fn render_week_html(report: &WeeklyReport) -> String {
    let wrong = report.announced.iter().filter(|a| a.verdict == Some(Verdict::FalsePositive));
    let judged = |passed| report.models.iter().filter(move |m| m.passed == passed);
    let figures = markdown::rows(&report.figures, &report.before);
    let page = Page {
        style: forewarn_plots::STYLE,
        range: format!("{} to {}", format_utc(report.range.start), format_utc(report.range.end)),
        tiles: [0, 1, 4, 5, 7].map(|i| &figures[i]).into_iter().map(tile).collect(),
        figures,
        missed: report.missed.iter().map(missed_incident).collect(),
        false_alarms: wrong.map(false_alarm).collect(),
        saved: report.announced.iter().filter(|a| a.saved).map(row).collect(),
        announced: report.announced.iter().map(row).collect(),
        decided: vec![
            table("Thresholds that moved", "None moved.", &report.thresholds),
            table("How far playbooks may act", "Nothing changed.", &report.autonomy),
            table("Models that came to serve, or went", "None did.", &report.promotions),
        ],
        refused: judged(false).map(|m| (m.service.as_str(), m.reason.as_str())).collect(),
        passed: judged(true).map(|m| (m.service.as_str(), m.reason.as_str())).collect(),
        drift: report.drift.iter().map(drift_row).collect(),
        patterns: report.patterns.iter().map(pattern_view).collect(),
        playbooks: report.playbooks.iter().map(playbook_row).collect(),
        held: report.held.iter().map(held_row).collect(),
        labels: label_rows(report),
        label_counts: label_counts(report),
        spent: spent_rows(report),
        spent_chart: spent_chart(report),
        report,
    };
    // Writing into a string cannot fail, and the template holds no filter of ours that could.
    page.render().unwrap_or_default()
}

fn tile((name, now, before): &(&'static str, String, String)) -> Tile {
    Tile { name, value: now.clone(), beside: format!("{before} the week before") }
}

fn missed_incident(missed: &Missed) -> Incident {
    let what = format!("{}, {} {}", missed.service, kind_words(missed.kind), shown(&missed.labels));
    let markers = vec![Marker { at: missed.at, kind: MarkerKind::Breach, text: "limit reached".to_owned() }];
    Incident {
        story: format!("Limit reached at {}. {}.", format_utc(missed.at), sentence(&missed.cause)),
        picture: missed
            .picture
            .as_ref()
            .map_or_else(String::new, |picture| chart(what.clone(), unit_of(missed.kind), picture, markers, None)),
        what,
    }
}

fn false_alarm(alarm: &Announced) -> Incident {
    let what = format!("{}, {} {}", alarm.service, kind_words(alarm.kind), shown(&alarm.labels));
    let markers = vec![Marker { at: alarm.at, kind: MarkerKind::Request, text: alarm.summary.clone() }];
    let due = alarm.predicted_breach;
    let interval = BreachInterval { p10: due.p10, p50: due.p50, p90: due.p90 };
    Incident {
        story: format!(
            "At {} a breach was announced for {} ({} to {}), probability {}; {}. It said: {}",
            format_utc(alarm.at),
            format_utc(due.p50),
            format_utc(due.p10),
            format_utc(due.p90),
            percent(Some(alarm.probability)),
            alarm.cause.as_deref().unwrap_or("none came"),
            alarm.summary,
        ),
        picture: alarm.picture.as_ref().map_or_else(String::new, |picture| {
            chart(what.clone(), unit_of(alarm.kind), picture, markers, Some(interval))
        }),
        what,
    }
}

fn chart(title: String, unit: Unit, picture: &Picture, markers: Vec<Marker>, breach: Option<BreachInterval>) -> String {
    let range = picture.points.first().zip(picture.points.last());
    time_chart(&TimeChart {
        title,
        description: "What the target did, and its limit.".to_owned(),
        show_title: true,
        unit,
        size: CHART,
        lines: vec![Line { name: "seen".to_owned(), samples: picture.points.clone() }],
        limit: picture.limit.map(|value| Limit { value, name: "limit".to_owned() }),
        breach,
        markers,
        range: range.map(|(first, last)| TimeRange { start: first.at, end: last.at }),
        ..TimeChart::default()
    })
}

fn row(announced: &Announced) -> Row {
    Row {
        at: format_utc(announced.at),
        what: format!("{}, {} {}", announced.service, kind_words(announced.kind), shown(&announced.labels)),
        predicted: format_utc(announced.predicted_breach.p50),
        probability: percent(Some(announced.probability)),
        became: became_words(announced),
        status: announced.status.as_str().replace('_', " "),
    }
}

fn became_words(announced: &Announced) -> String {
    let by_data = match &announced.became {
        Some(Became::Breached { at }) => {
            let timing = Timing::of(announced.kind, announced.at, &announced.predicted_breach, *at);
            let later = span(announced.lead_seconds);
            format!("breach came at {}, {later} later, {}", format_utc(*at), timing_words(timing))
        }
        Some(Became::InBreach) => "said during a breach".to_owned(),
        Some(Became::Averted { would_have: Some(true), .. }) => {
            "the target changed first; it would have come".to_owned()
        }
        Some(Became::Averted { would_have: Some(false), .. }) => "the target changed first; none was coming".to_owned(),
        Some(Became::Averted { .. }) => "the target changed first".to_owned(),
        Some(Became::FalseAlarm) => "no breach came".to_owned(),
        Some(Became::Unsettled) => "too little was seen to tell".to_owned(),
        Some(Became::Missed { at }) => format!("missed at {}", format_utc(*at)),
        None => "not known yet".to_owned(),
    };
    match (announced.judge, announced.verdict) {
        (Some(forewarn_schema::Judge::Label), Some(verdict)) => {
            format!("{by_data}; a label says {}", verdict.as_str().replace('_', " "))
        }
        _ => by_data,
    }
}

fn table(title: &'static str, none: &'static str, decided: &[Decided]) -> DecidedTable {
    let row = |d: &Decided| [format_utc(d.at), d.object.clone(), d.detail.clone(), format!("{} ({})", d.action, d.who)];
    DecidedTable { title, none, rows: decided.iter().map(row).collect() }
}

fn drift_row(drifted: &super::Drifted) -> [String; 3] {
    let moved = match drifted.moved {
        Moved::Steady => "not at all",
        Moved::Somewhat => "somewhat",
        Moved::Much => "much",
    };
    let shift = drifted.shift.map_or_else(|| NOTHING.to_owned(), |shift| format!("{shift:+.1} spreads"));
    [format!("{}, {}", drifted.service, drifted.signal), moved.to_owned(), shift]
}

fn pattern_view(pattern: &super::Pattern) -> PatternView {
    let side = |weight: f64| if weight < 0.0 { "lower than expected" } else { "higher than expected" };
    let signals = pattern.signals.iter().filter(|(_, w)| w.abs() >= 0.05).take(4);
    let signals = signals.map(|(name, weight)| format!("{name} {} ({})", side(*weight), percent(Some(weight.abs()))));
    let (times, services) = (pattern.episodes.len(), pattern.services.join(", "));
    let lasting = |e: &super::PatternEpisode| {
        let lasted = span(Some(e.range.duration().as_secs_f64()));
        format!("{} on {}, for {lasted}, score up to {:.4}", format_utc(e.range.start), e.service, e.peak)
    };
    PatternView {
        title: if times == 1 { format!("Once, on {services}") } else { format!("{times} times, on {services}") },
        signals: signals.collect::<Vec<_>>().join("; "),
        episodes: pattern.episodes.iter().map(lasting).collect(),
    }
}

fn playbook_row(record: &PlaybookRecord) -> PlaybookRow<'_> {
    let by_status = record.by_status.iter().map(|(status, n)| format!("{n} {}", status.replace('_', " ")));
    PlaybookRow { record, rate: percent(record.success_rate), by_status: by_status.collect::<Vec<_>>().join(", ") }
}

fn held_row(held: &super::HeldBack) -> [String; 3] {
    let services = held.services.iter().map(|(service, n)| format!("{service} ({n})"));
    [held.count.to_string(), markdown::held_words(held.by).to_owned(), services.collect::<Vec<_>>().join(", ")]
}

fn label_rows(report: &WeeklyReport) -> Vec<LabelRow> {
    let rows = report.labels.labels.iter().map(|label| LabelRow {
        at: format_utc(label.created_at),
        subject: label_subject(report, &label.subject),
        verdict: label.verdict.as_str(),
        who: match label.who.is_empty() {
            true => label.source.as_str().to_owned(),
            false => format!("{} ({})", label.who, label.source.as_str()),
        },
        note: label.note.clone().unwrap_or_default(),
    });
    rows.collect()
}

/// Of a request that the week tells of, what that was about; of others what the label itself says.
fn label_subject(report: &WeeklyReport, subject: &FeedbackSubject) -> String {
    let about = report.announced.iter().find(|a| match subject {
        FeedbackSubject::Prediction { prediction_id } => *prediction_id == a.prediction_id,
        FeedbackSubject::Request { request_id } => *request_id == a.id,
        FeedbackSubject::Breach { .. } | FeedbackSubject::Span { .. } => false,
    });
    about.map_or_else(
        || crate::words::subject(subject),
        |a| format!("{}, {}, asked {}", a.service, kind_words(a.kind), format_utc(a.at)),
    )
}

fn label_counts(report: &WeeklyReport) -> String {
    let labels = &report.labels;
    let counts = labels.by_verdict.iter().map(|(verdict, n)| format!("{n} {}", verdict.replace('_', " ")));
    let mut text = counts.collect::<Vec<_>>().join(", ");
    if labels.taken_back > 0 {
        text.push_str(&format!("; {} taken back", labels.taken_back));
    }
    text
}

fn spent_rows(report: &WeeklyReport) -> Vec<[String; 3]> {
    let spent = &report.spent;
    let clock = |step: &String| span(spent.clock_seconds.get(step).copied());
    let rows = in_order(&spent.cpu_seconds).map(|(step, cpu)| [step.clone(), span(Some(cpu)), clock(step)]);
    rows.collect()
}

fn spent_chart(report: &WeeklyReport) -> String {
    let groups = in_order(&report.spent.cpu_seconds);
    let groups: Vec<BarGroup> = groups.map(|(step, cpu)| BarGroup { name: step.clone(), values: vec![cpu] }).collect();
    if groups.is_empty() {
        return String::new();
    }
    bar_chart(&BarChart {
        title: "Processor time by step".to_owned(),
        description: "What each step of the pipeline took of the processor.".to_owned(),
        unit: Unit::Seconds,
        series: vec!["processor time".to_owned()],
        groups,
        ..BarChart::default()
    })
}

/// Steps in the order in which a run takes them; others after them, by name.
fn in_order(steps: &BTreeMap<String, f64>) -> impl Iterator<Item = (&String, f64)> {
    const ORDER: [&str; 5] = ["pull", "train", "evaluate", "promote", "report"];
    let place = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
    let mut all: Vec<(&String, f64)> = steps.iter().map(|(name, value)| (name, *value)).collect();
    all.sort_by_key(|(name, _)| place(name));
    all.into_iter()
}

/// With a capital letter and without a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

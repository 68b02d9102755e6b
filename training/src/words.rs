//! Figures, labels and outcomes as a reader's words, for every page that is written here.

use forewarn_plots::{Unit, format_utc};
use forewarn_schema::{BreachKind, FeedbackSubject, LabelSet};

use crate::intervals::Interval;
use crate::report::Timing;
use forewarn_models::settle::Outcome;

pub(crate) const NOTHING: &str = "–";

pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| NOTHING.to_owned(), |share| Unit::Ratio.format(share))
}

pub(crate) fn span(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| NOTHING.to_owned(), |seconds| Unit::Seconds.format(seconds))
}

pub(crate) fn number(value: Option<f64>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |v| format!("{v:.3}"))
}

/// `96 % (84 % to 99 %)`.
pub(crate) fn with_interval(value: Option<f64>, interval: Option<Interval>, show: fn(Option<f64>) -> String) -> String {
    match (value, interval) {
        (Some(_), Some(i)) => format!("{} ({} to {})", show(value), show(Some(i.low)), show(Some(i.high))),
        _ => show(value),
    }
}

pub(crate) fn shown(labels: &LabelSet) -> String {
    if labels.is_empty() { String::new() } else { labels.to_string() }
}

pub(crate) fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Breached { at } => format!("breach came at {}", format_utc(*at)),
        Outcome::InBreach => "said during a breach".to_owned(),
        Outcome::Averted => "target ended or was reset first".to_owned(),
        Outcome::Unsettled => "the data end too early to tell".to_owned(),
        Outcome::FalseAlarm => "false alarm".to_owned(),
    }
}

/// Where the breach came, beside what was said.
pub(crate) fn timing_words(timing: Timing) -> &'static str {
    match timing {
        Timing::Early => "earlier than its interval",
        Timing::Within => "within its interval",
        Timing::Late => "late: when the request had expired",
    }
}

pub(crate) fn unit_of(kind: BreachKind) -> Unit {
    match kind {
        BreachKind::Oom | BreachKind::DiskFull => Unit::Bytes,
        BreachKind::CertificateExpiry => Unit::Seconds,
        BreachKind::ErrorRate => Unit::Ratio,
        BreachKind::PoolExhaustion | BreachKind::Custom => Unit::Count,
    }
}

/// A kind as a person says it.
pub(crate) fn kind_words(kind: BreachKind) -> &'static str {
    match kind {
        BreachKind::Oom => "out of memory",
        BreachKind::PoolExhaustion => "pool exhausted",
        BreachKind::ErrorRate => "error rate",
        BreachKind::DiskFull => "disk full",
        BreachKind::CertificateExpiry => "certificate expired",
        BreachKind::Custom => "limit reached",
    }
}

/// What a label is of.
pub(crate) fn subject(subject: &FeedbackSubject) -> String {
    match subject {
        FeedbackSubject::Prediction { prediction_id } => prediction_id.clone(),
        FeedbackSubject::Request { request_id } => request_id.clone(),
        FeedbackSubject::Breach { service, kind, at } => format!("breach: {kind} of {service} at {}", format_utc(*at)),
        FeedbackSubject::Span { service, kind, range } => {
            let kind = kind.map_or("everything", BreachKind::as_str);
            format!("{kind} of {service} from {} to {}", format_utc(range.start), format_utc(range.end))
        }
    }
}

/// A fragment of a URL: letters, digits and dashes, others as their code, so that no two services share one.
pub(crate) fn anchor(service: &str) -> String {
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

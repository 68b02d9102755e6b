//! How the page says things: kinds, targets, spans, units. Texts only; nothing here is HTML.

use forewarn_features::{SignalLimit, SignalSet};
use forewarn_models::guardrails::HeldBy;
use forewarn_models::verification::Finding;
use forewarn_plots::{Unit, format_day_time, format_utc};
use forewarn_schema::{
    BreachKind, Direction, LabelSet, Mode, RequestStatus, SignalKind, TimeToBreach, Timestamp, Verdict,
};

/// What a breach of this kind is, as a heading.
pub(super) fn kind(kind: BreachKind, signal: &str) -> String {
    match kind {
        BreachKind::Oom => "Out of memory".to_owned(),
        BreachKind::PoolExhaustion => "Connection pool exhausted".to_owned(),
        BreachKind::ErrorRate => "Too many errors".to_owned(),
        BreachKind::DiskFull => "Disk full".to_owned(),
        BreachKind::CertificateExpiry => "Certificate expires".to_owned(),
        BreachKind::Custom => format!("Limit of {signal}"),
    }
}

/// The labels that tell a target apart: `pod checkout-1`, `node node-1, mountpoint /data`. `service` is
/// already in the heading, so a label that only repeats it is left out.
pub(super) fn target(labels: &LabelSet, service: &str) -> String {
    let parts: Vec<String> =
        labels.iter().filter(|(_, value)| *value != service).map(|(name, value)| format!("{name} {value}")).collect();
    parts.join(", ")
}

/// The unit of a signal's values: known for breach kinds, guessed from the name for the others.
pub(super) fn unit(signals: &SignalSet, signal: &str) -> Unit {
    let kind = signals.get(signal).map(|s| s.kind);
    if let Some(SignalKind::Breach(kind)) = kind
        && kind != BreachKind::Custom
    {
        return unit_of_kind(kind);
    }
    let has = |words: &[&str]| words.iter().any(|word| signal.contains(word));
    if has(&["latency", "duration", "seconds", "age"]) {
        Unit::Seconds
    } else if has(&["traffic", "per_second", "rps", "qps"]) {
        Unit::PerSecond
    } else if has(&["bytes", "memory"]) {
        Unit::Bytes
    } else if has(&["ratio", "share", "percent"]) {
        Unit::Ratio
    } else {
        Unit::Count
    }
}

fn unit_of_kind(kind: BreachKind) -> Unit {
    match kind {
        BreachKind::Oom | BreachKind::DiskFull => Unit::Bytes,
        BreachKind::ErrorRate => Unit::Ratio,
        BreachKind::CertificateExpiry => Unit::Seconds,
        BreachKind::PoolExhaustion | BreachKind::Custom => Unit::Count,
    }
}

/// A reading of a signal over a whole service, as explanations give it: of limited signals the share of
/// their limit, since pods of one service may have different ones; of the others the value.
pub(super) fn reading(signals: &SignalSet, signal: &str, value: f64) -> String {
    let limit = signals.get(signal).and_then(|s| s.limit.as_ref());
    match limit {
        Some(limit) if *limit != SignalLimit::Number(0.0) => format!("{} of limit", Unit::Ratio.format(value)),
        _ => unit(signals, signal).format(value),
    }
}

/// The limit beside the value: `limit 512 MiB`, `must stay above 5 GiB`, `left` (of what may run out).
pub(super) fn limit(unit: Unit, limit: f64, direction: Direction) -> String {
    match direction {
        Direction::Above => format!("limit {}", unit.format(limit)),
        Direction::Below if limit == 0.0 => "left".to_owned(),
        Direction::Below => format!("must stay above {}", unit.format(limit)),
    }
}

/// A span ahead without false precision: to the minute from two minutes on, to the hour from two days on.
pub(super) fn span(seconds: f64) -> String {
    let grain = if seconds >= 2.0 * 86_400.0 {
        3600.0
    } else if seconds >= 120.0 {
        60.0
    } else {
        1.0
    };
    // One word: a line never ends within it.
    Unit::Seconds.format((seconds / grain).round() * grain).replace(' ', "\u{a0}")
}

/// When a breach comes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct When {
    /// `in 5 h 20 min`, `within a minute`, `now`.
    pub(super) headline: String,
    /// `4 h 10 min to 7 h`; empty where it is a point.
    pub(super) interval: String,
    /// `2026-01-08 14:20 UTC`, of the median.
    pub(super) utc: String,
    /// RFC 3339, of the median.
    pub(super) iso: String,
}

/// `ttb` said from `at`, as it stands at `now`. What has passed since counts off.
pub(super) fn when(ttb: TimeToBreach, at: Timestamp, now: Timestamp) -> When {
    let passed = now.seconds_since(at).max(0.0);
    let left = |seconds: f64| (seconds - passed).max(0.0);
    let (p10, p50, p90) = (left(ttb.p10()), left(ttb.p50()), left(ttb.p90()));
    let headline = if p50 == 0.0 {
        "now".to_owned()
    } else if p50 < 60.0 {
        "within a minute".to_owned()
    } else {
        format!("in {}", span(p50))
    };
    let (from, to) = (span(p10), span(p90));
    let interval = if from == to { String::new() } else { format!("{from} to {to}") };
    let median = ahead(at, ttb.p50());
    When { headline, interval, utc: format_utc(median), iso: median.to_rfc3339() }
}

/// `19 Jan 02:17 to 03:17`, the day once where it is the same; in UTC.
pub(super) fn times(from: Timestamp, to: Timestamp) -> String {
    let (from, to) = (format_day_time(from), format_day_time(to));
    match (from.rsplit_once(' '), to.rsplit_once(' ')) {
        (Some((day, _)), Some((same, clock))) if day == same => format!("{from} to {clock}"),
        _ => format!("{from} to {to}"),
    }
}

/// `seconds` after `at`; saturates.
pub(super) fn ahead(at: Timestamp, seconds: f64) -> Timestamp {
    Timestamp::from_millis(at.millis().saturating_add((seconds * 1000.0) as i64))
}

/// How long ago, for a person: `just now`, `4 min ago`.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.seconds_since(at);
    if seconds < 60.0 { "just now".to_owned() } else { format!("{} ago", span(seconds)) }
}

pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::TruePositive => "True positive",
        Verdict::FalsePositive => "False positive",
        Verdict::Missed => "Missed",
        Verdict::Unclear => "Unclear",
    }
}

/// The class of a verdict's badge.
pub(super) fn verdict_tone(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::TruePositive => "good",
        Verdict::FalsePositive | Verdict::Missed => "bad",
        Verdict::Unclear => "warn",
    }
}

pub(super) fn status(status: RequestStatus) -> &'static str {
    match status {
        RequestStatus::Open => "Open",
        RequestStatus::Approved => "Approved",
        RequestStatus::Rejected => "Rejected",
        RequestStatus::Succeeded => "Succeeded",
        RequestStatus::Failed => "Failed",
        RequestStatus::Expired => "Expired",
    }
}

/// The class of a status' badge.
pub(super) fn status_tone(status: RequestStatus) -> &'static str {
    match status {
        RequestStatus::Open => "warn",
        RequestStatus::Approved | RequestStatus::Succeeded => "good",
        RequestStatus::Failed => "bad",
        RequestStatus::Rejected | RequestStatus::Expired => "",
    }
}

/// What the forecast found of a remediation, and the class of its badge.
pub(super) fn finding(finding: Finding) -> (&'static str, &'static str) {
    match finding {
        Finding::Verified => ("Verified", "good"),
        Finding::Failed => ("Did not help", "bad"),
        Finding::Worsened => ("Made it worse", "bad"),
        Finding::Undecided => ("Undecided", ""),
        Finding::NotDone => ("Not done", ""),
    }
}

pub(super) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::DryRun => "Dry run: nothing acts on it",
        Mode::Approval => "Needs approval",
        Mode::Automatic => "Automatic",
    }
}

/// A mode where there is room for a word or two.
pub(super) fn mode_short(mode: Mode) -> &'static str {
    match mode {
        Mode::DryRun => "Dry run",
        Mode::Approval => "Needs approval",
        Mode::Automatic => "Automatic",
    }
}

/// Why a request that is due is not made.
pub(super) fn held_by(by: HeldBy) -> &'static str {
    match by {
        HeldBy::Stopped => "requests are stopped",
        HeldBy::Maintenance => "the service is silenced or in maintenance",
        HeldBy::WeeklyBudget => "the service has used up its requests of the week",
        HeldBy::BlastRadius => "as many workloads as may be are being acted on",
        HeldBy::HourlyRate => "as many requests as may be in an hour were made",
    }
}

/// What the forecast behind a time to breach is.
pub(super) fn forecast(name: &str) -> String {
    match name {
        "trend" => "by its trend".to_owned(),
        "race" => "by its race from the start".to_owned(),
        "seasonal_naive" => "by its usual day".to_owned(),
        "lstm" => "by the learnt forecast".to_owned(),
        "clock" => "by the clock".to_owned(),
        other => format!("by {other}"),
    }
}

/// `text` for the path of a URL: everything but unreserved characters (RFC 3986) as `%XX`.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breach_ahead_reads_as_people_say_it() {
        let at = Timestamp::from_seconds(1_767_830_400);
        let ttb = TimeToBreach::new(15_000.0, 19_204.0, 25_199.0).unwrap();
        let when = when(ttb, at, at);
        let plain = |text: &str| text.replace('\u{a0}', " ");
        assert_eq!(plain(&when.headline), "in 5 h 20 min");
        assert_eq!(plain(&when.interval), "4 h 10 min to 7 h");
        assert_eq!(when.utc, "2026-01-08 05:20 UTC");
    }

    #[test]
    fn time_that_has_passed_counts_off() {
        let at = Timestamp::from_seconds(1_767_830_400);
        let ttb = TimeToBreach::new(60.0, 600.0, 900.0).unwrap();
        assert_eq!(when(ttb, at, at + std::time::Duration::from_secs(570)).headline, "within a minute");
        assert_eq!(when(ttb, at, at + std::time::Duration::from_secs(7200)).headline, "now");
    }

    #[test]
    fn a_day_is_said_once() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(times(at("2026-01-19T02:17:00Z"), at("2026-01-19T03:17:00Z")), "19 Jan 02:17 to 03:17");
        assert_eq!(times(at("2026-01-19T23:00:00Z"), at("2026-01-20T01:00:00Z")), "19 Jan 23:00 to 20 Jan 01:00");
    }

    #[test]
    fn a_target_key_survives_a_path() {
        assert_eq!(percent_encoded("a/b{c=\"%\"}"), "a%2Fb%7Bc%3D%22%25%22%7D");
    }
}

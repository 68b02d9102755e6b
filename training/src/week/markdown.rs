//! The week as Markdown that fits into a chat message: the figures, what went wrong, what changed.

use std::fmt::Write as _;

use forewarn_models::guardrails::HeldBy;
use forewarn_plots::{format_day_time, format_utc};

use super::{Announced, Decided, Missed, WeekFigures, WeeklyReport};
use crate::words::{kind_words, percent, shown, span};
use forewarn_schema::Verdict;

/// Of a list, so many lines; the page has them all.
const LINES: usize = 8;

/// At most some 40 lines; names and notes are escaped, so that none of them becomes markup, a link or a mention.
pub fn render_week_markdown(report: &WeeklyReport) -> String {
    let mut text = format!("**{}**\n", escaped(&report.headline));
    let (start, end) = (format_utc(report.range.start), format_utc(report.range.end));
    let _ = writeln!(text, "_{start} to {end}_\n");
    for (name, now, before) in rows(&report.figures, &report.before) {
        let _ = writeln!(text, "- {name}: {now} (the week before: {before})");
    }
    let wrong: Vec<&Announced> =
        report.announced.iter().filter(|a| a.verdict == Some(Verdict::FalsePositive)).collect();
    section(&mut text, "Missed", &report.missed, missed_line);
    section(&mut text, "False alarms", &wrong, |a| alarm_line(a));
    section(&mut text, "Thresholds", &report.thresholds, decided_line);
    section(&mut text, "Autonomy", &report.autonomy, decided_line);
    section(&mut text, "Models", &report.promotions, decided_line);
    let refused: Vec<_> = report.models.iter().filter(|m| !m.passed).collect();
    section(&mut text, "Refused", &refused, |m| format!("{}: {}", escaped(&m.service), escaped(&m.reason)));
    section(&mut text, "New patterns", &report.patterns, |p| {
        let signals: Vec<String> = p.signals.iter().take(3).map(|(name, _)| escaped(name)).collect();
        let services: Vec<String> = p.services.iter().take(3).map(|name| escaped(name)).collect();
        format!("{} times {} on {}", p.episodes.len(), signals.join(", "), services.join(", "))
    });
    section(&mut text, "Held back", &report.held, |h| format!("{} {}", h.count, held_words(h.by)));
    text
}

/// The figures, with those of the week before.
pub(super) fn rows(now: &WeekFigures, before: &WeekFigures) -> Vec<(&'static str, String, String)> {
    let both = |name, figure: &dyn Fn(&WeekFigures) -> String| (name, figure(now), figure(before));
    vec![
        both("breaches announced", &|f| format!("{} of {}", f.announced, f.announced + f.missed)),
        both("false alarms", &|f| f.false_alarms.to_string()),
        both("requests", &|f| f.requests.to_string()),
        both("right, of those that are known", &|f| percent(f.precision)),
        both("breaches averted after a request", &|f| f.saved.to_string()),
        both("median lead", &|f| span(f.median_lead_seconds)),
        both("median error of the time to breach", &|f| percent(f.median_time_error)),
        both("80 % intervals that held the truth", &|f| match f.intervals {
            0 => percent(None),
            n => format!("{} of {n}", percent(f.interval_coverage)),
        }),
        both("held back", &|f| f.held.to_string()),
        both("labels", &|f| f.labels.to_string()),
    ]
}

/// Why a request was not made, after "held back".
pub(super) fn held_words(by: HeldBy) -> &'static str {
    match by {
        HeldBy::Stopped => "while requests were stopped",
        HeldBy::Maintenance => "by maintenance",
        HeldBy::WeeklyBudget => "by the weekly budget",
        HeldBy::BlastRadius => "because enough was being done at once",
        HeldBy::HourlyRate => "because enough was asked in that hour",
    }
}

fn section<T>(text: &mut String, title: &str, lines: &[T], line: impl Fn(&T) -> String) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n**{title}**");
    for one in lines.iter().take(LINES) {
        let _ = writeln!(text, "- {}", line(one));
    }
    if lines.len() > LINES {
        let _ = writeln!(text, "- and {} more", lines.len() - LINES);
    }
}

fn missed_line(missed: &Missed) -> String {
    let (kind, labels) = (kind_words(missed.kind), escaped(&shown(&missed.labels)));
    let what = [escaped(&missed.service), labels, kind.to_owned()];
    let what = what.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    format!("{} {what}: {}", format_day_time(missed.at), escaped(&missed.cause))
}

fn alarm_line(alarm: &Announced) -> String {
    let cause = escaped(alarm.cause.as_deref().unwrap_or_default());
    format!("{} {} {}: {cause}", format_day_time(alarm.at), escaped(&alarm.service), kind_words(alarm.kind))
}

fn decided_line(decided: &Decided) -> String {
    let Decided { at, who, action, object, detail } = decided;
    format!("{} {} {}: {} ({})", format_day_time(*at), escaped(action), escaped(object), escaped(detail), escaped(who))
}

/// Markdown's own characters, and those of chat programs' mentions and links, made plain; a line stays a line.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '@' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_becomes_no_markup() {
        assert_eq!(super::escaped("a*b_[c](d)\n@all"), "a\\*b\\_\\[c\\](d) \\@all");
    }
}

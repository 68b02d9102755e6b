//! Figures as rows: what is read at a glance, what is read across, what is compared.

use forewarn_plots::Unit;

use super::charts::time_bin_words;
use crate::compare::{Comparison, Difference};
use crate::gate::words;
use crate::intervals::Interval;
use crate::report::{AlarmQuality, EvaluationReport, ForecastQuality, ForecastScore, KindReport, TimeBin};
use crate::words::{NOTHING, kind_words, number, percent, span, with_interval};

/// One figure, large.
pub(super) struct Tile {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) interval: String,
    pub(super) beside: String,
}

/// Figures by row, who by column.
pub(super) struct FigureTable {
    pub(super) rows: Vec<FigureRow>,
}

pub(super) struct FigureRow {
    pub(super) name: &'static str,
    pub(super) values: [String; 3],
}

/// A candidate beside one other.
pub(super) struct ComparisonTable {
    pub(super) title: &'static str,
    pub(super) rows: Vec<ComparisonRow>,
}

pub(super) struct ComparisonRow {
    pub(super) what: &'static str,
    pub(super) candidate: String,
    pub(super) other: String,
    pub(super) difference: String,
    pub(super) verdict: &'static str,
    pub(super) class: &'static str,
}

pub(super) struct KindRow {
    pub(super) kind: &'static str,
    pub(super) announced: String,
    pub(super) recall: String,
    pub(super) false_alarms: String,
    pub(super) lead: String,
    pub(super) error: String,
    pub(super) coverage: String,
    pub(super) concordance: String,
    pub(super) brier: String,
}

pub(super) struct ForecastRow {
    pub(super) model: &'static str,
    pub(super) loss: String,
    pub(super) coverage: String,
    pub(super) by_horizon: Vec<String>,
}

pub(super) struct TimeRow {
    pub(super) time: String,
    pub(super) predictions: u64,
    pub(super) episodes: u64,
    pub(super) coverage: String,
    pub(super) cells: [String; 4],
}

/// What one looks at first.
pub(super) fn tiles(report: &EvaluationReport) -> Vec<Tile> {
    let (ours, now, rules) = (&report.candidate, &report.current, &report.rules);
    let tile = |name, value: String, interval: Option<String>, of: &dyn Fn(&AlarmQuality) -> String| Tile {
        name,
        value,
        interval: interval.unwrap_or_default(),
        beside: format!("now {}, rules {}", of(now), of(rules)),
    };
    let between = |interval: Option<Interval>, show: fn(Option<f64>) -> String| {
        interval.map(|i| format!("{} to {}", show(Some(i.low)), show(Some(i.high))))
    };
    let i = &ours.intervals;
    let announced = |q: &AlarmQuality| format!("{} of {}", q.predicted, q.breaches);
    let per_week = |rate: Option<f64>| rate.map_or_else(|| NOTHING.to_owned(), |rate| format!("{rate:.1}"));
    vec![
        tile("breaches announced in time", announced(ours), between(i.recall, percent), &announced),
        tile(
            "false alarms a week",
            per_week(Some(ours.false_alarms_per_week)),
            between(i.false_alarms_per_week, per_week),
            &|q| per_week(Some(q.false_alarms_per_week)),
        ),
        tile("median lead", span(ours.median_lead_seconds), between(i.median_lead_seconds, span), &|q| {
            span(q.median_lead_seconds)
        }),
        tile(
            "off in time, half-way",
            percent(ours.median_time_to_breach_error),
            between(i.median_time_to_breach_error, percent),
            &|q| percent(q.median_time_to_breach_error),
        ),
        tile(
            "80 % intervals that held",
            percent(ours.interval_coverage),
            between(i.interval_coverage, percent),
            &|q| percent(q.interval_coverage),
        ),
    ]
}

pub(super) fn figures(candidate: &AlarmQuality, current: &AlarmQuality, rules: &AlarmQuality) -> FigureTable {
    let all = [candidate, current, rules];
    let row = |name, of: &dyn Fn(&AlarmQuality) -> String| FigureRow { name, values: all.map(of) };
    let rate = |rate: Option<f64>| rate.map_or_else(|| NOTHING.to_owned(), |rate| format!("{rate:.1}"));
    let rows = vec![
        row("breaches announced in time", &|q| format!("{} of {}", q.predicted, q.breaches)),
        row("share of them (recall)", &|q| with_interval(q.recall, q.intervals.recall, percent)),
        row("requests", &|q| q.requests.to_string()),
        row("right: the breach came within the interval, early, late", &|q| {
            format!("{}, {}, {}", q.right.within, q.right.early, q.right.late)
        }),
        row("false alarms", &|q| q.false_alarms.to_string()),
        row("false alarms a week", &|q| {
            with_interval(Some(q.false_alarms_per_week), q.intervals.false_alarms_per_week, rate)
        }),
        row("neutral, unsettled requests", &|q| format!("{}, {}", q.neutral, q.unsettled)),
        row("median lead", &|q| with_interval(q.median_lead_seconds, q.intervals.median_lead_seconds, span)),
        row("median time error half-way", &|q| {
            with_interval(q.median_time_to_breach_error, q.intervals.median_time_to_breach_error, percent)
        }),
        row("80 % intervals that held the truth", &|q| {
            with_interval(q.interval_coverage, q.intervals.interval_coverage, percent)
        }),
        row("concordance of times", &|q| with_interval(q.concordance, q.intervals.concordance, number)),
        row("Brier score", &|q| with_interval(q.brier_score, q.intervals.brier_score, number)),
        row("average precision", &|q| number(q.average_precision)),
        row("sudden breaches, left out", &|q| q.sudden.to_string()),
    ];
    FigureTable { rows }
}

pub(super) fn comparisons(current: Option<&Comparison>, rules: Option<&Comparison>) -> Vec<ComparisonTable> {
    let table = |title, beside: &Comparison| ComparisonTable { title, rows: comparison_rows(beside) };
    let current = current.map(|c| table("Beside the current model", c));
    current.into_iter().chain(rules.map(|r| table("Beside the rules", r))).collect()
}

fn comparison_rows(beside: &Comparison) -> Vec<ComparisonRow> {
    let of = |n: u64| format!("{n} of {}", beside.breaches);
    let (worse, fine, soft) = (("worse", "bad"), ("no worse", "good"), ("too few to tell", "soft"));
    let (verdict, class) = if beside.surely_loses_breaches() { worse } else { fine };
    let mut rows = vec![ComparisonRow {
        what: "breaches announced",
        candidate: of(beside.predicted),
        other: of(beside.other_predicted),
        difference: format!(
            "{} incidents lost, {} gained; chance {}",
            beside.episodes_lost,
            beside.episodes_gained,
            percent(Some(beside.chance_of_loss)),
        ),
        verdict,
        class,
    }];
    let (verdict, class) = if beside.false_alarms > beside.other_false_alarms { ("more", "bad") } else { fine };
    rows.push(ComparisonRow {
        what: "false alarms",
        candidate: beside.false_alarms.to_string(),
        other: beside.other_false_alarms.to_string(),
        difference: String::new(),
        verdict,
        class,
    });
    let figures = [
        ("mean time error half-way", beside.time_to_breach_error),
        ("coverage's distance from 80 %", beside.interval_coverage),
        ("Brier score", beside.brier_score),
    ];
    for (what, difference) in figures.into_iter().filter_map(|(what, d)| Some((what, d?))) {
        let (verdict, class) = match difference.interval {
            None => soft,
            Some(_) if difference.is_surely_worse() => worse,
            Some(_) => fine,
        };
        rows.push(figure_row(what, difference, verdict, class));
    }
    rows
}

fn figure_row(what: &'static str, d: Difference, verdict: &'static str, class: &'static str) -> ComparisonRow {
    let signed = |v: f64| format!("{v:+.3}").replace('-', "−");
    ComparisonRow {
        what,
        candidate: number(Some(d.candidate)),
        other: number(Some(d.other)),
        difference: d.interval.map_or_else(
            || signed(d.worse_by()),
            |i| format!("{} ({} to {})", signed(d.worse_by()), signed(i.low), signed(i.high)),
        ),
        verdict,
        class,
    }
}

pub(super) fn kind_row(report: &KindReport) -> KindRow {
    let (q, i) = (&report.candidate, &report.candidate.intervals);
    let three = [&report.candidate, &report.current, &report.rules];
    KindRow {
        kind: kind_words(report.kind),
        announced: three.map(|q| format!("{} of {}", q.predicted, q.breaches)).join(" / "),
        recall: with_interval(q.recall, i.recall, percent),
        false_alarms: three.map(|q| q.false_alarms.to_string()).join(" / "),
        lead: with_interval(q.median_lead_seconds, i.median_lead_seconds, span),
        error: with_interval(q.median_time_to_breach_error, i.median_time_to_breach_error, percent),
        coverage: with_interval(q.interval_coverage, i.interval_coverage, percent),
        concordance: with_interval(q.concordance, i.concordance, number),
        brier: with_interval(q.brier_score, i.brier_score, number),
    }
}

pub(super) fn time_row(bin: &TimeBin) -> TimeRow {
    TimeRow {
        time: time_bin_words(bin),
        predictions: bin.predictions,
        episodes: bin.episodes,
        coverage: with_interval(Some(bin.coverage), Some(bin.interval), percent),
        cells: [bin.below_p10, bin.p10_to_p50, bin.p50_to_p90, bin.above_p90].map(|share| Unit::Ratio.format(share)),
    }
}

pub(super) fn forecast_rows(forecast: &ForecastQuality) -> Vec<ForecastRow> {
    let row = |score: &ForecastScore| ForecastRow {
        model: words(score.model),
        loss: format!("{:.3}", score.pinball_loss),
        coverage: percent(score.interval_coverage),
        by_horizon: score.by_horizon.iter().map(|loss| format!("{loss:.3}")).collect(),
    };
    forecast.scores.iter().map(row).collect()
}

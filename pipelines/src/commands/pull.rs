//! `forewarn pull`: history into the dataset, source by source; only what is missing.

use std::time::Duration;

use forewarn_datasets::{Dataset, HistorySource, PullProgress, PullSummary, SampleSource, SampledSummary};
use forewarn_schema::{LabelMatcher, TimeRange, Timestamp, format_duration};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::open::OpenSource;
use super::{logs, now, open};
use crate::cli::Pull;
use crate::config::{Config, ConfigError, human_bytes};
use crate::outcome::Outcome;
use crate::progress;

pub(super) async fn pull(config: &Config, arguments: &Pull) -> anyhow::Result<Outcome> {
    let dataset = Dataset::new(open::changing_store(config).await?);
    let sources = open::sources(config, arguments.source.as_deref(), &dataset).await?;
    pull_from(config, &dataset, &sources, arguments.from, arguments.to).await
}

/// Pulls from these sources.
pub(super) async fn pull_from(
    config: &Config,
    dataset: &Dataset,
    sources: &[OpenSource],
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> anyhow::Result<Outcome> {
    let _lock = dataset.lock()?;
    let mut text = String::new();
    let mut done = Vec::new();
    for source in sources {
        let mut counted = Value::Null;
        if let OpenSource::Logs(source) = source {
            let (told, json) = logs::take_in(source).await?;
            text.push_str(&told);
            counted = json;
        }
        // These can tell that they are empty. What was never there must not count as covered.
        let can_tell = matches!(source, OpenSource::Blocks(..) | OpenSource::Logs(_));
        if can_tell && (from.is_none() || to.is_none()) && source.extent().await?.is_none() {
            text.push_str(&format!("{}: there is nothing in it yet\n", source.name()));
            done.push(json!({"source": source.name(), "empty": true}));
            continue;
        }
        let range = range(config, source, from, to).await?;
        let (told, mut json) = match source {
            OpenSource::Queries(source) => pull_steps(config, dataset, source.as_ref(), range).await?,
            OpenSource::Samples(source, _, series) => {
                pull_samples(config, dataset, source.as_ref(), series, range).await?
            }
            OpenSource::Blocks(source, series) => pull_samples(config, dataset, source, series, range).await?,
            OpenSource::Logs(source) => pull_samples(config, dataset, source.as_ref(), &[], range).await?,
        };
        if !counted.is_null() {
            json["logs"] = counted;
        }
        text.push_str(&told);
        done.push(json);
    }
    if let Some(covered) = dataset.manifest().await?.and_then(|m| m.range()) {
        text.push_str(&format!("the dataset holds {covered}\n"));
    }
    Ok(Outcome::new(text, json!({ "sources": done })))
}

/// What the expressions give at every step, asked of a server.
async fn pull_steps(
    config: &Config,
    dataset: &Dataset,
    source: &dyn HistorySource,
    range: TimeRange,
) -> anyhow::Result<(String, Value)> {
    let bar = PullBar::new();
    let summary = dataset.pull(source, &config.signals, config.step, range, &bar).await?;
    let windows = source.downsampled();
    let text = line(source.name(), range, &summary) + &downsampled_line(source.name(), &windows);
    let windows: Vec<_> =
        windows.iter().map(|(range, apart)| json!({"range": range, "resolution": format_duration(*apart)})).collect();
    let json = json!({"source": source.name(), "range": range, "summary": summary, "downsampled": windows});
    Ok((text, json))
}

/// Raw samples of what the expressions read, and of `series` besides; and what the expressions give over them.
async fn pull_samples(
    config: &Config,
    dataset: &Dataset,
    source: &dyn SampleSource,
    series: &[Vec<LabelMatcher>],
    range: TimeRange,
) -> anyhow::Result<(String, Value)> {
    let bar = PullBar::new();
    let summary = dataset.pull_sampled(source, &config.signals, series, config.step, range, &bar).await?;
    let json = json!({
        "source": source.name(),
        "range": range,
        "summary": summary.steps,
        "samples": summary.samples,
        "not_evaluated": summary.not_evaluated,
    });
    Ok((sampled_lines(source.name(), range, &summary), json))
}

/// What to pull: by default the configured history up to the end of the source's data.
///
/// The end of the data, not the clock's now: a Prometheus that serves an old snapshot would otherwise
/// seem empty.
pub(super) async fn range(
    config: &Config,
    source: &OpenSource,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> anyhow::Result<TimeRange> {
    let extent = match (from, to) {
        (Some(_), Some(_)) => None,
        _ => source.extent().await?,
    };
    let end = match (to, extent) {
        (Some(to), _) => to,
        (None, Some(extent)) => extent.end,
        (None, None) => now(),
    };
    let end = end.align_down(config.step);
    let start = from.unwrap_or_else(|| {
        let wanted = end - config.history;
        extent.map_or(wanted, |extent| wanted.max(extent.start))
    });
    let start = start.align_up(config.step);
    if start >= end {
        return Err(ConfigError::new(format!("there is nothing to pull from {start} to {end}")).into());
    }
    Ok(TimeRange::new(start, end)?)
}

fn line(source: &str, range: TimeRange, summary: &PullSummary) -> String {
    if summary.windows == 0 {
        return format!("{source}: {range}: nothing new\n");
    }
    format!("{source}: {range}: {} rows in {} windows, {}\n", summary.rows, summary.windows, human_bytes(summary.bytes))
}

/// The samples, the steps evaluated from them, and what is missing.
fn sampled_lines(source: &str, range: TimeRange, summary: &SampledSummary) -> String {
    let samples = &summary.samples;
    let mut text = match samples.days - samples.unchanged_days {
        0 => format!("{source}: raw samples of {} days: nothing new\n", samples.days),
        new => format!("{source}: {} raw samples of {new} days, {}\n", samples.rows, human_bytes(samples.bytes)),
    };
    for (range, reason) in &samples.missing {
        text.push_str(&format!("{source}: {range} is missing: {reason}\n"));
    }
    for range in &summary.not_evaluated {
        text.push_str(&format!("{source}: {range} was not evaluated: only downsampled samples are left of it\n"));
    }
    text.push_str(&line(source, range, &summary.steps));
    text
}

/// From when to when something came from samples that were thinned out; nothing where nothing did.
fn downsampled_line(source: &str, windows: &[(TimeRange, Duration)]) -> String {
    let (Some(start), Some(end), Some(coarsest)) = (
        windows.iter().map(|(window, _)| window.start).min(),
        windows.iter().map(|(window, _)| window.end).max(),
        windows.iter().map(|(_, apart)| *apart).max(),
    ) else {
        return String::new();
    };
    let (count, apart) = (windows.len(), format_duration(coarsest));
    format!("{source}: {count} windows between {start} and {end} had only samples {apart} apart\n")
}

struct PullBar(ProgressBar);

impl PullBar {
    fn new() -> Self {
        Self(progress::bar("pull", 0))
    }
}

impl PullProgress for PullBar {
    fn started(&self, windows: u64) {
        // Days of samples first, then the windows evaluated over them.
        self.0.set_position(0);
        self.0.set_length(windows);
    }

    fn window_done(&self, rows: u64, bytes: u64) {
        self.0.inc(1);
        self.0.set_message(format!("{rows} rows, {}", human_bytes(bytes)));
    }

    fn retrying(&self, what: &str, attempt: u32, error: &str) {
        tracing::warn!(what, attempt, error, "retrying");
    }
}

impl Drop for PullBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

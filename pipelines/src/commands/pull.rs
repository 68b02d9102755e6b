//! `forewarn pull`: history into the dataset, source by source; only what is missing.

use anyhow::Context as _;
use forewarn_datasets::{Dataset, HistorySource, PullProgress, PullSummary};
use forewarn_schema::{TimeRange, Timestamp};
use indicatif::ProgressBar;
use serde_json::json;

use super::{now, open};
use crate::cli::Pull;
use crate::config::{Config, ConfigError, human_bytes};
use crate::outcome::Outcome;
use crate::progress;

pub(super) async fn pull(config: &Config, arguments: &Pull) -> anyhow::Result<Outcome> {
    let sources = open::sources(config, arguments.source.as_deref())?;
    pull_from(config, &sources, arguments.from, arguments.to).await
}

/// Pulls from these sources.
pub(super) async fn pull_from(
    config: &Config,
    sources: &[Box<dyn HistorySource>],
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> anyhow::Result<Outcome> {
    let dataset = Dataset::new(open::changing_store(config).await?);
    let _lock = dataset.lock()?;
    let mut text = String::new();
    let mut done = Vec::new();
    for source in sources {
        let range = range(config, source.as_ref(), from, to).await?;
        let bar = PullBar::new();
        let summary = dataset.pull(source.as_ref(), &config.signals, config.step, range, &bar).await?;
        text.push_str(&line(source.name(), range, &summary));
        done.push(json!({"source": source.name(), "range": range, "summary": summary}));
    }
    if let Some(covered) = dataset.manifest().await?.and_then(|m| m.range()) {
        text.push_str(&format!("the dataset holds {covered}\n"));
    }
    Ok(Outcome::new(text, json!({ "sources": done })))
}

/// What to pull: by default the configured history up to the end of the source's data.
///
/// The end of the data, not the clock's now: a Prometheus that serves an old snapshot would otherwise
/// seem empty.
pub(super) async fn range(
    config: &Config,
    source: &dyn HistorySource,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> anyhow::Result<TimeRange> {
    let extent = match (from, to) {
        (Some(_), Some(_)) => None,
        _ => source.extent().await.with_context(|| format!("source {:?}", source.name()))?,
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

struct PullBar(ProgressBar);

impl PullBar {
    fn new() -> Self {
        Self(progress::bar("pull", 0))
    }
}

impl PullProgress for PullBar {
    fn started(&self, windows: u64) {
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

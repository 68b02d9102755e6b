//! `forewarn backtest`: history replayed through the code that serves, one prediction a line.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Duration;

use anyhow::Context as _;
use forewarn_schema::{Prediction, Step, TimeRange};
use serde_json::json;

use super::open::{self, Histories};
use crate::cli::Backtest;
use crate::config::{Config, ConfigError};
use crate::outcome::Outcome;
use crate::progress;

pub(super) async fn backtest(config: &Config, arguments: &Backtest) -> anyhow::Result<Outcome> {
    let learning = &arguments.learning;
    if learning.learn || learning.min_probability.is_some() || learning.passes > 1 {
        return super::backtest_learning::backtest(config, arguments).await;
    }
    let (dataset, manifest) = open::dataset(config).await?;
    let covered = open::covered(&manifest)?;
    let range = TimeRange::new(arguments.from, arguments.to).map_err(|e| ConfigError::new(e.to_string()))?;
    let Some(range) = range.intersect(&covered) else {
        return Err(ConfigError::new(format!("the dataset holds {covered}, nothing of {range}")).into());
    };
    let registry = open::registry(config).await?;
    let bundles = open::current_bundles(&registry).await?;
    let has_seen: Vec<String> = bundles
        .iter()
        .filter(|(_, bundle)| bundle.manifest.created_from.end > range.start)
        .map(|(service, _)| service.clone())
        .collect();
    let mut engine = open::engine(config, &registry).await?;
    let needed = TimeRange::new((range.start - engine.memory_horizon()).max(covered.start), range.end)?;
    let services = dataset.services(&config.signals, needed).await?.len();
    let out_path = arguments.out.display().to_string();
    let file = File::create(&arguments.out).with_context(|| format!("cannot write {out_path}"))?;
    let (every, step) = (arguments.every, config.step);
    let origins = range.duration().as_secs() / every.as_secs().max(1);
    // One piece of history is replayed while the next is read.
    let (pieces, mut received) = tokio::sync::mpsc::channel::<Histories>(1);
    let replay = tokio::task::spawn_blocking(move || {
        let bar = progress::bar("backtest", origins);
        let mut out = Lines::new(BufWriter::new(file));
        let mut last = None;
        let mut replaying = forewarn_training::RollingOriginBacktest { range, every, step }.begin();
        while let Some(histories) = received.blocking_recv() {
            replaying.feed(&histories, &mut engine, &mut |prediction| {
                if last != Some(prediction.at) {
                    last = Some(prediction.at);
                    bar.inc(1);
                }
                out.write(prediction);
            });
        }
        bar.finish_and_clear();
        out.finish().map(|()| replaying.finish())
    });
    for piece in pieces_of(needed, step, services) {
        // The replay ends early only by a panic, which is told below.
        if pieces.send(dataset.read(&config.signals, piece).await?).await.is_err() {
            break;
        }
    }
    drop(pieces);
    let summary = replay.await?.with_context(|| format!("cannot write {out_path}"))?;
    let mut text = format!(
        "{} predictions at {} times of {range} into {out_path}; {} requests\n",
        summary.predictions,
        summary.origins,
        summary.requests.len()
    );
    if !has_seen.is_empty() {
        text.push_str(&format!(
            "note: the current models of {} were trained on part of this range\n",
            has_seen.join(", ")
        ));
    }
    Ok(Outcome::new(
        text,
        json!({
            "range": range,
            "origins": summary.origins,
            "predictions": summary.predictions,
            "requests": summary.requests.len(),
            "models": bundles.iter().map(|(s, b)| (s.clone(), b.manifest.version.to_string())).collect::<std::collections::BTreeMap<_, _>>(),
            "trained_on_part_of_the_range": has_seen,
            "out": out_path,
        }),
    ))
}

/// So many steps of services are read at a time, about a kilobyte each; up to three such pieces are in memory.
const STEPS_AT_A_TIME: usize = 150_000;

/// `range`, cut so that memory does not grow with the number of services, nor with the length of the range.
fn pieces_of(range: TimeRange, step: Step, services: usize) -> Vec<TimeRange> {
    let steps = u32::try_from(STEPS_AT_A_TIME / services.max(1)).unwrap_or(u32::MAX);
    // An hour at least: a day's file is opened for each piece of it.
    let length = step.duration().saturating_mul(steps).max(Duration::from_secs(3600));
    let mut pieces = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start + length);
        pieces.push(TimeRange { start, end });
        start = end;
    }
    pieces
}

/// Writes until the first error, and keeps that.
pub(super) struct Lines<W: Write> {
    out: W,
    error: Option<std::io::Error>,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, error: None }
    }

    pub(super) fn write(&mut self, prediction: &Prediction) {
        if self.error.is_none() {
            let written = serde_json::to_writer(&mut self.out, prediction).map_err(std::io::Error::from);
            self.error = written.and_then(|()| self.out.write_all(b"\n")).err();
        }
    }

    pub(super) fn finish(mut self) -> std::io::Result<()> {
        match self.error {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }
}

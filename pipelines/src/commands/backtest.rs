//! `forewarn backtest`: history replayed through the code that serves, one prediction a line.

use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::Context as _;
use forewarn_schema::{Prediction, TimeRange};
use serde_json::json;

use super::open;
use crate::cli::Backtest;
use crate::config::{Config, ConfigError};
use crate::outcome::Outcome;
use crate::progress;

pub(super) async fn backtest(config: &Config, arguments: &Backtest) -> anyhow::Result<Outcome> {
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
    let histories = dataset.read(&config.signals, needed).await?;
    let out_path = arguments.out.display().to_string();
    let file = File::create(&arguments.out).with_context(|| format!("cannot write {out_path}"))?;
    let (every, step) = (arguments.every, config.step);
    let origins = range.duration().as_secs() / every.as_secs().max(1);
    let replay = tokio::task::spawn_blocking(move || {
        let bar = progress::bar("backtest", origins);
        let mut out = Lines { out: BufWriter::new(file), error: None };
        let mut last = None;
        let backtest = forewarn_training::RollingOriginBacktest { range, every, step };
        let summary = backtest.run(&histories, &mut engine, &mut |prediction| {
            if last != Some(prediction.at) {
                last = Some(prediction.at);
                bar.inc(1);
            }
            out.write(prediction);
        });
        bar.finish_and_clear();
        out.finish().map(|()| summary)
    });
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

/// Writes until the first error, and keeps that.
struct Lines<W: Write> {
    out: W,
    error: Option<std::io::Error>,
}

impl<W: Write> Lines<W> {
    fn write(&mut self, prediction: &Prediction) {
        if self.error.is_none() {
            let written = serde_json::to_writer(&mut self.out, prediction).map_err(std::io::Error::from);
            self.error = written.and_then(|()| self.out.write_all(b"\n")).err();
        }
    }

    fn finish(mut self) -> std::io::Result<()> {
        match self.error {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }
}

//! `forewarn backtest --learn`: what labels would have taught on one's own history, from any start.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::Context as _;
use forewarn_models::learning::{Caution, LearningParams};
use forewarn_schema::TimeRange;
use forewarn_training::RollingOriginBacktest;
use forewarn_training::learning::{Labeller, LearningReplay, LearningSummary, Scored};
use serde_json::json;

use super::backtest::{Lines, range_of};
use super::open;
use crate::cli::Backtest;
use crate::config::{Config, ConfigError};
use crate::outcome::Outcome;

pub(super) async fn backtest(config: &Config, arguments: &Backtest, out: &Path) -> anyhow::Result<Outcome> {
    let (dataset, manifest) = open::dataset(config).await?;
    let covered = open::covered(&manifest)?;
    let range = range_of(arguments)?;
    let Some(range) = range.intersect(&covered) else {
        return Err(ConfigError::new(format!("the dataset holds {covered}, nothing of {range}")).into());
    };
    let registry = open::registry(config).await?;
    let bundles = open::current_bundles(&registry).await?;
    let engine = open::engine(config, &registry).await?;
    let needed = TimeRange::new((range.start - engine.memory_horizon()).max(covered.start), range.end)?;
    let histories = dataset.read(&config.signals, needed).await?;
    let out_path = out.display().to_string();
    let file = File::create(out).with_context(|| format!("cannot write {out_path}"))?;
    let wanted = &arguments.learning;
    let decision = &engine.options().decision;
    let replay = LearningReplay {
        backtest: RollingOriginBacktest { range, every: arguments.every, step: config.step },
        passes: wanted.passes,
        start: wanted.min_probability.map(|min_probability| Caution {
            min_probability,
            persistence: wanted.persistence.unwrap_or(decision.persistence),
            persistence_racing: wanted.persistence.unwrap_or(decision.persistence_racing),
        }),
        labeller: wanted.learn.then_some(Labeller { error: wanted.label_error, seed: wanted.seed }),
        params: LearningParams::default(),
    };
    let signals = std::sync::Arc::clone(&config.signals);
    let done = tokio::task::spawn_blocking(move || {
        let scored = Scored::new(&replay.backtest, &histories, &signals, &bundles, engine);
        drop(histories);
        let mut out = Lines::new(BufWriter::new(file));
        let summary = scored.replay(&replay, &mut |prediction| out.write(prediction));
        out.finish().map(|()| summary)
    });
    let summary = done.await?.with_context(|| format!("cannot write {out_path}"))?;
    let text = format!("{}the last of {range} into {out_path}\n", told(&summary));
    Ok(Outcome::new(text, json!({"range": range, "learning": summary, "out": out_path})))
}

fn told(summary: &LearningSummary) -> String {
    let mut text = String::new();
    for (i, pass) in summary.passes.iter().enumerate() {
        text.push_str(&format!(
            "pass {}: {} requests, {} false alarms ({:.1} a week), {} of {} breaches announced in time; {} labels, {} of them wrong\n",
            i + 1, pass.requests, pass.false_alarms, pass.false_alarms_per_week, pass.predicted, pass.breaches, pass.labels, pass.wrong_labels
        ));
    }
    for one in summary.standing.iter().filter(|one| one.now != one.start) {
        let who = one.service.as_deref().unwrap_or("(the fleet)");
        text.push_str(&format!(
            "{who} {}: from {} for {} steps to {} for {} steps; {} true, {} false\n",
            one.kind,
            one.start.min_probability,
            one.start.persistence,
            one.now.min_probability,
            one.now.persistence,
            one.because.trues,
            one.because.falses
        ));
    }
    text
}

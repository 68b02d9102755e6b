//! `forewarn run`: pull, train, evaluate, promote what passes. What the weekly job calls. A candidate
//! that the gate refuses is not a failure: what served before goes on serving.

use anyhow::Context as _;
use forewarn_schema::Timestamp;
use serde_json::json;

use super::promote::{candidates, promote_candidates};
use super::{evaluate, open, pull, train};
use crate::cli::{Pull, Run};
use crate::config::Config;
use crate::outcome::Outcome;

pub(super) async fn run(config: &Config, arguments: &Run) -> anyhow::Result<Outcome> {
    let pulled = pull::pull(config, &Pull { from: None, to: arguments.until, source: None }).await?;
    learn(config, arguments.until, pulled).await
}

/// Everything after the pull.
pub(super) async fn learn(config: &Config, until: Option<Timestamp>, pulled: Outcome) -> anyhow::Result<Outcome> {
    let (_, manifest) = open::dataset(config).await?;
    let covered = open::covered(&manifest)?;
    let end = until.unwrap_or(covered.end).min(covered.end);
    let split = end - config.train.holdout;
    if split <= covered.start {
        anyhow::bail!(
            "the dataset holds {covered}, which [train] holdout of {} leaves nothing of to train on",
            forewarn_schema::format_duration(config.train.holdout)
        );
    }
    let trained = train::train_until(config, split, &[], None).await.context("training")?;
    let registry = open::moving_registry(config).await?;
    let _lock = registry.lock()?;
    let (evaluated, report) =
        evaluate::evaluate_range(config, &registry, Some(split), Some(end)).await.context("evaluation")?;
    let candidates = candidates(&registry, &[]).await?;
    let promoted = promote_candidates(&registry, &candidates, Some(&report), false, config.train.shadow).await?;
    let text = [pulled.text(), trained.text(), evaluated.text(), promoted.text()].map(str::trim_end).join("\n");
    Ok(Outcome::new(
        text,
        json!({
            "pull": pulled.json(),
            "train": trained.json(),
            "evaluate": evaluated.json(),
            "promote": promoted.json(),
        }),
    ))
}

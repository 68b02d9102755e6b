//! `forewarn run`: pull, train, evaluate, promote what passes, look back at the week. What the weekly job calls. A candidate that the
//! gate refuses is not a failure: what served before goes on serving.
//!
//! A run has an id. Begun again under the same id it goes on after the last step that was done, and comes to the same models,
//! however often it was killed: what it learns from is settled by its first attempt.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use forewarn_models::{ModelRegistry, ModelVersion, RunLog};
use forewarn_schema::Timestamp;
use forewarn_storage::{Lease, Store};
use serde_json::{Value, json};

use super::attempt::Attempt;
use super::evaluate::Fitted;
use super::promote::{self, promote_candidates};
use super::{evaluate, now, open, pull, report, train};
use crate::cli::{Pull, Run, Shard};
use crate::config::{Config, ConfigError};
use crate::lineage::Lineage;
use crate::outcome::Outcome;

/// Held by whoever runs; one at a time over one store.
pub(super) const LEASE: &str = "runs/.lease";
/// So long a runner may be silent before another takes its place.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

pub(super) async fn run(config: &Config, arguments: &Run) -> anyhow::Result<Outcome> {
    let at = now();
    let id = arguments.id.clone().unwrap_or_else(|| id_of(at));
    let shard = arguments.part.shard()?;
    if shard.is_some() && (arguments.id.is_none() || !arguments.no_pull) {
        let what =
            "a part of a run needs the run's --id, and --no-pull: the dataset is pulled once, by `forewarn pull`";
        return Err(ConfigError::new(what).into());
    }
    let store = open::changing_store(config).await?;
    // Parts go on beside each other; one part does not twice at a time.
    let lease = match shard {
        None => store.lease(LEASE, SILENCE).await?,
        Some(shard) => store.lease(&format!("{LEASE}-{}-of-{}", shard.index, shard.count), SILENCE).await?,
    };
    let scope = Scope { id: &id, shard, until: arguments.until, pull: !arguments.no_pull };
    held(lease, go_on(config, store, at, scope)).await
}

/// What a run is about.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// Of the whole run, also where this is a part of it.
    pub(super) id: &'a str,
    /// Which part of the services; all, where it is `None`.
    pub(super) shard: Option<Shard>,
    /// The end of the history; as far as there is any, where it is `None`.
    pub(super) until: Option<Timestamp>,
    /// Whether the history is fetched first.
    pub(super) pull: bool,
}

/// The id of the run of a scheduled time.
pub(super) fn id_of(at: Timestamp) -> String {
    at.align_down(evaluate::one_second()).to_rfc3339().replace(['-', ':'], "")
}

/// Works for as long as the lease is ours, and gives it back.
pub(super) async fn held<T>(lease: Lease, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let result = tokio::select! {
        result = work => result,
        () = lease.lost() => Err(anyhow::anyhow!("another runner took over, for this one was silent too long")),
    };
    lease.release().await;
    result
}

/// Begins a run, or goes on with it.
pub(super) async fn go_on(
    config: &Config,
    store: Store,
    scheduled_for: Timestamp,
    scope: Scope<'_>,
) -> anyhow::Result<Outcome> {
    let Scope { id, shard, until, pull: fetches } = scope;
    let lineage = Lineage::new(config);
    let record = match shard {
        None => id.to_owned(),
        Some(shard) => format!("{id}-{}-of-{}", shard.index, shard.count),
    };
    let (mut attempt, resumed) = Attempt::begin(RunLog::new(store.clone()), &record, scheduled_for, lineage).await?;
    let pulled = attempt
        .step("pull", async |_| {
            let pulled = match fetches {
                true => pull::pull(config, &Pull { from: None, to: until, source: None }).await?,
                false => Outcome::new("", json!({"skipped": "--no-pull"})),
            };
            let covered = open::covered(&open::dataset(config).await?.1)?;
            let end = until.unwrap_or(covered.end).min(covered.end);
            let mut said = pulled.json().clone();
            said["until"] = json!(end);
            Ok((pulled.text().to_owned(), said))
        })
        .await?;
    let end: Timestamp = serde_json::from_value(pulled["until"].clone()).context("the run's record: pull: until")?;
    let split = split(config, end).await?;
    let trained = attempt
        .step("train", async |_| {
            let fit = train::Part { only: &[], shard, run: Some(id), resumed };
            said(train::train_until(config, split, fit).await.context("training")?)
        })
        .await?;
    let registry = ModelRegistry::new(store);
    let evaluated = attempt
        .step("evaluate", async |_| {
            let _lock = if shard.is_some() { registry.share_lock()? } else { registry.lock()? };
            let fitted = Fitted { versions: candidates_of(&trained)?, part: shard };
            let judged = evaluate::evaluate_range(config, &registry, fitted, Some(split), Some(end)).await;
            said(judged.context("evaluation")?.0)
        })
        .await?;
    let promoted = attempt
        .step("promote", async |_| {
            let _lock = if shard.is_some() { registry.share_lock()? } else { registry.lock()? };
            let name = evaluated["report"].as_str().context("the run's record: evaluate: report")?;
            let report = evaluate::read_report(&registry, name).await?;
            said(
                promote_candidates(&registry, &promote::judged(&report)?, Some(&report), false, config.train.shadow)
                    .await?,
            )
        })
        .await?;
    let reported = attempt
        .step("report", async |_| {
            if shard.is_some() {
                return Ok((String::new(), json!({"skipped": "this is a part of a run"})));
            }
            let week = report::week_until(config, end).await.context("the weekly report")?;
            Ok(match &week {
                Some(name) => (format!("looked back at the week: reports/{name}/week.html\n"), json!({"report": name})),
                None => (String::new(), json!({"skipped": "nobody has served from this state yet"})),
            })
        })
        .await?;
    let (text, record) = attempt.end().await?;
    let all = json!({
        "run": record.id,
        "pull": pulled,
        "train": trained,
        "evaluate": evaluated,
        "promote": promoted,
        "report": reported,
    });
    Ok(Outcome::new(text, all))
}

fn said(outcome: Outcome) -> anyhow::Result<(String, Value)> {
    Ok((outcome.text().to_owned(), outcome.json().clone()))
}

/// The versions that the training of this run has published.
fn candidates_of(trained: &Value) -> anyhow::Result<BTreeMap<String, ModelVersion>> {
    let candidates = trained["candidates"].as_object().context("the run's record: train: candidates")?;
    let version = |(service, candidate): (&String, &Value)| {
        let version = candidate["version"].as_str().and_then(|version| version.parse().ok());
        Ok((service.clone(), version.with_context(|| format!("the run's record: the version of {service:?}"))?))
    };
    candidates.iter().map(version).collect()
}

/// Where training ends and judging begins.
async fn split(config: &Config, end: Timestamp) -> anyhow::Result<Timestamp> {
    let covered = open::covered(&open::dataset(config).await?.1)?;
    let split = end - config.train.holdout;
    if split <= covered.start {
        anyhow::bail!(
            "the dataset holds {covered}, which [train] holdout of {} leaves nothing of to train on",
            forewarn_schema::format_duration(config.train.holdout)
        );
    }
    Ok(split)
}

/// Everything after the pull, without a record: for the demo.
pub(super) async fn learn(config: &Config, until: Option<Timestamp>, pulled: Outcome) -> anyhow::Result<Outcome> {
    let covered = open::covered(&open::dataset(config).await?.1)?;
    let end = until.unwrap_or(covered.end).min(covered.end);
    let split = split(config, end).await?;
    let part = train::Part { only: &[], shard: None, run: None, resumed: false };
    let trained = train::train_until(config, split, part).await.context("training")?;
    let registry = open::moving_registry(config).await?;
    let _lock = registry.lock()?;
    let fitted = Fitted { versions: candidates_of(trained.json())?, part: None };
    let (evaluated, report) =
        evaluate::evaluate_range(config, &registry, fitted, Some(split), Some(end)).await.context("evaluation")?;
    let candidates = promote::candidates(&registry, &[]).await?;
    let promoted = promote_candidates(&registry, &candidates, Some(&report), false, config.train.shadow).await?;
    let week = report::week_until(config, end).await.context("the weekly report")?;
    let mut text = [pulled.text(), trained.text(), evaluated.text(), promoted.text()].map(str::trim_end).join("\n");
    if let Some(name) = &week {
        text.push_str(&format!("\nlooked back at the week: reports/{name}/week.html"));
    }
    Ok(Outcome::new(
        text,
        json!({
            "pull": pulled.json(),
            "train": trained.json(),
            "evaluate": evaluated.json(),
            "promote": promoted.json(),
            "report": week,
        }),
    ))
}

//! `forewarn train`: one candidate a service from samples before a time. Nothing serves it yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use anyhow::bail;
use forewarn_datasets::Dataset;
use forewarn_schema::{TimeRange, Timestamp};
use forewarn_training::{FitError, FitOptions, FitProgress, fit_all};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::open::{self, Histories};
use crate::cli::{Shard, Train};
use crate::config::{Config, ConfigError};
use crate::errors::one_line;
use crate::outcome::Outcome;
use crate::progress;

pub(super) async fn train(config: &Config, arguments: &Train) -> anyhow::Result<Outcome> {
    let (_, manifest) = open::dataset(config).await?;
    let covered = open::covered(&manifest)?;
    let until = arguments.until.unwrap_or_else(|| (covered.end - config.train.holdout).max(covered.start));
    if until <= covered.start {
        let what = format!("--until must lie after the dataset's start {}, got {until}", covered.start);
        return Err(ConfigError::new(what).into());
    }
    train_until(config, until, &arguments.service, arguments.shard).await
}

/// Fits and publishes. Fails where not one service could be fitted.
pub(super) async fn train_until(
    config: &Config,
    until: Timestamp,
    only: &[String],
    shard: Option<Shard>,
) -> anyhow::Result<Outcome> {
    let registry = open::registry(config).await?;
    let _lock = registry.lock()?;
    let (dataset, manifest) = open::dataset(config).await?;
    let covered = open::covered(&manifest)?;
    let range = TimeRange::new(covered.start, until.min(covered.end).max(covered.start))?;
    let histories = read(config, &dataset, range, only, shard).await?;
    let options = FitOptions {
        seed: config.train.seed,
        device: config.train.device,
        threads: config.train.threads,
        calendar: config.calendar.clone(),
        ..FitOptions::new(until, config.step)
    };
    let options = match config.train.lstm_steps {
        Some(lstm_steps) => FitOptions { lstm_steps, ..options },
        None => options,
    };
    let digest = manifest.digest();
    let signals = std::sync::Arc::clone(&config.signals);
    // Hours of arithmetic have no place on the runtime's threads.
    let fitted = tokio::task::spawn_blocking(move || {
        let bar = FitBar::new(options.lstm_steps);
        fit_all(&histories, &signals, &digest, &options, &[], &bar)
    })
    .await?;
    let mut published = BTreeMap::new();
    let mut left_out = BTreeMap::new();
    for (service, result) in fitted {
        match result {
            Ok(bundle) => {
                let forecast = serde_json::to_value(bundle.forecast)?;
                let version = registry.publish(&bundle).await?;
                published.insert(service.to_string(), (version.to_string(), forecast));
            }
            Err(e) => {
                left_out.insert(service.to_string(), one_line(&e.into()));
            }
        }
    }
    if published.is_empty() {
        let reasons: Vec<&str> = left_out.values().map(String::as_str).take(3).collect();
        bail!("no service could be fitted on {range}: {}", reasons.join("; "));
    }
    let mut text = format!("trained {} services on {range}\n", published.len());
    for (service, (version, forecast)) in &published {
        text.push_str(&format!("  {service}: candidate {version}, forecast {}\n", forecast.as_str().unwrap_or("?")));
    }
    for (service, reason) in &left_out {
        text.push_str(&format!("  {service}: left out: {reason}\n"));
    }
    let candidates: BTreeMap<String, Value> =
        published.into_iter().map(|(s, (v, f))| (s, json!({"version": v, "forecast": f}))).collect();
    Ok(Outcome::new(text, json!({"range": range, "until": until, "candidates": candidates, "left_out": left_out})))
}

/// The histories of the services named (all, where none is) that are in this shard. Others are not read.
async fn read(
    config: &Config,
    dataset: &Dataset,
    range: TimeRange,
    only: &[String],
    shard: Option<Shard>,
) -> anyhow::Result<Histories> {
    if only.is_empty() && shard.is_none() {
        return Ok(dataset.read(&config.signals, range).await?);
    }
    let known = dataset.services(&config.signals, range).await?;
    let chosen = choose(&known, only, shard)?;
    let histories = dataset.read_services(&config.signals, range, &chosen).await?;
    if let Some(silent) = only.iter().find(|name| chosen.contains(*name) && !histories.contains_key(name.as_str())) {
        return Err(ConfigError::new(format!("service {silent:?} has no value in {range}")).into());
    }
    Ok(histories)
}

/// Of `known`, the services named (all, where none is) that are in this shard.
fn choose(known: &BTreeSet<String>, only: &[String], shard: Option<Shard>) -> Result<BTreeSet<String>, ConfigError> {
    if let Some(unknown) = only.iter().find(|name| !known.contains(*name)) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return Err(ConfigError::new(format!("the dataset has no service {unknown:?}, it has: {}", known.join(", "))));
    }
    let named = known.iter().filter(|service| only.is_empty() || only.contains(service));
    let in_shard = |position: usize| shard.is_none_or(|shard| shard.holds(position));
    Ok(named.enumerate().filter(|(position, _)| in_shard(*position)).map(|(_, service)| service.clone()).collect())
}

/// One bar over the optimiser steps of all services; every service counts a full share, also one that
/// needs no LSTM.
struct FitBar {
    bar: ProgressBar,
    steps: u64,
    done: Mutex<BTreeMap<String, u64>>,
}

impl FitBar {
    fn new(lstm_steps: usize) -> Self {
        let steps = lstm_steps as u64 + 1;
        Self { bar: progress::bar("train", steps), steps, done: Mutex::new(BTreeMap::new()) }
    }

    fn advance(&self, service: &str, to: u64) {
        let mut done = self.done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let of_service = done.entry(service.to_owned()).or_default();
        self.bar.inc(to.saturating_sub(*of_service));
        *of_service = to.max(*of_service);
    }
}

impl FitProgress for FitBar {
    fn started(&self, services: usize) {
        self.bar.set_length(self.steps * services as u64);
    }

    fn service_started(&self, service: &str) {
        self.bar.set_message(service.to_owned());
        tracing::debug!(service, "fit started");
    }

    fn lstm_step(&self, service: &str, step: usize, _loss: f32) {
        self.advance(service, step as u64);
    }

    fn service_done(&self, service: &str, error: Option<&FitError>) {
        self.advance(service, self.steps);
        match error {
            None => tracing::debug!(service, "fit done"),
            Some(error) => tracing::warn!(service, %error, "fit failed"),
        }
    }
}

impl Drop for FitBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

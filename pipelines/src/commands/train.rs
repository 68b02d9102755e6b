//! `forewarn train`: one candidate a service from samples before a time. Nothing serves it yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, bail};
use forewarn_datasets::Dataset;
use forewarn_models::{ModelBundle, ModelRegistry};
use forewarn_schema::{TimeRange, Timestamp};
use forewarn_storage::Store;
use forewarn_training::{FitError, FitOptions, FitProgress, FleetPrior, Known, fit_all, fleet, is_of_this_fit};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::known;
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
    let run = arguments.run.as_deref();
    train_until(config, until, Part { only: &arguments.service, shard: arguments.part.shard()?, run, resumed: true })
        .await
}

/// Which part of the fleet is trained, and whether it is a part of something larger.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    /// These services; all, where it is empty.
    pub(super) only: &'a [String],
    pub(super) shard: Option<Shard>,
    /// What is known besides the samples is what the first part of this run found.
    pub(super) run: Option<&'a str>,
    /// Of a run: services whose candidates this very fit has published before are not fitted anew.
    pub(super) resumed: bool,
}

/// Fits and publishes. Fails where not one service could be fitted.
pub(super) async fn train_until(config: &Config, until: Timestamp, part: Part<'_>) -> anyhow::Result<Outcome> {
    let Part { only, shard, run, resumed } = part;
    let store = match run {
        Some(_) => open::changing_store(config).await?,
        None => Store::open(&config.store_url)?,
    };
    let registry = ModelRegistry::new(store.clone());
    // Parts of a fleet have nothing in common but what they read.
    let _lock = if shard.is_some() { registry.share_lock()? } else { registry.lock()? };
    let (dataset, manifest) = open::dataset(config).await?;
    let covered = open::covered(&manifest)?;
    let range = TimeRange::new(covered.start, until.min(covered.end).max(covered.start))?;
    let options = FitOptions {
        seed: config.train.seed,
        device: config.train.device,
        threads: config.train.threads,
        calendar: config.calendar.clone(),
        ..FitOptions::new(until, config.step)
    };
    let options = match config.train.lstm_steps {
        // The fleet's share stays what it is by default.
        Some(lstm_steps) => {
            let prior_steps = options.prior_steps / options.lstm_steps * lstm_steps;
            FitOptions { lstm_steps, prior_steps, ..options }
        }
        None => options,
    };
    let services = dataset.services(&config.signals, range).await?;
    let chosen = choose(&services, only, shard)?;
    let said = Arc::new(match run {
        Some(id) => known::of_run(config, &store, id, range).await?,
        None => known::gather(config, range).await?,
    });
    let digest: Arc<str> = manifest.digest().into();
    let fleet = Fleet { config, dataset: &dataset, range, options: Arc::new(options), known: said };
    let mut published = BTreeMap::new();
    if run.is_some() && resumed {
        for service in &chosen {
            if let Some(before) = fleet.published(&registry, service, &digest).await? {
                published.insert(service.clone(), before);
            }
        }
        tracing::info!(before = published.len(), of = chosen.len(), "services that were fitted before");
    }
    let chosen: BTreeSet<String> = chosen.into_iter().filter(|service| !published.contains_key(service)).collect();
    let bar = Arc::new(FitBar::new(&fleet.options, chosen.len()));
    let prior = match chosen.is_empty() {
        true => Arc::default(),
        false => Arc::new(fleet.prior(&services, &bar).await?),
    };
    let mut left_out = BTreeMap::new();
    for services in fleet.at_a_time(&chosen) {
        let histories = fleet.read(&services).await?;
        if let Some(silent) =
            only.iter().find(|name| services.contains(*name) && !histories.contains_key(name.as_str()))
        {
            return Err(ConfigError::new(format!("service {silent:?} has no value in {range}")).into());
        }
        for (service, result) in fleet.fit(histories, &digest, &prior, &bar).await? {
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
    }
    // A part of a small fleet may have nothing to do.
    if published.is_empty() && (shard.is_none() || !left_out.is_empty()) {
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

/// So many steps of services are in memory at a time, about a kilobyte each. Changes no bit.
const STEPS_AT_A_TIME: usize = 300_000;

/// The services of the dataset, some at a time: memory does not grow with their number.
struct Fleet<'a> {
    config: &'a Config,
    dataset: &'a Dataset,
    range: TimeRange,
    options: Arc<FitOptions>,
    known: Arc<Known>,
}

impl Fleet<'_> {
    /// The candidate of this service, and what it serves, where this very fit has published it.
    async fn published(
        &self,
        registry: &ModelRegistry,
        service: &str,
        digest: &str,
    ) -> anyhow::Result<Option<(String, Value)>> {
        let Some(version) = registry.published(service).await? else { return Ok(None) };
        let Some(manifest) = registry.manifest(service, &version).await? else { return Ok(None) };
        if !is_of_this_fit(&manifest, digest, &self.config.signals, &self.options, &self.known) {
            return Ok(None);
        }
        // Read whole: a bundle that cannot be is made again.
        match registry.load(service, &version).await {
            Ok(bundle) => Ok(Some((version.to_string(), serde_json::to_value(bundle.forecast)?))),
            Err(e) if e.is_refused_model() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// What the fleet teaches, whichever of its services are fitted afterwards.
    async fn prior(&self, known: &BTreeSet<String>, bar: &Arc<FitBar>) -> anyhow::Result<FleetPrior> {
        let teachers = fleet::teachers(known);
        let mut lessons = Vec::with_capacity(teachers.len());
        for services in self.at_a_time(&teachers) {
            let histories = self.read(&services).await?;
            let (signals, options) = (Arc::clone(&self.config.signals), Arc::clone(&self.options));
            let known = Arc::clone(&self.known);
            let (count, range) = (teachers.len(), self.range);
            // Hours of arithmetic have no place on the runtime's threads.
            let work = move || fleet::lessons(&histories, &signals, count, range, &options, &known);
            lessons.extend(tokio::task::spawn_blocking(work).await?);
        }
        let (options, bar) = (Arc::clone(&self.options), Arc::clone(bar));
        let learn = move || FleetPrior::learn(lessons, &options, &|step, _| bar.advance(THE_FLEET, step as u64));
        tokio::task::spawn_blocking(learn).await?.context("the LSTM that the services begin at")
    }

    async fn fit(
        &self,
        histories: Histories,
        digest: &Arc<str>,
        prior: &Arc<FleetPrior>,
        bar: &Arc<FitBar>,
    ) -> anyhow::Result<Vec<(Arc<str>, Result<ModelBundle, FitError>)>> {
        let (signals, options) = (Arc::clone(&self.config.signals), Arc::clone(&self.options));
        let (digest, prior, bar, known) =
            (Arc::clone(digest), Arc::clone(prior), Arc::clone(bar), Arc::clone(&self.known));
        let work = move || fit_all(&histories, &signals, &digest, &options, &prior, &known, &*bar);
        Ok(tokio::task::spawn_blocking(work).await?)
    }

    /// Services whose histories fit into memory together, in the order of their names.
    fn at_a_time(&self, services: &BTreeSet<String>) -> Vec<BTreeSet<String>> {
        let steps = self.options.step.count_in(self.range.duration()).max(1);
        let services: Vec<&String> = services.iter().collect();
        let together = services.chunks((STEPS_AT_A_TIME / steps).max(self.options.threads).max(1));
        together.map(|some| some.iter().map(|name| (*name).clone()).collect()).collect()
    }

    /// Only these services' rows are read; one without a value is left out.
    async fn read(&self, services: &BTreeSet<String>) -> anyhow::Result<Histories> {
        Ok(self.dataset.read_services(&self.config.signals, self.range, services).await?)
    }
}

/// Of `known`, the services named (all, where none is) that are in this shard.
fn choose(known: &BTreeSet<String>, only: &[String], shard: Option<Shard>) -> Result<BTreeSet<String>, ConfigError> {
    if let Some(unknown) = only.iter().find(|name| !known.contains(*name)) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return Err(ConfigError::new(format!("the dataset has no service {unknown:?}, it has: {}", known.join(", "))));
    }
    let named = known.iter().filter(|service| only.is_empty() || only.contains(service));
    Ok(shard.unwrap_or(Shard::WHOLE).of(named))
}

/// Stands for the prior among the names of services; no service has an empty one.
const THE_FLEET: &str = "";

/// One bar over the optimiser steps of the prior and of all services; every service counts a full share, also one that
/// needs no LSTM.
struct FitBar {
    bar: ProgressBar,
    steps: u64,
    done: Mutex<BTreeMap<String, u64>>,
}

impl FitBar {
    fn new(options: &FitOptions, services: usize) -> Self {
        let steps = options.lstm_steps as u64 + 1;
        let length = options.prior_steps as u64 + steps * services as u64;
        Self { bar: progress::bar("train", length), steps, done: Mutex::new(BTreeMap::new()) }
    }

    fn advance(&self, service: &str, to: u64) {
        let mut done = self.done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let of_service = done.entry(service.to_owned()).or_default();
        self.bar.inc(to.saturating_sub(*of_service));
        *of_service = to.max(*of_service);
    }
}

impl FitProgress for FitBar {
    fn service_started(&self, service: &str) {
        self.bar.set_message(service.to_owned());
        tracing::debug!(service, "fit started");
    }

    fn lstm_step(&self, service: &str, step: usize, _loss: f32) {
        self.advance(service, self.steps.min(step as u64));
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

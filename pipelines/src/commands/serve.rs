//! `forewarn serve`: the server with the models that are current, warmed from the dataset where there is
//! one, until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use forewarn_datasets::Dataset;
use forewarn_inference::{
    Checkpoint, CheckpointOptions, Server, ServerHandle, ServerOptions, StateStore, Webhook, WebhookSecret,
};
use forewarn_models::scorer::ServiceMemory;
use forewarn_models::{Engine, ModelRegistry};
use forewarn_schema::{TimeRange, Timestamp};
use forewarn_storage::Store;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::{feed, open, schedule};
use crate::cli::Serve;
use crate::config::{Config, ConfigError, environment};
use crate::outcome::Outcome;
use crate::telemetry::{TraceOptions, Traces};

pub(super) async fn serve(config: &Config, arguments: &Serve) -> anyhow::Result<Outcome> {
    let mut options = server_options(config, arguments)?;
    // Sends what is left when the server has stopped.
    let _traces = traces(config, options.listen)?;
    let Prepared { registry, engine, checkpoint, expected } = prepare(config, &mut options).await?;
    let server = Server::bind(options, Arc::clone(&config.signals), engine, registry).await?;
    server.expect(expected);
    if let Some(checkpoint) = checkpoint {
        let at = checkpoint.at();
        if server.recall(checkpoint).await {
            tracing::info!(%at, "going on from the last checkpoint");
        }
    }
    let listen = server.local_addr();
    let scheme = if server.speaks_tls() { "https" } else { "http" };
    let reload = tokio::spawn(reload_on_hangup(server.handle())?);
    tracing::info!(%listen, page = %format!("{scheme}://{listen}/"), "serving");
    if config.train.in_server {
        run_the_schedule(&config.path)?;
    }
    let served = server.run(shutdown()?).await;
    reload.abort();
    served?;
    Ok(Outcome::new("", json!({"listen": listen.to_string()})))
}

/// Begins to send traces, where they are wanted.
fn traces(config: &Config, listen: std::net::SocketAddr) -> anyhow::Result<Option<Traces>> {
    let Some(wanted) = &config.telemetry else { return Ok(None) };
    let headers = wanted.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    let (url, sample) = (wanted.url.clone(), wanted.sample);
    let options = TraceOptions { url, headers: headers.collect(), sample, instance: listen.to_string() };
    Ok(Some(Traces::start(&options)?))
}

/// The weekly job beside the server, in a thread of its own: what it does for minutes without a pause must not hold up an answer.
/// It ends with the process, in the middle of whatever it does; the next one goes on from there.
fn run_the_schedule(path: &std::path::Path) -> anyhow::Result<()> {
    let config = Config::load(path, &environment())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = move || runtime.block_on(schedule::beside_a_server(&config));
    std::thread::Builder::new()
        .name("schedule".to_owned())
        .spawn(work)
        .context("cannot start the schedule's thread")?;
    Ok(())
}

/// Opens what the server needs. While the store or the state's database cannot be reached it is tried again: the senders of
/// samples keep theirs until somebody listens, and nobody has to start this process once more.
async fn prepare(config: &Config, options: &mut ServerOptions) -> anyhow::Result<Prepared> {
    const AGAIN: Duration = Duration::from_secs(2);
    loop {
        let error = match try_to_prepare(config, options).await {
            Err(error) if crate::errors::is_unreachable(&error) => error,
            result => return result,
        };
        tracing::error!(error = %crate::errors::one_line(&error), "not serving yet, trying again in {AGAIN:?}");
        tokio::time::sleep(AGAIN).await;
    }
}

/// What was learnt, and what was seen.
struct Prepared {
    registry: ModelRegistry,
    engine: Engine,
    checkpoint: Option<Checkpoint>,
    /// Of workloads that may be others'.
    expected: Vec<ServiceMemory>,
}

async fn try_to_prepare(config: &Config, options: &mut ServerOptions) -> anyhow::Result<Prepared> {
    StateStore::greet(config.state_url.expose()).await?;
    let registry = open::moving_registry(config).await?;
    let bundles = open::current_bundles(&registry).await?;
    let mut engine = open::engine_of(config, bundles.clone());
    let checkpoint = newer_checkpoint(config, options.checkpoint.as_ref()).await?;
    let mut expected = Vec::new();
    if checkpoint.is_none() {
        options.warmed_until = warm(config, &mut engine).await?;
        if !config.serve.shard.is_empty() {
            // The dataset holds every shard's workloads, and which are this one's only their samples will say.
            let unheard = std::mem::replace(&mut engine, open::engine_of(config, bundles));
            expected = unheard.memories().collect();
        }
    }
    Ok(Prepared { registry, engine, checkpoint, expected })
}

pub(super) fn server_options(config: &Config, arguments: &Serve) -> anyhow::Result<ServerOptions> {
    let webhook = match &config.requests.webhook {
        None => None,
        Some(webhook) => {
            let secret = webhook.secret.as_ref().map(|secret| WebhookSecret::parse(secret.expose())).transpose();
            Some(Webhook {
                url: parse_url("[requests] webhook", &webhook.url)?,
                reach: webhook.reach.clone(),
                secret: secret.map_err(|e| ConfigError::new(format!("[requests] webhook_secret: {e}")))?,
            })
        }
    };
    let public_url = config.serve.public_url.as_deref().map(|url| parse_url("[serve] public_url", url)).transpose()?;
    let checkpoint = match config.serve.checkpoint_every {
        None => None,
        Some(every) => {
            let store = Store::open(&config.store_url).map_err(|e| ConfigError::new(format!("[store] url: {e}")))?;
            Some(CheckpointOptions { store, path: config.serve.checkpoint.clone(), every })
        }
    };
    Ok(ServerOptions {
        listen: arguments.listen.unwrap_or(config.serve.listen),
        access: config.serve.access.clone(),
        door: config.serve.door.clone(),
        rates: config.serve.rates,
        feed: feed::of(config)?,
        otlp_promote: config.serve.otlp_promote.clone(),
        allow_unauthenticated_remote: config.serve.allow_unauthenticated_remote,
        state_url: config.state_url.expose().to_owned(),
        shard: config.serve.shard.clone(),
        webhook,
        alertmanagers: config.requests.alertmanagers.clone(),
        safety: config.requests.safety.clone(),
        autonomy: config.requests.autonomy.clone(),
        shadow: config.train.shadow,
        learn: config.learn,
        public_url,
        feedback: config.feedback.clone(),
        step: config.step,
        lateness: config.serve.lateness,
        max_series: config.serve.max_series,
        max_memory: config.serve.max_memory,
        checkpoint,
        max_write_bytes: config.serve.max_body_bytes,
        max_decoded_bytes: config.serve.max_body_bytes.saturating_mul(4),
        ..ServerOptions::default()
    })
}

fn parse_url(key: &str, text: &str) -> Result<Url, ConfigError> {
    Url::parse(text).map_err(|e| ConfigError::new(format!("{key}: {e}")))
}

/// What an earlier server has seen, where that is younger than the dataset and of the same step. One that cannot be read is no
/// reason not to serve.
async fn newer_checkpoint(config: &Config, options: Option<&CheckpointOptions>) -> anyhow::Result<Option<Checkpoint>> {
    let Some(options) = options else { return Ok(None) };
    let checkpoint = match Checkpoint::read(&options.store, &options.path).await {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            tracing::warn!(error = %crate::errors::one_line(&error.into()), "checkpoint not read, starting without");
            None
        }
    };
    let Some(checkpoint) = checkpoint.filter(|checkpoint| checkpoint.is_of(config.step)) else { return Ok(None) };
    let covered = Dataset::open(&config.store_url).await?.manifest().await?.and_then(|m| m.range());
    Ok(Some(checkpoint).filter(|checkpoint| covered.is_none_or(|covered| checkpoint.at() >= covered.end)))
}

/// Shows the engine the end of the dataset, so that it need not learn for hours what it knew. Gives the
/// last step shown; `None` where there is no dataset.
pub(super) async fn warm(config: &Config, engine: &mut Engine) -> anyhow::Result<Option<Timestamp>> {
    let dataset = Dataset::open(&config.store_url).await?;
    let Some(covered) = dataset.manifest().await?.and_then(|m| m.range()) else { return Ok(None) };
    let recent = TimeRange::new((covered.end - engine.memory_horizon()).max(covered.start), covered.end)?;
    let histories = dataset.read(&config.signals, recent).await.context("reading the dataset to warm up")?;
    let steps = open::warm(engine, &histories);
    let last = histories.values().filter_map(|steps| steps.last()).map(|step| step.at).max();
    tracing::info!(steps, until = %covered.end, "warmed from the dataset");
    Ok(last)
}

/// Ends with Ctrl-C or SIGTERM.
pub(super) fn shutdown() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}

fn reload_on_hangup(handle: ServerHandle) -> anyhow::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            match handle.reload().await {
                Ok(report) => {
                    tracing::info!(serving = report.serving.len(), refused = report.refused.len(), "reloaded")
                }
                Err(error) => tracing::error!(error = %crate::errors::one_line(&error.into()), "reload failed"),
            }
        }
    })
}

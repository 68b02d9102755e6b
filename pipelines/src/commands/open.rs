//! How the commands open what the configuration names: sources, the dataset, the registry, the engine.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use forewarn_datasets::{
    BlocksOptions, BlocksSource, Dataset, DatasetManifest, Fetch, HistorySource, LogsSource, PrometheusSource,
    PullEstimate, PullPlan, SampleSource, SampledHistory,
};
use forewarn_features::ServiceStep;
use forewarn_inference::StateStore;
use forewarn_models::decision::DecisionParams;
use forewarn_models::{Engine, EngineOptions, ModelBundle, ModelRegistry};
use forewarn_schema::{Feedback, LabelMatcher, LabelSet, RemediationRequest, TimeRange, Timestamp};
use forewarn_storage::{Conditions, Store};

use super::logs;
use crate::config::{Config, ConfigError, Source, SourceKind};

/// Per service, ordered by time.
pub(super) type Histories = BTreeMap<Arc<str>, Vec<ServiceStep>>;

/// An open source: one that evaluates expressions itself, or one of raw samples over which we do. With raw samples come
/// the selectors of series to pull besides those that the signals read.
pub(super) enum OpenSource {
    /// A query API that is asked for values at steps.
    Queries(Box<dyn HistorySource>),
    /// A query API that gives the samples themselves, and how they are fetched.
    Samples(Box<PrometheusSource>, Fetch, Vec<Vec<LabelMatcher>>),
    /// Blocks.
    Blocks(BlocksSource, Vec<Vec<LabelMatcher>>),
    /// Log lines, counted.
    Logs(Box<LogsSource>),
}

impl OpenSource {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Queries(source) => source.name(),
            Self::Samples(source, ..) => SampleSource::name(source.as_ref()),
            Self::Blocks(source, _) => source.name(),
            Self::Logs(source) => source.name(),
        }
    }

    /// From the earliest to the latest data.
    pub(super) async fn extent(&self) -> anyhow::Result<Option<TimeRange>> {
        Ok(match self {
            Self::Queries(source) => source.extent().await?,
            Self::Samples(source, ..) => SampleSource::extent(source.as_ref()).await?,
            Self::Blocks(source, _) => source.extent().await?,
            Self::Logs(source) => source.extent().await?,
        })
    }

    /// What the server says of its version, or what there is instead of a server.
    pub(super) async fn version(&self) -> anyhow::Result<Option<String>> {
        Ok(match self {
            Self::Queries(source) => source.probe().await?.version,
            Self::Samples(source, ..) => SampleSource::probe(source.as_ref()).await?.version,
            Self::Blocks(source, _) => source.probe().await?.version,
            Self::Logs(source) => source.probe().await?.version,
        })
    }

    /// What of `range` is not in the dataset yet.
    pub(super) async fn plan(&self, config: &Config, dataset: &Dataset, range: TimeRange) -> anyhow::Result<PullPlan> {
        let (signals, step) = (&config.signals, config.step);
        let samples: &dyn SampleSource = match self {
            Self::Queries(source) => return Ok(dataset.plan(source.as_ref(), signals, step, range).await?),
            Self::Samples(source, ..) => source.as_ref(),
            Self::Blocks(source, _) => source,
            Self::Logs(source) => source.as_ref(),
        };
        let history = SampledHistory::new(samples, dataset).await?;
        Ok(dataset.plan(&history, signals, step, range).await?)
    }

    /// What pulling `plan` comes to: measured where a server answers expressions; elsewhere, from `series` series that are
    /// there at every step, and without a time.
    pub(super) async fn estimate(
        &self,
        config: &Config,
        dataset: &Dataset,
        range: TimeRange,
        plan: &PullPlan,
        series: u64,
    ) -> anyhow::Result<PullEstimate> {
        let (signals, step) = (&config.signals, config.step);
        match self {
            Self::Queries(source) => Ok(dataset.estimate(source.as_ref(), signals, step, range, plan).await?),
            Self::Samples(source, ..) => Ok(dataset.estimate(source.as_ref(), signals, step, range, plan).await?),
            Self::Blocks(..) | Self::Logs(_) => Ok(plan.at_every_step(signals, step, range, series)),
        }
    }

    /// The label sets that `promql` gives at `at`, sorted.
    pub(super) async fn count(&self, promql: &str, at: Timestamp) -> anyhow::Result<Vec<LabelSet>> {
        Ok(match self {
            Self::Queries(source) => source.count(promql, at).await?,
            // The server evaluates one instant with less traffic than its samples would be.
            Self::Samples(source, ..) => HistorySource::count(source.as_ref(), promql, at).await?,
            Self::Blocks(source, _) => forewarn_datasets::count(source, promql, at).await?,
            Self::Logs(source) => forewarn_datasets::count(source.as_ref(), promql, at).await?,
        })
    }
}

/// The sources, or the one named `only`.
pub(super) async fn sources(config: &Config, only: Option<&str>, dataset: &Dataset) -> anyhow::Result<Vec<OpenSource>> {
    let path = config.path.display();
    if config.sources.is_empty() {
        let hint = "[[source]]\n  kind = \"prometheus\"\n  url = \"http://127.0.0.1:9090\"";
        return Err(ConfigError::new(format!("{path}: there is no [[source]] to read from; add one: {hint}")).into());
    }
    let chosen: Vec<&Source> = config.sources.iter().filter(|s| only.is_none_or(|name| s.name == name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = config.sources.iter().map(|s| s.name.as_str()).collect();
        let only = only.unwrap_or_default();
        return Err(ConfigError::new(format!("{path}: no source {only:?}, there are: {}", names.join(", "))).into());
    }
    let mut opened = Vec::with_capacity(chosen.len());
    for source in chosen {
        opened.push(open_source(source, dataset).await?);
    }
    Ok(opened)
}

async fn open_source(source: &Source, dataset: &Dataset) -> anyhow::Result<OpenSource> {
    match source.kind {
        SourceKind::Prometheus => {
            let api = Box::new(PrometheusSource::new(source.prometheus_options())?);
            // Only `auto` has to ask the server.
            Ok(match api.fetch_used().await? {
                Fetch::Steps => OpenSource::Queries(api),
                fetch => OpenSource::Samples(api, fetch, source.series.clone()),
            })
        }
        SourceKind::Blocks => Ok(OpenSource::Blocks(open_blocks(source)?, source.series.clone())),
        SourceKind::Logs => Ok(OpenSource::Logs(Box::new(LogsSource::new(logs::options(source), dataset)?))),
    }
}

fn open_blocks(source: &Source) -> anyhow::Result<BlocksSource> {
    let default = BlocksOptions::default();
    Ok(BlocksSource::new(BlocksOptions {
        name: source.name.clone(),
        url: source.url.clone(),
        replica_labels: source.replica_labels.clone(),
        ignore_delay: source.ignore_delay.unwrap_or(default.ignore_delay),
        ..default
    })?)
}

/// The dataset and its manifest; an error that says what to do where nothing was pulled yet.
pub(super) async fn dataset(config: &Config) -> anyhow::Result<(Dataset, DatasetManifest)> {
    let dataset = Dataset::open(&config.store_url).await?;
    let manifest = dataset.manifest().await?;
    let manifest = manifest.filter(|m| m.range().is_some());
    let manifest =
        manifest.with_context(|| format!("{} holds no dataset yet; run `forewarn pull`", config.store_url))?;
    Ok((dataset, manifest))
}

/// What the dataset covers.
pub(super) fn covered(manifest: &DatasetManifest) -> anyhow::Result<TimeRange> {
    manifest.range().context("the dataset is empty; run `forewarn pull`")
}

/// To read models and reports, and to publish.
pub(super) async fn registry(config: &Config) -> anyhow::Result<ModelRegistry> {
    Ok(ModelRegistry::open(&config.store_url).await?)
}

/// To move pointers too.
pub(super) async fn moving_registry(config: &Config) -> anyhow::Result<ModelRegistry> {
    Ok(ModelRegistry::new(changing_store(config).await?))
}

/// The store, for those who write what others may be writing too: the dataset's manifest and the registry's pointers. A
/// bucket is tried out first; where it cannot be trusted, they lie in the state database, and the bucket has copies.
pub(super) async fn changing_store(config: &Config) -> anyhow::Result<Store> {
    let store = Store::open(&config.store_url)?;
    let Conditions::Ignored(header) = store.probe_conditions().await? else { return Ok(store) };
    let state = state(config).await?;
    if state.path().is_none() && !state.is_shared() {
        return Err(ConfigError::new(format!(
            "{} ignores {header}, so two writers could overwrite each other; name a state database on disk in [store] state",
            config.store_url
        ))
        .into());
    }
    let (store_url, state_url) = (&config.store_url, &config.state_shown);
    tracing::warn!(store_url, header, state_url, "the bucket ignores conditions: pointers lie in the state database");
    Ok(store.with_pointers(Arc::new(state)))
}

/// The state that a server serves or served from. One that nobody ever served from can only be a wrong path.
pub(super) async fn served_state(config: &Config) -> anyhow::Result<StateStore> {
    if let Some(path) = config.state_url.expose().strip_prefix("sqlite://")
        && !Path::new(path).exists()
    {
        anyhow::bail!("there is no state at {path}; `forewarn serve` makes it");
    }
    state(config).await
}

/// The state database.
pub(super) async fn state(config: &Config) -> anyhow::Result<StateStore> {
    Ok(StateStore::open(config.state_url.expose()).await?)
}

/// As the server sets it; the same for a backtest and an evaluation.
pub(super) fn engine_options(config: &Config) -> EngineOptions {
    EngineOptions {
        step: config.step,
        mode: config.requests.mode,
        decision: DecisionParams { weekly_budget: config.requests.weekly_budget, ..DecisionParams::default() },
    }
}

/// The models that are current, by service. One that is refused is left out, with a warning: the rules
/// serve there, as the server would have it after a restart.
pub(super) async fn current_bundles(registry: &ModelRegistry) -> anyhow::Result<BTreeMap<String, Arc<ModelBundle>>> {
    bundles_of(registry, registry.services().await?).await
}

/// The same of these services.
pub(super) async fn bundles_of(
    registry: &ModelRegistry,
    services: impl IntoIterator<Item = String>,
) -> anyhow::Result<BTreeMap<String, Arc<ModelBundle>>> {
    let mut bundles = BTreeMap::new();
    for service in services {
        let Some(version) = registry.current(&service).await? else { continue };
        match registry.load(&service, &version).await {
            Ok(bundle) => {
                bundles.insert(service, Arc::new(bundle));
            }
            Err(e) if e.is_refused_model() => {
                let error = crate::errors::one_line(&e.into());
                tracing::warn!(service, %version, %error, "model refused, the rules serve");
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(bundles)
}

/// An engine with the models that are current.
pub(super) async fn engine(config: &Config, registry: &ModelRegistry) -> anyhow::Result<Engine> {
    Ok(engine_of(config, current_bundles(registry).await?))
}

/// The engine with these models.
pub(super) fn engine_of(config: &Config, bundles: BTreeMap<String, Arc<ModelBundle>>) -> Engine {
    let mut engine = Engine::new(Arc::clone(&config.signals), engine_options(config));
    for (service, bundle) in bundles {
        engine.set_bundle(&service, Some(bundle));
    }
    engine
}

/// Feeds histories to the engine in the order of time, without asking it anything.
pub(super) fn warm(engine: &mut Engine, histories: &Histories) -> usize {
    let mut by_time: BTreeMap<Timestamp, Vec<ServiceStep>> = BTreeMap::new();
    for step in histories.values().flatten() {
        by_time.entry(step.at).or_default().push(step.clone());
    }
    for (at, steps) in &by_time {
        engine.observe(*at, steps);
    }
    by_time.len()
}

/// Labels given so far, and the requests that were made; none where there is no state yet.
pub(super) async fn feedback(config: &Config) -> anyhow::Result<(Vec<Feedback>, Vec<RemediationRequest>)> {
    let Some(state) = existing_state(config).await? else { return Ok((Vec::new(), Vec::new())) };
    let requested = state.requests_since(Timestamp::from_millis(0)).await?;
    Ok((state.feedback().await?, requested.into_iter().map(|stored| stored.request).collect()))
}

/// The state database, where there is one. Nothing is created by looking.
pub(super) async fn existing_state(config: &Config) -> anyhow::Result<Option<StateStore>> {
    let path = config.state_url.expose().strip_prefix("sqlite://").map(Path::new);
    if path.is_some_and(|path| !path.exists()) {
        return Ok(None);
    }
    state(config).await.map(Some)
}

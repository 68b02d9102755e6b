//! What the server can be asked, behind one cheap handle: the HTTP interface and the page both speak
//! to this and to nothing below it. Not here: HTTP itself, and moving time forward (`server`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use forewarn_features::SignalSet;
use forewarn_models::registry::Shadow;
use forewarn_models::{ModelRegistry, TargetView};
use forewarn_schema::{Prediction, Timestamp};
use serde::Serialize;
use tokio::sync::Notify;

use crate::access::Access;
use crate::delivery::Instance;
use crate::door::Door;
use crate::error::AppError;
pub use crate::labels::NewFeedback;
use crate::leader::Leadership;
use crate::learning::Learning;
use crate::links::LinkKey;
use crate::metrics::Metrics;
use crate::models::ModelSlots;
use crate::options::ServerOptions;
use crate::outcomes::RollingCache;
use crate::page::QualityCache;
use crate::pull::Pulling;
use crate::rates::Rate;
use crate::receive::Timely;
use crate::scoring::Scorer;
use crate::shadow::Shadows;
use crate::state::{Decision, Outcome, StateStore, StoredRequest};

/// A handle on the running server; a clone is another handle on the same one.
#[derive(Clone)]
pub struct AppState(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) options: ServerOptions,
    /// Without a trailing slash.
    pub(crate) public_url: String,
    pub(crate) signals: Arc<SignalSet>,
    pub(crate) scorer: Arc<Scorer>,
    pub(crate) store: StateStore,
    pub(crate) registry: ModelRegistry,
    pub(crate) slots: ModelSlots,
    pub(crate) metrics: Arc<Metrics>,
    /// Wakes the delivery task.
    pub(crate) outbox: Notify,
    /// Somebody wants messages tried again now, whatever the receiver asked for.
    pub(crate) hurry: AtomicBool,
    pub(crate) alertmanagers: Vec<Arc<Instance>>,
    pub(crate) draining: AtomicBool,
    pub(crate) decoders: tokio::sync::Semaphore,
    /// KiB that bodies of samples may still take.
    pub(crate) body_room: tokio::sync::Semaphore,
    pub(crate) access: Access,
    pub(crate) door: Arc<Door>,
    /// Where samples are fetched from, and how far.
    pub(crate) pulling: Option<Pulling>,
    /// How often one caller may ask, and send samples.
    pub(crate) requests: Rate,
    pub(crate) writes: Rate,
    pub(crate) quality: QualityCache,
    pub(crate) last_run: crate::last_run::LastRun,
    pub(crate) learning: Learning,
    pub(crate) leadership: Leadership,
    /// What links are signed with, and how often one address may follow some.
    pub(crate) link_key: LinkKey,
    pub(crate) links: Rate,
    pub(crate) shadows: Shadows,
    pub(crate) rolling: RollingCache,
}

impl Shared {
    /// Whether callers have to say who they are.
    pub(crate) fn asks_who(&self) -> bool {
        let door = self.door.now();
        !self.options.access.is_empty() || !door.users.is_empty() || door.asks_for_certificates
    }
}

/// The models of one service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceModel {
    /// The workload.
    pub service: String,
    /// The version promoted in the registry; `None`: rules serve.
    pub current: Option<String>,
    /// The version that this server scores with right now; differs from `current` where that could
    /// not be loaded, or until the next look at the registry.
    pub serving: Option<String>,
    /// The newest version that is not `current`.
    pub candidate: Option<String>,
    /// Every version, newest first.
    pub versions: Vec<String>,
    /// Why `current` is not served, where it is not.
    pub error: Option<String>,
    /// The candidate that scores beside what serves, or how the last one's period ended; `None` where there never was any.
    pub shadow: Option<Shadow>,
}

/// How the server is doing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// The program's version.
    pub version: &'static str,
    /// Now, by the server's clock.
    pub now: Timestamp,
    /// Whether it takes samples and keeps what it decides.
    pub ready: bool,
    /// Why not, where it is not.
    pub not_ready: Option<String>,
    /// The step it last scored; `None` before the first.
    pub evaluated_at: Option<Timestamp>,
    /// The newest sample it holds.
    pub newest_sample: Option<Timestamp>,
    /// Series in memory.
    pub live_series: usize,
    /// Targets with a prediction.
    pub targets: usize,
    /// Deliveries that wait.
    pub outbox_pending: u64,
    /// Whether requests go anywhere.
    pub webhook: bool,
    /// Since when requests are stopped; `None`: they are not.
    pub stopped: Option<Timestamp>,
    /// Whether this server asks and delivers; of several on one database only one does.
    pub leads: bool,
}

/// What a reload did, per service with a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ReloadReport {
    /// What each service is served by now: a version, or `rules`.
    pub serving: BTreeMap<String, String>,
    /// Services whose promoted model was refused, and why; what served before still serves.
    pub refused: BTreeMap<String, String>,
}

impl AppState {
    /// Now, by the server's clock.
    pub fn now(&self) -> Timestamp {
        (self.0.options.clock)()
    }

    /// The signals that are watched.
    pub fn signals(&self) -> &SignalSet {
        &self.0.signals
    }

    /// What is said of every live target at the last step, soonest breach first (by median; those
    /// with no breach in sight last, likeliest first, then by name). Empty when the last step is
    /// older than what Prometheus calls stale (5 minutes, or two steps).
    pub async fn predictions(&self) -> Vec<Prediction> {
        self.0.scorer.current(self.now()).predictions.to_vec()
    }

    /// One prediction: a recent one, or one that was kept. `None` where it is neither.
    pub async fn prediction(&self, id: &str) -> Result<Option<Prediction>, AppError> {
        match self.0.scorer.recent(id) {
            Some(prediction) => Ok(Some(prediction)),
            None => Ok(self.0.store.prediction(id).await?),
        }
    }

    /// History, expectation and forecast of one live target, by [`Prediction::target_key`].
    pub async fn view(&self, target_key: &str) -> Option<TargetView> {
        let (scorer, key) = (Arc::clone(&self.0.scorer), target_key.to_owned());
        crate::scoring::blocking(move || scorer.view(&key)).await.ok().flatten()
    }

    /// Kept predictions, newest first, at most `limit`: what can be labelled after the fact.
    pub async fn kept_predictions(&self, limit: u32) -> Result<Vec<Prediction>, AppError> {
        Ok(self.0.store.predictions(limit).await?)
    }

    /// Remediation requests, newest first, at most 500.
    pub async fn requests(&self) -> Result<Vec<StoredRequest>, AppError> {
        Ok(self.0.store.requests(500).await?)
    }

    /// One remediation request.
    pub async fn request(&self, id: &str) -> Result<Option<StoredRequest>, AppError> {
        Ok(self.0.store.request(id).await?)
    }

    /// Says yes or no to a request. The same decision again changes nothing; another one, or one on a
    /// request that is over, is a conflict.
    pub async fn decide(&self, id: &str, decision: Decision, note: Option<&str>) -> Result<StoredRequest, AppError> {
        check_note(note)?;
        if decision == Decision::Approve && self.0.store.stopped().await?.is_some() {
            return Err(AppError::Conflict {
                reason: "requests are stopped; resume them before one is approved".to_owned(),
            });
        }
        let announce = self.0.options.webhook.is_some();
        let stored = self.0.store.decide(id, decision, note, self.now(), announce).await?;
        self.ring();
        Ok(stored)
    }

    /// Takes the controller's word on what became of a request. The same outcome again changes
    /// nothing; another one is a conflict.
    pub async fn report_outcome(
        &self,
        id: &str,
        outcome: Outcome,
        note: Option<&str>,
    ) -> Result<StoredRequest, AppError> {
        check_note(note)?;
        let stored = self.0.store.report_outcome(id, outcome, note, self.now()).await?;
        self.ring();
        Ok(stored)
    }

    /// Every service that has a model in the registry, sorted by name.
    pub async fn models(&self) -> Result<Vec<ServiceModel>, AppError> {
        self.0.slots.list(&self.0.registry).await
    }

    /// Evaluations and weekly reports in the registry, newest first.
    pub async fn reports(&self) -> Result<Vec<String>, AppError> {
        Ok(self.0.registry.reports().await?)
    }

    /// Reads the newest report's figures, where they are not known.
    pub(crate) async fn look_at_quality(&self) -> Result<(), AppError> {
        let reports = self.0.registry.evaluations().await?;
        self.0.quality.newest(self, &reports).await.map(drop)
    }

    /// One file of one report.
    pub async fn report(&self, name: &str, file: &str) -> Result<Bytes, AppError> {
        if !self.reports().await?.iter().any(|known| known == name) {
            return Err(AppError::NotFound { what: "report", id: name.to_owned() });
        }
        Ok(self.0.registry.report(name, file).await?)
    }

    /// Promotes the newest candidate of `service` and serves it; where there is a shadow period, lets it score beside what serves
    /// first. Refused where the newest evaluation does not speak for it, while its shadow period goes on and where that has refused
    /// it (only the shell can force that), and where it cannot be loaded.
    pub async fn promote(&self, service: &str) -> Result<ServiceModel, AppError> {
        let Some(version) = self.0.registry.candidate(service).await? else {
            return Err(AppError::Conflict { reason: format!("service {service} has no candidate to promote") });
        };
        let reason = self.passed(service, &version.to_string()).await?;
        if !self.0.options.shadow.is_zero() {
            return self.start_shadow(service, version, &reason).await;
        }
        self.0.registry.promote(service, &version, self.now(), &reason).await?;
        self.0.store.audit("promote", service, &version.to_string(), self.now()).await?;
        self.reload().await?;
        self.model(service).await
    }

    /// Goes back to what `service` was served by before the last promotion (in the end, rules).
    pub async fn rollback(&self, service: &str) -> Result<ServiceModel, AppError> {
        if self.0.registry.current(service).await?.is_none() {
            return Err(AppError::Conflict { reason: format!("service {service} has no promoted model to roll back") });
        }
        let back_to = self.0.registry.rollback(service, self.now()).await?;
        let detail = back_to.map_or_else(|| "rules".to_owned(), |version| version.to_string());
        self.0.store.audit("rollback", service, &detail, self.now()).await?;
        self.reload().await?;
        self.model(service).await
    }

    /// Reads the registry's pointers again and serves what they name. A model that cannot be loaded
    /// is refused; what served before still serves.
    pub async fn reload(&self) -> Result<ReloadReport, AppError> {
        let report = self.0.slots.reload(&self.0.registry, &self.0.scorer, &self.0.metrics).await?;
        // Boxed: the end of a period reloads what serves.
        Box::pin(self.follow_shadows()).await?;
        Ok(report)
    }

    /// How the server is doing.
    pub async fn status(&self) -> Status {
        let not_ready = self.not_ready();
        let current = self.0.scorer.current(self.now());
        Status {
            version: env!("CARGO_PKG_VERSION"),
            now: self.now(),
            ready: not_ready.is_none(),
            not_ready,
            evaluated_at: self.0.scorer.evaluated_at(),
            newest_sample: self.0.scorer.newest_sample(),
            live_series: self.0.scorer.series_count(),
            targets: current.predictions.len(),
            outbox_pending: self.0.store.outbox_pending().await.unwrap_or(0),
            webhook: self.0.options.webhook.is_some(),
            stopped: self.0.store.stopped().await.ok().flatten().map(|stop| stop.since),
            leads: self.0.leadership.leads(),
        }
    }

    /// How far from the clock samples may be.
    pub(crate) fn timely(&self) -> Timely {
        let options = &self.0.options;
        Timely { now: self.now(), future: options.future_cutoff, past: options.max_catch_up }
    }

    /// Why samples cannot be taken now; `None` where they can.
    pub(crate) fn not_ready(&self) -> Option<String> {
        if self.0.draining.load(std::sync::atomic::Ordering::Relaxed) {
            return Some("shutting down".to_owned());
        }
        self.0.store.failure()
    }

    /// Why `version` passed the gate in the newest evaluation; a conflict where it did not.
    async fn passed(&self, service: &str, version: &str) -> Result<String, AppError> {
        let refused = |reason: String| AppError::Conflict { reason: format!("{version} is not promoted: {reason}") };
        let Some(newest) = self.0.registry.evaluations().await?.into_iter().next() else {
            return Err(refused("it was never evaluated; run `forewarn evaluate`".to_owned()));
        };
        let bytes = self.0.registry.report(&newest, "report.json").await?;
        crate::models::gate(&bytes, service, version).map_err(refused)
    }

    pub(crate) async fn model(&self, service: &str) -> Result<ServiceModel, AppError> {
        if !self.0.registry.services().await?.iter().any(|known| known == service) {
            return Err(AppError::NotFound { what: "service", id: service.to_owned() });
        }
        Ok(self.0.slots.one(&self.0.registry, service).await?.0)
    }
}

const MAX_NOTE: usize = 4096;

pub(crate) fn check_note(note: Option<&str>) -> Result<(), AppError> {
    match note {
        Some(note) if note.len() > MAX_NOTE => {
            Err(AppError::Invalid { reason: format!("note must be at most {MAX_NOTE} bytes, got {}", note.len()) })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use forewarn_models::{Engine, EngineOptions};

    use super::*;
    use crate::Server;

    /// A server that never runs, its state in memory; the folder is its registry's.
    pub(crate) async fn app() -> (AppState, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let presets = forewarn_features::presets::NAMES.map(str::to_owned);
        let signals = Arc::new(SignalSet::new(&presets, vec![]).unwrap());
        let registry = ModelRegistry::open(&format!("file://{}", folder.path().display())).await.unwrap();
        let options = ServerOptions { listen: ([127, 0, 0, 1], 0).into(), ..ServerOptions::default() };
        let engine = Engine::new(Arc::clone(&signals), EngineOptions::default());
        let server = Server::bind(options, signals, engine, registry).await.unwrap();
        (server.handle().app().clone(), folder)
    }
}

//! Challengers: candidates that passed the gate and score the same steps beside what serves, in an engine of their own. Nothing that they
//! say is shown or announced. At the end of its period each is compared with what served (`forewarn_models::shadow`), and takes over or
//! does not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forewarn_features::{ServiceStep, SignalSet};
use forewarn_models::registry::{Shadow, ShadowEnd};
use forewarn_models::scorer::ServiceMemory;
use forewarn_models::settle::GRACE;
use forewarn_models::shadow::{Asked, KEPT_FROM, Pair, Period, compare};
use forewarn_models::{Engine, EngineOutput, ModelBundle, ModelVersion};
use forewarn_schema::{Direction, Prediction, RemediationRequest, Timestamp};

use crate::app::{AppState, ServiceModel};
use crate::error::{AppError, chain};
use crate::scoring::blocking;
use crate::state::{KeptBreach, KeptPeriod, ShadowStep, StateError};

/// Of each target a pair is kept so often.
const KEPT_EVERY: Duration = Duration::from_secs(600);

/// A service that was not seen at the end of its period is waited for so long.
const UNSEEN: Duration = Duration::from_secs(86_400);

/// The engine of the challengers, and the services that have one.
pub(crate) struct Challengers {
    engine: Engine,
    services: BTreeSet<String>,
    said: Option<(Timestamp, EngineOutput)>,
    targets: usize,
}

impl Challengers {
    pub(crate) fn beside(champion: &Engine, signals: Arc<SignalSet>) -> Self {
        let engine = Engine::new(signals, champion.options().clone());
        Self { engine, services: BTreeSet::new(), said: None, targets: 0 }
    }

    /// Lets `bundle` score a service from what was seen of it so far; what it would have asked for before is not asked for again.
    pub(crate) fn set(
        &mut self,
        service: &str,
        bundle: Arc<ModelBundle>,
        seen: Option<ServiceMemory>,
        asked: &[RemediationRequest],
    ) {
        self.engine.set_bundle(service, Some(bundle));
        self.services.insert(service.to_owned());
        seen.into_iter().for_each(|memory| self.engine.remember(memory));
        self.engine.restore(asked);
    }

    pub(crate) fn remove(&mut self, service: &str) {
        self.engine.set_bundle(service, None);
        self.services.remove(service);
    }

    /// What an earlier server had seen, where it concerns a challenger.
    pub(crate) fn remember(&mut self, memory: &ServiceMemory) {
        if self.services.contains(&*memory.service) {
            self.engine.remember(memory.clone());
        }
    }

    /// Takes the steps of the services that have a challenger, and keeps what it says until it is asked.
    pub(crate) fn step(&mut self, at: Timestamp, steps: &[ServiceStep]) {
        if self.services.is_empty() {
            self.targets = 0;
            return;
        }
        let steps: Vec<ServiceStep> =
            steps.iter().filter(|step| self.services.contains(&*step.service)).cloned().collect();
        let said = self.engine.step(at, &steps);
        self.targets = said.predictions.len();
        self.said = Some((at, said));
    }

    /// Up to `at` nothing but `asked` would have been asked for.
    pub(crate) fn adopt(&mut self, at: Timestamp, asked: &[RemediationRequest]) {
        self.engine.adopt(at, asked);
    }

    pub(crate) fn take(&mut self) -> Option<(Timestamp, EngineOutput)> {
        self.said.take()
    }

    /// Models, services whose load is remembered, and targets that it holds.
    pub(crate) fn holds(&self) -> (u64, u64, u64) {
        (self.engine.bundle_count() as u64, self.engine.load_count() as u64, self.targets as u64)
    }
}

/// The challengers that score here, by service, and those that cannot be loaded.
#[derive(Default)]
pub(crate) struct Shadows {
    slots: Mutex<BTreeMap<String, Slot>>,
    /// One look at the registry at a time.
    following: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Slot {
    shadow: Shadow,
    /// Why it does not score.
    refused: Option<String>,
}

impl Shadows {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The challenger of a service and why it does not score, where it does not.
    pub(crate) fn of(&self, service: &str) -> Option<(Shadow, Option<String>)> {
        self.slots().get(service).map(|slot| (slot.shadow.clone(), slot.refused.clone()))
    }

    /// Those that score, as service and version.
    pub(crate) fn scoring(&self) -> Vec<(String, String)> {
        let slots = self.slots();
        let on = slots.iter().filter(|(_, slot)| slot.refused.is_none());
        on.map(|(service, slot)| (service.clone(), slot.shadow.version.to_string())).collect()
    }
}

impl AppState {
    /// Reads which services have a challenger, and lets those score that do not yet.
    pub(crate) async fn follow_shadows(&self) -> Result<(), AppError> {
        let shared = &self.0;
        let _one_at_a_time = shared.shadows.following.lock().await;
        let mut wanted = BTreeMap::new();
        for service in shared.registry.services().await? {
            match shared.registry.shadow(&service).await {
                Ok(Some(shadow)) if shadow.is_on() => drop(wanted.insert(service, shadow)),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(service, error = chain(&error), "shadow pointer refused, no challenger scores")
                }
            }
        }
        let known = shared.shadows.slots().clone();
        for service in known.keys().filter(|service| !wanted.contains_key(*service)) {
            shared.shadows.slots().remove(service);
            shared.scorer.remove_challenger(service);
        }
        for (service, shadow) in wanted {
            if known.get(&service).is_some_and(|slot| slot.shadow == shadow) {
                continue;
            }
            let refused = self.begin_shadow(&shadow).await.err().map(|error| chain(&error));
            match &refused {
                None => {
                    tracing::info!(service, version = %shadow.version, until = %shadow.until, "a challenger scores beside what serves")
                }
                Some(error) => {
                    shared.metrics.model_refused();
                    shared.scorer.remove_challenger(&service);
                    tracing::error!(service, version = %shadow.version, error, "a challenger cannot be loaded and does not score");
                }
            }
            shared.shadows.slots().insert(service, Slot { shadow, refused });
        }
        Ok(())
    }

    /// Lets a candidate that passed the gate score beside what serves.
    pub(crate) async fn start_shadow(
        &self,
        service: &str,
        version: ModelVersion,
        reason: &str,
    ) -> Result<ServiceModel, AppError> {
        let shared = &self.0;
        if let Some(known) = shared.registry.shadow(service).await?.filter(|known| known.version == version) {
            let reason = match known.ended {
                None => format!("{version} of {service} is in its shadow period until {}", known.until),
                Some(end) => format!("the shadow period of {version} of {service} refused it: {}", end.reason),
            };
            return Err(AppError::Conflict { reason });
        }
        // By the time of the data, which the period is measured in.
        let since = shared.scorer.evaluated_at().unwrap_or_else(|| self.now());
        let shadow = Shadow::new(service, version, (since, since + shared.options.shadow), reason);
        shared.registry.start_shadow(&shadow).await?;
        shared
            .store
            .audit("shadow", service, &format!("{} until {}", shadow.version, shadow.until), self.now())
            .await?;
        self.follow_shadows().await?;
        self.model(service).await
    }

    /// Challengers go on from what is stored of what they would have asked for: another server led until now, and what this one's said
    /// meanwhile was not kept.
    pub(crate) async fn adopt_shadows(&self) -> Result<(), StateError> {
        let shared = &self.0;
        let slots: Vec<Slot> = shared.shadows.slots().values().filter(|slot| slot.refused.is_none()).cloned().collect();
        let mut asked = Vec::new();
        for Slot { shadow, .. } in slots {
            asked.extend(shared.store.shadow_requests(&shadow.service, &period(&shadow)).await?);
        }
        shared.scorer.adopt_challengers(self.now(), &asked);
        Ok(())
    }

    async fn begin_shadow(&self, shadow: &Shadow) -> Result<(), AppError> {
        let shared = &self.0;
        let bundle = Arc::new(shared.registry.load(&shadow.service, &shadow.version).await?);
        let asked = shared.store.shadow_requests(&shadow.service, &period(shadow)).await?;
        let (scorer, signals) = (Arc::clone(&shared.scorer), Arc::clone(&shared.signals));
        let service = shadow.service.clone();
        blocking(move || scorer.set_challenger(&service, bundle, signals, &asked)).await
    }

    /// Keeps what challengers said at the step that was just stored beside what was announced, and ends periods that are over. Whatever
    /// fails here is tried again at the next step, and keeps nobody from serving.
    pub(crate) async fn after_shadow(&self, at: Timestamp, predictions: &[Prediction]) {
        let Some((_, said)) = self.0.scorer.take_challengers().filter(|(said_at, _)| *said_at == at) else { return };
        let slots: Vec<Slot> = self.0.shadows.slots().values().filter(|slot| slot.refused.is_none()).cloned().collect();
        for Slot { shadow, .. } in slots {
            // Of several shards that share a database the one that sees the service keeps and ends its period; where nobody does any
            // longer, whoever comes first.
            let is_seen = predictions.iter().any(|p| p.service == shadow.service);
            if !is_seen && at < shadow.until + UNSEEN {
                continue;
            }
            if let Err(error) = self.keep_shadow(&shadow, at, predictions, &said).await {
                tracing::warn!(service = shadow.service, error = chain(&error), "what a challenger said is not kept");
            } else if at >= shadow.until
                && let Err(error) = self.end_shadow(&shadow, at).await
            {
                tracing::warn!(
                    service = shadow.service,
                    error = chain(&error),
                    "shadow period not ended, trying again"
                );
            }
        }
    }

    async fn keep_shadow(
        &self,
        shadow: &Shadow,
        at: Timestamp,
        predictions: &[Prediction],
        said: &EngineOutput,
    ) -> Result<(), AppError> {
        if at < shadow.since || at > shadow.until {
            return Ok(());
        }
        let of_service = |p: &&Prediction| p.service == shadow.service;
        let direction = |p: &Prediction| self.0.signals.get(&p.signal).map(|s| s.direction).unwrap_or_default();
        let is_at_limit = |p: &&Prediction| match direction(p) {
            Direction::Above => p.value >= p.limit,
            Direction::Below => p.value <= p.limit,
        };
        let at_limit: Vec<&Prediction> = predictions.iter().filter(of_service).filter(is_at_limit).collect();
        let step = self.0.options.step.duration();
        let is_kept = at.millis().rem_euclid(i64::try_from(KEPT_EVERY.max(step).as_millis()).unwrap_or(1))
            < i64::try_from(step.as_millis()).unwrap_or(1);
        let challengers: BTreeMap<String, &Prediction> =
            said.predictions.iter().filter(of_service).map(|p| (p.target_key(), p)).collect();
        let pair = |champion| Some((champion, *challengers.get(&Prediction::target_key(champion))?));
        let says_something = |(a, b): &(&Prediction, &Prediction)| {
            a.breach_probability.get().max(b.breach_probability.get()) >= KEPT_FROM
        };
        let pairs = predictions.iter().filter(|p| is_kept && of_service(p) && !is_at_limit(p));
        let kept = ShadowStep {
            pairs: pairs.filter_map(pair).filter(says_something).collect(),
            requests: said.requests.iter().filter(|request| request.service == shadow.service).collect(),
            at_limit,
        };
        self.0.store.save_shadow((&shadow.service, &period(shadow)), at, &kept).await?;
        Ok(())
    }

    /// Compares a challenger whose period is over with what served, and promotes it or does not.
    async fn end_shadow(&self, shadow: &Shadow, at: Timestamp) -> Result<(), AppError> {
        let (shared, service, version) = (&self.0, &shadow.service, &shadow.version);
        // The server that led before may have ended it, and somebody rolled back since.
        if shared.registry.shadow(service).await?.as_ref() != Some(shadow) {
            return self.follow_shadows().await;
        }
        let kept = shared.store.shadow_period(service, &period(shadow)).await?;
        let announced = shared.store.requests_since(shadow.since).await?;
        let announced: Vec<_> =
            announced.into_iter().map(|stored| stored.request).filter(|request| request.service == *service).collect();
        let steps =
            shared.options.step.count_in(Duration::from_secs_f64(shadow.until.seconds_since(shadow.since).max(0.0)));
        let comparison = compare(&settle(&kept, &announced, steps, at));
        let (promoted, reason) = (comparison.takes_over, comparison.reason.clone());
        if promoted {
            let why = format!("{}; then in shadow since {}: {reason}", shadow.reason, shadow.since);
            shared.registry.promote(service, version, at, &why).await?;
        }
        let end = ShadowEnd { at, promoted, reason: reason.clone(), comparison: Some(comparison) };
        shared.registry.end_shadow(service, version, &end).await?;
        let action = if promoted { "promote" } else { "refuse" };
        shared.store.audit(action, service, &format!("{version} after its shadow period: {reason}"), at).await?;
        tracing::warn!(service, %version, promoted, reason, "a shadow period is over");
        self.reload().await?;
        Ok(())
    }
}

/// What was said in another period of the same version does not count in this one.
fn period(shadow: &Shadow) -> String {
    format!("{}@{}", shadow.version, shadow.since.millis())
}

/// What happened after each thing that was said and asked for up to `end`; what is not over by then does not count.
fn settle(kept: &KeptPeriod, announced: &[RemediationRequest], steps: usize, end: Timestamp) -> Period {
    let pairs = kept.pairs.iter().filter_map(|pair| {
        let horizon = Duration::from_millis(pair.horizon_ms.unsigned_abs());
        let of_target = || kept.breaches.iter().filter(|breach| breach.target_key == pair.target_key);
        // What is said during a breach, or shortly after it, is about that breach.
        let is_of_breach = of_target().any(|breach| breach.at <= pair.at && pair.at <= breach.over + GRACE);
        let next = of_target().map(|breach| breach.at).find(|at| *at > pair.at && *at <= pair.at + horizon);
        let is_over = next.is_some() || pair.at + horizon <= end;
        let happened = next.map(|at| at.seconds_since(pair.at));
        (is_over && !is_of_breach).then_some(Pair { champion: pair.champion, challenger: pair.challenger, happened })
    });
    Period {
        steps,
        scored: kept.scored,
        pairs: pairs.collect(),
        breaches: kept.breaches.len(),
        champion: asked(announced, &kept.breaches, end),
        challenger: asked(&kept.requests, &kept.breaches, end),
    }
}

/// What came of requests: a breach within their horizon, or until they expired where that is later, makes one right.
fn asked(requests: &[RemediationRequest], breaches: &[KeptBreach], end: Timestamp) -> Asked {
    let until = |request: &RemediationRequest| {
        let horizon = Duration::from_secs_f64(forewarn_models::scorer::horizon_seconds(request.kind));
        request.expires_at.max(request.at + horizon)
    };
    let is_about = |request: &RemediationRequest, breach: &KeptBreach| {
        let of_target = request.labels.iter().all(|(name, value)| breach.labels.get(name) == Some(value));
        request.signal == breach.signal && of_target && request.at < breach.at && breach.at <= until(request)
    };
    let is_right = |request: &RemediationRequest| breaches.iter().any(|breach| is_about(request, breach));
    let over: Vec<_> = requests.iter().filter(|request| is_right(request) || until(request) <= end).collect();
    Asked {
        requests: over.len(),
        false_alarms: over.iter().filter(|request| !is_right(request)).count(),
        announced: breaches.iter().filter(|breach| requests.iter().any(|request| is_about(request, breach))).count(),
    }
}

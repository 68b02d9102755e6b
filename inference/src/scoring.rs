//! From samples to predictions: holds the live samples and the engine, evaluates one step at a time,
//! and remembers what was said lately. When a step is due is decided here too, from the clock and the
//! data; storing and telling is the server's.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use forewarn_features::SignalSet;
use forewarn_features::live::LiveSignals;
use forewarn_features::promql::KeptSeries;
use forewarn_models::decision::DecisionMemory;
use forewarn_models::guardrails::{Guardrails, Held, HeldBy};
use forewarn_models::learning::{Caution, Followed, Reached, Recalibration, Thresholds};
use forewarn_models::scorer::ServiceMemory;
use forewarn_models::settle::{Settled, WatchMemory, WatchedService};
use forewarn_models::{Engine, EngineOutput, ModelBundle, TargetView};
use forewarn_schema::{Mode, Prediction, RemediationRequest, Step, Timestamp};

use crate::error::AppError;
use crate::expected::Expected;
use crate::footprint::Footprint;
use crate::http::Rendered;
use crate::outcomes::{Announcement, Watched};
use crate::recent::{Packed, Recent};
use crate::shadow::Challengers;

/// A value this old is gone, as in PromQL.
const LOOKBACK: Duration = Duration::from_secs(300);

pub(crate) struct Scorer {
    step: Step,
    live: RwLock<LiveSignals>,
    engine: Mutex<Engine>,
    said: RwLock<Said>,
    arrivals: Mutex<Arrivals>,
    fingerprint_seed: u64,
    /// What of memory may be taken, and how many series there were when that was taken; 0 where it is not.
    max_memory: Option<u64>,
    full_at: AtomicU64,
    last_series: AtomicUsize,
    told: Mutex<Told>,
    default_mode: Mode,
    /// Candidates that score beside; taken after `engine` where both are.
    challengers: Mutex<Option<Challengers>>,
    watched: Mutex<Watched>,
    expected: Mutex<Expected>,
}

/// What is told of the last step, so that nobody who asks waits for one that is under way.
#[derive(Default)]
struct Told {
    held_back: BTreeMap<HeldBy, u64>,
    holding: Vec<Held>,
    footprint: Footprint,
}

/// What was said lately.
#[derive(Default)]
struct Said {
    current: Arc<Snapshot>,
    /// Of the current one alone: it is as large as that again.
    rendered: Arc<Rendered>,
    before: Recent,
}

/// What was said of every target at one step.
#[derive(Default)]
pub(crate) struct Snapshot {
    pub(crate) at: Option<Timestamp>,
    /// Soonest breach first.
    pub(crate) predictions: Vec<Prediction>,
}

/// The times of the samples that were kept.
#[derive(Clone, Copy, Default)]
pub(crate) struct Arrivals {
    /// The newest ever.
    pub(crate) newest: Option<Timestamp>,
    /// The oldest later than the last evaluated step.
    pub(crate) oldest_unscored: Option<Timestamp>,
}

impl Scorer {
    pub(crate) fn new(step: Step, live: LiveSignals, engine: Engine, max_memory: Option<u64>) -> Self {
        let watched = Mutex::new(Watched::new(Arc::clone(engine.signals())));
        Self {
            watched,
            step,
            default_mode: engine.options().mode,
            live: RwLock::new(live),
            engine: Mutex::new(engine),
            said: RwLock::default(),
            arrivals: Mutex::default(),
            fingerprint_seed: RandomState::new().hash_one(0),
            max_memory,
            full_at: AtomicU64::new(0),
            last_series: AtomicUsize::new(0),
            told: Mutex::default(),
            challengers: Mutex::default(),
            expected: Mutex::default(),
        }
    }

    /// See [`Expected`].
    pub(crate) fn expect(&self, seen: Vec<ServiceMemory>) {
        *self.expected() = Expected::new(seen);
    }

    fn expected(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A secret of this process: who cannot know it cannot make two label sets look the same. It decides no result.
    pub(crate) fn fingerprint_seed(&self) -> u64 {
        self.fingerprint_seed
    }

    /// To ask what is wanted.
    pub(crate) fn live(&self) -> RwLockReadGuard<'_, LiveSignals> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To add samples; tell [`arrived`](Self::arrived) of those that were kept.
    pub(crate) fn live_mut(&self) -> RwLockWriteGuard<'_, LiveSignals> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that samples from `oldest` to `newest` were kept.
    pub(crate) fn arrived(&self, oldest: Timestamp, newest: Timestamp) {
        let evaluated = self.evaluated_at();
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.newest = arrivals.newest.max(Some(newest));
        if evaluated.is_none_or(|at| newest > at) {
            let first = evaluated.map_or(oldest, |at| oldest.max(at + Duration::from_millis(1)));
            arrivals.oldest_unscored = Some(arrivals.oldest_unscored.map_or(first, |known| known.min(first)));
        }
    }

    pub(crate) fn arrivals(&self) -> Arrivals {
        *self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Evaluates and scores the step at `at`; slow, so call it off the async threads. Nothing is shown
    /// before [`publish`](Self::publish).
    pub(crate) fn evaluate(&self, at: Timestamp, guardrails: Guardrails) -> Result<EngineOutput, AppError> {
        let steps = self.live_mut().step(at).map_err(|e| AppError::Internal { source: Box::new(e) })?;
        let mut engine = self.engine();
        engine.set_guardrails(guardrails);
        let come = self.expected().come(at, &steps);
        for memory in come {
            if let Some(challengers) = &mut *self.challengers() {
                challengers.remember(&memory);
            }
            engine.remember(memory);
        }
        let output = engine.step(at, &steps);
        if let Some(challengers) = &mut *self.challengers() {
            challengers.step(at, &steps);
        }
        self.watched().observe(at, &steps, &*engine, &output);
        let mut told = self.told();
        told.held_back.clone_from(engine.held_back());
        told.holding = engine.holding();
        Ok(output)
    }

    /// What the last step said, without the requests that there turned out to be no room for; those are held back.
    pub(crate) fn withdraw(&self, said: EngineOutput, refused: &BTreeMap<String, HeldBy>) -> EngineOutput {
        let mut engine = self.engine();
        engine.withdraw(&said, refused);
        let mut told = self.told();
        told.held_back.clone_from(engine.held_back());
        told.holding = engine.holding();
        said.without(refused).into_owned()
    }

    fn measure(&self) -> Footprint {
        let (series, samples) = {
            let live = self.live();
            (live.series_count() as u64, live.sample_count() as u64)
        };
        let targets = self.said().current.predictions.len() as u64;
        let engine = self.engine();
        let (loads, models) = (engine.load_count() as u64, engine.bundle_count() as u64);
        // A challenger takes as much again of its service's targets.
        let beside = self.challengers().as_ref().map_or((0, 0, 0), Challengers::holds);
        let (models, loads, targets) = (models + beside.0, loads + beside.1, targets + beside.2);
        Footprint { series, samples, targets, loads, models }
    }

    /// Whether new series are refused for want of memory.
    pub(crate) fn is_full(&self) -> bool {
        self.full_at.load(Ordering::Relaxed) > 0
    }

    /// Refuses new series where what is held will take all that may be taken, until a twentieth of the series is gone.
    fn watch_memory(&self) {
        let held = self.measure();
        self.told().footprint = held;
        let Some(max) = self.max_memory else { return };
        let full_at = self.full_at.load(Ordering::Relaxed);
        let was_full = full_at > 0;
        let full = held.bytes() > max || was_full && held.series > full_at * 19 / 20;
        if full != was_full {
            self.full_at.store(if full { held.series.max(1) } else { 0 }, Ordering::Relaxed);
            self.live_mut().set_full(full);
            let (foretold, series) = (held.bytes(), held.series);
            match full {
                true => {
                    tracing::warn!(series, foretold, max, "no room for more series: samples of new ones are refused")
                }
                false => tracing::info!(series, foretold, max, "there is room for new series again"),
            }
        }
    }

    /// Shows what was said at `at`.
    pub(crate) fn publish(&self, at: Timestamp, mut predictions: Vec<Prediction>) {
        predictions.sort_by(soonest_first);
        let last = Arc::clone(&self.said().rendered);
        let snapshot = Arc::new(Snapshot { at: Some(at), predictions });
        let rendered = Arc::new(last.next(Arc::clone(&snapshot)));
        let packed = Packed::new(&self.said().current.predictions);
        {
            let mut said = self.said.write().unwrap_or_else(PoisonError::into_inner);
            said.before.push(packed);
            said.current = snapshot;
            said.rendered = rendered;
        }
        self.watch_memory();
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.oldest_unscored = match (arrivals.oldest_unscored, arrivals.newest) {
            (Some(oldest), Some(newest)) if newest > at => Some(oldest.max(at + Duration::from_millis(1))),
            _ => None,
        };
    }

    /// What is said now: empty where the last step is too old to count.
    pub(crate) fn current(&self, now: Timestamp) -> Arc<Snapshot> {
        let current = Arc::clone(&self.said().current);
        if self.counts(&current, now) { current } else { Arc::default() }
    }

    /// [`current`](Self::current) as it leaves.
    pub(crate) fn rendered(&self, now: Timestamp) -> Arc<Rendered> {
        let said = self.said();
        if self.counts(&said.current, now) { Arc::clone(&said.rendered) } else { Arc::default() }
    }

    /// Whether what was said then still counts.
    fn counts(&self, snapshot: &Snapshot, now: Timestamp) -> bool {
        let stale_after = LOOKBACK.max(self.step.duration() * 2) + self.step.duration();
        snapshot.at.is_some_and(|at| at + stale_after >= now)
    }

    /// The recent prediction of that id.
    pub(crate) fn recent(&self, id: &str) -> Option<Prediction> {
        let said = self.said();
        said.current.predictions.iter().find(|p| p.id == id).cloned().or_else(|| said.before.find(id))
    }

    pub(crate) fn evaluated_at(&self) -> Option<Timestamp> {
        self.said().current.at
    }

    pub(crate) fn newest_sample(&self) -> Option<Timestamp> {
        self.arrivals().newest
    }

    /// As of the last time that no step was under way: who asks how the server is doing must not wait for one.
    pub(crate) fn series_count(&self) -> usize {
        if let Ok(live) = self.live.try_read() {
            self.last_series.store(live.series_count(), Ordering::Relaxed);
        }
        self.last_series.load(Ordering::Relaxed)
    }

    /// How far back samples are kept.
    pub(crate) fn keeps(&self) -> Duration {
        self.live().keeps()
    }

    pub(crate) fn view(&self, target_key: &str) -> Option<TargetView> {
        let current = Arc::clone(&self.said().current);
        let prediction = current.predictions.iter().find(|p| p.target_key() == target_key)?;
        self.engine().view(prediction)
    }

    /// Goes on from what an earlier server had seen up to the step `at`; nothing was seen yet, and the models are set.
    pub(crate) fn recall(
        &self,
        at: Timestamp,
        oldest: Option<Timestamp>,
        series: Vec<KeptSeries>,
        services: Vec<ServiceMemory>,
        decisions: DecisionMemory,
        watched: (WatchMemory, Vec<WatchedService>),
    ) {
        self.watched().remember(watched.0, watched.1);
        let newest = {
            let mut live = self.live_mut();
            live.bring_back(oldest, series);
            live.latest()
        };
        let mut engine = self.engine();
        if let Some(challengers) = &mut *self.challengers() {
            services.iter().for_each(|memory| challengers.remember(memory));
        }
        services.into_iter().for_each(|memory| engine.remember(memory));
        engine.remember_decisions(decisions);
        let predictions = engine.look(at);
        drop(engine);
        if let Some(newest) = newest {
            self.arrived(newest.min(at + Duration::from_millis(1)), newest);
        }
        self.publish(at, predictions);
    }

    /// What was seen of each service.
    pub(crate) fn with_memories<E>(&self, each: impl FnMut(ServiceMemory) -> Result<(), E>) -> Result<(), E> {
        self.engine().memories().try_for_each(each)
    }

    /// Which episodes are open.
    pub(crate) fn decisions(&self) -> DecisionMemory {
        self.engine().decisions()
    }

    /// What is noticed of targets.
    pub(crate) fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of each, by what was seen up to the last step.
    pub(crate) fn settle(&self, said: &[Announcement]) -> Vec<Settled> {
        let engine = self.engine();
        let watched = self.watched();
        said.iter().map(|said| watched.settle(&said.announced(), &*engine)).collect()
    }

    /// How many requests each reason has held back, as of the last step.
    pub(crate) fn held_back(&self) -> BTreeMap<HeldBy, u64> {
        self.told().held_back.clone()
    }

    /// What was due and held back at the last step.
    pub(crate) fn holding(&self) -> Vec<Held> {
        self.told().holding.clone()
    }

    /// What it held at the last step.
    pub(crate) fn footprint(&self) -> Footprint {
        self.told().footprint
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far a request may act where nobody said otherwise.
    pub(crate) fn default_mode(&self) -> Mode {
        self.default_mode
    }

    /// Where the thresholds of services start; of `None`, that of one of which nothing is known.
    pub(crate) fn starts<'a>(
        &self,
        services: impl Iterator<Item = Option<&'a str>>,
    ) -> BTreeMap<Option<&'a str>, Caution> {
        let engine = self.engine();
        services.map(|service| (service, engine.start(service))).collect()
    }

    /// How cautious announcing is with what a prediction is about.
    pub(crate) fn caution(&self, prediction: &Prediction) -> Caution {
        self.engine().caution(prediction)
    }

    /// Decides and says from the next step on what labels taught.
    pub(crate) fn set_learnt(&self, thresholds: Thresholds, recalibration: Recalibration) {
        let mut engine = self.engine();
        engine.set_thresholds(thresholds);
        engine.set_recalibration(recalibration);
    }

    /// Follows announcements from now on, and those that were made before.
    pub(crate) fn watch(&self, requests: &[RemediationRequest], reached: &BTreeMap<String, Vec<Reached>>) {
        let mut engine = self.engine();
        engine.watch();
        for request in requests {
            engine.follow(request, reached.get(&request.id).map(Vec::as_slice).unwrap_or_default());
        }
    }

    /// Which announcements would have gone further since this was asked last.
    pub(crate) fn followed(&self) -> Vec<Followed> {
        self.engine().followed()
    }

    pub(crate) fn set_bundle(&self, service: &str, bundle: Option<Arc<ModelBundle>>) {
        self.engine().set_bundle(service, bundle);
    }

    fn challengers(&self) -> MutexGuard<'_, Option<Challengers>> {
        self.challengers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a candidate score a service beside what serves it, from the next step on and from what was seen so far.
    pub(crate) fn set_challenger(
        &self,
        service: &str,
        bundle: Arc<ModelBundle>,
        signals: Arc<SignalSet>,
        asked: &[RemediationRequest],
    ) {
        let engine = self.engine();
        let seen = engine.memory_of(service);
        let mut challengers = self.challengers();
        let challengers = challengers.get_or_insert_with(|| Challengers::beside(&engine, signals));
        challengers.set(service, bundle, seen, asked);
    }

    pub(crate) fn remove_challenger(&self, service: &str) {
        if let Some(challengers) = &mut *self.challengers() {
            challengers.remove(service);
        }
    }

    /// The same of challengers, see [`adopt`](Self::adopt).
    pub(crate) fn adopt_challengers(&self, at: Timestamp, asked: &[RemediationRequest]) {
        if let Some(challengers) = &mut *self.challengers() {
            challengers.adopt(at, asked);
        }
    }

    /// What challengers said at the last step; once.
    pub(crate) fn take_challengers(&self) -> Option<(Timestamp, EngineOutput)> {
        self.challengers().as_mut()?.take()
    }

    pub(crate) fn restore(&self, requests: &[RemediationRequest]) {
        self.engine().restore(requests);
    }

    /// What another server announced of the same samples up to `at`: this one goes on from there.
    pub(crate) fn adopt(&self, at: Timestamp, requests: &[RemediationRequest]) {
        self.engine().adopt(at, requests);
    }

    fn said(&self) -> RwLockReadGuard<'_, Said> {
        self.said.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By median time to breach, those without one last; then the likelier first; then by name.
fn soonest_first(a: &Prediction, b: &Prediction) -> std::cmp::Ordering {
    let median = |p: &Prediction| p.time_to_breach_seconds.map_or(f64::INFINITY, |t| t.p50());
    median(a)
        .total_cmp(&median(b))
        .then_with(|| b.breach_probability.get().total_cmp(&a.breach_probability.get()))
        .then_with(|| a.target_key().cmp(&b.target_key()))
}

/// When steps are due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) step: Step,
    pub(crate) lateness: Duration,
    pub(crate) max_catch_up: Duration,
}

impl Schedule {
    /// The step to evaluate next, after `last`; `None` where none is due.
    ///
    /// A step is due `lateness` after its time. While samples arrive about now, the clock says what
    /// time it is; while they do not (a sender that catches up after an outage, or none at all), the
    /// newest sample does: a step evaluated before its samples come would be evaluated on nothing.
    /// Steps before the oldest sample that was not yet evaluated have no data, and are skipped; so is
    /// what lies further back than `max_catch_up`.
    pub(crate) fn next(&self, last: Option<Timestamp>, arrivals: Arrivals, now: Timestamp) -> Option<Timestamp> {
        let newest = arrivals.newest?;
        let live_within = (self.step.duration() * 2).max(Duration::from_secs(60));
        let time = if newest + live_within >= now { now } else { newest };
        let due = (time - self.lateness).align_down(self.step);
        let next = match last {
            None => arrivals.oldest_unscored?.align_up(self.step),
            Some(last) => {
                let next = last + self.step.duration();
                match arrivals.oldest_unscored {
                    // What was seen before may be looked back at for a while: those steps have data.
                    Some(oldest) if oldest > next + LOOKBACK * 2 => oldest.align_up(self.step),
                    _ => next,
                }
            }
        };
        let next = next.max((due - self.max_catch_up).align_up(self.step));
        (next <= due).then_some(next)
    }
}

/// Runs what would hold up the async threads elsewhere. A panic there becomes an error here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, AppError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| AppError::Internal { source: Box::new(e) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule =
        Schedule { step: Step::MINUTE, lateness: Duration::from_secs(15), max_catch_up: Duration::from_secs(86_400) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn arrivals(oldest: i64, newest: i64) -> Arrivals {
        Arrivals { newest: Some(at(newest)), oldest_unscored: Some(at(oldest)) }
    }

    #[test]
    fn a_step_waits_for_its_lateness() {
        assert_eq!(SCHEDULE.next(None, Arrivals::default(), at(1000)), None);
        assert_eq!(SCHEDULE.next(None, arrivals(50, 55), at(74)), None);
        assert_eq!(SCHEDULE.next(None, arrivals(50, 55), at(75)), Some(at(60)));
        assert_eq!(SCHEDULE.next(Some(at(60)), arrivals(61, 130), at(134)), None);
        assert_eq!(SCHEDULE.next(Some(at(60)), arrivals(61, 130), at(135)), Some(at(120)));
    }

    #[test]
    fn catching_up_goes_by_the_time_of_the_data() {
        // An hour behind: the steps whose samples came are due, the others wait for theirs.
        let now = at(7200);
        assert_eq!(SCHEDULE.next(Some(at(3540)), arrivals(3541, 3700), now), Some(at(3600)));
        assert_eq!(SCHEDULE.next(Some(at(3660)), arrivals(3661, 3700), now), None);
    }

    #[test]
    fn a_gap_is_skipped_and_a_long_one_jumped() {
        assert_eq!(SCHEDULE.next(Some(at(60)), arrivals(7200, 7290), at(7300)), Some(at(7200)));
        let days = 10 * 86_400;
        assert_eq!(SCHEDULE.next(Some(at(60)), arrivals(120, days), at(days)), Some(at(days - 60 - 86_400)));
    }
}

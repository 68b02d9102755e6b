//! The one code path: steps in, predictions and requests out. The server runs it live, a backtest
//! replays history through it; given the same steps and models both say the same, bit for bit.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forewarn_features::{ServiceStep, SignalSet};
use forewarn_schema::{
    BandPoint, BreachKind, Direction, FanPoint, LabelSet, Mode, Prediction, RemediationRequest, Sample, Step,
    TimeRange, Timestamp,
};
use rayon::prelude::*;

use crate::bundle::ModelBundle;
use crate::decision::{DecisionMemory, DecisionParams, RULES_VERSION, RequestPolicy};
use crate::growth::CLASSES;
use crate::guardrails::{Guardrails, Held, HeldBy};
use crate::learning::{Caution, Followed, Reached, Recalibration, Thresholds, Watch};
use crate::scorer::{FleetPrior, ServiceMemory, ServiceScorer};

/// What the engine is set to.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineOptions {
    /// The distance between steps.
    pub step: Step,
    /// How far a request may act by itself.
    pub mode: Mode,
    /// When a prediction becomes a request.
    pub decision: DecisionParams,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { step: Step::MINUTE, mode: Mode::DryRun, decision: DecisionParams::default() }
    }
}

/// What was said at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineOutput {
    /// Sorted by service, signal and labels; a request for a whole workload adds one at the end.
    pub predictions: Vec<Prediction>,
    /// What leaves, in the same order.
    pub requests: Vec<RemediationRequest>,
    /// What is due, is held back, and was not before, or not for this reason.
    pub held: Vec<Held>,
}

impl EngineOutput {
    /// As if the requests of these ids had not been made: their predictions name none, and those of a whole workload are not there.
    #[must_use]
    pub fn without<T>(&self, requests: &BTreeMap<String, T>) -> Cow<'_, Self> {
        if requests.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut output = self.clone();
        let (dropped, kept) = output.requests.into_iter().partition(|request| requests.contains_key(&request.id));
        output.requests = kept;
        for request in dropped as Vec<RemediationRequest> {
            let is_member = |p: &Prediction| {
                p.service == request.service
                    && p.signal == request.signal
                    && *p.labels != request.labels
                    && p.labels.without(&["pod"]) == request.labels
            };
            let was_shared = self.predictions.iter().any(is_member);
            output.predictions.retain(|p| !was_shared || p.id != request.prediction_id);
            output.predictions.iter_mut().filter(|p| p.id == request.prediction_id).for_each(|p| p.request_id = None);
        }
        Cow::Owned(output)
    }
}

/// Everything to draw of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetView {
    /// The workload (the node, for disks).
    pub service: String,
    /// The signal.
    pub signal: String,
    /// What kind of breach.
    pub kind: BreachKind,
    /// The target's labels.
    pub labels: LabelSet,
    /// On which side of the limit the breach is.
    pub direction: Direction,
    /// What it did, a gap as NaN: the last steps one by one, older ones as medians of up to 64 steps.
    pub history: Vec<Sample>,
    /// What is normal; empty while that is not known.
    pub expected: Vec<BandPoint>,
    /// Where it goes; empty where the clock says it all.
    pub fan: Vec<FanPoint>,
    /// The limit, in the signal's unit.
    pub limit: f64,
    /// The last value.
    pub value: f64,
    /// What is said of it.
    pub prediction: Prediction,
}

/// All services together.
pub struct Engine {
    signals: Arc<SignalSet>,
    options: EngineOptions,
    bundles: BTreeMap<String, Arc<ModelBundle>>,
    scorers: BTreeMap<Arc<str>, ServiceScorer>,
    /// What the bundles have in common, for services without; `None` after a swap, until it is asked for again.
    prior: Option<Option<Arc<FleetPrior>>>,
    policy: RequestPolicy,
    recalibration: Recalibration,
    /// Follows announcements for those who learn from them.
    watch: Option<Watch>,
}

impl Engine {
    /// Nothing seen, the rules serve.
    pub fn new(signals: Arc<SignalSet>, options: EngineOptions) -> Self {
        let policy = RequestPolicy::new(options.decision.clone(), options.step, options.mode).with_playbooks(&signals);
        let (bundles, scorers) = (BTreeMap::new(), BTreeMap::new());
        let recalibration = Recalibration::default();
        Self { signals, options, bundles, scorers, prior: None, policy, recalibration, watch: None }
    }

    /// What is watched.
    pub fn signals(&self) -> &Arc<SignalSet> {
        &self.signals
    }

    /// What it was set to.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Swaps what serves `service`; `None` gives it back to the rules. What was seen stays.
    pub fn set_bundle(&mut self, service: &str, bundle: Option<Arc<ModelBundle>>) {
        if let Some(scorer) = self.scorers.get_mut(service) {
            scorer.set_bundle(bundle.clone());
        }
        self.policy.set_min_probability(service, bundle.as_ref().and_then(|b| b.rehearsed.min_probability));
        match bundle {
            Some(bundle) => self.bundles.insert(service.to_owned(), bundle),
            None => self.bundles.remove(service),
        };
        self.prior = None;
    }

    /// Pools the bundles where they changed, and tells those that have none.
    fn refresh_prior(&mut self) {
        if self.prior.is_some() {
            return;
        }
        let prior = FleetPrior::pooled(self.bundles.values().map(Arc::as_ref)).map(Arc::new);
        for (service, scorer) in &mut self.scorers {
            if !self.bundles.contains_key(&**service) {
                scorer.set_prior(prior.clone());
            }
        }
        self.prior = Some(prior);
    }

    /// Requests that were open before a restart: their episodes are not announced again.
    pub fn restore(&mut self, requests: &[RemediationRequest]) {
        self.policy.restore(requests);
    }

    /// Requests that another engine made of the same steps up to `at`: only they were announced, see
    /// [`RequestPolicy::adopt`].
    pub fn adopt(&mut self, at: Timestamp, requests: &[RemediationRequest]) {
        self.policy.adopt(at, requests);
    }

    /// Takes steps without saying anything: warm-up.
    pub fn observe(&mut self, at: Timestamp, steps: &[ServiceStep]) {
        self.refresh_prior();
        for step in steps {
            self.scorer(&step.service).observe(step);
        }
        self.scorers.retain(|_, scorer| !scorer.is_forgotten(at));
    }

    /// What is to be said at `at` of every live target, without deciding anything.
    pub fn look(&self, at: Timestamp) -> Vec<Prediction> {
        let mut predictions = self.say(at);
        self.recalibrate(&mut predictions);
        predictions
    }

    /// The same with the models' own probabilities.
    fn say(&self, at: Timestamp) -> Vec<Prediction> {
        // Each service by itself, on all cores; collected in the order of their names, whichever is done first.
        let scorers: Vec<&ServiceScorer> = self.scorers.values().collect();
        let of_services: Vec<Vec<Prediction>> = scorers.par_iter().map(|scorer| scorer.predict(at)).collect();
        let mut predictions = Vec::with_capacity(of_services.iter().map(Vec::len).sum());
        of_services.into_iter().for_each(|of_service| predictions.extend(of_service));
        predictions
    }

    /// Says what is to be said at `at` of every live target.
    pub fn predict(&mut self, at: Timestamp) -> EngineOutput {
        let mut predictions = self.say(at);
        let announcements = self.policy.decide(at, &mut predictions);
        let mut requests = Vec::with_capacity(announcements.len());
        for announcement in announcements {
            let mut request = announcement.request;
            request.window = self.suggested_window(&predictions[announcement.prediction]);
            requests.push(request);
        }
        if let Some(watch) = &mut self.watch {
            let policy = &self.policy;
            let start = |p: &Prediction| policy.start(&p.service, &*p.model_version != RULES_VERSION);
            watch.observe(at, &predictions, &requests, start);
        }
        self.recalibrate(&mut predictions);
        for request in requests.iter_mut().filter(|_| !self.recalibration.is_empty()) {
            let said = request.probability;
            request.probability = self.recalibration.apply(request.kind, said);
            request.evidence.uncalibrated = (request.probability != said).then_some(said);
        }
        EngineOutput { predictions, requests, held: self.policy.newly_held().to_vec() }
    }

    /// Takes steps and says what is to be said.
    pub fn step(&mut self, at: Timestamp, steps: &[ServiceStep]) -> EngineOutput {
        self.observe(at, steps);
        self.predict(at)
    }

    /// Takes back requests of the last step that there turned out to be no room for, by their ids: they are due and held back. `said` is
    /// what that step said.
    pub fn withdraw(&mut self, said: &EngineOutput, refused: &BTreeMap<String, HeldBy>) {
        for request in &said.requests {
            let Some(by) = refused.get(&request.id) else { continue };
            self.policy.withdraw(request, *by);
            if let Some(watch) = &mut self.watch {
                watch.forget(&request.id);
            }
        }
    }

    /// How one target grows now, see [`ServiceScorer::classes`].
    pub fn classes(&self, service: &str, signal: &str, labels: &LabelSet) -> Option<[[f64; CLASSES]; 2]> {
        self.scorers.get(service)?.classes(signal, labels)
    }

    /// When a remediation of this prediction would hurt least: the quietest hour between it and its p10. `None` where the traffic's day is
    /// not known, where less than an hour is left, or no breach is in sight.
    pub fn suggested_window(&self, prediction: &Prediction) -> Option<TimeRange> {
        let p10 = prediction.at + Duration::from_secs_f64(prediction.time_to_breach_seconds?.p10());
        self.scorers.get(prediction.service.as_str())?.quietest_hour(prediction.at, p10)
    }

    /// What people have decided about requests, from the next step on.
    pub fn set_guardrails(&mut self, guardrails: Guardrails) {
        self.policy.set_guardrails(guardrails);
    }

    /// How cautious to be before announcing, from the next step on; see [`RequestPolicy::set_thresholds`].
    pub fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.policy.set_thresholds(thresholds);
    }

    /// Where the threshold of a service starts; of `None`, that of a service of which nothing more is known.
    pub fn start(&self, service: Option<&str>) -> Caution {
        let is_learnt = service.map_or(!self.bundles.is_empty(), |service| self.bundles.contains_key(service));
        self.policy.start(service.unwrap_or_default(), is_learnt)
    }

    /// How cautious announcing is with what a prediction is about: where its threshold starts, and what labels taught since.
    pub fn caution(&self, prediction: &Prediction) -> Caution {
        self.policy.caution(prediction)
    }

    /// What probabilities turned out to be worth, from the next step on. Only the number that is said changes: what is announced
    /// rests on the models' own, and p10 to p90 stay.
    pub fn set_recalibration(&mut self, recalibration: Recalibration) {
        self.recalibration = recalibration;
    }

    /// From now on follows announcements; ask with [`followed`](Self::followed).
    pub fn watch(&mut self) {
        self.watch.get_or_insert_with(|| Watch::new(self.options.step, self.options.decision.lapse));
    }

    /// Goes on following a request that was made before, and had reached so much; nothing while nobody watches.
    pub fn follow(&mut self, request: &RemediationRequest, reached: &[Reached]) {
        if let Some(watch) = &mut self.watch {
            watch.follow(request, reached);
        }
    }

    /// Which announcements have reached more since this was asked last.
    pub fn followed(&mut self) -> Vec<Followed> {
        self.watch.as_mut().map(Watch::take_changed).unwrap_or_default()
    }

    fn recalibrate(&self, predictions: &mut [Prediction]) {
        if self.recalibration.is_empty() {
            return;
        }
        for p in predictions {
            let said = p.breach_probability;
            p.breach_probability = self.recalibration.apply(p.kind, said);
            p.explanation.uncalibrated = (p.breach_probability != said).then_some(said);
        }
    }

    /// How many requests each reason has held back.
    pub fn held_back(&self) -> &BTreeMap<HeldBy, u64> {
        self.policy.held_back()
    }

    /// What is due and held back since the last step.
    pub fn holding(&self) -> Vec<Held> {
        self.policy.holding().cloned().collect()
    }

    /// The target of a prediction, to draw as it is now; `None` where it is not remembered, as that of a whole workload.
    pub fn view(&self, prediction: &Prediction) -> Option<TargetView> {
        self.scorers.get(prediction.service.as_str())?.view(prediction.at, prediction)
    }

    /// What was seen of every service, one by one, to be kept over a restart.
    pub fn memories(&self) -> impl Iterator<Item = ServiceMemory> + '_ {
        self.scorers.values().map(ServiceScorer::memory)
    }

    /// What was seen of one service; `None` where nothing was.
    pub fn memory_of(&self, service: &str) -> Option<ServiceMemory> {
        self.scorers.get(service).map(ServiceScorer::memory)
    }

    /// Goes on from what an earlier engine has seen of a service, see [`ServiceScorer::remember`]. Bundles come first.
    pub fn remember(&mut self, memory: ServiceMemory) {
        self.refresh_prior();
        let service = Arc::clone(&memory.service);
        self.scorer(&service).remember(memory);
    }

    /// Of how many services it remembers the load.
    pub fn load_count(&self) -> usize {
        self.scorers.values().filter(|scorer| scorer.remembers_load()).count()
    }

    /// How many bundles it serves with.
    pub fn bundle_count(&self) -> usize {
        self.bundles.len()
    }

    /// Which episodes are open, to be kept as well.
    pub fn decisions(&self) -> DecisionMemory {
        self.policy.memory()
    }

    /// Goes on from the episodes of an earlier engine.
    pub fn remember_decisions(&mut self, memory: DecisionMemory) {
        self.policy.remember(memory);
    }

    fn scorer(&mut self, service: &Arc<str>) -> &mut ServiceScorer {
        self.scorers.entry(Arc::clone(service)).or_insert_with(|| {
            let bundle = self.bundles.get(&**service).cloned();
            let signals = Arc::clone(&self.signals);
            let mut scorer = ServiceScorer::new(Arc::clone(service), signals, self.options.step, bundle);
            scorer.set_prior(self.prior.clone().flatten());
            scorer
        })
    }

    /// How much history warms it fully: what a target remembers.
    pub fn memory_horizon(&self) -> Duration {
        self.options.step.duration() * ServiceScorer::MEMORY_STEPS
    }
}

impl crate::settle::Lives for Engine {
    fn life(&self, service: &Arc<str>, signal: &Arc<str>, labels: &Arc<LabelSet>) -> Box<dyn crate::settle::Life + '_> {
        self.scorers.get(service).map_or_else(|| Box::new(()) as _, |scorer| scorer.life(signal, labels))
    }
}

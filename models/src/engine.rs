//! The one code path: steps in, predictions and requests out. The server runs it live, a backtest
//! replays history through it; given the same steps and models both say the same, bit for bit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forewarn_features::{ServiceStep, SignalSet};
use forewarn_schema::{
    BandPoint, BreachKind, Direction, FanPoint, LabelSet, Mode, Prediction, RemediationRequest, Sample, Step, Timestamp,
};
use rayon::prelude::*;

use crate::bundle::ModelBundle;
use crate::decision::{DecisionParams, RequestPolicy};
use crate::growth::CLASSES;
use crate::scorer::{FleetPrior, ServiceScorer};

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
    /// What it did, at every step; a gap is NaN.
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
    current: BTreeMap<String, Prediction>,
}

impl Engine {
    /// Nothing seen, the rules serve.
    pub fn new(signals: Arc<SignalSet>, options: EngineOptions) -> Self {
        let policy = RequestPolicy::new(options.decision.clone(), options.step, options.mode);
        let (bundles, scorers, current) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { signals, options, bundles, scorers, prior: None, policy, current }
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
    pub fn observe(&mut self, _at: Timestamp, steps: &[ServiceStep]) {
        self.refresh_prior();
        for step in steps {
            let scorer = self.scorers.entry(Arc::clone(&step.service)).or_insert_with(|| {
                let bundle = self.bundles.get(&*step.service).cloned();
                let (service, signals) = (Arc::clone(&step.service), Arc::clone(&self.signals));
                let mut scorer = ServiceScorer::new(service, signals, self.options.step, bundle);
                scorer.set_prior(self.prior.clone().flatten());
                scorer
            });
            scorer.observe(step);
        }
    }

    /// Says what is to be said at `at` of every live target.
    pub fn predict(&mut self, at: Timestamp) -> EngineOutput {
        // Each service by itself, on all cores; collected in the order of their names, whichever is done first.
        let scorers: Vec<&ServiceScorer> = self.scorers.values().collect();
        let of_services: Vec<Vec<Prediction>> = scorers.par_iter().map(|scorer| scorer.predict(at)).collect();
        let mut predictions: Vec<Prediction> = of_services.into_iter().flatten().collect();
        let targets = predictions.len();
        let announcements = self.policy.decide(at, &mut predictions);
        let mut requests = Vec::with_capacity(announcements.len());
        for announcement in announcements {
            let mut request = announcement.request;
            request.playbook = self.signals.get(&request.signal).and_then(|s| s.playbook.clone());
            let scorer = self.scorers.get(predictions[announcement.prediction].service.as_str());
            request.window = scorer.and_then(|s| s.quietest_hour(at, request.predicted_breach.p10));
            requests.push(request);
        }
        self.current = predictions[..targets].iter().map(|p| (p.target_key(), p.clone())).collect();
        EngineOutput { predictions, requests }
    }

    /// Takes steps and says what is to be said.
    pub fn step(&mut self, at: Timestamp, steps: &[ServiceStep]) -> EngineOutput {
        self.observe(at, steps);
        self.predict(at)
    }

    /// How one target grows now, see [`ServiceScorer::classes`].
    pub fn classes(&self, service: &str, signal: &str, labels: &LabelSet) -> Option<[[f64; CLASSES]; 2]> {
        self.scorers.get(service)?.classes(signal, labels)
    }

    /// How many requests the weekly budget has held back.
    pub fn held_back(&self) -> u64 {
        self.policy.held_back()
    }

    /// Every live target, to draw.
    pub fn views(&self) -> Vec<TargetView> {
        self.current.values().filter_map(|p| self.view_of(p)).collect()
    }

    /// One target, to draw, by [`Prediction::target_key`]; `None` where it is not live.
    pub fn view(&self, target_key: &str) -> Option<TargetView> {
        self.view_of(self.current.get(target_key)?)
    }

    fn view_of(&self, prediction: &Prediction) -> Option<TargetView> {
        self.scorers.get(prediction.service.as_str())?.view(prediction.at, prediction)
    }

    /// How much history warms it fully: what a target remembers.
    pub fn memory_horizon(&self) -> Duration {
        self.options.step.duration() * ServiceScorer::MEMORY_STEPS
    }
}

//! When a prediction becomes a request: once an episode and workload, never on a flicker. How long it stands is in [`window`].
//!
//! A target is urgent while its breach is probable within its horizon. Urgency must last, a quiet
//! spell must pass before the same target is announced again, siblings that lean the same way share
//! one request, and a budget caps what one service may ask for in a week.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forewarn_features::SignalSet;
use forewarn_schema::{LabelSet, Mode, PredictedBreach, Prediction, RemediationRequest, Step, Timestamp, stable_id};
use serde::{Deserialize, Serialize};

use crate::guardrails::{Guardrails, Held, HeldBy, NO_PLAYBOOK, Room};
use crate::learning::{Caution, Thresholds};

pub mod window;

/// The model version of a prediction that rests on nothing learnt.
pub const RULES_VERSION: &str = "rules";

/// The forecast of a target that runs up to its limit right from a start: [`Prediction`]'s `explanation.forecast`.
pub const BY_RACE: &str = "race";

/// How careful the decision is. Spans are counts of steps, so that a fine step sees fast leaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionParams {
    /// Urgent means a breach within the horizon with at least this probability. 0..=1, default 0.55.
    pub min_probability: f64,
    /// The same where nothing was learnt of the service, so that nobody knows what is normal there. Default 0.9.
    pub min_probability_unlearnt: f64,
    /// Urgency must have lasted this many steps. Default 30.
    pub persistence: u32,
    /// The same for a target that races from its start to its limit: there is no time to wait. Default 5.
    pub persistence_racing: u32,
    /// A lapse of more steps than this without urgency, and what has lasted starts anew. Default 10.
    pub lapse: u32,
    /// After this many steps without urgency an episode is over. Default 60.
    pub quiet: u32,
    /// The same target is not announced twice within this many steps. Default 180.
    pub cool_down: u32,
    /// Siblings whose median is within this many horizons share the request. Default 3.
    pub sibling_horizons: f64,
    /// Requests a service may emit within 7 days. Default 5.
    pub weekly_budget: u32,
}

impl Default for DecisionParams {
    fn default() -> Self {
        Self {
            min_probability: 0.55,
            min_probability_unlearnt: 0.9,
            persistence: 30,
            persistence_racing: 5,
            lapse: 10,
            quiet: 60,
            cool_down: 180,
            sibling_horizons: 3.0,
            weekly_budget: 5,
        }
    }
}

/// Turns predictions into requests, and remembers which episodes were announced.
#[derive(Debug)]
pub struct RequestPolicy {
    params: DecisionParams,
    step: Step,
    mode: Mode,
    /// Of targets that are, or lately were, urgent or covered.
    episodes: BTreeMap<Target, Episode>,
    emitted: BTreeMap<String, Vec<Timestamp>>,
    /// Requests from before a restart: whom they cover, and until when.
    restored: Vec<RemediationRequest>,
    /// How often each reason has held back a request, once an episode.
    held_back: BTreeMap<HeldBy, u64>,
    /// What is due and held back now, by workload.
    holding: BTreeMap<Workload, Held>,
    /// What was held back at this step and not before, or not for this reason.
    newly_held: Vec<Held>,
    /// Per service, what took the place of the default.
    min_probability: BTreeMap<String, f64>,
    /// What labels taught on top of it.
    thresholds: Thresholds,
    /// By signal.
    playbooks: BTreeMap<String, String>,
    guardrails: Guardrails,
}

/// Service, signal and labels.
type Target = (String, String, Arc<LabelSet>);

/// Which episodes are open, to be kept over a restart; the requests themselves are with whoever emitted them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DecisionMemory(Vec<(Target, Episode)>);

/// Service, signal and the labels that the pods of one workload share.
type Workload = (String, String, LabelSet);

/// A workload whose breach has been urgent for long enough.
struct Due {
    workload: Workload,
    members: Vec<usize>,
    soonest: usize,
    mode: Mode,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Episode {
    since: Option<Timestamp>,
    last_urgent: Option<Timestamp>,
    announced: Option<Timestamp>,
    covered: bool,
}

/// A request before the engine adds what only it knows: the window.
pub struct Announcement {
    /// Its place among the predictions handed to [`RequestPolicy::decide`].
    pub prediction: usize,
    /// What leaves.
    pub request: RemediationRequest,
}

impl RequestPolicy {
    /// No episode is open.
    pub fn new(params: DecisionParams, step: Step, mode: Mode) -> Self {
        let (episodes, emitted) = (BTreeMap::new(), BTreeMap::new());
        let (restored, min_probability, playbooks) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let (held_back, holding, newly_held) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let (guardrails, thresholds) = (Guardrails::default(), Thresholds::default());
        Self {
            params,
            step,
            mode,
            episodes,
            emitted,
            restored,
            held_back,
            holding,
            newly_held,
            min_probability,
            thresholds,
            playbooks,
            guardrails,
        }
    }

    /// The same, with the playbooks that `signals` name.
    #[must_use]
    pub fn with_playbooks(mut self, signals: &SignalSet) -> Self {
        let named = signals.iter().filter_map(|s| Some((s.name.clone(), s.playbook.clone()?)));
        self.playbooks = named.collect();
        self
    }

    /// What people have decided, from the next step on.
    pub fn set_guardrails(&mut self, guardrails: Guardrails) {
        self.guardrails = guardrails;
    }

    /// From which probability on a breach of `service` is urgent; `None`: the default.
    pub fn set_min_probability(&mut self, service: &str, probability: Option<f64>) {
        match probability {
            Some(probability) => self.min_probability.insert(service.to_owned(), probability),
            None => self.min_probability.remove(service),
        };
    }

    /// How cautious to be by service and kind, from the next step on; empty: as the bundles and the parameters say.
    pub fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// How cautious one is with a service before labels taught anything; `is_learnt`: whether a model serves it.
    pub fn start(&self, service: &str, is_learnt: bool) -> Caution {
        let DecisionParams { min_probability, min_probability_unlearnt, persistence, persistence_racing, .. } =
            self.params;
        let min_probability = match is_learnt {
            true => self.min_probability.get(service).copied().unwrap_or(min_probability),
            false => min_probability_unlearnt,
        };
        Caution { min_probability, persistence, persistence_racing }
    }

    /// How cautious one is with what a prediction is about.
    pub fn caution(&self, p: &Prediction) -> Caution {
        let start = self.start(&p.service, &*p.model_version != RULES_VERSION);
        self.thresholds.of(&p.service, p.kind, start)
    }

    /// Requests that were open before a restart: their targets are not announced again while they are
    /// valid, and they count against the budget.
    pub fn restore(&mut self, requests: &[RemediationRequest]) {
        for request in requests {
            self.emitted.entry(request.service.clone()).or_default().push(request.at);
        }
        self.restored.extend_from_slice(requests);
    }

    /// How many requests each reason has held back so far: a request counts once for each reason that it met.
    pub fn held_back(&self) -> &BTreeMap<HeldBy, u64> {
        &self.held_back
    }

    /// What is due and held back since the last step, sorted by service and signal.
    pub fn holding(&self) -> impl Iterator<Item = &Held> {
        self.holding.values()
    }

    /// What the last step held back and none before it did, or not for this reason; also what the budget settled.
    pub fn newly_held(&self) -> &[Held] {
        &self.newly_held
    }

    /// Requests that another made of the same steps up to `at`, while this one only watched: they are what was announced,
    /// and nothing else is. An episode of theirs is not announced again; one that they do not hold will be.
    pub fn adopt(&mut self, at: Timestamp, requests: &[RemediationRequest]) {
        self.emitted.clear();
        self.restored.clear();
        self.restore(requests);
        for ((service, signal, labels), episode) in &mut self.episodes {
            let of_target = requests.iter().filter(|r| concerns(r, service, signal, labels));
            // What was asked since urgency began is of this episode, also where it has expired.
            let since = episode.since;
            let covers = |r: &RemediationRequest| r.expires_at > at || since.is_some_and(|since| r.at >= since);
            episode.covered = of_target.clone().any(covers);
            episode.announced = of_target.map(|r| r.at).max();
        }
    }

    /// Takes back a request of the last step that there turned out to be no room for: others asked meanwhile. Its workload is held back
    /// `by` that from then on and stays due, as if [`decide`](Self::decide) had said so.
    pub fn withdraw(&mut self, request: &RemediationRequest, by: HeldBy) {
        let at = request.at;
        for ((service, signal, labels), episode) in &mut self.episodes {
            if episode.announced == Some(at) && concerns(request, service, signal, labels) {
                (episode.covered, episode.announced) = (false, None);
            }
        }
        if let Some(emitted) = self.emitted.get_mut(&request.service)
            && let Some(place) = emitted.iter().rposition(|t| *t == at)
        {
            emitted.remove(place);
        }
        let workload = (request.service.clone(), request.signal.clone(), request.labels.without(&["pod"]));
        self.hold(at, workload, by, &BTreeMap::new());
    }

    /// Marks the predictions that emit a request, appends one for a workload where several targets
    /// share it, and returns the requests. `predictions` are all of one time.
    pub fn decide(&mut self, at: Timestamp, predictions: &mut Vec<Prediction>) -> Vec<Announcement> {
        self.restored.retain(|r| r.expires_at > at);
        self.newly_held.clear();
        let mut groups: BTreeMap<Workload, Vec<usize>> = BTreeMap::new();
        for (i, p) in predictions.iter().enumerate() {
            // Pods of one workload share their fate; disks of one node do not.
            let group = (p.service.clone(), p.signal.clone(), p.labels.without(&["pod"]));
            groups.entry(group).or_default().push(i);
            self.update(at, p);
        }
        let due = self.due(at, predictions, groups);
        let verdicts = self.admit(at, predictions, &due);
        let held_before = std::mem::take(&mut self.holding);
        let mut announcements = Vec::new();
        for (Due { workload, members, soonest, mode }, held) in due.into_iter().zip(verdicts) {
            if let Some(by) = held.filter(|by| *by != HeldBy::WeeklyBudget) {
                self.hold(at, workload, by, &held_before);
                continue;
            }
            // With a low threshold a breach may be announced that is further off than those that lean.
            let leans = |i: &usize| *i == soonest || self.leans(&predictions[*i]);
            let leaning: Vec<usize> = members.iter().copied().filter(leans).collect();
            for i in &leaning {
                let episode = self.episode(&predictions[*i]);
                episode.covered = true;
                episode.announced = Some(at);
            }
            if let Some(by) = held {
                *self.held_back.entry(by).or_default() += 1;
                let (service, signal, labels) = workload;
                self.newly_held.push(Held { service, signal, labels, by, since: at });
                continue;
            }
            let (service, signal, labels) = workload;
            let emitting = if leaning.len() > 1 {
                let mut shared = predictions[soonest].clone();
                shared.id = Prediction::derive_id(&service, &signal, &labels, at);
                shared.labels = labels.into();
                predictions.push(shared);
                predictions.len() - 1
            } else {
                soonest
            };
            let prediction = &mut predictions[emitting];
            if let Some(mut request) = request(prediction, at, mode) {
                request.playbook = self.playbooks.get(&signal).cloned();
                prediction.request_id = Some(request.id.clone());
                self.emitted.entry(service).or_default().push(at);
                announcements.push(Announcement { prediction: emitting, request });
            }
        }
        announcements
    }

    /// The workloads that should be announced, in the order of their names.
    fn due(&mut self, at: Timestamp, predictions: &[Prediction], groups: BTreeMap<Workload, Vec<usize>>) -> Vec<Due> {
        let mut all = Vec::new();
        for (workload, members) in groups {
            let ready: Vec<usize> = members.iter().copied().filter(|i| self.is_ready(at, &predictions[*i])).collect();
            let Some(soonest) = soonest(predictions, &ready) else { continue };
            let mode = self.mode_of(&predictions[soonest]);
            all.push(Due { workload, members, soonest, mode });
        }
        all
    }

    /// What holds back each of `due`; where there is not room for all, the soonest breach comes first.
    fn admit(&mut self, at: Timestamp, predictions: &[Prediction], due: &[Due]) -> Vec<Option<HeldBy>> {
        const HOUR: Duration = Duration::from_secs(3600);
        let mut verdicts = vec![None; due.len()];
        if due.is_empty() {
            return verdicts;
        }
        let left: Vec<usize> = due.iter().map(|d| self.budget_left(&d.workload.0, at)).collect();
        let in_this_hour = self.emitted.values().flatten().filter(|t| **t + HOUR > at).count();
        let mut room = Room::new(&self.guardrails, in_this_hour);
        let p50 = |i: &usize| predictions[due[*i].soonest].time_to_breach_seconds.map_or(f64::INFINITY, |t| t.p50());
        let mut order: Vec<usize> = (0..due.len()).collect();
        order.sort_by(|a, b| p50(a).total_cmp(&p50(b)));
        for i in order {
            verdicts[i] = room.take(&due[i].workload.0, due[i].mode, left[i]);
        }
        verdicts
    }

    /// Remembers that a workload is held back; it stays due.
    fn hold(&mut self, at: Timestamp, workload: Workload, by: HeldBy, before: &BTreeMap<Workload, Held>) {
        let since = before.get(&workload).filter(|held| held.by == by).map(|held| held.since);
        let (service, signal, labels) = workload.clone();
        let held = Held { service, signal, labels, by, since: since.unwrap_or(at) };
        if since.is_none() {
            *self.held_back.entry(by).or_default() += 1;
            self.newly_held.push(held.clone());
        }
        self.holding.insert(workload, held);
    }

    /// How far a request of this prediction may act by itself.
    fn mode_of(&self, p: &Prediction) -> Mode {
        let playbook = self.playbooks.get(&p.signal).map_or(NO_PLAYBOOK, String::as_str);
        let set = self.guardrails.modes.get(&(p.service.clone(), playbook.to_owned())).copied();
        let cap = self.guardrails.caps.get(playbook).copied().unwrap_or(Mode::Automatic);
        set.unwrap_or(self.mode).min(cap)
    }

    fn span(&self, steps: u32) -> Duration {
        self.step.duration() * steps
    }

    /// A copy of what it remembers.
    pub fn memory(&self) -> DecisionMemory {
        DecisionMemory(self.episodes.iter().map(|(target, episode)| (target.clone(), episode.clone())).collect())
    }

    /// Goes on from `memory`.
    pub fn remember(&mut self, memory: DecisionMemory) {
        self.episodes = memory.0.into_iter().collect();
    }

    fn episode(&mut self, p: &Prediction) -> &mut Episode {
        let covered = self.restored.iter().any(|r| concerns(r, &p.service, &p.signal, &p.labels));
        self.episodes.entry(target_of(p)).or_insert_with(|| Episode { covered, ..Episode::default() })
    }

    fn is_urgent(&self, p: &Prediction) -> bool {
        p.time_to_breach_seconds.is_some() && p.breach_probability.get() >= self.caution(p).min_probability
    }

    fn update(&mut self, at: Timestamp, p: &Prediction) {
        let (urgent, quiet) = (self.is_urgent(p), self.span(self.params.quiet));
        let lapse = self.span(self.params.lapse);
        let leans = self.leans(p);
        let target = target_of(p);
        if !urgent && self.restored.is_empty() && !self.episodes.contains_key(&target) {
            return;
        }
        let cool_down = self.span(self.params.cool_down);
        let episode = self.episode(p);
        if urgent {
            episode.since.get_or_insert(at);
        }
        if urgent || leans && episode.covered {
            episode.last_urgent = Some(at);
        } else if episode.last_urgent.is_none_or(|last| at > last + quiet) {
            (episode.since, episode.covered) = (None, false);
            if episode.announced.is_none_or(|last| last + cool_down <= at) {
                self.episodes.remove(&target);
            }
        } else if !episode.covered && episode.last_urgent.is_none_or(|last| at > last + lapse) {
            episode.since = None;
        }
    }

    fn is_ready(&mut self, at: Timestamp, p: &Prediction) -> bool {
        if !self.is_urgent(p) {
            return false;
        }
        let (persistence, cool_down) = (self.persistence(p), self.span(self.params.cool_down));
        let episode = self.episode(p);
        let lasted = episode.since.is_some_and(|since| since + persistence <= at);
        let cooled = episode.announced.is_none_or(|last| last + cool_down <= at);
        lasted && cooled && !episode.covered
    }

    /// How long urgency must have lasted.
    fn persistence(&self, p: &Prediction) -> Duration {
        let racing = p.explanation.forecast == BY_RACE;
        let caution = self.caution(p);
        self.span(if racing { caution.persistence_racing } else { caution.persistence })
    }

    fn leans(&self, p: &Prediction) -> bool {
        p.time_to_breach_seconds.is_some_and(|ttb| ttb.p50() <= self.params.sibling_horizons * p.horizon_seconds)
    }

    fn budget_left(&mut self, service: &str, at: Timestamp) -> usize {
        const WEEK: Duration = Duration::from_secs(7 * 86_400);
        let emitted = self.emitted.entry(service.to_owned()).or_default();
        emitted.retain(|t| *t + WEEK > at);
        (self.params.weekly_budget as usize).saturating_sub(emitted.len())
    }
}

fn target_of(p: &Prediction) -> Target {
    (p.service.clone(), p.signal.clone(), Arc::clone(&p.labels))
}

/// Whether a request is about that target: its own, or its whole workload's.
fn concerns(r: &RemediationRequest, service: &str, signal: &str, labels: &LabelSet) -> bool {
    r.service == service && r.signal == signal && r.labels.iter().all(|(k, v)| labels.get(k) == Some(v))
}

fn soonest(predictions: &[Prediction], of: &[usize]) -> Option<usize> {
    let p50 = |i: &usize| predictions[*i].time_to_breach_seconds.map_or(f64::INFINITY, |t| t.p50());
    of.iter().copied().min_by(|a, b| p50(a).total_cmp(&p50(b)))
}

/// `None` only where the prediction has no time to breach.
fn request(p: &Prediction, at: Timestamp, mode: Mode) -> Option<RemediationRequest> {
    let ttb = p.time_to_breach_seconds?;
    let after = |seconds: f64| at + Duration::from_secs_f64(seconds);
    let predicted_breach = PredictedBreach { p10: after(ttb.p10()), p50: after(ttb.p50()), p90: after(ttb.p90()) };
    let parts = [&*p.service, &*p.signal, &p.labels.to_string(), &at.millis().to_string()];
    Some(RemediationRequest {
        id: stable_id("r", &parts),
        prediction_id: p.id.clone(),
        at,
        service: p.service.clone(),
        signal: p.signal.clone(),
        kind: p.kind,
        labels: (*p.labels).clone(),
        predicted_breach,
        probability: p.breach_probability,
        evidence: p.explanation.clone(),
        playbook: None,
        window: None,
        // What is not known yet is for a person to judge.
        mode: if p.explanation.warming && mode == Mode::Automatic { Mode::Approval } else { mode },
        expires_at: window::expires_at(p.kind, at, predicted_breach.p90),
        outcome_url: None,
    })
}

#[cfg(test)]
mod tests;

//! What labels would have taught: a history replayed with somebody who labels every announcement, rightly or, now and then, wrongly.
//!
//! The labels come from the truth of the data (`settle`), once it is plain; thresholds move from day to day as they do in the
//! server, by the same function. The history may be replayed more than once, as the weeks that follow, with the labels kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forewarn_features::{ServiceStep, SignalSet};
use forewarn_models::decision::{DecisionParams, RULES_VERSION, RequestPolicy};
use forewarn_models::guardrails::Guardrails;
use forewarn_models::learning::{
    Caution, Evidence, LearningParams, Learnt, Move, Reached, Settled, Standing, Watch, in_time, learn,
};
use forewarn_models::scorer::horizon_seconds;
use forewarn_models::settle::{Breach, CERTAIN_AFTER, Outcome, Truth, agree, required_lead};
use forewarn_models::{Engine, ModelBundle};
use forewarn_schema::{
    BreachKind, Judge, Judged, LabelSet, Mode, Prediction, Probability, RemediationRequest, TimeRange, Timestamp,
    Verdict,
};
use serde::Serialize;

use crate::backtest::RollingOriginBacktest;

/// Who labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Labeller {
    /// The share of labels that say the opposite of what is so, 0..=1. A miss is then not reported.
    pub error: f64,
    /// Which ones: the same number, the same labels.
    pub seed: u64,
}

/// How the labels are learnt from.
#[derive(Clone, Debug, PartialEq)]
pub struct LearningReplay {
    /// Where and how often the engine is asked.
    pub backtest: RollingOriginBacktest,
    /// How often the range is replayed, at least once.
    pub passes: u32,
    /// Where thresholds start in place of what the bundles say; `None`: where they say.
    pub start: Option<Caution>,
    /// `None`: nobody labels, and nothing is learnt.
    pub labeller: Option<Labeller>,
    /// How.
    pub params: LearningParams,
}

/// What one pass came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pass {
    /// Requests made.
    pub requests: u64,
    /// Of them, those after which no breach came.
    pub false_alarms: u64,
    /// The same a week.
    pub false_alarms_per_week: f64,
    /// Breaches that could be announced.
    pub breaches: u64,
    /// Of them, those announced in time.
    pub predicted: u64,
    /// Labels given in this pass.
    pub labels: u64,
    /// Of them, those that say the opposite of what is so.
    pub wrong_labels: u64,
}

/// What all of it came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LearningSummary {
    /// One after the other.
    pub passes: Vec<Pass>,
    /// Every step of a threshold; times of later passes go on after the first's.
    pub moves: Vec<Move>,
    /// Where thresholds stand in the end.
    pub standing: Vec<Standing>,
}

/// A history scored once: what is said does not depend on what is announced.
pub struct Scored {
    at: Vec<(Timestamp, Vec<Prediction>)>,
    truth: Truth,
    signals: Arc<SignalSet>,
    bundles: BTreeMap<String, Arc<ModelBundle>>,
    decision: DecisionParams,
}

impl Scored {
    /// Replays `histories` through `engine`, which has the models and the options; nothing is announced. All predictions of the
    /// range are kept in memory, about half a kilobyte each.
    pub fn new(
        backtest: &RollingOriginBacktest,
        histories: &BTreeMap<Arc<str>, Vec<ServiceStep>>,
        signals: &Arc<SignalSet>,
        bundles: &BTreeMap<String, Arc<ModelBundle>>,
        mut engine: Engine,
    ) -> Self {
        engine.set_guardrails(Guardrails { stopped: true, ..Guardrails::default() });
        let mut at = Vec::new();
        let steps = histories.values().map(Vec::as_slice).collect();
        backtest.begin().feed_each(steps, &mut engine, &mut |_, time, output| {
            at.push((time, std::mem::take(&mut output.predictions)));
        });
        Self {
            at,
            truth: Truth::from_histories(histories, signals),
            signals: Arc::clone(signals),
            bundles: bundles.clone(),
            decision: engine.options().decision.clone(),
        }
    }

    /// Decides what is announced, pass after pass; `sink` gets every prediction of the last.
    pub fn replay(&self, replay: &LearningReplay, sink: &mut dyn FnMut(&Prediction)) -> LearningSummary {
        let range = replay.backtest.range;
        let days = range.duration().as_secs().div_ceil(86_400).max(1);
        let mut labels = Labels { known: Vec::new(), replay };
        let mut summary = LearningSummary::default();
        let passes = replay.passes.max(1);
        for pass in 0..passes {
            let shift = Duration::from_secs(days * 86_400 * u64::from(pass));
            let mut ignore = |_: &Prediction| {};
            let sink: &mut dyn FnMut(&Prediction) = if pass + 1 == passes { &mut *sink } else { &mut ignore };
            let (of_pass, learnt) = self.pass(shift, &mut labels, sink);
            summary.passes.push(of_pass);
            (summary.moves, summary.standing) = (learnt.moves, learnt.standing);
        }
        summary
    }

    fn policy(&self, replay: &LearningReplay) -> RequestPolicy {
        let mut params = self.decision.clone();
        if let Some(start) = replay.start {
            params.min_probability = start.min_probability;
            params.min_probability_unlearnt = start.min_probability;
            (params.persistence, params.persistence_racing) = (start.persistence, start.persistence_racing);
        }
        let mut policy = RequestPolicy::new(params, replay.backtest.step, Mode::DryRun).with_playbooks(&self.signals);
        for (service, bundle) in self.bundles.iter().filter(|_| replay.start.is_none()) {
            policy.set_min_probability(service, bundle.rehearsed.min_probability);
        }
        policy
    }

    fn pass(&self, shift: Duration, labels: &mut Labels<'_>, sink: &mut dyn FnMut(&Prediction)) -> (Pass, Learnt) {
        let replay = labels.replay;
        let mut policy = self.policy(replay);
        let first = self.policy(replay);
        let start = |service: Option<&str>, _: BreachKind| {
            let is_learnt = service.map_or(!self.bundles.is_empty(), |s| self.bundles.contains_key(s));
            first.start(service.unwrap_or_default(), is_learnt)
        };
        let start_of = |p: &Prediction| first.start(&p.service, &*p.model_version != RULES_VERSION);
        let mut watch = Watch::new(replay.backtest.step, self.decision.lapse);
        let mut requests: BTreeMap<String, RemediationRequest> = BTreeMap::new();
        let mut reached: BTreeMap<String, Vec<Reached>> = BTreeMap::new();
        let (mut day, mut learnt) = (None, Learnt::default());
        let mut given = Pass::default();
        let learn_by =
            |labels: &mut Labels<'_>, given: &mut Pass, requests: &BTreeMap<_, _>, reached: &BTreeMap<_, _>, until| {
                self.label(labels, given, requests, reached, until, shift);
                learn(&start, &labels.evidence(), until + shift, &replay.params)
            };
        for (at, said) in &self.at {
            let today = (*at + shift).millis().div_euclid(86_400_000);
            if day.replace(today).is_some_and(|before| before != today) || day.is_none() {
                learnt = learn_by(labels, &mut given, &requests, &reached, *at);
                policy.set_thresholds(learnt.thresholds.clone());
            }
            let mut predictions = said.clone();
            let announced: Vec<_> = policy.decide(*at, &mut predictions).into_iter().map(|a| a.request).collect();
            watch.observe(*at, &predictions, &announced, start_of);
            reached.extend(watch.take_changed().into_iter().map(|f| (f.request_id, f.reached)));
            requests.extend(announced.into_iter().map(|r| (r.id.clone(), r)));
            predictions.iter().for_each(&mut *sink);
        }
        // What the end of the range shows is labelled too, for the next pass.
        let end = replay.backtest.range.end;
        if let Some((last, _)) = self.at.last() {
            learnt = learn_by(labels, &mut given, &requests, &reached, end.max(*last));
        }
        let all: Vec<RemediationRequest> = requests.into_values().collect();
        (self.sum_up(given, &all, replay.backtest.range), learnt)
    }

    /// Labels what is plain by now and was not labelled yet.
    fn label(
        &self,
        labels: &mut Labels<'_>,
        given: &mut Pass,
        requests: &BTreeMap<String, RemediationRequest>,
        reached: &BTreeMap<String, Vec<Reached>>,
        now: Timestamp,
        shift: Duration,
    ) {
        let Some(labeller) = labels.replay.labeller else { return };
        for (id, request) in requests {
            let name = format!("{id}+{}", shift.as_secs());
            let (verdict, plain, breach) = match self.became(request) {
                Outcome::Breached { at } => (Verdict::TruePositive, at, Some(at)),
                Outcome::FalseAlarm => (Verdict::FalsePositive, request.at + horizon(request), None),
                Outcome::InBreach | Outcome::Averted | Outcome::Unsettled => continue,
            };
            if plain >= now || labels.known.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let wrong = labeller.errs(&name);
            let verdict = match (verdict, wrong) {
                (Verdict::TruePositive, true) => Verdict::FalsePositive,
                (Verdict::FalsePositive, true) => Verdict::TruePositive,
                (verdict, _) => verdict,
            };
            let reached = reached.get(id).map(Vec::as_slice).unwrap_or_default();
            // Who says wrongly that a breach came cannot say when.
            let reached = match breach {
                Some(breach) => in_time(reached, request.kind, request.at, breach),
                None => reached.to_vec(),
            };
            (given.labels, given.wrong_labels) = (given.labels + 1, given.wrong_labels + u64::from(wrong));
            let subject = (&*request.service, request.kind, request.at);
            let said = evidence(subject, Some(request.probability), true, verdict, reached, plain, shift);
            let evidence = Evidence { settled: self.settled(request, shift), ..said };
            labels.known.push((name, evidence));
        }
        let all: Vec<RemediationRequest> = requests.values().cloned().collect();
        for breach in self.announceable(labels.replay.backtest.range) {
            let name =
                format!("{}/{}{}@{}+{}", breach.service, breach.signal, breach.labels, breach.at, shift.as_secs());
            let was_seen = is_announced(breach, &all) || labels.known.iter().any(|(known, _)| *known == name);
            if breach.at >= now || was_seen || labeller.errs(&name) {
                continue;
            }
            given.labels += 1;
            let subject = (&*breach.service, breach.kind, breach.at);
            let most = self.most_said(breach);
            let evidence = evidence(subject, most, false, Verdict::Missed, Vec::new(), breach.at, shift);
            labels.known.push((name, evidence));
        }
    }

    fn became(&self, request: &RemediationRequest) -> Outcome {
        self.truth.settle_request(&request.service, request.kind, &request.labels, request.at, horizon(request))
    }

    /// What the data say of it, as the server would have known it: of what did not come, when even its p90 is well over.
    fn settled(&self, request: &RemediationRequest, shift: Duration) -> Option<Settled> {
        match self.became(request) {
            Outcome::Breached { at } => Some(Settled { breach: Some(at + shift), at: at + shift }),
            Outcome::FalseAlarm => {
                let deadline = request.predicted_breach.p90.max(request.at + horizon(request));
                Some(Settled { breach: None, at: deadline + CERTAIN_AFTER + shift })
            }
            Outcome::InBreach | Outcome::Averted | Outcome::Unsettled => None,
        }
    }

    /// The most that was said of a breach while there was time.
    fn most_said(&self, breach: &Breach) -> Option<Probability> {
        let until = breach.at - lead(breach, breach.onset);
        let on_the_way = self.at.iter().filter(|(at, _)| breach.onset <= *at && *at <= until);
        let of_it = |p: &&Prediction| {
            *p.service == *breach.service && p.signal == breach.signal && agree(&p.labels, &breach.labels)
        };
        let said = on_the_way.flat_map(|(_, said)| said.iter().filter(of_it)).map(|p| p.uncalibrated().get());
        said.max_by(f64::total_cmp).map(Probability::saturating)
    }

    fn announceable(&self, range: TimeRange) -> impl Iterator<Item = &Breach> {
        let could = move |b: &&Breach| b.at.seconds_since(b.onset.max(range.start)) >= 900.0;
        self.truth.breaches(range).into_iter().filter(could)
    }

    fn sum_up(&self, given: Pass, requests: &[RemediationRequest], range: TimeRange) -> Pass {
        let is_false = |r: &&RemediationRequest| self.became(r) == Outcome::FalseAlarm;
        let false_alarms = requests.iter().filter(is_false).count() as u64;
        let weeks = range.duration().as_secs_f64() / (7.0 * 86_400.0);
        Pass {
            requests: requests.len() as u64,
            false_alarms,
            false_alarms_per_week: false_alarms as f64 / weeks,
            breaches: self.announceable(range).count() as u64,
            predicted: self.announceable(range).filter(|b| is_announced(b, requests)).count() as u64,
            ..given
        }
    }
}

/// What was labelled, of all passes.
struct Labels<'a> {
    known: Vec<(String, Evidence)>,
    replay: &'a LearningReplay,
}

impl Labels<'_> {
    fn evidence(&self) -> Vec<Evidence> {
        self.known.iter().map(|(_, evidence)| evidence.clone()).collect()
    }
}

impl Labeller {
    /// Whether this one gets it wrong.
    fn errs(&self, name: &str) -> bool {
        // FNV-1a, then mixed (splitmix64): the same label is wrong whatever else is labelled.
        let hashed =
            name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), |h, b| {
                (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        let mut x = (hashed ^ (hashed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / ((1_u64 << 53) as f64) < self.error
    }
}

fn evidence(
    (service, kind, at): (&str, BreachKind, Timestamp),
    probability: Option<Probability>,
    requested: bool,
    verdict: Verdict,
    reached: Vec<Reached>,
    plain: Timestamp,
    shift: Duration,
) -> Evidence {
    let (service, judge) = (service.to_owned(), Judge::Label);
    let judged = Judged { service, kind, at: at + shift, probability, requested, verdict, judge };
    Evidence { judged, reached, known_at: plain + shift, settled: None }
}

/// How far ahead the probability of a request looks. Its p90 may lie days ahead where little is asked for; what was on the way to a
/// breach was right however late that came (`settle_request`).
fn horizon(request: &RemediationRequest) -> Duration {
    Duration::from_secs_f64(horizon_seconds(request.kind))
}

fn lead(breach: &Breach, from: Timestamp) -> Duration {
    let half = breach.at.seconds_since(from).max(0.0) / 2.0;
    Duration::from_secs_f64(required_lead(breach.kind).as_secs_f64().min(half))
}

fn is_announced(breach: &Breach, requests: &[RemediationRequest]) -> bool {
    let in_time = breach.at - lead(breach, breach.onset);
    requests.iter().any(|r| {
        let labels: &LabelSet = &r.labels;
        let of_it = *r.service == *breach.service && r.kind == breach.kind && agree(labels, &breach.labels);
        of_it && breach.onset <= r.at && r.at <= in_time
    })
}

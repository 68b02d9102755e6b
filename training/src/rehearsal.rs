//! The last week of the training window replayed through the serving code, to learn from it what no fit shows: how wide intervals
//! must be, from which probability on to speak up, which shapes growth takes.
//!
//! In sample as to the profiles, which no single episode moves. Breaches are settled after the fact, as an evaluation does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forewarn_features::{ServiceStep, SignalSet};
use forewarn_models::decision::{DecisionParams, RequestPolicy, window};
use forewarn_models::growth::CLASSES;
use forewarn_models::rehearsal::{Rehearsed, miss, shape_factors, stretch};
use forewarn_models::{Engine, EngineOptions, ModelBundle};
use forewarn_schema::{BreachKind, Mode, Prediction, RemediationRequest, TimeRange, Timestamp, Verdict};

use crate::backtest::RollingOriginBacktest;
use crate::exclusions::{LabelledTime, was_false_alarm};
use crate::fit::FitOptions;
use forewarn_models::settle::{Breach, Outcome, Truth, agree, required_lead};

/// How much of the window's end is replayed.
const REPLAYED: Duration = Duration::from_secs(7 * 86_400);
/// What comes before, at least, so that the engine has seen something.
const WARM: Duration = Duration::from_secs(86_400);
const EVERY: Duration = Duration::from_secs(300);
/// Of an episode, what is said between these shares of its way is judged: before, nobody can know; after, nobody can act.
const JUDGED: (f64, f64) = (0.25, 0.95);
/// From this share of the way on the shape of a growth is plain.
const PLAIN: f64 = 0.8;
/// The probabilities that are tried, from the default up: caution is only added.
const MIN_PROBABILITIES: [f64; 5] = [0.55, 0.65, 0.75, 0.85, 0.95];
/// A single week of one service moves its probability by so many of them at most.
const MOST_STEPS: usize = 2;
/// How many episodes the prior counts for: of the fleet's shapes, of a service's own beside the fleet's.
const FLEET_EPISODES: f64 = 8.0;
const SERVICE_EPISODES: f64 = 4.0;
/// A breach that people say was missed counts for so many.
const MISSED_COUNTS: usize = 2;

/// What the replay of one service showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replayed {
    /// Per kind and episode, how far the intervals missed.
    misses: BTreeMap<BreachKind, Vec<Vec<f64>>>,
    /// Per kind and signal, the shapes of the growths that breached, with what was believed beforehand.
    shapes: Vec<(String, [[f64; CLASSES]; 2])>,
    /// Per probability tried.
    alarms: [Alarms; MIN_PROBABILITIES.len()],
    weeks: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Alarms {
    predicted: u64,
    false_alarms: u64,
}

/// Replays the end of a service's training window with its bundle; from further back where people say that a breach was missed
/// there.
pub(crate) fn replay(
    service: &Arc<str>,
    steps: &[ServiceStep],
    signals: &SignalSet,
    bundle: &ModelBundle,
    options: &FitOptions,
    labels: &[LabelledTime],
) -> Replayed {
    let signals = &Arc::new(signals.clone());
    let steps = &steps[..steps.partition_point(|s| s.at < options.until)];
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Replayed::default() };
    let missed = || labels.iter().filter(|label| label.verdict == Verdict::Missed);
    let from = missed().map(|label| label.range.start).fold(options.until - REPLAYED, Timestamp::min);
    let range = TimeRange { start: from.max(first.at + WARM), end: last.at + options.step.duration() };
    if range.start >= range.end {
        return Replayed::default();
    }
    let truth = Truth::of_service(service, steps, signals);
    let episodes: Vec<Episode<'_>> = truth.breaches(range).into_iter().filter_map(|b| Episode::of(b, range)).collect();
    let (decision, mode) = (DecisionParams::default(), Mode::DryRun);
    let mut engine =
        Engine::new(Arc::clone(signals), EngineOptions { step: options.step, mode, decision: decision.clone() });
    engine.set_bundle(service, Some(Arc::new(bundle.clone())));
    let mut policies = MIN_PROBABILITIES.map(|min_probability| {
        RequestPolicy::new(DecisionParams { min_probability, ..decision.clone() }, options.step, mode)
    });
    let mut requests: [Vec<RemediationRequest>; MIN_PROBABILITIES.len()] = Default::default();
    let mut watched: Vec<Watched> = vec![Watched::default(); episodes.len()];
    let backtest = RollingOriginBacktest { range, every: EVERY, step: options.step };
    backtest.begin().feed_each(vec![steps], &mut engine, &mut |engine, at, output| {
        let predictions = &output.predictions;
        for (episode, watched) in episodes.iter().zip(&mut watched) {
            watched.look(episode, engine, at, predictions);
        }
        for (policy, requests) in policies.iter_mut().zip(&mut requests) {
            let mut said = predictions.clone();
            said.iter_mut().for_each(|p| p.request_id = None);
            requests.extend(policy.decide(at, &mut said).into_iter().map(|a| a.request));
        }
    });
    let mut replayed = Replayed { weeks: range.duration().as_secs_f64() / (7.0 * 86_400.0), ..Replayed::default() };
    for (episode, watched) in episodes.iter().zip(watched) {
        for _ in 0..weight(episode, labels) {
            replayed.misses.entry(episode.breach.kind).or_default().push(watched.misses.clone());
            replayed.shapes.extend(watched.shape.map(|shape| (episode.breach.signal.clone(), shape)));
        }
    }
    replayed.alarms = requests.map(|requests| judge(&truth, service, &episodes, &requests, labels));
    replayed
}

/// A breach that could be foreseen, and its way.
struct Episode<'a> {
    breach: &'a Breach,
    onset: Timestamp,
    way: f64,
}

impl<'a> Episode<'a> {
    fn of(breach: &'a Breach, range: TimeRange) -> Option<Self> {
        let onset = breach.onset.max(range.start);
        let way = breach.at.seconds_since(onset);
        let known = breach.kind != BreachKind::CertificateExpiry;
        (known && way >= 15.0 * 60.0).then_some(Self { breach, onset, way })
    }
}

/// What was said of one episode.
#[derive(Clone, Debug, Default)]
struct Watched {
    misses: Vec<f64>,
    shape: Option<[[f64; CLASSES]; 2]>,
}

impl Watched {
    fn look(&mut self, episode: &Episode<'_>, engine: &Engine, at: Timestamp, predictions: &[Prediction]) {
        let (breach, share) = (episode.breach, at.seconds_since(episode.onset) / episode.way);
        if !(JUDGED.0..=JUDGED.1).contains(&share) {
            return;
        }
        let of_it = |p: &&Prediction| p.signal == breach.signal && *p.labels == breach.labels;
        if let Some(said) = predictions.iter().find(of_it).and_then(|p| p.time_to_breach_seconds) {
            self.misses.push(miss(&said, breach.at.seconds_since(at)));
        }
        if share >= PLAIN && self.shape.is_none() {
            self.shape = engine.classes(&breach.service, &breach.signal, &breach.labels);
        }
    }
}

/// How often an episode counts.
fn weight(episode: &Episode<'_>, labels: &[LabelledTime]) -> usize {
    let missed = labels.iter().any(|label| label.verdict == Verdict::Missed && label.is_of(episode.breach));
    if missed { MISSED_COUNTS } else { 1 }
}

/// The data say what became of a request, and people where they said something.
fn judge(
    truth: &Truth,
    service: &str,
    episodes: &[Episode<'_>],
    requests: &[RemediationRequest],
    labels: &[LabelledTime],
) -> Alarms {
    let in_time = |episode: &&Episode<'_>| {
        let required = required_lead(episode.breach.kind).as_secs_f64().min(episode.way / 2.0);
        requests.iter().any(|r| {
            let of_it = r.kind == episode.breach.kind && agree(&r.labels, &episode.breach.labels);
            of_it && episode.onset <= r.at && episode.breach.at.seconds_since(r.at) >= required
        })
    };
    let is_false = |r: &&RemediationRequest| {
        if let Some(said) = was_false_alarm(labels, r.kind, &r.labels, r.at) {
            return said;
        }
        let horizon = window::speaks_for(r.kind, r.at, r.predicted_breach.p90);
        truth.settle_request(service, r.kind, &r.labels, r.at, horizon) == Outcome::FalseAlarm
    };
    Alarms {
        predicted: episodes.iter().filter(in_time).map(|episode| weight(episode, labels) as u64).sum(),
        false_alarms: requests.iter().filter(is_false).count() as u64,
    }
}

/// What the breaches of many services teach each of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Episodes {
    stretch: BTreeMap<BreachKind, f64>,
    /// Per signal: what is believed beforehand, and the factors that the episodes give it.
    shapes: BTreeMap<String, ([f64; CLASSES], [f64; CLASSES])>,
    /// The least probability, as an index.
    probability: usize,
}

impl Episodes {
    /// Learns from the replays of the teachers.
    pub(crate) fn of<'a>(replayed: impl Iterator<Item = &'a Replayed> + Clone, false_alarms_per_week: f64) -> Self {
        let mut misses: BTreeMap<BreachKind, Vec<Vec<f64>>> = BTreeMap::new();
        for (kind, episodes) in replayed.clone().flat_map(|r| &r.misses) {
            misses.entry(*kind).or_default().extend(episodes.iter().filter(|e| !e.is_empty()).cloned());
        }
        let shapes = by_signal(replayed.clone().flat_map(|r| &r.shapes));
        Self {
            stretch: misses.into_iter().map(|(kind, episodes)| (kind, stretch(&episodes, 1.0))).collect(),
            shapes: shapes
                .into_iter()
                .map(|(signal, (priors, shares))| (signal, (priors, shape_factors(&priors, &shares, FLEET_EPISODES))))
                .collect(),
            probability: fleet_probability(replayed, false_alarms_per_week),
        }
    }

    /// What a service knows that was replayed itself: the fleet's lessons, moved by its own episodes.
    pub(crate) fn teach(&self, own: &Replayed) -> Rehearsed {
        let kinds = self.stretch.keys().chain(own.misses.keys());
        let own_stretch = |kind: &BreachKind| {
            let episodes = own.misses.get(kind).map_or(&[][..], Vec::as_slice);
            (*kind, stretch(episodes, self.stretch.get(kind).copied().unwrap_or(1.0)))
        };
        let mut shapes: BTreeMap<String, [f64; CLASSES]> =
            self.shapes.iter().map(|(signal, (_, factors))| (signal.clone(), *factors)).collect();
        for (signal, (priors, shares)) in by_signal(own.shapes.iter()) {
            let (priors, factors) = self.shapes.get(&signal).copied().unwrap_or((priors, [1.0; CLASSES]));
            let believed: [f64; CLASSES] = std::array::from_fn(|c| priors[c] * factors[c]);
            let more = shape_factors(&believed, &shares, SERVICE_EPISODES);
            shapes.insert(signal, std::array::from_fn(|c| factors[c] * more[c]));
        }
        Rehearsed {
            stretch: kinds.map(own_stretch).collect(),
            min_probability: Some(MIN_PROBABILITIES[own_probability(own, self.probability)]),
            shapes,
        }
    }
}

/// What was believed of each signal's growths beforehand, and what each turned out to be.
fn by_signal<'a>(
    shapes: impl Iterator<Item = &'a (String, [[f64; CLASSES]; 2])>,
) -> BTreeMap<String, ([f64; CLASSES], Vec<[f64; CLASSES]>)> {
    let mut all: BTreeMap<String, ([f64; CLASSES], Vec<[f64; CLASSES]>)> = BTreeMap::new();
    for (signal, [shares, priors]) in shapes {
        all.entry(signal.clone()).or_insert_with(|| (*priors, Vec::new())).1.push(*shares);
    }
    all
}

/// The least probability at which all services together raise no more false alarms than are allowed, as an index.
fn fleet_probability<'a>(replayed: impl Iterator<Item = &'a Replayed> + Clone, allowed_per_week: f64) -> usize {
    let weeks = replayed.clone().map(|r| r.weeks).fold(0.0, f64::max);
    let false_alarms = |i: usize| replayed.clone().map(|r| r.alarms[i].false_alarms).sum::<u64>();
    (0..MIN_PROBABILITIES.len())
        .find(|i| false_alarms(*i) as f64 <= allowed_per_week * weeks)
        .unwrap_or(MIN_PROBABILITIES.len() - 1)
}

/// A service that raised false alarms of its own asks for more, as long as it loses no breach by that.
fn own_probability(own: &Replayed, fleet: usize) -> usize {
    let at_fleet = own.alarms[fleet];
    let quieter = (fleet..MIN_PROBABILITIES.len().min(fleet + 1 + MOST_STEPS))
        .filter(|i| own.alarms[*i].predicted >= at_fleet.predicted);
    quieter.min_by_key(|i| own.alarms[*i].false_alarms).unwrap_or(fleet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replayed(alarms: [(u64, u64); MIN_PROBABILITIES.len()]) -> Replayed {
        let alarms = alarms.map(|(predicted, false_alarms)| Alarms { predicted, false_alarms });
        Replayed { alarms, weeks: 1.0, ..Replayed::default() }
    }

    #[test]
    fn the_fleet_speaks_up_as_early_as_the_allowed_false_alarms_permit() {
        let noisy = replayed([(3, 4), (3, 2), (3, 1), (2, 0), (1, 0)]);
        let quiet = replayed([(1, 0); MIN_PROBABILITIES.len()]);
        let of = |allowed| fleet_probability([&noisy, &quiet].into_iter(), allowed);
        assert_eq!((of(4.0), of(1.0), of(0.0)), (0, 2, 3));
    }

    #[test]
    fn a_noisy_service_asks_for_more_but_loses_no_breach() {
        let noisy = replayed([(3, 4), (3, 2), (3, 1), (2, 0), (1, 0)]);
        assert_eq!(own_probability(&noisy, 0), 2, "at 0.85 it would be silent and miss one");
        assert_eq!(own_probability(&replayed([(1, 0); MIN_PROBABILITIES.len()]), 0), 0);
    }

    #[test]
    fn without_episodes_nothing_is_learnt() {
        let nothing = Replayed::default();
        let lessons = Episodes::of([&nothing].into_iter(), 1.0).teach(&nothing);
        assert_eq!(lessons.min_probability, Some(MIN_PROBABILITIES[0]));
        assert!(lessons.stretch.is_empty() && lessons.shapes.is_empty());
    }
}

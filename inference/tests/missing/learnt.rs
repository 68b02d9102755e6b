//! What a service with a model says of what is missed: traffic that drops to nothing, signals and whole services that vanish, and those that
//! do so every night.

use std::sync::{Arc, OnceLock};

use forewarn_features::{Observation, ServiceStep, SignalSet};
use forewarn_models::ensemble::{AnomalyEnsemble, Detector, RawScores};
use forewarn_models::scorer::ServiceScorer;
use forewarn_models::{EngineOutput, ModelBundle};
use forewarn_schema::{LabelSet, Step};

use crate::bundles::bundle_of;
use crate::rig::{Rig, STALE, at, counter, limit, memory};

const DAY: i64 = 1440;
const TRAINED: i64 = 14 * DAY;
/// As unusual as one step in two hundred.
const ALARM: f64 = 0.995;

fn wobble(minute: i64) -> f64 {
    (minute * 7919 % 101) as f64 / 50.0 - 1.0
}

/// Requests a second; at its most at 18:00, at its least at 6:00.
fn rate(minute: i64) -> f64 {
    100.0 - 40.0 * (minute as f64 / DAY as f64 * std::f64::consts::TAU).sin() + 3.0 * wobble(minute)
}

/// The same, but nothing at all from 1:00 to 4:59.
fn rate_by_day(minute: i64) -> f64 {
    if (60..300).contains(&(minute % DAY)) { 0.0 } else { rate(minute) }
}

fn memory_of(minute: i64) -> f64 {
    400.0 + 10.0 * wobble(minute * 31)
}

fn step(minute: i64, rate: f64) -> ServiceStep {
    let pod = Arc::new(LabelSet::from([("pod", "a")]));
    let observe = |signal: &str, labels: &Arc<LabelSet>, value, limit| Observation {
        signal: signal.into(),
        labels: Arc::clone(labels),
        value,
        limit,
    };
    let none = Arc::new(LabelSet::new());
    let observations = vec![
        observe("memory", &pod, memory_of(minute), Some(1000.0)),
        observe("replicas", &none, 1.0, None),
        observe("traffic", &none, rate, None),
    ];
    ServiceStep { service: "cart".into(), at: at(minute), observations }
}

/// Trained on two weeks in which steps came when `is_there` says so.
fn train(rate: fn(i64) -> f64, is_there: fn(i64) -> bool) -> Arc<ModelBundle> {
    let signals = SignalSet::new(&["kubernetes", "http"].map(str::to_owned), vec![]).unwrap();
    let steps: Vec<ServiceStep> = (0..TRAINED).filter(|m| is_there(*m)).map(|m| step(m, rate(m))).collect();
    let mut bundle = bundle_of("cart", &steps, &signals, 1);
    // Detectors are calibrated on what the serving code says of normal steps, as training does it.
    let mut scorer = ServiceScorer::new("cart".into(), Arc::new(signals), Step::MINUTE, Some(Arc::new(bundle.clone())));
    let normal: Vec<RawScores> = steps
        .iter()
        .filter_map(|step| {
            scorer.observe(step);
            scorer.raw_scores(step.at, false)
        })
        .collect();
    let weights = [Detector::IsolationForest, Detector::SeasonalResidual, Detector::JointResidual]
        .map(|detector| (detector, 1.0));
    bundle.ensemble = AnomalyEnsemble::fit(&normal, &weights, bundle.ensemble.joint().cloned()).unwrap();
    Arc::new(bundle)
}

fn always() -> Arc<ModelBundle> {
    static BUNDLE: OnceLock<Arc<ModelBundle>> = OnceLock::new();
    Arc::clone(BUNDLE.get_or_init(|| train(rate, |_| true)))
}

/// A live service with a model, scraped once a minute.
struct Served {
    rig: Rig,
    requests: f64,
}

impl Served {
    fn new(bundle: Arc<ModelBundle>) -> Self {
        let mut rig = Rig::new();
        rig.engine.set_bundle("cart", Some(bundle));
        Self { rig, requests: 0.0 }
    }

    /// A minute of so many requests a second; `None`: the usual, but nobody scrapes their counter.
    fn minute(&mut self, minute: i64, of_minute: Option<f64>) -> EngineOutput {
        self.rig.push(&memory("a"), minute, memory_of(minute));
        self.rig.push(&limit("a"), minute, 1000.0);
        self.requests += 60.0 * of_minute.unwrap_or_else(|| rate(minute));
        if of_minute.is_some() {
            self.rig.push(&counter("200"), minute, self.requests);
        }
        self.rig.step(minute)
    }

    /// The first minute of these at which an alarm is raised.
    fn first_alarm(&mut self, minutes: std::ops::Range<i64>, rate: impl Fn(i64) -> Option<f64>) -> Option<i64> {
        minutes.into_iter().find(|m| score(&self.minute(*m, rate(*m))) >= ALARM)
    }
}

fn score(output: &EngineOutput) -> f64 {
    output.predictions.iter().map(|p| p.anomaly_score.get()).fold(0.0, f64::max)
}

fn summary(output: &EngineOutput) -> String {
    output.predictions.first().map_or_else(String::new, |p| p.explanation.summary.clone())
}

/// Noon of the day after training, with an hour of the usual before it.
fn at_noon(served: &mut Served) -> i64 {
    let noon = TRAINED + DAY / 2;
    for minute in noon - 60..noon {
        served.minute(minute, Some(rate(minute)));
    }
    noon
}

#[test]
fn traffic_that_drops_to_nothing_alarms_at_the_onset() {
    let mut served = Served::new(always());
    let noon = at_noon(&mut served);
    let alarm = served.first_alarm(noon..noon + 30, |_| Some(0.0)).unwrap();
    assert!(alarm - noon <= 4, "{} steps after the onset", alarm - noon);
    let output = served.minute(alarm + 1, Some(0.0));
    let strongest = &output.predictions[0].explanation.signals[0];
    assert_eq!(strongest.signal, "traffic", "{strongest:?}");
    assert_eq!(output.requests, [], "an unusual service is no breach");
}

#[test]
fn traffic_that_drops_to_nothing_every_night_does_not_alarm() {
    let mut served = Served::new(train(rate_by_day, |_| true));
    let alarms = (TRAINED - 60..TRAINED + DAY)
        .filter(|m| score(&served.minute(*m, Some(rate_by_day(*m)))) >= ALARM && *m >= TRAINED)
        .count();
    // One step in two hundred is so unusual by definition: 7 of a day. The fall itself is steeper than the profile's half hour.
    assert!(alarms <= 30, "{alarms} steps of a day");
    let mut deep_in_the_night = Served::new(train(rate_by_day, |_| true));
    let alarm = deep_in_the_night.first_alarm(TRAINED + 100..TRAINED + 280, |m| Some(rate_by_day(m)));
    assert_eq!(alarm, None);
}

#[test]
fn usual_traffic_does_not_alarm() {
    let mut served = Served::new(always());
    let noon = at_noon(&mut served);
    let alarms = (noon..noon + 200).filter(|m| score(&served.minute(*m, Some(rate(*m)))) >= ALARM).count();
    assert!(alarms <= 4, "{alarms} of 200 steps");
}

#[test]
fn a_counter_that_vanishes_alarms_once_it_is_missed() {
    let mut served = Served::new(always());
    let noon = at_noon(&mut served);
    served.rig.push(&counter("200"), noon, STALE);
    let (mut alarm, mut told) = (None, None);
    for minute in noon..noon + 30 {
        let output = served.minute(minute, None);
        alarm = alarm.or((score(&output) >= ALARM).then_some(minute - noon));
        told = told.or(summary(&output).contains("traffic missing since").then_some(minute - noon));
    }
    // Its rate is computed from the samples in the last five minutes, and falls as they leave; then there is none.
    assert!(alarm.is_some_and(|alarm| alarm <= 8) && told.is_some_and(|told| told <= 8), "{alarm:?}, {told:?}");
}

#[test]
fn one_step_without_a_signal_is_not_missed() {
    let mut served = Served::new(always());
    let noon = at_noon(&mut served);
    served.rig.push(&counter("200"), noon, STALE);
    let mut highest = 0.0_f64;
    for minute in noon..noon + 60 {
        let rate = (minute != noon).then(|| rate(minute));
        let output = served.minute(minute, rate);
        assert!(!summary(&output).contains("missing"), "{}", summary(&output));
        highest = highest.max(if minute < noon + 5 { score(&output) } else { 0.0 });
    }
    assert!(highest < ALARM, "{highest}");
}

#[test]
fn a_service_of_which_nothing_comes_any_more_alarms_before_it_is_forgotten() {
    let mut served = Served::new(always());
    let noon = at_noon(&mut served);
    let mut scores = Vec::new();
    for minute in noon..noon + 40 {
        let output = served.rig.step(minute);
        scores.push((minute - noon, score(&output), output.predictions.len()));
        assert_eq!(output.requests, []);
    }
    let first = scores.iter().find(|(_, score, _)| *score >= ALARM);
    assert!(first.is_some_and(|(minute, ..)| *minute <= 9), "five of look-back, three until it is noticed: {scores:?}");
    assert_eq!(scores.last().unwrap().2, 0, "and then nothing is said");
}

#[test]
fn a_service_that_is_scaled_to_nothing_every_night_is_not_missed_at_night() {
    let by_day = |minute: i64| !(60..300).contains(&(minute % DAY));
    let mut served = Served::new(train(rate, |minute| !(60..300).contains(&(minute % DAY))));
    for minute in TRAINED..TRAINED + 90 {
        if by_day(minute) {
            served.minute(minute, Some(rate(minute)));
            continue;
        }
        let output = served.rig.step(minute);
        let missed = output.predictions.iter().any(|p| p.explanation.summary.contains("missing"));
        assert!(!missed, "minute {minute}: {}", summary(&output));
    }
}

#[test]
fn a_signal_that_was_not_seen_since_the_start_is_not_missed() {
    let mut served = Served::new(always());
    let noon = TRAINED + DAY / 2;
    for minute in noon..noon + 60 {
        let output = served.minute(minute, None);
        assert!(!summary(&output).contains("missing"), "{}", summary(&output));
    }
}

#[test]
fn a_sender_that_restarts_changes_no_rate_and_misses_nothing() {
    let mut served = Served::new(always());
    let noon = at_noon(&mut served);
    served.rig.push(&counter("200"), noon, STALE);
    served.minute(noon, None);
    let mut alarms = 0;
    for minute in noon + 1..noon + 60 {
        if minute == noon + 30 {
            served.requests = 0.0; // What is counted restarts, too.
        }
        let output = served.minute(minute, Some(rate(minute)));
        assert!(!summary(&output).contains("missing"), "{}", summary(&output));
        alarms += usize::from(score(&output) >= ALARM);
    }
    assert!(alarms <= 3, "{alarms} of 60 steps");
}

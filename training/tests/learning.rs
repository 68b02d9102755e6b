//! What labels are worth, on a made-up fleet that cries wolf: jobs that climb for half an hour and come down by themselves, beside
//! leaks that do not.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use forewarn_features::{Observation, ServiceStep};
use forewarn_models::decision::DecisionParams;
use forewarn_models::learning::{Caution, LearningParams};
use forewarn_models::{Engine, EngineOptions};
use forewarn_schema::{LabelSet, Prediction, Step, TimeRange};
use forewarn_training::RollingOriginBacktest;
use forewarn_training::learning::{Labeller, LearningReplay, LearningSummary, Scored};

use common::{minute, noise, signals};

const DAY: i64 = 1440;
const DAYS: i64 = 8;
const LIMIT: f64 = 512e6;
const SERVICES: [&str; 6] = ["cart", "checkout", "pay", "search", "user", "web"];
/// From its start to the limit.
const LEAK_MINUTES: i64 = 480;

/// A job every eleven hours or so: 25 minutes up, 15 down.
fn job(service: i64, m: i64) -> f64 {
    let into = (m + 97 * service).rem_euclid(660 + 40 * service);
    match into {
        0..25 => into as f64 / 25.0,
        25..40 => 1.0 - (into - 25) as f64 / 15.0,
        _ => 0.0,
    }
}

/// Half of the services leak, every third day.
fn leak(service: i64, m: i64) -> Option<f64> {
    let into = (m - 2 * DAY - 500 * service).rem_euclid(3 * DAY);
    let leaks = service % 2 == 0 && m >= 2 * DAY + 500 * service && into <= LEAK_MINUTES;
    leaks.then_some(into as f64 / LEAK_MINUTES as f64)
}

fn memory(service: i64, m: i64) -> f64 {
    let base = 0.3 * LIMIT;
    let value = match leak(service, m) {
        Some(done) => base * (1.0 - done) + 1.02 * LIMIT * done,
        None => base + 0.35 * LIMIT * job(service, m),
    };
    value + 2e6 * noise(service as u64, m)
}

fn fleet() -> BTreeMap<Arc<str>, Vec<ServiceStep>> {
    let history = |(i, name): (i64, &str)| {
        let (service, labels) = (Arc::<str>::from(name), Arc::new(LabelSet::from([("pod", "p-1")])));
        let step = |m: i64| ServiceStep {
            service: Arc::clone(&service),
            at: minute(m),
            observations: vec![Observation {
                signal: "memory".into(),
                labels: Arc::clone(&labels),
                value: memory(i, m),
                limit: Some(LIMIT),
            }],
        };
        (Arc::clone(&service), (0..DAYS * DAY).map(step).collect())
    };
    (0..).zip(SERVICES).map(history).collect()
}

const NOISY: Caution = Caution { min_probability: 0.05, persistence: 0, persistence_racing: 0 };

fn decision() -> DecisionParams {
    DecisionParams {
        min_probability: NOISY.min_probability,
        min_probability_unlearnt: NOISY.min_probability,
        persistence: NOISY.persistence,
        persistence_racing: NOISY.persistence_racing,
        weekly_budget: 1000,
        ..DecisionParams::default()
    }
}

fn backtest() -> RollingOriginBacktest {
    let range = TimeRange::new(minute(DAY), minute(DAYS * DAY)).unwrap();
    RollingOriginBacktest { range, every: Duration::from_secs(300), step: Step::MINUTE }
}

fn engine() -> Engine {
    Engine::new(signals(), EngineOptions { decision: decision(), ..EngineOptions::default() })
}

static SCORED: LazyLock<Scored> =
    LazyLock::new(|| Scored::new(&backtest(), &fleet(), &signals(), &BTreeMap::new(), engine()));

fn replayed(labeller: Option<Labeller>, passes: u32) -> (LearningSummary, Vec<Prediction>) {
    let params = LearningParams::default();
    let replay = LearningReplay { backtest: backtest(), passes, start: Some(NOISY), labeller, params };
    let mut said = Vec::new();
    let summary = SCORED.replay(&replay, &mut |p| said.push(p.clone()));
    (summary, said)
}

#[test]
fn two_weeks_of_labels_of_which_a_tenth_is_wrong_take_four_fifths_of_the_false_alarms_and_no_breach() {
    let (control, _) = replayed(None, 1);
    let control = &control.passes[0];
    assert!(control.false_alarms >= 20 && control.breaches >= 5, "the start is noisy: {control:?}");
    assert_eq!(control.predicted, control.breaches);
    let (mut wrong, mut after) = (0, Vec::new());
    for seed in 1..=5 {
        let (learnt, _) = replayed(Some(Labeller { error: 0.1, seed }), 3);
        assert!(
            learnt.passes.iter().all(|pass| pass.predicted == control.predicted),
            "seed {seed}: {:?}",
            learnt.passes
        );
        wrong += learnt.passes[0].wrong_labels;
        after.push(learnt.passes[2].false_alarms);
    }
    let all: u64 = after.iter().sum();
    assert!(all <= control.false_alarms, "{} a week before, and after: {after:?}", control.false_alarms);
    assert!(wrong > 0);
}

#[test]
fn without_labels_a_replay_is_the_backtest_to_the_bit() {
    let (summary, said) = replayed(None, 1);
    assert!(summary.moves.is_empty() && summary.standing.is_empty());
    let mut plain = Vec::new();
    backtest().run(&fleet(), &mut engine(), &mut |p| plain.push(p.clone()));
    let sorted = |mut all: Vec<Prediction>| {
        all.sort_by(|a, b| (a.at, &a.service, &a.labels).cmp(&(b.at, &b.service, &b.labels)));
        all
    };
    assert_eq!(sorted(said), sorted(plain));
}

//! What stands beside the engine that serves, measured: the watch that follows what comes of what was said, and a challenger for every
//! service. Checks nothing; the figures are in `docs/benchmarks.md`.

#![allow(clippy::unwrap_used, reason = "a measurement that fails to set up should panic")]

mod common;

use std::sync::Arc;

use forewarn_features::{Observation, ServiceStep};
use forewarn_models::settle::Watch;
use forewarn_models::{Engine, EngineOptions, ForecastModel, ModelBundle};
use forewarn_schema::{LabelSet, Step};
use forewarn_training::{FitOptions, Known, fit_service};

use common::{minute, noise, signals};

const SERVICES: usize = 100;
const PODS: usize = 10;
/// Histories are full after five days.
const SEEN: i64 = 5 * 1440;
const MEASURED: i64 = 30;

/// One step of a service: one in ten of its pods climbs, the others follow the day.
fn step(service: &Arc<str>, pods: &[Arc<LabelSet>], none: &Arc<LabelSet>, m: i64) -> ServiceStep {
    let wave = (m as f64 / 1440.0 * std::f64::consts::TAU).sin();
    let observe = |signal: &str, labels: &Arc<LabelSet>, value: f64, limit| Observation {
        signal: signal.into(),
        labels: Arc::clone(labels),
        value,
        limit,
    };
    let mut observations = vec![observe("latency", none, 0.08 + 0.03 * wave + 0.002 * noise(2, m), None)];
    observations.extend(pods.iter().enumerate().map(|(n, labels)| {
        let climb = if n == 0 { 0.5 * m as f64 / (SEEN + 1440) as f64 } else { 0.0 };
        let value = 512e6 * (0.3 + 0.05 * wave + climb + 0.01 * noise(n as u64, m));
        observe("memory", labels, value, Some(512e6))
    }));
    observations.push(observe("traffic", none, 100.0 + 60.0 * wave + 4.0 * noise(1, m), None));
    ServiceStep { service: Arc::clone(service), at: minute(m), observations }
}

/// Resident memory, bytes.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}

/// Processor time of all threads so far, those that have ended too; to 10 ms.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit_once(')').unwrap().1;
    let ticks: f64 = after.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

#[test]
#[ignore = "measures: a challenger and a watch beside what serves"]
#[expect(clippy::print_stderr, reason = "it measures")]
fn what_a_challenger_and_a_watch_cost() {
    let pods: Vec<Arc<LabelSet>> =
        (0..PODS).map(|n| Arc::new(LabelSet::from([("pod", format!("p-{n}").as_str())]))).collect();
    let none = Arc::new(LabelSet::new());
    let services: Vec<Arc<str>> = (0..SERVICES).map(|n| format!("s-{n}").into()).collect();
    let all = |m: i64| -> Vec<ServiceStep> { services.iter().map(|s| step(s, &pods, &none, m)).collect() };

    let history: Vec<ServiceStep> = (0..2 * 1440).map(|m| step(&"s-0".into(), &pods, &none, m)).collect();
    let options = FitOptions { lstm_steps: 20, ..FitOptions::new(minute(2 * 1440), Step::MINUTE) };
    let fitted = fit_service("s-0", &history, &signals(), "digest", &options, &Known::default()).unwrap();
    // The dearest of the forecasts.
    let fitted = ModelBundle { forecast: ForecastModel::Lstm, ..fitted };
    drop(history);
    let grown = || {
        let mut engine = Engine::new(signals(), EngineOptions::default());
        services.iter().for_each(|service| engine.set_bundle(service, Some(Arc::new(fitted.clone()))));
        (0..SEEN).for_each(|m| engine.observe(minute(m), &all(m)));
        engine
    };
    let measured = |what: &str, work: &mut dyn FnMut(i64)| {
        let (began, clock) = (processor(), std::time::Instant::now());
        (SEEN..SEEN + MEASURED).for_each(work);
        let (steps, clock) = (MEASURED as f64, clock.elapsed());
        let each = 1000.0 * (processor() - began) / steps;
        eprintln!("{what}: {each:.1} ms of processor a step, {:?} by the clock", clock / MEASURED as u32);
    };
    let held = |what: &str, before: f64| eprintln!("{what}: {:.1} MiB more", (resident() - before) / 1_048_576.0);

    let before = resident();
    let mut champion = grown();
    held("what serves", before);
    let before = resident();
    let mut watch = Watch::new(signals());
    for m in SEEN - 1440..SEEN {
        watch.observe(minute(m), &all(m), &champion);
    }
    held("a watch, after a day", before);
    let before = resident();
    let mut challenger = grown();
    held("a challenger of every service", before);

    measured("making the steps", &mut |m| assert_eq!(all(m).len(), SERVICES));
    let mut said = Vec::new();
    measured("what serves", &mut |m| said.push(champion.step(minute(m), &all(m))));
    let mut said = said.into_iter();
    measured("a watch", &mut |m| {
        watch.observe(minute(m), &all(m), &champion);
        watch.heard(&said.next().unwrap().predictions);
    });
    measured("a challenger of every service", &mut |m| drop(challenger.step(minute(m), &all(m))));
    assert_eq!(watch.len(), SERVICES * PODS);
}

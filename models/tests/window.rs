//! When a remediation hurts least: from two weeks of traffic and an evening's leak to the window that a request suggests.
#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod common;

use std::sync::Arc;

use forewarn_features::{Observation, ServiceStep, SignalSet};
use forewarn_models::{Engine, EngineOptions};
use forewarn_schema::{BreachKind, LabelSet, RemediationRequest, Timestamp};

const DAY: i64 = 1440;
const TRAINED: i64 = 14 * DAY;

fn at(minute: i64) -> Timestamp {
    common::START + std::time::Duration::from_secs(60 * minute.unsigned_abs())
}

fn wobble(minute: i64) -> f64 {
    (minute * 7919 % 101) as f64 / 50.0 - 1.0
}

/// Requests a second: fewest at half past four in the morning, most in the afternoon.
fn rate(minute: i64) -> f64 {
    100.0 - 60.0 * ((minute - 270) as f64 / DAY as f64 * std::f64::consts::TAU).cos() + wobble(minute)
}

fn signals() -> SignalSet {
    SignalSet::new(&["kubernetes", "http"].map(str::to_owned), vec![]).unwrap()
}

fn step(minute: i64, memory: f64) -> ServiceStep {
    let observe = |signal: &str, labels: LabelSet, value, limit| Observation {
        signal: signal.into(),
        labels: Arc::new(labels),
        value,
        limit,
    };
    let observations = vec![
        observe("memory", LabelSet::from([("pod", "cart-1")]), memory, Some(1000.0)),
        observe("traffic", LabelSet::new(), rate(minute), None),
    ];
    ServiceStep { service: "cart".into(), at: at(minute), observations }
}

/// The day after training: memory as usual until `from`, then a leak to the limit at `until`, in minutes of that day; up to `end`.
/// Every request, and whether one is wanted stops it.
fn evening(
    from: i64,
    until: i64,
    end: i64,
    minute_by_minute: &mut dyn FnMut(i64, &mut Engine),
) -> Vec<RemediationRequest> {
    let usual = |minute: i64| 300.0 + 3.0 * wobble(31 * minute);
    let history: Vec<ServiceStep> = (0..TRAINED).map(|m| step(m, usual(m))).collect();
    let mut engine = Engine::new(Arc::new(signals()), EngineOptions::default());
    engine.set_bundle("cart", Some(Arc::new(common::bundle_of("cart", &history, &signals(), 1))));
    let mut requests = Vec::new();
    for minute in 0..end {
        let leaked = 700.0 * ((minute - from) as f64 / (until - from) as f64).max(0.0);
        let day = TRAINED + minute;
        let output = engine.step(at(day), &[step(day, usual(day) + leaked)]);
        requests.extend(output.requests);
        minute_by_minute(minute, &mut engine);
    }
    requests
}

/// Hour and minute of the day.
fn clock(time: Timestamp) -> (i64, i64) {
    let minutes = time.millis() / 60_000 % DAY;
    (minutes / 60, minutes % 60)
}

#[test]
fn an_oom_six_hours_ahead_at_ten_in_the_evening_gets_a_restart_before_four_in_the_morning() {
    // From noon on, memory leaks towards its limit at four in the morning.
    let requests = evening(12 * 60, 28 * 60, 24 * 60, &mut |_, _| {});
    let [request] = requests.as_slice() else { panic!("wanted one request, got {}", requests.len()) };
    assert_eq!((request.kind, request.service.as_str()), (BreachKind::Oom, "cart"));
    let asked = clock(request.at);
    assert!((21..=23).contains(&asked.0), "asked at {asked:?}");
    let hours = request.predicted_breach.p50.seconds_since(request.at) / 3600.0;
    assert!((5.0..6.5).contains(&hours), "{hours} hours ahead");
    // Traffic falls until half past four: the quietest hour is the last whole one before p10, to the quarter.
    let window = request.window.unwrap();
    let left = request.predicted_breach.p10.seconds_since(window.end);
    assert!((0.0..900.0).contains(&left), "{} to {}, p10 {}", window.start, window.end, request.predicted_breach.p10);
    let start = clock(window.start);
    assert!((1..4).contains(&start.0), "from {start:?}: deep in the night, and not at ten when it was asked for");
}

#[test]
fn a_breach_that_leaves_the_night_gets_a_restart_at_four_in_the_morning() {
    // The leak comes to its limit at ten in the morning: at ten in the evening there is time until after five.
    let mut suggested = None;
    evening(12 * 60, 34 * 60, 22 * 60 + 1, &mut |minute, engine| {
        if minute == 22 * 60 {
            let now = engine.look(Timestamp::from_seconds(minute * 60));
            let prediction = now.into_iter().find(|prediction| prediction.signal == "memory").unwrap();
            let ttb = prediction.time_to_breach_seconds.unwrap();
            assert!(ttb.p10() > 7.0 * 3600.0, "{ttb:?}");
            suggested = engine.suggested_window(&prediction);
        }
    });
    let window = suggested.unwrap();
    assert_eq!((clock(window.start), clock(window.end)), ((4, 0), (5, 0)));
}

//! The anomaly score of a service as training makes it and the engine serves it: which detectors, what they make of an incident
//! that was there before, and what a service without a model is told.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use forewarn_features::{Observation, ServiceStep};
use forewarn_models::baselines::HORIZONS;
use forewarn_models::ensemble::Detector;
use forewarn_models::{Engine, EngineOptions, ModelBundle};
use forewarn_schema::{LabelSet, Mode, Prediction, Step};
use forewarn_training::{FitOptions, FitQuality, Known, fit_service};

use common::{minute, noise, signals};

const DAY: i64 = 1440;
const TRAINED: i64 = 7 * DAY;
/// Latency trebles for an hour on the fifth day, and again three days later.
const INCIDENT: i64 = 4 * DAY + 600;
const AGAIN: i64 = INCIDENT + 3 * DAY;
const LASTS: i64 = 60;

/// Daily waves with noise; `size` scales the traffic, `slow` the latency of a minute, `memory` adds to a wave of bytes.
fn step(service: &str, size: f64, m: i64, slow: f64, memory: f64) -> ServiceStep {
    let seed = service.len() as u64 * 31 + u64::from(service.as_bytes()[0]);
    let wave = (m as f64 / DAY as f64 * std::f64::consts::TAU).sin();
    let (pod, none) = (Arc::new(LabelSet::from([("pod", "p-1")])), Arc::new(LabelSet::new()));
    let observe = |signal: &str, labels: &Arc<LabelSet>, value: f64, limit| Observation {
        signal: signal.into(),
        labels: Arc::clone(labels),
        value,
        limit,
    };
    let latency = slow * (0.08 + 0.02 * wave + 0.004 * noise(seed + 2, m));
    let bytes = 150e6 + 20e6 * wave + 4e6 * noise(seed, m) + memory;
    ServiceStep {
        service: service.into(),
        at: minute(m),
        observations: vec![
            observe("latency", &none, latency, None),
            observe("memory", &pod, bytes, Some(512e6)),
            observe("traffic", &none, size * (100.0 + 40.0 * wave + 4.0 * noise(seed + 1, m)), None),
        ],
    }
}

fn slow(m: i64) -> f64 {
    let in_one = |from: i64| (from..from + LASTS).contains(&m);
    if in_one(INCIDENT) || in_one(AGAIN) { 3.0 } else { 1.0 }
}

fn fit(service: &str, lstm_steps: usize) -> Arc<ModelBundle> {
    let steps: Vec<ServiceStep> = (0..TRAINED).map(|m| step(service, 1.0, m, slow(m), 0.0)).collect();
    let options = FitOptions {
        lstm_steps,
        lstm_batch: 16,
        hidden_size: 4,
        max_windows: 400,
        ..FitOptions::new(minute(TRAINED), Step::MINUTE)
    };
    Arc::new(fit_service(service, &steps, &signals(), "digest", &options, &Known::default()).unwrap())
}

static CART: LazyLock<Arc<ModelBundle>> = LazyLock::new(|| fit("cart", 12));

fn engine(bundles: &[(&str, &Arc<ModelBundle>)], mode: Mode) -> Engine {
    let mut engine = Engine::new(signals(), EngineOptions { mode, ..EngineOptions::default() });
    for (service, bundle) in bundles {
        engine.set_bundle(service, Some(Arc::clone(bundle)));
    }
    engine
}

fn score(predictions: &[Prediction], service: &str) -> f64 {
    predictions.iter().find(|p| p.service == service).unwrap().anomaly_score.get()
}

#[test]
fn an_incident_that_comes_again_three_days_later_is_still_flagged() {
    let mut engine = engine(&[("cart", &CART)], Mode::DryRun);
    let (mut before, mut during) = (Vec::new(), Vec::new());
    for m in AGAIN - 300..AGAIN + LASTS {
        let said = engine.step(minute(m), &[step("cart", 1.0, m, slow(m), 0.0)]).predictions;
        if m >= AGAIN {
            during.push(score(&said, "cart"));
            let strongest = &said[0].explanation.signals[0];
            assert_eq!(strongest.signal, "latency", "minute {m}: {:?}", said[0].explanation);
        } else if m >= AGAIN - 200 {
            before.push(score(&said, "cart"));
        }
    }
    let least = during.iter().copied().fold(1.0, f64::min);
    assert!(least > 0.995, "the incident scores {least} at least");
    let alarms = before.iter().filter(|s| **s > 0.995).count();
    assert!(alarms <= 4, "{alarms} of 200 calm minutes score as much");
}

#[test]
fn the_manifest_says_which_detectors_serve_and_how_they_did() {
    let quality: FitQuality = serde_json::from_value(CART.manifest.quality.clone().unwrap()).unwrap();
    let quality = quality.anomaly.unwrap();
    let named: Vec<Detector> = quality.detectors.iter().map(|d| d.detector).collect();
    assert_eq!(named, Detector::ALL);
    for of_quality in &quality.detectors {
        let serving =
            CART.ensemble.parts().iter().find(|p| p.detector == of_quality.detector).map_or(0.0, |p| p.weight);
        assert!((serving - of_quality.weight).abs() < 1e-9, "{quality:?}");
    }
    assert!(quality.average_precision > 0.5, "{quality:?}");
    assert!(quality.alarm_excess < 5.0, "{quality:?}");
    let best_alone = quality.detectors.iter().map(|d| d.average_precision).fold(0.0, f64::max);
    assert!(quality.average_precision > best_alone - 0.02, "together no worse than the best alone: {quality:?}");
}

/// The bundle with the LSTM having a say, whether or not it earned one.
fn with_lstm() -> Arc<ModelBundle> {
    let mut bundle = ModelBundle::clone(&CART);
    let parts = serde_json::json!({"parts": Detector::ALL.map(|detector| serde_json::json!({
        "detector": detector,
        "weight": 0.25,
        "calibrator": {"knots": [[0.0, 0.1], [0.5, 0.5], [1.0, 0.9]], "scale": 0.5, "shape": 0.0},
    })), "joint": CART.ensemble.joint(), "calibrator": {"knots": [[0.0, 0.1], [3.0, 0.9]], "scale": 1.0, "shape": 0.0}});
    bundle.ensemble = serde_json::from_value(parts).unwrap();
    Arc::new(bundle)
}

#[test]
fn asked_every_minute_or_every_seven_the_score_is_the_same_bit_for_bit() {
    let bundle = with_lstm();
    assert!(bundle.ensemble.asks(Detector::LstmResidual));
    let ask_every = |every: i64| {
        let mut engine = engine(&[("cart", &bundle)], Mode::DryRun);
        let mut said = BTreeMap::new();
        for m in TRAINED..TRAINED + 210 {
            let slow = if m > TRAINED + 150 { 2.0 } else { 1.0 };
            engine.observe(minute(m), &[step("cart", 1.0, m, slow, if m == TRAINED + 180 { 60e6 } else { 0.0 })]);
            if (m - TRAINED) % every == 0 {
                let predictions = engine.predict(minute(m)).predictions;
                said.insert(m, (score(&predictions, "cart").to_bits(), predictions[0].explanation.clone()));
            }
        }
        said
    };
    let (live, backtest) = (ask_every(1), ask_every(7));
    assert_eq!(backtest.len(), 30);
    for (m, said) in backtest {
        assert_eq!(live[&m], said, "minute {m}");
    }
}

#[test]
fn what_the_lstm_did_not_expect_is_unusual_and_put_down_to_its_signal() {
    let bundle = with_lstm();
    let mut engine = engine(&[("cart", &bundle)], Mode::DryRun);
    let jump = TRAINED + 100;
    for m in TRAINED..jump {
        engine.observe(minute(m), &[step("cart", 1.0, m, 1.0, 0.0)]);
    }
    let calm = engine.predict(minute(jump - 1)).predictions;
    // Beyond what the forecast from five minutes ago may see.
    assert!(HORIZONS[0] >= 1);
    let said = engine.step(minute(jump), &[step("cart", 1.0, jump, 1.0, 100e6)]).predictions;
    assert!(score(&said, "cart") > score(&calm, "cart"));
    assert_eq!(said[0].explanation.signals[0].signal, "memory");
}

#[test]
fn a_service_without_a_model_has_a_score_within_twenty_samples_from_services_like_it() {
    let user = fit("user", 0);
    let mut engine = engine(&[("cart", &CART), ("user", &user)], Mode::DryRun);
    let mut calm = Vec::new();
    for m in TRAINED..TRAINED + 20 {
        // Ten times as large as the services that were learnt from.
        let said = engine.step(minute(m), &[step("new", 10.0, m, 1.0, 0.0)]).predictions;
        calm.push(score(&said, "new"));
        assert_eq!(&*said[0].model_version, "rules");
        assert!(said[0].explanation.warming && said[0].explanation.summary.contains("warming up"), "{said:?}");
        let weights: f64 = said[0].explanation.signals.iter().map(|s| s.weight).sum();
        assert!((weights - if m < TRAINED + 10 { 0.0 } else { 1.0 }).abs() < 1e-9, "sample {}: {said:?}", m - TRAINED);
    }
    assert!(calm.iter().all(|s| *s < 0.99), "{calm:?}");
    let said = engine.step(minute(TRAINED + 20), &[step("new", 10.0, TRAINED + 20, 4.0, 0.0)]).predictions;
    assert!(score(&said, "new") > 0.99, "{said:?}");
    assert_eq!(said[0].explanation.signals[0].signal, "latency");
    // A day later it is young no more, but still without a model: the score goes on.
    for m in TRAINED + 21..TRAINED + 2 * DAY {
        engine.observe(minute(m), &[step("new", 10.0, m, 1.0, 0.0)]);
    }
    let said = engine.predict(minute(TRAINED + 2 * DAY - 1)).predictions;
    assert!(!said[0].explanation.warming);
    assert!(score(&said, "new") < 0.99);
}

#[test]
fn a_warming_service_asks_a_person_and_says_less_exactly_when() {
    // A leak in a service's first day, with no model of it nor of any other.
    let begins = TRAINED + DAY - 300;
    let mut engine = engine(&[], Mode::Automatic);
    let mut modes = Vec::new();
    let mut width_at = |m: i64| {
        let leak = 1e6 * (m - begins).max(0) as f64;
        let said = engine.step(minute(m), &[step("new", 1.0, m, 1.0, leak)]);
        modes.extend(said.requests.iter().map(|request| request.mode));
        let width =
            said.predictions[0].time_to_breach_seconds.map_or(f64::NAN, |ttb| (ttb.p90() - ttb.p10()) / ttb.p50());
        (said.predictions[0].explanation.warming, width)
    };
    let widths: Vec<(bool, f64)> = (TRAINED..=TRAINED + DAY).map(&mut width_at).collect();
    let (young, grown) = (widths[DAY as usize - 1], widths[DAY as usize]);
    assert_eq!((young.0, grown.0), (true, false));
    assert!((1.3..1.7).contains(&(young.1 / grown.1)), "{} against {} a minute later", young.1, grown.1);
    assert_eq!(modes, [Mode::Approval]);
}

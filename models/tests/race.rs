//! A process that races from its start to its limit leaves no time for the usual patience; one that only warms up must not be
//! taken for it. The engine as it serves, with nothing learnt.

use std::sync::Arc;

use forewarn_features::{Observation, ServiceStep, SignalSet};
use forewarn_models::{Engine, EngineOptions};
use forewarn_schema::{LabelSet, Timestamp};

/// The minutes at which a request leaves; a minute without a value is NaN.
fn requests(fractions: &[f64]) -> Vec<usize> {
    let signals = Arc::new(SignalSet::new(&["kubernetes".to_owned()], vec![]).expect("the preset"));
    let mut engine = Engine::new(signals, EngineOptions::default());
    let labels = Arc::new(LabelSet::from([("pod", "cache-1")]));
    let mut announced = Vec::new();
    for (minute, fraction) in fractions.iter().enumerate() {
        let at = Timestamp::from_seconds(1_767_225_600 + 60 * minute as i64);
        let memory = Observation {
            signal: "memory".into(),
            labels: Arc::clone(&labels),
            value: fraction * 2e9,
            limit: Some(2e9),
        };
        let step = ServiceStep { service: "cache".into(), at, observations: vec![memory] };
        if !engine.step(at, &[step]).requests.is_empty() {
            announced.push(minute);
        }
    }
    announced
}

/// Up and down by a thousandth, so that no series is a straight line.
fn jitter(minute: usize) -> f64 {
    [0.0, 0.001, -0.001, 0.0005][minute % 4]
}

#[test]
fn a_crash_loop_is_announced_before_it_ends() {
    let calm = (0..240).map(|m| 0.72 + jitter(m));
    let race = (0..28).map(|m| 0.16 + 0.03 * m as f64 + jitter(m));
    let fractions: Vec<f64> = calm.chain(race).collect();
    let announced = requests(&fractions);
    assert_eq!(announced.len(), 1, "{announced:?}");
    assert!((255..265).contains(&announced[0]), "minute {} of 268", announced[0]);
}

#[test]
fn a_warm_up_to_a_plateau_is_not() {
    let calm = (0..240).map(|m| 0.72 + jitter(m));
    let warm_up = (0..240).map(|m| 0.16 + 0.5 * (1.0 - (-(m as f64) / 12.0).exp()) + jitter(m));
    let fractions: Vec<f64> = calm.chain(warm_up).collect();
    assert_eq!(requests(&fractions), Vec::<usize>::new());
}

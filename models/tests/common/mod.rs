//! A small bundle of a shop service, fitted in milliseconds; `seed` makes another one of the same data.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;

use forewarn_features::pipeline::FeaturePipelineParams;
use forewarn_features::{Observation, ServiceStep, Signal, SignalLimit, SignalSet};
use forewarn_models::ModelBundle;
use forewarn_models::baselines::Baselines;
use forewarn_models::bundle::{BundleManifest, ForecastModel};
use forewarn_models::ensemble::{AnomalyEnsemble, Detector, JointDistance, RawScores};
use forewarn_models::forecast_input::{FEATURES, LOOKBACK};
use forewarn_models::isolation_forest::IsolationForestParams;
use forewarn_models::lstm::{LstmForecaster, LstmParams, LstmTrainingSet};
use forewarn_schema::{BreachKind, Direction, LabelSet, SignalKind, Step, TimeRange, Timestamp};

/// 2026-01-01T00:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_seconds(1_767_225_600);

pub(crate) fn signals() -> SignalSet {
    let queue = Signal {
        name: "queue".to_owned(),
        kind: SignalKind::Breach(BreachKind::Custom),
        service: "service".to_owned(),
        value: "sum by (service) (queue_depth)".to_owned(),
        limit: Some(SignalLimit::Number(10_000.0)),
        direction: Direction::Above,
        playbook: None,
    };
    SignalSet::new(&[], vec![queue]).unwrap()
}

fn history() -> Vec<ServiceStep> {
    let labels = Arc::new(LabelSet::default());
    (0..2880)
        .map(|minute| {
            let daily = (f64::from(minute) / 1440.0 * std::f64::consts::TAU).sin();
            let value = 2000.0 + 500.0 * daily + f64::from(minute * 7919 % 101);
            let observation =
                Observation { signal: "queue".into(), labels: Arc::clone(&labels), value, limit: Some(10_000.0) };
            let at = Timestamp::from_seconds(START.millis() / 1000 + i64::from(minute) * 60);
            ServiceStep { service: "checkout".into(), at, observations: vec![observation] }
        })
        .collect()
}

/// Fitted on the first `days` days of its history.
pub(crate) fn bundle(service: &str, days: usize, seed: u64) -> ModelBundle {
    bundle_of(service, &history()[..days * 1440], &signals(), seed)
}

/// Fitted on these steps, a minute apart.
pub(crate) fn bundle_of(service: &str, steps: &[ServiceStep], signals: &SignalSet, seed: u64) -> ModelBundle {
    let (first, last) = (steps.first().unwrap().at, steps.last().unwrap().at);
    let range = TimeRange::new(first, last + Step::MINUTE.duration()).unwrap();
    let pipeline = FeaturePipelineParams::default().fit(steps, signals, Step::MINUTE, &[]);
    let mut state = pipeline.new_state();
    let rows: Vec<f32> = steps.iter().flat_map(|step| pipeline.transform(&mut state, step)).collect();
    let width = pipeline.names().len();
    let params = IsolationForestParams { trees: 10, sample_size: 64, seed };
    let forest = params.check().unwrap().fit(&rows, width).unwrap();
    let normal: Vec<RawScores> =
        rows.chunks(width).map(|row| [forest.score(row), f64::NAN, f64::NAN, f64::NAN]).collect();
    let weights = [(Detector::IsolationForest, 1.0)];
    let ensemble = AnomalyEnsemble::fit(&normal, &weights, JointDistance::fit(&rows, width)).unwrap();
    let mut manifest = BundleManifest::unsealed(service, range, Step::MINUTE, seed);
    manifest.dataset_digest = "d1".to_owned();
    manifest.params = serde_json::json!({"trees": 10, "contamination": 0.1});
    ModelBundle {
        manifest,
        pipeline,
        ensemble,
        baselines: Baselines::fit(steps, signals, Step::MINUTE, None),
        signals: signals.clone(),
        forest,
        lstm: None,
        forecast: ForecastModel::Trend,
        rehearsed: Default::default(),
    }
}

/// Trained for two steps on two windows of nothing much.
pub(crate) fn lstm(horizons: Vec<usize>) -> LstmForecaster {
    let inputs = (0..2 * LOOKBACK * FEATURES).map(|i| (i % 7) as f32 * 0.1).collect();
    let targets = vec![0.5; 2 * horizons.len()];
    let params = LstmParams {
        lookback: LOOKBACK,
        features: FEATURES,
        hidden_size: 4,
        horizons,
        steps: 2,
        ..LstmParams::default()
    };
    params.check().unwrap().fit(&LstmTrainingSet { inputs, targets }, &|_, _| {}).unwrap()
}

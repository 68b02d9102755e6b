//! What is normal depends on the time of the day and on what is going on: through the feature pipeline,
//! the isolation forest and the calibration, as they are trained and served.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![allow(clippy::print_stdout, reason = "the scores are worth a look")]

use std::sync::Arc;
use std::time::Duration;

use forewarn_features::{FeaturePipelineParams, FittedFeaturePipeline, Observation, ServiceStep, Signal, SignalSet};
use forewarn_models::calibration::ScoreCalibrator;
use forewarn_models::isolation_forest::{IsolationForest, IsolationForestParams};
use forewarn_schema::{Direction, LabelSet, SignalKind, Step, Timestamp};
use forewarn_testkit::LatencyService;

const MINUTE: Duration = Duration::from_secs(60);
const TRAINING_DAYS: i64 = 28;

struct Trained {
    service: LatencyService,
    pipeline: FittedFeaturePipeline,
    forest: IsolationForest,
    calibrator: ScoreCalibrator,
}

fn signals() -> SignalSet {
    let context = |name: &str| Signal {
        name: name.to_owned(),
        kind: SignalKind::Context,
        service: "service".to_owned(),
        value: name.to_owned(),
        limit: None,
        direction: Direction::Above,
        playbook: None,
    };
    SignalSet::new(&[], vec![context("latency_ms"), context("deploying")]).unwrap()
}

fn step(at: Timestamp, latency_ms: f64, deploying: bool) -> ServiceStep {
    let observe = |signal: &str, value| Observation {
        signal: signal.into(),
        labels: Arc::new(LabelSet::new()),
        value,
        limit: None,
    };
    let deploying = if deploying { 1.0 } else { 0.0 };
    let observations = vec![observe("deploying", deploying), observe("latency_ms", latency_ms)];
    ServiceStep { service: "checkout".into(), at, observations }
}

fn train() -> Trained {
    let service = LatencyService::new(11);
    let minutes = (0..TRAINING_DAYS * 1440).map(|m| Timestamp::from_seconds(m * 60));
    let history: Vec<ServiceStep> = minutes.map(|at| step(at, service.latency_ms(at), service.deploying(at))).collect();
    let pipeline = FeaturePipelineParams::default().fit(&history, &signals(), Step::MINUTE, &[]);
    let mut state = pipeline.new_state();
    let width = pipeline.names().len();
    let rows: Vec<f32> = history
        .iter()
        .flat_map(|s| pipeline.transform(&mut state, s))
        // The first quarter of an hour has nothing to compare with.
        .map(|v| if v.is_nan() { 0.0 } else { v })
        .collect();
    let params = IsolationForestParams { trees: 100, sample_size: 256, seed: 1 };
    let forest = params.check().unwrap().fit(&rows, width).unwrap();
    let mut raw = vec![0.0; history.len()];
    forest.score_rows(&rows, &mut raw, 1);
    Trained { service, pipeline, forest, calibrator: ScoreCalibrator::fit(&raw).unwrap() }
}

impl Trained {
    /// The score of five minutes at `latency_ms` from `hour` on, to which the latency has moved within the
    /// hour before; the mean of the five.
    fn score(&self, day: i64, hour: i64, latency_ms: f64, deploying: bool) -> f64 {
        let begins = Timestamp::from_seconds((day * 24 + hour) * 3600);
        let mut state = self.pipeline.new_state();
        for minute in 0..60 {
            let at = begins - (60 - minute) * MINUTE;
            let usual = self.service.latency_ms(at);
            let part = if deploying { 0.0 } else { f64::from(minute) / 60.0 };
            let moving = usual + (latency_ms - usual) * part;
            self.pipeline.transform(&mut state, &step(at, moving, self.service.deploying(at)));
        }
        let mut sum = 0.0;
        for minute in 0..5 {
            let at = begins + minute * MINUTE;
            let row = self.pipeline.transform(&mut state, &step(at, latency_ms, deploying));
            sum += self.calibrator.calibrate(self.forest.score(&row)).get();
        }
        sum / 5.0
    }
}

#[test]
fn the_same_latency_is_normal_at_nine_and_anomalous_at_two() {
    let trained = train();
    for day in TRAINING_DAYS..TRAINING_DAYS + 14 {
        let at_nine = trained.score(day, 9, 150.0, false);
        let at_two = trained.score(day, 2, 150.0, false);
        let usual_at_two = trained.score(day, 2, 50.0, false);
        let deploying = [2, 9, 15].map(|hour| trained.score(day, hour, 200.0, true));
        println!(
            "day {day}: at nine {at_nine:.4}, at two {at_two:.4}, usual at two {usual_at_two:.4}, deploying {deploying:.3?}"
        );
        // The score is a rank among normal steps: one in fifty of them exceeds 0.98, one in two hundred 0.995.
        assert!(at_nine < 0.98, "150 ms at 9 AM of day {day} is normal, scored {at_nine}");
        assert!(at_two > 0.995, "150 ms at 2 AM of day {day} is anomalous, scored {at_two}");
        assert!(usual_at_two < 0.9, "50 ms at 2 AM of day {day} is normal, scored {usual_at_two}");
        assert!(
            deploying.iter().all(|s| *s < 0.99),
            "200 ms in a deployment is normal, day {day} scored {deploying:?}"
        );
    }
}

//! How fast the models are, measured as scikit-learn's forest and PyTorch's LSTM are measured beside
//! them: the same sizes, the same work, medians over several runs. It is no test of how good they are.

use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::isolation_forest::{IsolationForestError, IsolationForestParams};
use crate::lstm::{Device, LstmError, LstmForecaster, LstmParams, LstmTrainingSet, QUANTILES, Trainer};

/// Times the forest is fitted and scores all rows.
const FOREST_RUNS: usize = 5;
/// Runs of the LSTM that only warm caches.
const LSTM_WARM_UP: usize = 3;
/// Runs of the LSTM that are measured.
const LSTM_RUNS: usize = 40;

/// How fast an isolation forest is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ForestBench {
    /// Seconds to fit, median.
    pub fit_s: f64,
    /// Seconds to score all rows, median.
    pub score_s: f64,
    /// Rows scored per second.
    pub rows_per_second: f64,
}

/// How fast the forecaster is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LstmBench {
    /// Milliseconds for forward, backward and update of one batch, median.
    pub train_step_ms: f64,
    /// Milliseconds for the forecasts of one batch, median.
    pub forward_ms: f64,
}

/// Fits a forest on `rows` (row-major, `features` values each) and scores them all.
pub fn bench_isolation_forest(
    rows: &[f32],
    features: usize,
    trees: usize,
    sample_size: usize,
    threads: usize,
    seed: u64,
) -> Result<ForestBench, IsolationForestError> {
    let params = IsolationForestParams { trees, sample_size, seed }.check()?;
    let (mut fit, mut score) = (Vec::new(), Vec::new());
    let mut scores = vec![0.0; rows.len() / features.max(1)];
    for _ in 0..FOREST_RUNS {
        let start = Instant::now();
        let forest = params.fit_with_threads(rows, features, threads)?;
        fit.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        forest.score_rows(rows, &mut scores, threads);
        score.push(start.elapsed().as_secs_f64());
    }
    let score_s = median(score);
    Ok(ForestBench { fit_s: median(fit), score_s, rows_per_second: scores.len() as f64 / score_s })
}

/// Trains a forecaster on random windows and forecasts them: one LSTM layer of `hidden_size` and a linear
/// head of `outputs` values, a multiple of the number of quantiles. `threads` share the forecasts of a
/// batch (0 counts as 1); a training step runs on one thread, whatever their number.
pub fn bench_lstm(
    batch: usize,
    lookback: usize,
    features: usize,
    hidden_size: usize,
    outputs: usize,
    threads: usize,
    device: Device,
) -> Result<LstmBench, LstmError> {
    if outputs == 0 || !outputs.is_multiple_of(QUANTILES) {
        let want = format!("a positive multiple of {QUANTILES}");
        return Err(LstmError::Setting { name: "outputs", want, got: outputs.to_string() });
    }
    let horizons: Vec<usize> = (1..=outputs / QUANTILES).collect();
    let params = LstmParams { lookback, features, hidden_size, horizons, batch, device, ..Default::default() };
    let params = params.check()?;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let set = LstmTrainingSet {
        inputs: (0..batch * lookback * features).map(|_| rng.random()).collect(),
        targets: (0..batch * outputs / QUANTILES).map(|_| rng.random()).collect(),
    };

    let mut trainer = Trainer::new(&params, None, &set)?;
    let mut train = Vec::new();
    for _ in 0..LSTM_WARM_UP + LSTM_RUNS {
        let start = Instant::now();
        trainer.step()?;
        train.push(start.elapsed().as_secs_f64());
    }
    let forecaster = trainer.finish()?;
    let mut forward = Vec::new();
    for _ in 0..LSTM_WARM_UP + LSTM_RUNS {
        let start = Instant::now();
        forecast_all(&forecaster, &set.inputs, threads);
        forward.push(start.elapsed().as_secs_f64());
    }
    Ok(LstmBench {
        train_step_ms: 1e3 * median(train.split_off(LSTM_WARM_UP)),
        forward_ms: 1e3 * median(forward.split_off(LSTM_WARM_UP)),
    })
}

fn forecast_all(forecaster: &LstmForecaster, windows: &[f32], threads: usize) {
    let window = forecaster.params().lookback * forecaster.params().features;
    let forecast_chunk = |windows: &[f32]| {
        std::hint::black_box(forecaster.forecast_batch(windows));
    };
    if threads <= 1 {
        return forecast_chunk(windows);
    }
    let per_thread = (windows.len() / window).div_ceil(threads) * window;
    std::thread::scope(|scope| {
        for windows in windows.chunks(per_thread) {
            scope.spawn(|| forecast_chunk(windows));
        }
    });
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { 0.5 * (values[middle - 1] + values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_what_it_is_asked_to() {
        let rows: Vec<f32> = (0..4_000).map(|at| (at as f32 * 0.7).sin()).collect();
        let forest = bench_isolation_forest(&rows, 4, 20, 64, 2, 1).unwrap();
        assert!(forest.fit_s > 0.0 && (forest.rows_per_second * forest.score_s - 1_000.0).abs() < 1e-6);
        let lstm = bench_lstm(4, 6, 2, 4, 6, 2, Device::Flex).unwrap();
        assert!(lstm.train_step_ms > 0.0 && lstm.forward_ms > 0.0);
        assert_eq!(
            bench_lstm(4, 6, 2, 4, 7, 1, Device::Flex).unwrap_err().to_string(),
            "outputs must be a positive multiple of 3, got 7"
        );
        assert_eq!(median(vec![3.0, 1.0, 2.0, 10.0]), 2.5);
    }
}

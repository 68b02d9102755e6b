//! Claims about the forecaster, against the tensor library's forward pass and series with a known future.

use std::cell::RefCell;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::algorithm::for_tests::{compare, seeded_weights};
use super::network::Weights;
use super::*;
use crate::{NamedTensor, TensorData};

fn small() -> LstmParams {
    LstmParams {
        lookback: 12,
        features: 2,
        hidden_size: 8,
        horizons: vec![1, 4],
        batch: 32,
        steps: 20,
        ..Default::default()
    }
}

/// Windows over a noisy sine of period 24 with its phase as second feature; the target is the sine ahead.
fn sine_windows(params: &LstmParams, n: usize) -> LstmTrainingSet {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let noise: Vec<f32> = (0..n + 200).map(|_| rng.random_range(-0.3..0.3)).collect();
    let angle = |t: usize| t as f32 * std::f32::consts::TAU / 24.0;
    let value = |t: usize| angle(t).sin() + noise[t];
    let mut set = LstmTrainingSet::default();
    for start in 0..n {
        for t in start..start + params.lookback {
            set.inputs.extend([value(t), angle(t).cos()]);
        }
        let last = start + params.lookback - 1;
        set.targets.extend(params.horizons.iter().map(|ahead| value(last + ahead)));
    }
    set
}

fn fit(params: LstmParams, set: &LstmTrainingSet) -> LstmForecaster {
    params.check().unwrap().fit(set, &|_, _| {}).unwrap()
}

/// Weights drawn as at the start of training, but no bias is 0.
fn random_weights(params: &LstmParams, rng: &mut ChaCha8Rng) -> Weights {
    let mut weights = seeded_weights(params);
    weights.bias.iter_mut().for_each(|bias| *bias = rng.random_range(-1.0..1.0));
    weights.head_bias.iter_mut().for_each(|bias| *bias = rng.random_range(-1.0..1.0));
    weights
}

#[test]
fn forecasts_and_gradients_equal_the_tensor_librarys_layer() {
    for device in Device::available() {
        let params = LstmParams { lookback: 30, features: 5, hidden_size: 19, seed: 3, device: *device, ..small() };
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let weights = random_weights(&params, &mut rng);
        let forecaster = LstmForecaster::from_weights(params.clone(), weights.clone()).unwrap();
        for scale in [0.1, 1.0, 30.0] {
            let batch = 70;
            let set = LstmTrainingSet {
                inputs: (0..batch * 150).map(|_| rng.random_range(-scale..scale)).collect(),
                targets: (0..batch * params.horizons.len()).map(|_| rng.random_range(-3.0..3.0)).collect(),
            };
            let served = forecaster.forecast_batch(&set.inputs);
            let [library, composed, ours] = compare(&params, &weights, &set);
            for other in [&library, &composed] {
                for forecasts in [&served, &ours.forecasts] {
                    for (ours, theirs) in forecasts.iter().flatten().zip(other.forecasts.iter().flatten()) {
                        assert!((ours - theirs).abs() < 1e-5, "{ours} and {theirs} on {device}");
                    }
                }
                for (ours, theirs) in ours.gradients.iter().zip(&other.gradients) {
                    assert_eq!(ours.len(), theirs.len());
                    let norm = theirs.iter().map(|value| value * value).sum::<f32>().sqrt();
                    let apart = ours.iter().zip(theirs).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
                    // Sums of thousands of terms in another order.
                    assert!(apart <= 2e-5 * norm, "{apart} of {norm} on {device}, scale {scale}");
                }
            }
        }
    }
}

#[test]
fn row_by_row_with_a_carried_state_is_the_same_forecast() {
    let params = LstmParams { lookback: 40, features: 3, hidden_size: 21, ..small() };
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let weights = random_weights(&params, &mut rng);
    let forecaster = LstmForecaster::from_weights(params.clone(), weights).unwrap();
    let windows: Vec<f32> = (0..67 * 120).map(|_| rng.random_range(-2.0..2.0)).collect();
    let batch = forecaster.forecast_batch(&windows);
    for (window, batch) in windows.chunks_exact(120).zip(batch.chunks_exact(params.horizons.len())) {
        let mut state = forecaster.start();
        for row in window.chunks_exact(3) {
            forecaster.advance(&mut state, row).unwrap();
        }
        assert_eq!(state.rows(), 40);
        assert_eq!(forecaster.forecast_from(&state), batch);
        assert_eq!(forecaster.forecast(window), batch);
    }
    let mut state = forecaster.start();
    let refused = forecaster.advance(&mut state, &[0.0, f32::NAN, 1.0]).unwrap_err();
    assert_eq!(refused.to_string(), "inputs must be finite, got NaN (window 0, step 0, feature 1)");
    assert_eq!(
        forecaster.advance(&mut state, &[0.0]).unwrap_err().to_string(),
        "row must hold 3 (features) values, got 1"
    );
    assert_eq!(state, forecaster.start());
}

/// Mean pinball loss over windows.
fn loss(forecaster: &LstmForecaster, set: &LstmTrainingSet) -> f32 {
    let forecasts = forecaster.forecast_batch(&set.inputs);
    let of = |(forecast, truth): (&[f32; QUANTILES], &f32)| -> f32 {
        let losses = forecast.iter().zip(forecaster.params().quantiles).map(|(forecast, q)| {
            let (error, q) = (truth - forecast, q as f32);
            (q * error).max((q - 1.0) * error)
        });
        losses.sum()
    };
    forecasts.iter().zip(&set.targets).map(of).sum::<f32>() / (set.targets.len() * QUANTILES) as f32
}

#[test]
fn a_prior_needs_fewer_steps_for_a_lower_loss() {
    let params = LstmParams { steps: 300, learning_rate: 0.01, ..small() };
    let fleet = sine_windows(&params, 1_000);
    let prior = fit(params.clone(), &fleet);
    // One service of the fleet, half as high again; its last windows are not learnt.
    let mut service = sine_windows(&params, 600);
    service.inputs.iter_mut().step_by(2).for_each(|value| *value *= 1.5);
    service.targets.iter_mut().for_each(|value| *value *= 1.5);
    let unseen =
        LstmTrainingSet { inputs: service.inputs.split_off(400 * 24), targets: service.targets.split_off(400 * 2) };
    let train = |init: Option<&LstmForecaster>, steps: usize| {
        let params = LstmParams { steps, learning_rate: 0.005, ..params.clone() }.check().unwrap();
        loss(&params.fit_from(init, &service, &|_, _| {}).unwrap(), &unseen)
    };
    let (tuned, scratch, untouched) = (train(Some(&prior), 40), train(None, 120), loss(&prior, &unseen));
    assert!(tuned < scratch, "{tuned} after 40 steps from the prior, {scratch} after 120 from scratch");
    assert!(tuned < untouched, "{tuned} tuned, {untouched} before");

    let other = LstmParams { hidden_size: 9, ..params }.check().unwrap();
    assert_eq!(
        other.fit_from(Some(&prior), &service, &|_, _| {}).unwrap_err().to_string(),
        "init must be of 2 features, hidden size 9, horizons [1, 4], quantiles [0.1, 0.5, 0.9], \
         got 2 features, hidden size 8, horizons [1, 4], quantiles [0.1, 0.5, 0.9]"
    );
}

#[test]
fn learns_a_cycle_and_its_noise() {
    let params = LstmParams { steps: 400, learning_rate: 0.01, ..small() };
    let set = sine_windows(&params, 1_000);
    let losses = RefCell::new(Vec::new());
    let forecaster = params.clone().check().unwrap().fit(&set, &|_, loss| losses.borrow_mut().push(loss)).unwrap();
    let losses = losses.into_inner();
    assert_eq!(losses.len(), 400);
    assert!(losses[399] < losses[0] / 3.0, "{} to {}", losses[0], losses[399]);

    // Windows from beyond the training set: the noise is uniform in +-0.3, so 80 % lie within +-0.24.
    let unseen = sine_windows(&params, 1_100);
    let (mut inside, mut width, mut count) = (0, 0.0, 0);
    for window in 1_020..1_100 {
        let forecast = forecaster.forecast(&unseen.inputs[window * 24..(window + 1) * 24]);
        for ([low, middle, high], truth) in forecast.iter().zip(&unseen.targets[window * 2..]) {
            assert!(low <= middle && middle <= high);
            assert!((middle - truth).abs() < 0.6, "{middle} for {truth}");
            inside += usize::from(low <= truth && truth <= high);
            width += high - low;
            count += 1;
        }
    }
    let coverage = inside as f32 / count as f32;
    // 160 draws: a deviation of 3 points; the fit adds its own.
    assert!((0.65..=0.92).contains(&coverage), "coverage {coverage}");
    let width = width / count as f32;
    assert!((0.35..=0.65).contains(&width), "mean width {width}, the noise has 0.48");
}

#[test]
fn same_seed_same_bits_also_beside_others() {
    let set = sine_windows(&small(), 200);
    let alone: Vec<_> = (0..4).map(|seed| fit(LstmParams { seed, ..small() }, &set)).collect();
    assert_ne!(alone[0], alone[1]);
    let set = &set;
    let beside: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|seed| scope.spawn(move || fit(LstmParams { seed, ..small() }, set))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(alone == beside);
}

#[test]
fn what_is_not_finite_is_refused_with_where() {
    let params = small().check().unwrap();
    let error = |set: &LstmTrainingSet| params.fit(set, &|_, _| {}).unwrap_err().to_string();
    let sound = sine_windows(params.params(), 3);

    let mut set = sound.clone();
    set.inputs[24 + 2 * 5 + 1] = f32::NAN;
    assert_eq!(error(&set), "inputs must be finite, got NaN (window 1, step 5, feature 1)");
    let mut set = sound.clone();
    set.targets[5] = f32::INFINITY;
    assert_eq!(error(&set), "targets must be finite, got inf (window 2, horizon 1)");
    let mut set = sound.clone();
    set.inputs.pop();
    assert_eq!(error(&set), "inputs must hold 3 x 12 x 2 (windows, lookback, features) values, got 71");
    assert_eq!(error(&LstmTrainingSet::default()), "a forecaster needs at least 1 training window, got none");

    let forecaster = fit(LstmParams { steps: 1, ..small() }, &sound);
    let mut window = sound.inputs[..24].to_vec();
    assert_eq!(forecaster.try_forecast(&window).unwrap(), forecaster.forecast(&window));
    window[3] = f32::NAN;
    assert!(forecaster.forecast(&window).iter().flatten().all(|value| value.is_nan()));
    assert_eq!(
        forecaster.try_forecast(&window).unwrap_err().to_string(),
        "inputs must be finite, got NaN (window 0, step 1, feature 1)"
    );
}

#[test]
fn settings_out_of_range_are_refused() {
    let refused = |params: LstmParams, text: &str| assert_eq!(params.check().unwrap_err().to_string(), text);
    refused(LstmParams { hidden_size: 0, ..small() }, "hidden_size must be in 1..=1024, got 0");
    refused(
        LstmParams { horizons: vec![5, 5], ..small() },
        "horizons must be positive and strictly increasing, got [5, 5]",
    );
    refused(
        LstmParams { quantiles: [0.1, 0.5, 1.0], ..small() },
        "quantiles must be strictly increasing between 0 and 1, got [0.1, 0.5, 1.0]",
    );
    refused(LstmParams { learning_rate: f64::NAN, ..small() }, "learning_rate must be in (0, 1], got NaN");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_is_not_built_is_named() {
    let params = LstmParams { device: Device::Cuda, ..small() };
    let error = params.clone().check().unwrap().fit(&sine_windows(&params, 3), &|_, _| {}).unwrap_err();
    assert_eq!(error.to_string(), "device cuda is not in this build: it needs the cargo feature `cuda`");
    assert_eq!(serde_json::to_string(&Device::Ndarray).unwrap(), r#""ndarray""#);
}

#[test]
fn stored_and_read_it_is_the_same_forecaster() {
    let params = LstmParams { steps: 1, seed: u64::MAX - 7, learning_rate: 0.003, ..small() };
    let forecaster = fit(params.clone(), &sine_windows(&params, 5));
    let mut tensors = forecaster.to_tensors();
    tensors.push(NamedTensor { name: "forest.dims".into(), shape: vec![], data: TensorData::I32(vec![]) });
    tensors.reverse();
    assert_eq!(LstmForecaster::from_tensors(&tensors).unwrap(), forecaster);
}

/// Whatever is written into the arrays, reading refuses it or gives a forecaster that forecasts.
#[test]
fn corrupted_arrays_are_refused_or_harmless() {
    let params = LstmParams { steps: 1, ..small() };
    let sound = fit(params.clone(), &sine_windows(&params, 5)).to_tensors();
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for _ in 0..2_000 {
        let mut tensors = sound.clone();
        let tensor = rng.random_range(0..tensors.len());
        let odd = [-1, 0, 1, 3, 13, i32::MIN, i32::MAX][rng.random_range(0..7)];
        match (&mut tensors[tensor].data, rng.random_range(0..3)) {
            (TensorData::I32(values), 0 | 1) => {
                let at = rng.random_range(0..values.len());
                values[at] = odd;
            }
            (TensorData::F32(values), 0) => {
                let at = rng.random_range(0..values.len());
                values[at] = [f32::NAN, f32::INFINITY, 1e30][rng.random_range(0..3)];
            }
            (TensorData::F32(values), 1) => values.truncate(rng.random_range(0..values.len())),
            _ => {
                let at = rng.random_range(0..tensors[tensor].shape.len());
                tensors[tensor].shape[at] = [0, 1, 7, usize::MAX][rng.random_range(0..4)];
            }
        }
        if let Ok(forecaster) = LstmForecaster::from_tensors(&tensors) {
            let params = forecaster.params();
            let window = vec![0.5; params.lookback * params.features];
            assert_eq!(forecaster.forecast(&window).len(), params.horizons.len());
        }
    }
    for at in 0..sound.len() {
        let mut cut = sound.clone();
        cut.remove(at);
        assert!(LstmForecaster::from_tensors(&cut).is_err());
        let mut twice = sound.clone();
        twice.push(sound[at].clone());
        assert!(LstmForecaster::from_tensors(&twice).is_err());
    }
}

#[test]
fn services_trained_side_by_side_are_what_each_is_alone() {
    let params = LstmParams { steps: 40, ..small() };
    let sets = [sine_windows(&params, 200), sine_windows(&params, 90), {
        let mut flat = sine_windows(&params, 150);
        flat.targets.iter_mut().for_each(|target| *target = 3.0);
        flat
    }];
    let prior = fit(LstmParams { seed: 9, ..params.clone() }, &sets[0]);
    let checked = params.clone().check().unwrap();
    for init in [None, Some(&prior)] {
        let together = checked.fit_side_by_side(init, &sets.each_ref(), &|_, _| {}).unwrap();
        for (set, together) in sets.iter().zip(together) {
            let alone = checked.fit_from(init, set, &|_, _| {}).unwrap();
            let window = &set.inputs[..params.lookback * params.features];
            for (a, b) in alone.forecast(window).iter().flatten().zip(together.forecast(window).iter().flatten()) {
                assert!((a - b).abs() < 2e-3, "{a} alone, {b} side by side");
            }
        }
    }
}

#[test]
fn a_set_smaller_than_a_batch_is_not_trained_side_by_side() {
    let params = small();
    let (enough, few) = (sine_windows(&params, 50), sine_windows(&params, 10));
    let error = params.check().unwrap().fit_side_by_side(None, &[&enough, &few], &|_, _| {}).unwrap_err();
    assert_eq!(error.to_string(), "windows of each service must be at least 32 (a batch), got 10");
}

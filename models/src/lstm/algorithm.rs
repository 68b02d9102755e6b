//! Trains a forecaster: pinball loss, Adam, clipped gradients. Weights at the start and the order of the
//! windows come from our own random streams, not from the tensor library's global one, so that training
//! several services at once changes nothing.

use std::f64::consts::PI;

use burn::grad_clipping::GradientClippingConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device as TensorDevice, ExecutionError, Tensor, TensorData};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::error::LstmError;
use super::forecaster::LstmForecaster;
use super::hyperparams::{CheckedLstmParams, Device, LstmParams, QUANTILES};
use super::network::{self, GATES, LstmNetwork, Weights};
use super::recurrence::Workspace;

/// Gradients of a parameter longer than this are shortened to it; recurrent ones explode now and then.
pub(super) const MAX_GRADIENT_NORM: f32 = 1.0;
/// The learning rate at the last step, as a share of the one at the first.
const LAST_RATE: f64 = 0.1;

/// Windows to learn from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LstmTrainingSet {
    /// `[n, lookback, features]`, row-major, oldest row first; finite.
    pub inputs: Vec<f32>,
    /// What came at each horizon, `[n, horizons]`, row-major; finite.
    pub targets: Vec<f32>,
}

impl LstmTrainingSet {
    /// Number of windows, if inputs and targets fit the settings.
    fn check(&self, params: &LstmParams) -> Result<usize, LstmError> {
        let window = params.lookback * params.features;
        let horizons = params.horizons.len();
        let n = self.targets.len() / horizons;
        if !self.targets.len().is_multiple_of(horizons) {
            let want = format!("a multiple of {horizons} (horizons)");
            return Err(LstmError::Length { what: "targets", want, got: self.targets.len() });
        }
        if self.inputs.len() != n * window {
            let want = format!("{n} x {} x {} (windows, lookback, features)", params.lookback, params.features);
            return Err(LstmError::Length { what: "inputs", want, got: self.inputs.len() });
        }
        if n == 0 {
            return Err(LstmError::NoWindows);
        }
        if let Some(at) = self.inputs.iter().position(|value| !value.is_finite()) {
            let (row, feature) = (at / params.features, at % params.features);
            let (window, step) = (row / params.lookback, row % params.lookback);
            return Err(LstmError::InputNotFinite { window, step, feature, got: self.inputs[at] });
        }
        if let Some(at) = self.targets.iter().position(|value| !value.is_finite()) {
            let (window, horizon) = (at / horizons, at % horizons);
            return Err(LstmError::TargetNotFinite { window, horizon, got: self.targets[at] });
        }
        Ok(n)
    }
}

/// A training run, one step at a time.
pub(crate) struct Trainer<'a> {
    params: &'a LstmParams,
    device: TensorDevice,
    network: LstmNetwork,
    /// On a device on the processor.
    workspace: Option<Workspace>,
    optimizer: ModuleOptimizer,
    course: Course<'a>,
    steps_done: usize,
}

/// The windows of one service in the order in which its training takes them.
pub(super) struct Course<'a> {
    params: &'a LstmParams,
    set: &'a LstmTrainingSet,
    order: Vec<usize>,
    /// How many of `order` are taken.
    taken: usize,
    rng: ChaCha8Rng,
}

impl<'a> Course<'a> {
    /// Checks the windows; with the weights to begin at, those of `init` or random ones.
    pub(super) fn begin(
        params: &'a LstmParams,
        init: Option<&LstmForecaster>,
        set: &'a LstmTrainingSet,
    ) -> Result<(Self, Weights), LstmError> {
        let n = set.check(params)?;
        if let Some(init) = init {
            check_shape(params, init.params())?;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
        let drawn = initial_weights(params, &mut rng);
        let weights = init.map_or(drawn, |init| init.weights().clone());
        Ok((Self { params, set, order: (0..n).collect(), taken: n, rng }, weights))
    }

    /// How many there are.
    pub(super) fn windows(&self) -> usize {
        self.order.len()
    }

    /// Appends the next batch, of all windows where there are fewer; returns how many windows that is.
    pub(super) fn take_batch(&mut self, inputs: &mut Vec<f32>, targets: &mut Vec<f32>) -> usize {
        let n = self.order.len();
        let batch = self.params.batch.min(n);
        let (window, horizons) = (self.params.lookback * self.params.features, self.params.horizons.len());
        for _ in 0..batch {
            if self.taken == n {
                self.order.shuffle(&mut self.rng);
                self.taken = 0;
            }
            let at = self.order[self.taken];
            self.taken += 1;
            inputs.extend_from_slice(&self.set.inputs[at * window..(at + 1) * window]);
            targets.extend_from_slice(&self.set.targets[at * horizons..(at + 1) * horizons]);
        }
        batch
    }
}

impl<'a> Trainer<'a> {
    /// Checks the windows and sets the network up, at the weights of `init` or at random ones.
    pub(crate) fn new(
        params: &'a CheckedLstmParams,
        init: Option<&LstmForecaster>,
        set: &'a LstmTrainingSet,
    ) -> Result<Self, LstmError> {
        let params = params.params();
        let (course, weights) = Course::begin(params, init, set)?;
        let device = open(params.device)?.autodiff();
        let network = LstmNetwork::from_weights(&weights, params.features, params.hidden_size, &device);
        let workspace = (params.device != Device::Cuda).then(Workspace::default);
        let optimizer = AdamConfig::new()
            .with_epsilon(1e-8)
            .with_grad_clipping(Some(GradientClippingConfig::Norm(MAX_GRADIENT_NORM)))
            .init();
        Ok(Self { params, device, network, workspace, optimizer, course, steps_done: 0 })
    }

    /// One batch forward, back, and an update; its mean pinball loss.
    pub(crate) fn step(&mut self) -> Result<f32, LstmError> {
        let (windows, targets) = self.next_batch();
        let outputs = self.network.outputs(windows, self.workspace.as_ref());
        let loss = pinball_loss(network::quantiles(outputs), targets, self.params.quantiles);
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        let rate = learning_rate(self.params, self.steps_done);
        self.network = self.optimizer.step(rate, self.network.clone(), gradients);
        self.steps_done += 1;
        let loss = network::floats(loss).map_err(|error| self.device_failed(error))?[0];
        if !loss.is_finite() {
            return Err(LstmError::Diverged { step: self.steps_done, loss });
        }
        Ok(loss)
    }

    /// The forecaster as it is now.
    pub(crate) fn finish(self) -> Result<LstmForecaster, LstmError> {
        let weights = self.network.to_weights().map_err(|error| self.device_failed(error))?;
        LstmForecaster::from_weights(self.params.clone(), weights)
            .map_err(|_| LstmError::Diverged { step: self.steps_done, loss: f32::NAN })
    }

    fn next_batch(&mut self) -> (Tensor<3>, Tensor<2>) {
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        let batch = self.course.take_batch(&mut inputs, &mut targets);
        let inputs = TensorData::new(inputs, [batch, self.params.lookback, self.params.features]);
        let targets = TensorData::new(targets, [batch, self.params.horizons.len()]);
        (Tensor::from_data(inputs, &self.device), Tensor::from_data(targets, &self.device))
    }

    fn device_failed(&self, error: ExecutionError) -> LstmError {
        LstmError::DeviceFailed { device: self.params.device, reason: error.to_string() }
    }
}

/// Of the step after so many.
pub(super) fn learning_rate(params: &LstmParams, steps_done: usize) -> f64 {
    let done = steps_done as f64 / params.steps as f64;
    let cosine = 0.5 * (1.0 + (PI * done.min(1.0)).cos());
    params.learning_rate * (LAST_RATE + (1.0 - LAST_RATE) * cosine)
}

/// Mean over batch, horizons and quantiles of `max(q e, (q - 1) e)` with `e = target - forecast`.
pub(super) fn pinball_loss(
    forecast: [Tensor<2>; QUANTILES],
    targets: Tensor<2>,
    quantiles: [f64; QUANTILES],
) -> Tensor<1> {
    let mut sum: Option<Tensor<1>> = None;
    for (forecast, quantile) in forecast.into_iter().zip(quantiles) {
        let error = targets.clone() - forecast;
        let loss = error.clone().mul_scalar(quantile).max_pair(error.mul_scalar(quantile - 1.0)).mean();
        sum = Some(match sum {
            Some(sum) => sum + loss,
            None => loss,
        });
    }
    sum.expect("there are three quantiles").div_scalar(QUANTILES as f64)
}

/// Uniform in +-1/sqrt(hidden), as PyTorch does it, but the forget gate begins open (bias 1; Jozefowicz,
/// Zaremba and Sutskever 2015), and the other biases begin at 0.
fn initial_weights(params: &LstmParams, rng: &mut ChaCha8Rng) -> Weights {
    let hidden = params.hidden_size;
    let bound = 1.0 / (hidden as f32).sqrt();
    let mut uniform = |count: usize| -> Vec<f32> { (0..count).map(|_| rng.random_range(-bound..bound)).collect() };
    let gates = GATES * hidden;
    let mut bias = vec![0.0; gates];
    bias[hidden..2 * hidden].fill(1.0);
    Weights {
        input: uniform(params.features * gates),
        recurrent: uniform(hidden * gates),
        bias,
        head: uniform(hidden * params.outputs()),
        head_bias: vec![0.0; params.outputs()],
    }
}

/// Whether weights trained with `given` fit a network of `wanted`.
fn check_shape(wanted: &LstmParams, given: &LstmParams) -> Result<(), LstmError> {
    let shape = |params: &LstmParams| {
        let LstmParams { features, hidden_size, horizons, quantiles, .. } = params;
        format!("{features} features, hidden size {hidden_size}, horizons {horizons:?}, quantiles {quantiles:?}")
    };
    let (want, got) = (shape(wanted), shape(given));
    if want == got { Ok(()) } else { Err(LstmError::Setting { name: "init", want: format!("of {want}"), got }) }
}

pub(super) fn open(device: Device) -> Result<TensorDevice, LstmError> {
    match device {
        Device::Flex => Ok(TensorDevice::flex()),
        Device::Ndarray => Ok(ndarray_device()),
        #[cfg(feature = "cuda")]
        Device::Cuda => Ok(TensorDevice::cuda(0)),
        #[cfg(not(feature = "cuda"))]
        Device::Cuda => Err(LstmError::DeviceNotBuilt { device }),
    }
}

#[allow(deprecated, reason = "stays selectable until burn removes it")]
fn ndarray_device() -> TensorDevice {
    TensorDevice::ndarray()
}

#[cfg(test)]
pub(super) mod for_tests {
    //! What the tests compare with: the tensor library's own LSTM layer.

    use burn::nn::{GateController, Linear, LstmConfig};

    use super::*;

    /// What the library's own LSTM layer, the network composed of the library's operations and the one operation
    /// of ours give for the same windows: forecasts, and gradients of the pinball loss by input weights,
    /// recurrent weights, bias, head and head's bias.
    pub(in crate::lstm) struct Compared {
        /// `[batch * horizons]`, three quantiles each.
        pub(in crate::lstm) forecasts: Vec<[f32; QUANTILES]>,
        pub(in crate::lstm) gradients: [Vec<f32>; 5],
    }

    /// The library's layer, composed, ours.
    pub(in crate::lstm) fn compare(params: &LstmParams, weights: &Weights, set: &LstmTrainingSet) -> [Compared; 3] {
        let device = open(params.device).unwrap().autodiff();
        let (features, hidden) = (params.features, params.hidden_size);
        let batch = set.targets.len() / params.horizons.len();
        let windows = TensorData::new(set.inputs.clone(), [batch, params.lookback, features]);
        let windows: Tensor<3> = Tensor::from_data(windows, &device);
        let targets = TensorData::new(set.targets.clone(), [batch, params.horizons.len()]);
        let targets: Tensor<2> = Tensor::from_data(targets, &device);
        let forecasts = |outputs: &Tensor<2>| -> Vec<[f32; QUANTILES]> {
            let [low, middle, high] =
                network::quantiles(outputs.clone()).map(|column| network::floats(column).unwrap());
            low.into_iter().zip(middle).zip(high).map(|((low, middle), high)| [low, middle, high]).collect()
        };
        let gradients = |outputs: Tensor<2>| {
            pinball_loss(network::quantiles(outputs), targets.clone(), params.quantiles).backward()
        };

        let network = LstmNetwork::from_weights(weights, features, hidden, &device);
        let [composed, ours] = [None, Some(Workspace::default())].map(|workspace| {
            let outputs = network.outputs(windows.clone(), workspace.as_ref());
            let forecasts = forecasts(&outputs);
            Compared { forecasts, gradients: network.gradients(&gradients(outputs)) }
        });

        let columns = |matrix: &[f32], gate: usize| -> Vec<f32> {
            matrix.chunks_exact(GATES * hidden).flat_map(|row| &row[gate * hidden..][..hidden]).copied().collect()
        };
        let gate = |index: usize| GateController {
            input_transform: network::linear(
                columns(&weights.input, index),
                &columns(&weights.bias, index),
                features,
                &device,
            ),
            hidden_transform: network::linear(columns(&weights.recurrent, index), &vec![0.0; hidden], hidden, &device),
        };
        let mut layer = LstmConfig::new(features, hidden, true).init(&device);
        (layer.input_gate, layer.forget_gate) = (gate(0), Some(gate(1)));
        (layer.output_gate, layer.cell_gate) = (gate(2), gate(3));
        let head = network::linear(weights.head.clone(), &weights.head_bias, hidden, &device);
        let (_, state) = layer.forward(windows, None);
        let outputs = head.forward(state.hidden);
        let library_forecasts = forecasts(&outputs);
        let found = gradients(outputs);
        let by_weight = |linear: &Linear| network::floats(linear.weight.val().grad(&found).unwrap()).unwrap();
        let by_bias =
            |linear: &Linear| network::floats(linear.bias.as_ref().unwrap().val().grad(&found).unwrap()).unwrap();
        let forget = layer.forget_gate.as_ref().unwrap();
        let gates = [&layer.input_gate, forget, &layer.output_gate, &layer.cell_gate];
        let beside = |of: &dyn Fn(&GateController) -> Vec<f32>| -> Vec<f32> {
            let gates = gates.map(of);
            let rows = gates[0].len() / hidden;
            (0..rows)
                .flat_map(|row| gates.iter().flat_map(move |gate| gate[row * hidden..][..hidden].to_vec()))
                .collect()
        };
        let gradients = [
            beside(&|gate| by_weight(&gate.input_transform)),
            beside(&|gate| by_weight(&gate.hidden_transform)),
            beside(&|gate| by_bias(&gate.input_transform)),
            by_weight(&head),
            by_bias(&head),
        ];
        [Compared { forecasts: library_forecasts, gradients }, composed, ours]
    }

    pub(in crate::lstm) fn seeded_weights(params: &LstmParams) -> Weights {
        initial_weights(params, &mut ChaCha8Rng::seed_from_u64(params.seed))
    }
}

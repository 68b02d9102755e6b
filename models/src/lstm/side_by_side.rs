//! Trains the forecasters of several services as one: their weights stacked, so that each operation does the work of all of
//! them. What a graphics processor is for; a processor is quicker with one service a core.
//!
//! Each service gets what it would get alone, to rounding: its own windows in its own order, gradients clipped by its own
//! norm, Adam's moments of its own.

use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::{Device as TensorDevice, ExecutionError, Tensor, TensorData};

use super::algorithm::{Course, LstmTrainingSet, MAX_GRADIENT_NORM, learning_rate, open, pinball_loss};
use super::error::LstmError;
use super::forecaster::LstmForecaster;
use super::hyperparams::{CheckedLstmParams, LstmParams};
use super::network::{self, GATES, Weights};

/// Adam's, as burn has them by default, and the epsilon that one service alone is trained with.
const BETAS: (f64, f64) = (0.9, 0.999);
const EPSILON: f64 = 1e-8;

impl CheckedLstmParams {
    /// As [`fit_from`](Self::fit_from) for each of `sets`, beginning at the weights of `init`, all in one. Every set must have
    /// at least `batch` windows, so that all take as many at a time; at least one set. `on_step` hears the mean loss.
    pub fn fit_side_by_side(
        &self,
        init: Option<&LstmForecaster>,
        sets: &[&LstmTrainingSet],
        on_step: &dyn Fn(usize, f32),
    ) -> Result<Vec<LstmForecaster>, LstmError> {
        let params = self.params();
        let mut trainer = Stack::new(params, init, sets)?;
        for step in 1..=params.steps {
            on_step(step, trainer.step()?);
        }
        trainer.finish()
    }
}

struct Stack<'a> {
    params: &'a LstmParams,
    device: TensorDevice,
    courses: Vec<Course<'a>>,
    gates: Parameter,
    bias: Parameter,
    head: Parameter,
    head_bias: Parameter,
    steps_done: usize,
}

/// One parameter of every service, `[services, rows, columns]`, with Adam's moments.
struct Parameter {
    value: Tensor<3>,
    first: Tensor<3>,
    second: Tensor<3>,
}

impl<'a> Stack<'a> {
    fn new(
        params: &'a LstmParams,
        init: Option<&LstmForecaster>,
        sets: &[&'a LstmTrainingSet],
    ) -> Result<Self, LstmError> {
        let device = open(params.device)?;
        let begun: Vec<(Course<'a>, Weights)> =
            sets.iter().map(|set| Course::begin(params, init, set)).collect::<Result<_, _>>()?;
        if let Some(few) = begun.iter().map(|(course, _)| course.windows()).find(|n| *n < params.batch) {
            let want = format!("at least {} (a batch)", params.batch);
            return Err(LstmError::Setting { name: "windows of each service", want, got: few.to_string() });
        }
        let (courses, weights): (Vec<Course<'a>>, Vec<Weights>) = begun.into_iter().unzip();
        let (hidden, outputs) = (params.hidden_size, params.outputs());
        let of = |numbers: &dyn Fn(&Weights) -> Vec<f32>, rows: usize, columns: usize| {
            let all: Vec<f32> = weights.iter().flat_map(numbers).collect();
            Parameter::new(all, [weights.len(), rows, columns], &device)
        };
        let stacked = |w: &Weights| [w.input.as_slice(), &w.recurrent].concat();
        Ok(Self {
            gates: of(&stacked, params.features + hidden, GATES * hidden),
            bias: of(&|w| w.bias.clone(), 1, GATES * hidden),
            head: of(&|w| w.head.clone(), hidden, outputs),
            head_bias: of(&|w| w.head_bias.clone(), 1, outputs),
            params,
            device,
            courses,
            steps_done: 0,
        })
    }

    /// One batch of each service forward, back, and an update; the mean of their pinball losses.
    fn step(&mut self) -> Result<f32, LstmError> {
        let services = self.courses.len();
        let (windows, targets) = self.next_batches();
        let [gates, bias, head, head_bias] =
            [&self.gates, &self.bias, &self.head, &self.head_bias].map(Parameter::tracked);
        let hidden = last_hidden(windows, &gates, &bias, self.params.hidden_size);
        let outputs = hidden.matmul(head.clone()) + head_bias.clone();
        let [_, batch, width] = outputs.dims();
        let quantiles = network::quantiles(outputs.reshape([services * batch, width]));
        // The mean over all services weighs each by its share; alone, each would weigh whole.
        let loss = pinball_loss(quantiles, targets, self.params.quantiles).mul_scalar(services as f64);
        let gradients = loss.backward();
        self.steps_done += 1;
        let rate = learning_rate(self.params, self.steps_done - 1);
        for (parameter, tracked) in
            [(&mut self.gates, gates), (&mut self.bias, bias), (&mut self.head, head), (&mut self.head_bias, head_bias)]
        {
            let gradient = tracked.grad(&gradients).expect("every parameter is on the way to the loss");
            parameter.update(gradient, rate, self.steps_done);
        }
        let loss = network::floats(loss).map_err(|e| self.device_failed(&e))?[0] / services as f32;
        if !loss.is_finite() {
            return Err(LstmError::Diverged { step: self.steps_done, loss });
        }
        Ok(loss)
    }

    fn next_batches(&mut self) -> (Tensor<4>, Tensor<2>) {
        let (services, batch) = (self.courses.len(), self.params.batch);
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for course in &mut self.courses {
            course.take_batch(&mut inputs, &mut targets);
        }
        let inputs = TensorData::new(inputs, [services, batch, self.params.lookback, self.params.features]);
        let targets = TensorData::new(targets, [services * batch, self.params.horizons.len()]);
        let device = self.device.clone().autodiff();
        (Tensor::from_data(inputs, &device), Tensor::from_data(targets, &device))
    }

    fn finish(self) -> Result<Vec<LstmForecaster>, LstmError> {
        let read = |parameter: &Parameter| {
            network::floats(parameter.value.clone()).map_err(|error| self.device_failed(&error))
        };
        let services = self.courses.len();
        let all = [read(&self.gates)?, read(&self.bias)?, read(&self.head)?, read(&self.head_bias)?];
        let inputs = self.params.features * GATES * self.params.hidden_size;
        let of = |service: usize| {
            let [gates, bias, head, head_bias] = all.each_ref().map(|numbers| {
                let each = numbers.len() / services;
                numbers[service * each..(service + 1) * each].to_vec()
            });
            let (input, recurrent) = gates.split_at(inputs);
            let weights = Weights { input: input.to_vec(), recurrent: recurrent.to_vec(), bias, head, head_bias };
            LstmForecaster::from_weights(self.params.clone(), weights)
                .map_err(|_| LstmError::Diverged { step: self.steps_done, loss: f32::NAN })
        };
        (0..services).map(of).collect()
    }

    fn device_failed(&self, error: &ExecutionError) -> LstmError {
        LstmError::DeviceFailed { device: self.params.device, reason: error.to_string() }
    }
}

impl Parameter {
    fn new(numbers: Vec<f32>, shape: [usize; 3], device: &TensorDevice) -> Self {
        let value: Tensor<3> = Tensor::from_data(TensorData::new(numbers, shape), device);
        Self { first: value.zeros_like(), second: value.zeros_like(), value }
    }

    fn tracked(&self) -> Tensor<3> {
        Tensor::from_inner(self.value.clone()).require_grad()
    }

    /// Adam (Kingma and Ba 2015), each service's gradient shortened by its own norm.
    fn update(&mut self, gradient: Tensor<3>, rate: f64, step: usize) {
        let norm = gradient.clone().square().sum_dim(1).sum_dim(2).sqrt();
        let shortened = (norm + f32::MIN_POSITIVE).recip().mul_scalar(MAX_GRADIENT_NORM).clamp_max(1.0);
        let gradient = gradient * shortened;
        self.first = self.first.clone().mul_scalar(BETAS.0) + gradient.clone().mul_scalar(1.0 - BETAS.0);
        self.second = self.second.clone().mul_scalar(BETAS.1) + gradient.square().mul_scalar(1.0 - BETAS.1);
        let unbiased = |moment: &Tensor<3>, beta: f64| {
            moment.clone().div_scalar(1.0 - beta.powi(i32::try_from(step).unwrap_or(i32::MAX)))
        };
        let change = unbiased(&self.first, BETAS.0) / (unbiased(&self.second, BETAS.1).sqrt() + EPSILON);
        self.value = self.value.clone() - change.mul_scalar(rate);
    }
}

/// The last hidden states `[services, batch, hidden]` for windows `[services, batch, lookback, features]`.
fn last_hidden(windows: Tensor<4>, gates: &Tensor<3>, bias: &Tensor<3>, size: usize) -> Tensor<3> {
    let ([services, batch, lookback, features], device) = (windows.dims(), windows.device());
    let mut hidden = Tensor::zeros([services, batch, size], &device);
    let mut cell: Tensor<3> = Tensor::zeros([services, batch, size], &device);
    for at in 0..lookback {
        let rows = windows.clone().narrow(2, at, 1).reshape([services, batch, features]);
        let sums = Tensor::cat(vec![rows, hidden], 2).matmul(gates.clone()) + bias.clone();
        let open = sigmoid(sums.clone().narrow(2, 0, 3 * size));
        let candidate = tanh(sums.narrow(2, 3 * size, size));
        let (input, forget) = (open.clone().narrow(2, 0, size), open.clone().narrow(2, size, size));
        cell = forget * cell + input * candidate;
        hidden = open.narrow(2, 2 * size, size) * tanh(cell.clone());
    }
    hidden
}

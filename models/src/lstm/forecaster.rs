//! The fitted forecaster and its forward pass in plain `f32`, without the tensor library: one window takes
//! less time than the library needs to set a graph up. Training is in `algorithm`.

use super::error::LstmError;
use super::hyperparams::{LstmParams, QUANTILES};
use super::network::{GATES, Weights};

/// A fitted forecaster: immutable, to be shared between threads.
#[derive(Clone, Debug, PartialEq)]
pub struct LstmForecaster {
    params: LstmParams,
    weights: Weights,
}

impl LstmForecaster {
    /// Refuses weights that are not finite. Their lengths must fit `params`, which must be checked.
    pub(super) fn from_weights(params: LstmParams, weights: Weights) -> Result<Self, LstmError> {
        for (name, values) in weights.named() {
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                let problem = format!("must be finite, holds {} at {at}", values[at]);
                return Err(LstmError::Tensor { name, problem });
            }
        }
        Ok(Self { params, weights })
    }

    /// The settings it was trained with.
    pub fn params(&self) -> &LstmParams {
        &self.params
    }

    pub(super) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The quantiles at each horizon for one window `[lookback, features]`, row-major, oldest row first.
    /// They never cross. A NaN in the window makes the whole forecast NaN; see
    /// [`try_forecast`](Self::try_forecast) for an error that says where it is.
    ///
    /// # Panics
    /// If the window does not have `lookback * features` values.
    pub fn forecast(&self, window: &[f32]) -> Vec<[f32; QUANTILES]> {
        let (lookback, features) = (self.params.lookback, self.params.features);
        assert_eq!(window.len(), lookback * features, "a window has {lookback} x {features} values");
        let outputs = self.outputs(window);
        let mut forecast = Vec::with_capacity(self.params.horizons.len());
        for output in outputs.chunks_exact(QUANTILES) {
            let middle = output[1];
            forecast.push([middle - softplus(output[0]), middle, middle + softplus(output[2])]);
        }
        forecast
    }

    /// As [`forecast`](Self::forecast), but a window of the wrong length or with a value that is not
    /// finite is an error.
    pub fn try_forecast(&self, window: &[f32]) -> Result<Vec<[f32; QUANTILES]>, LstmError> {
        let (lookback, features) = (self.params.lookback, self.params.features);
        if window.len() != lookback * features {
            let want = format!("{lookback} x {features} (lookback, features)");
            return Err(LstmError::Length { what: "inputs", want, got: window.len() });
        }
        if let Some(at) = window.iter().position(|value| !value.is_finite()) {
            let (step, feature) = (at / features, at % features);
            return Err(LstmError::InputNotFinite { window: 0, step, feature, got: window[at] });
        }
        Ok(self.forecast(window))
    }

    /// The head's outputs: per horizon the distance below, the middle, the distance above, before softplus.
    fn outputs(&self, window: &[f32]) -> Vec<f32> {
        let size = self.params.hidden_size;
        let mut hidden = vec![0.0; size];
        let mut cell = vec![0.0; size];
        let mut gates = vec![0.0; GATES * size];
        for row in window.chunks_exact(self.params.features) {
            gates.copy_from_slice(&self.weights.bias);
            add_product(row, &self.weights.input, &mut gates);
            add_product(&hidden, &self.weights.recurrent, &mut gates);
            advance_cell(&mut gates, &mut cell, &mut hidden);
        }
        let mut outputs = self.weights.head_bias.clone();
        add_product(&hidden, &self.weights.head, &mut outputs);
        outputs
    }
}

/// One step of the cell: `c = f c + i g`, `h = o tanh(c)`. `gates` are the sums of input, forget and output
/// gate and of the candidate, side by side, and are overwritten.
fn advance_cell(gates: &mut [f32], cell: &mut [f32], hidden: &mut [f32]) {
    let size = cell.len();
    let (opened, candidate) = gates.split_at_mut(3 * size);
    for sum in opened.iter_mut() {
        *sum = sigmoid(*sum);
    }
    for sum in candidate.iter_mut() {
        *sum = tanh(*sum);
    }
    let (input, rest) = opened.split_at(size);
    let (forget, output) = rest.split_at(size);
    for (at, cell) in cell.iter_mut().enumerate() {
        *cell = forget[at] * *cell + input[at] * candidate[at];
    }
    for (at, hidden) in hidden.iter_mut().enumerate() {
        *hidden = output[at] * tanh(cell[at]);
    }
}

/// `out += vector * matrix`, the matrix `[vector.len(), out.len()]`, row-major. Four rows at a time, so
/// that `out` is loaded and stored a quarter as often.
fn add_product(vector: &[f32], matrix: &[f32], out: &mut [f32]) {
    let width = out.len();
    let whole = vector.len() / 4 * 4;
    for (values, rows) in vector[..whole].chunks_exact(4).zip(matrix.chunks_exact(4 * width)) {
        let (first, second) = rows.split_at(2 * width);
        let (row0, row1) = first.split_at(width);
        let (row2, row3) = second.split_at(width);
        for (at, out) in out.iter_mut().enumerate() {
            let low = values[0] * row0[at] + values[1] * row1[at];
            let high = values[2] * row2[at] + values[3] * row3[at];
            *out += low + high;
        }
    }
    for (value, row) in vector[whole..].iter().zip(matrix[whole * width..].chunks_exact(width)) {
        for (out, weight) in out.iter_mut().zip(row) {
            *out += value * weight;
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Absolute error below 3e-7; `f32::tanh` is a library call and does not vectorise.
fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

/// `ln(1 + e^x)`, without overflow.
fn softplus(x: f32) -> f32 {
    // NaN stays NaN: `max` would drop it.
    let positive_part = if x < 0.0 { 0.0 } else { x };
    positive_part + (-x.abs()).exp().ln_1p()
}

/// `e^x` by Cephes' polynomial, relative error below 2e-7; written so that the compiler can vectorise
/// it, which `f32::exp` prevents. Saturates beyond +-87; NaN stays NaN.
fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer, which then lies in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let exponent = shifted - ROUND;
    let rest = x - exponent * LN_2_HIGH - exponent * LN_2_LOW;
    let mut polynomial = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        polynomial = polynomial * rest + coefficient;
    }
    let mantissa = polynomial * rest * rest + rest + 1.0;
    let power_of_two = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    mantissa * power_of_two
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_are_exact_enough() {
        for thousandth in -20_000..=20_000 {
            let x = thousandth as f32 / 1000.0;
            let exact = f64::from(x);
            assert!((f64::from(exp(x)) / exact.exp() - 1.0).abs() < 2e-7, "exp({x})");
            assert!((f64::from(tanh(x)) - exact.tanh()).abs() < 3e-7, "tanh({x})");
            assert!((f64::from(sigmoid(x)) - 1.0 / (1.0 + (-exact).exp())).abs() < 2e-7, "sigmoid({x})");
            assert!((f64::from(softplus(x)) - exact.exp().ln_1p()).abs() < 2e-6, "softplus({x})");
        }
        assert_eq!(sigmoid(200.0), 1.0);
        assert!(sigmoid(-200.0) < 1e-37);
        assert_eq!(softplus(200.0), 200.0);
        assert!(tanh(f32::NAN).is_nan() && softplus(f32::NAN).is_nan());
    }

    #[test]
    fn one_step_of_a_cell_is_as_computed_by_hand() {
        // Gates i = 0.5, f = 0.8, g = tanh(0.5), o = 0.6 from a cell at 2: c = 1.6 + 0.5 g, h = 0.6 tanh(c).
        let logit = |p: f32| (p / (1.0 - p)).ln();
        let (mut cell, mut hidden) = ([2.0], [9.0]);
        advance_cell(&mut [0.0, logit(0.8), logit(0.6), 0.5], &mut cell, &mut hidden);
        assert!((cell[0] - 1.831_058_6).abs() < 1e-6, "{cell:?}");
        assert!((hidden[0] - 0.569_957_7).abs() < 1e-6, "{hidden:?}");
    }
}

//! The fitted forecaster. It serves without the tensor library, by the same recurrence that it is trained with:
//! one window, many, or a series row by row with its state carried. Training is in `algorithm`.

use super::core::{Cell, LstmState};
use super::error::LstmError;
use super::hyperparams::{LstmParams, QUANTILES};
use super::network::Weights;

/// A fitted forecaster: immutable, to be shared between threads.
#[derive(Clone, Debug, PartialEq)]
pub struct LstmForecaster {
    params: LstmParams,
    weights: Weights,
    /// The recurrent part of the weights, as it is run.
    cell: Cell,
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
        let cell = Cell::new(&weights.input, &weights.recurrent, &weights.bias);
        Ok(Self { params, weights, cell })
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
        self.forecast_batch(window)
    }

    /// The forecasts of any number of windows `[n, lookback, features]`, one after the other: `[n, horizons]`.
    /// Each is the same bits as [`forecast`](Self::forecast) of its window.
    ///
    /// # Panics
    /// If the windows are not whole.
    pub fn forecast_batch(&self, windows: &[f32]) -> Vec<[f32; QUANTILES]> {
        let window = self.params.lookback * self.params.features;
        assert!(windows.len().is_multiple_of(window), "a window has {window} values, got {}", windows.len());
        let hidden = self.cell.run(windows, self.params.lookback);
        let mut forecasts = Vec::with_capacity(windows.len() / window * self.params.horizons.len());
        for (window, hidden) in windows.chunks_exact(window).zip(hidden.chunks_exact(self.params.hidden_size)) {
            if window.iter().any(|value| value.is_nan()) {
                forecasts.extend(self.params.horizons.iter().map(|_| [f32::NAN; QUANTILES]));
            } else {
                forecasts.extend(self.read_out(hidden));
            }
        }
        forecasts
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

    /// The state of a series before its first row.
    pub fn start(&self) -> LstmState {
        self.cell.start()
    }

    /// Takes one more row of features in. After `lookback` rows, [`forecast_from`](Self::forecast_from) is the same
    /// bits as [`forecast`](Self::forecast) of these rows; a state may go on for longer. A row of the wrong
    /// length or with a value that is not finite is an error and leaves the state as it was.
    ///
    /// # Panics
    /// If the state is of a forecaster of another hidden size.
    pub fn advance(&self, state: &mut LstmState, row: &[f32]) -> Result<(), LstmError> {
        let features = self.params.features;
        if row.len() != features {
            let want = format!("{features} (features)");
            return Err(LstmError::Length { what: "row", want, got: row.len() });
        }
        if let Some(feature) = row.iter().position(|value| !value.is_finite()) {
            return Err(LstmError::InputNotFinite { window: 0, step: state.rows(), feature, got: row[feature] });
        }
        self.cell.advance(state, row);
        Ok(())
    }

    /// The quantiles at each horizon after the rows that `state` has seen; at best as many as it was trained on.
    pub fn forecast_from(&self, state: &LstmState) -> Vec<[f32; QUANTILES]> {
        let hidden: Vec<f32> = state.hidden().take(self.params.hidden_size).collect();
        self.read_out(&hidden)
    }

    /// The head on a hidden state: per horizon the middle, and around it two distances made positive.
    fn read_out(&self, hidden: &[f32]) -> Vec<[f32; QUANTILES]> {
        let mut outputs = self.weights.head_bias.clone();
        add_product(hidden, &self.weights.head, &mut outputs);
        let (outputs, _) = outputs.as_chunks::<QUANTILES>();
        let quantiles =
            |[below, middle, above]: &[f32; QUANTILES]| [middle - softplus(*below), *middle, middle + softplus(*above)];
        outputs.iter().map(quantiles).collect()
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

/// `ln(1 + e^x)`, without overflow.
fn softplus(x: f32) -> f32 {
    // NaN stays NaN: `max` would drop it.
    let positive_part = if x < 0.0 { 0.0 } else { x };
    positive_part + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softplus_is_exact_enough() {
        for thousandth in -20_000..=20_000 {
            let x = thousandth as f32 / 1000.0;
            assert!((f64::from(softplus(x)) - f64::from(x).exp().ln_1p()).abs() < 2e-6, "softplus({x})");
        }
        assert_eq!(softplus(200.0), 200.0);
        assert!(softplus(f32::NAN).is_nan());
    }
}

//! The network as the tensor library trains it: its stock LSTM layer and a linear head. The numbers go
//! in from `Weights` and come back out as such; nothing here draws random numbers.

use burn::module::{Module, Param};
use burn::nn::{GateController, Linear, LinearConfig, Lstm, LstmConfig};
use burn::tensor::activation::softplus;
use burn::tensor::{Device, ExecutionError, Tensor, TensorData};

use super::hyperparams::QUANTILES;

/// The gates in the order in which they lie side by side in [`Weights`].
pub(super) const GATES: usize = 4;

/// All numbers a forecaster has learnt, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weights {
    /// From a row of features to the gates: `[features, 4 * hidden]`, the gates side by side in the
    /// order input, forget, cell, output.
    pub(super) input: Vec<f32>,
    /// From the hidden state to the gates: `[hidden, 4 * hidden]`.
    pub(super) recurrent: Vec<f32>,
    /// Of the gates: `[4 * hidden]`.
    pub(super) bias: Vec<f32>,
    /// From the last hidden state to the outputs: `[hidden, outputs]`.
    pub(super) head: Vec<f32>,
    /// Of the outputs: `[outputs]`.
    pub(super) head_bias: Vec<f32>,
}

/// The network on a device.
#[derive(Module, Debug)]
pub(super) struct LstmNetwork {
    lstm: Lstm,
    head: Linear,
}

impl LstmNetwork {
    pub(super) fn from_weights(
        weights: &Weights,
        features: usize,
        hidden: usize,
        device: &Device,
    ) -> Self {
        let gate = |index: usize| GateController {
            input_transform: Linear {
                weight: matrix(gate_columns(&weights.input, hidden, index), [features, hidden], device),
                bias: Some(vector(gate_columns(&weights.bias, hidden, index), device)),
            },
            // The layer adds two biases; ours is in the first.
            hidden_transform: Linear {
                weight: matrix(gate_columns(&weights.recurrent, hidden, index), [hidden, hidden], device),
                bias: Some(vector(vec![0.0; hidden], device)),
            },
        };
        let outputs = weights.head_bias.len();
        // The configurations only set switches: parameters that they would draw are replaced unseen.
        let mut lstm = LstmConfig::new(features, hidden, true).init(device);
        lstm.input_gate = gate(0);
        lstm.forget_gate = Some(gate(1));
        lstm.cell_gate = gate(2);
        lstm.output_gate = gate(3);
        let mut head = LinearConfig::new(hidden, outputs).init(device);
        head.weight = matrix(weights.head.clone(), [hidden, outputs], device);
        head.bias = Some(vector(weights.head_bias.clone(), device));
        Self { lstm, head }
    }

    pub(super) fn to_weights(&self) -> Result<Weights, ExecutionError> {
        let forget = self.lstm.forget_gate.as_ref().expect("built with one by from_weights");
        let gates = [&self.lstm.input_gate, forget, &self.lstm.cell_gate, &self.lstm.output_gate];
        let (mut input, mut recurrent, mut bias) = (Vec::new(), Vec::new(), Vec::new());
        for gate in gates {
            input.push(gate.input_transform.weight.val());
            recurrent.push(gate.hidden_transform.weight.val());
            let both = [&gate.input_transform, &gate.hidden_transform];
            bias.push(both.into_iter().filter_map(|linear| linear.bias.as_ref()).map(Param::val).reduce(|a, b| a + b));
        }
        let bias = bias.into_iter().flatten().collect();
        let head_bias = self.head.bias.as_ref().expect("built with one by from_weights");
        Ok(Weights {
            input: floats(Tensor::cat(input, 1))?,
            recurrent: floats(Tensor::cat(recurrent, 1))?,
            bias: floats(Tensor::cat(bias, 0))?,
            head: floats(self.head.weight.val())?,
            head_bias: floats(head_bias.val())?,
        })
    }

    /// The head's outputs, `[batch, outputs]`, for windows `[batch, lookback, features]`.
    pub(super) fn outputs(&self, windows: Tensor<3>) -> Tensor<2> {
        let (_, state) = self.lstm.forward(windows, None);
        self.head.forward(state.hidden)
    }
}

/// From outputs `[batch, horizons * QUANTILES]` to quantiles `[batch, horizons]`, low, middle and high:
/// the middle as it is, the others a positive distance from it.
pub(super) fn quantiles(outputs: Tensor<2>) -> [Tensor<2>; QUANTILES] {
    let [batch, width] = outputs.dims();
    let outputs = outputs.reshape([batch, width / QUANTILES, QUANTILES]);
    let column = |index: usize| outputs.clone().narrow(2, index, 1).reshape([batch, width / QUANTILES]);
    let middle = column(1);
    [middle.clone() - softplus(column(0), 1.0), middle.clone(), middle + softplus(column(2), 1.0)]
}

/// Reads a tensor's numbers back.
pub(super) fn floats<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, ExecutionError> {
    Ok(tensor.try_into_data()?.iter::<f32>().collect())
}

fn gate_columns(matrix: &[f32], hidden: usize, gate: usize) -> Vec<f32> {
    matrix.chunks_exact(GATES * hidden).flat_map(|row| &row[gate * hidden..(gate + 1) * hidden]).copied().collect()
}

fn matrix(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Param<Tensor<2>> {
    Param::from_data(TensorData::new(values, shape), device)
}

fn vector(values: Vec<f32>, device: &Device) -> Param<Tensor<1>> {
    let shape = [values.len()];
    Param::from_data(TensorData::new(values, shape), device)
}

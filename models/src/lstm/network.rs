//! The network as the tensor library trains it. The numbers go in from `Weights` and come back out as
//! such; nothing here draws random numbers.
//!
//! On the processor the recurrence is one operation of ours (`recurrence`), elsewhere it is composed of the
//! library's. The tests hold both and the library's own LSTM layer together.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::{sigmoid, softplus, tanh};
use burn::tensor::{Device, ExecutionError, Tensor, TensorData};

use super::hyperparams::QUANTILES;
use super::recurrence::{self, Workspace};

/// Number of gates that lie side by side in [`Weights`].
pub(super) const GATES: usize = 4;

/// All numbers a forecaster has learnt, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weights {
    /// From a row of features to the gates: `[features, 4 * hidden]`, the gates side by side in the
    /// order input, forget, output, candidate.
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
    /// From a row of features and the hidden state, side by side, to the four gates, side by side.
    gates: Linear,
    head: Linear,
    features: usize,
    hidden: usize,
}

impl LstmNetwork {
    pub(super) fn from_weights(weights: &Weights, features: usize, hidden: usize, device: &Device) -> Self {
        let stacked = [weights.input.as_slice(), &weights.recurrent].concat();
        Self {
            gates: linear(stacked, &weights.bias, features + hidden, device),
            head: linear(weights.head.clone(), &weights.head_bias, hidden, device),
            features,
            hidden,
        }
    }

    pub(super) fn to_weights(&self) -> Result<Weights, ExecutionError> {
        let mut input = floats(self.gates.weight.val())?;
        let recurrent = input.split_off(self.features * GATES * self.hidden);
        Ok(Weights {
            input,
            recurrent,
            bias: bias(&self.gates)?,
            head: floats(self.head.weight.val())?,
            head_bias: bias(&self.head)?,
        })
    }

    /// The head's outputs, `[batch, outputs]`, for windows `[batch, lookback, features]`; `workspace` on a device
    /// on the processor.
    pub(super) fn outputs(&self, windows: Tensor<3>, workspace: Option<&Workspace>) -> Tensor<2> {
        let hidden = match workspace {
            Some(workspace) => {
                let bias = self.gates.bias.as_ref().expect("every layer here is made with one").val();
                recurrence::last_hidden(windows, self.gates.weight.val(), bias, workspace)
            }
            None => self.composed(windows),
        };
        self.head.forward(hidden)
    }

    /// Gradients by input weights, recurrent weights, bias, head and head's bias.
    #[cfg(test)]
    pub(super) fn gradients(&self, found: &burn::tensor::Gradients) -> [Vec<f32>; 5] {
        let by = |linear: &Linear| {
            let weight = linear.weight.val().grad(found).and_then(|grad| floats(grad).ok());
            let bias = linear.bias.as_ref().and_then(|bias| bias.val().grad(found)).and_then(|grad| floats(grad).ok());
            (weight.expect("of the weight"), bias.expect("of the bias"))
        };
        let ((mut input, bias), (head, head_bias)) = (by(&self.gates), by(&self.head));
        let recurrent = input.split_off(self.features * GATES * self.hidden);
        [input, recurrent, bias, head, head_bias]
    }

    /// The last hidden states, step by step in the library's operations.
    fn composed(&self, windows: Tensor<3>) -> Tensor<2> {
        let ([batch, _, _], device) = (windows.dims(), windows.device());
        let size = self.hidden;
        let mut hidden = Tensor::zeros([batch, size], &device);
        let mut cell = Tensor::zeros([batch, size], &device);
        for rows in windows.iter_dim(1) {
            let sums = self.gates.forward(Tensor::cat(vec![rows.squeeze_dim(1), hidden], 1));
            let gates = sigmoid(sums.clone().narrow(1, 0, 3 * size));
            let candidate = tanh(sums.narrow(1, 3 * size, size));
            let input = gates.clone().narrow(1, 0, size);
            let forget = gates.clone().narrow(1, size, size);
            let output = gates.narrow(1, 2 * size, size);
            cell = forget * cell + input * candidate;
            hidden = output * tanh(cell.clone());
        }
        hidden
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

fn bias(linear: &Linear) -> Result<Vec<f32>, ExecutionError> {
    floats(linear.bias.as_ref().expect("every layer here is made with one").val())
}

/// A layer with these numbers; `weight` is `[inputs, bias.len()]`.
pub(super) fn linear(weight: Vec<f32>, bias: &[f32], inputs: usize, device: &Device) -> Linear {
    let outputs = bias.len();
    // The configuration's own parameters are drawn when first used, which is never.
    let mut linear = LinearConfig::new(inputs, outputs).init(device);
    linear.weight = Param::from_data(TensorData::new(weight, [inputs, outputs]), device);
    linear.bias = Some(Param::from_data(TensorData::new(bias.to_vec(), [outputs]), device));
    linear
}

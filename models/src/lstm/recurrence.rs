//! The recurrence as one differentiable operation of the tensor library, for its devices on the processor: all
//! steps of all windows forward, and all of them backward, instead of a graph of twelve operations a step.

#![allow(deprecated, reason = "burn-ndarray stays selectable until burn removes it")]

use std::sync::{Arc, Mutex};

use burn::backend::NdArray;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, TensorData, try_read_sync};

use super::core::{Activations, Cell, Passed};
use super::network::GATES;

/// The last hidden states `[batch, hidden]` of `windows`, `[batch, lookback, features]`. `weight` is
/// `[features + hidden, 4 * hidden]`, `bias` `[4 * hidden]`: the gates side by side as in
/// [`Weights`](super::network::Weights).
///
/// Differentiable by all three. Panics on a device that is not on the processor.
pub(super) fn last_hidden(windows: Tensor<3>, weight: Tensor<2>, bias: Tensor<1>, workspace: &Workspace) -> Tensor<2> {
    let (windows, weight, bias) = (windows.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Recurrence>::last_hidden(windows, weight, bias, workspace.clone()))
}

/// The memory of the last forward pass, for the next one to use again.
#[derive(Clone, Debug, Default)]
pub(super) struct Workspace(Arc<Mutex<Option<Activations>>>);

impl Workspace {
    fn take(&self) -> Activations {
        self.0.lock().map(|mut kept| kept.take()).ok().flatten().unwrap_or_default()
    }

    fn give_back(&self, activations: Activations) {
        if let Ok(mut kept) = self.0.lock() {
            *kept = Some(activations);
        }
    }
}

#[backend_extension(Autodiff, Flex, NdArray)]
trait Recurrence: Backend {
    fn last_hidden(
        windows: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        workspace: Workspace,
    ) -> FloatTensor<Self>;
}

impl Recurrence for Flex {
    fn last_hidden(
        windows: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        workspace: Workspace,
    ) -> FloatTensor<Self> {
        forward::<Self>(windows, weight, bias, workspace).0
    }
}

impl Recurrence for NdArray {
    fn last_hidden(
        windows: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        workspace: Workspace,
    ) -> FloatTensor<Self> {
        forward::<Self>(windows, weight, bias, workspace).0
    }
}

impl<B: Recurrence, C: CheckpointStrategy> Recurrence for Autodiff<B, C> {
    fn last_hidden(
        windows: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        workspace: Workspace,
    ) -> FloatTensor<Self> {
        let (windows, of_windows) = windows.into_parts();
        let (weight, of_weight) = weight.into_parts();
        let (bias, of_bias) = bias.into_parts();
        match RecurrenceBackward.prepare::<C>([of_windows, of_weight, of_bias]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (last, passed) = forward::<B>(windows, weight, bias, workspace);
                prepared.finish(passed, last)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::last_hidden(windows, weight, bias, workspace)),
        }
    }
}

/// What a forward pass leaves to the backward pass.
#[derive(Clone, Debug)]
struct Kept<D> {
    windows: Vec<f32>,
    /// `[batch, lookback, features]`.
    shape: [usize; 3],
    weight: Vec<f32>,
    hidden: usize,
    activations: Arc<Activations>,
    workspace: Workspace,
    device: D,
}

fn forward<B: Backend>(
    windows: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    workspace: Workspace,
) -> (FloatTensor<B>, Kept<B::Device>) {
    let device = windows.device();
    let shape: [usize; 3] = windows.shape().dims();
    let [batch, lookback, features] = shape;
    let (windows, weight, bias) = (floats::<B>(windows), floats::<B>(weight), floats::<B>(bias));
    let (input, recurrent) = weight.split_at(features * bias.len());
    let mut activations = workspace.take();
    let last = Cell::new(input, recurrent, &bias).run_keeping(&windows, lookback, &mut activations);
    let hidden = bias.len() / GATES;
    let last = B::float_from_data(TensorData::new(last, [batch, hidden]), &device);
    let activations = Arc::new(activations);
    (last, Kept { windows, shape, weight, hidden, activations, workspace, device })
}

#[derive(Debug)]
struct RecurrenceBackward;

impl<B: Backend> Backward<B, 3> for RecurrenceBackward {
    type State = Kept<B::Device>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let by_last = floats::<B>(grads.consume::<B>(&ops.node));
        let kept = ops.state;
        let [_, lookback, features] = kept.shape;
        let passed = Passed {
            weight: &kept.weight,
            windows: &kept.windows,
            lookback,
            features,
            hidden: kept.hidden,
            activations: &kept.activations,
        };
        let [of_windows, of_weight, of_bias] = ops.parents;
        let found = passed.gradients(&by_last, of_windows.is_some());
        let width = GATES * kept.hidden;
        let tensor = |data: TensorData| B::float_from_data(data, &kept.device);
        if let (Some(node), Some(by_windows)) = (of_windows, found.windows) {
            grads.register::<B>(node.id, tensor(TensorData::new(by_windows, kept.shape)));
        }
        if let Some(node) = of_weight {
            let shape = [features + kept.hidden, width];
            grads.register::<B>(node.id, tensor(TensorData::new(found.weight, shape)));
        }
        if let Some(node) = of_bias {
            grads.register::<B>(node.id, tensor(TensorData::new(found.bias, [width])));
        }
        if let Ok(activations) = Arc::try_unwrap(kept.activations) {
            kept.workspace.give_back(activations);
        }
    }
}

/// The numbers of a tensor on the processor.
fn floats<B: Backend>(tensor: FloatTensor<B>) -> Vec<f32> {
    let data = try_read_sync(B::float_into_data(tensor)).expect("a device on the processor answers at once");
    let data = data.expect("reading from the processor's own memory");
    data.try_into_vec::<f32>().expect("every tensor here is made of f32")
}

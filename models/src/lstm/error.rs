//! What can be wrong with the settings, the training windows or the stored arrays of a forecaster.

use super::hyperparams::Device;

/// Why a forecaster could not be trained or read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LstmError {
    /// A setting is outside its range.
    #[error("{name} must be {want}, got {got}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its range.
        want: String,
        /// What was given.
        got: String,
    },
    /// This build cannot train on the device.
    #[error("device {device} is not in this build: it needs the cargo feature `{device}`")]
    DeviceNotBuilt {
        /// The device asked for.
        device: Device,
    },
    /// There is nothing to learn from.
    #[error("a forecaster needs at least 1 training window, got none")]
    NoWindows,
    /// Inputs and targets do not have the lengths that the settings ask for.
    #[error("{what} must hold {want} values, got {got}")]
    Length {
        /// Which array.
        what: &'static str,
        /// Its length in words.
        want: String,
        /// Values given.
        got: usize,
    },
    /// A training input is NaN or infinite.
    #[error("inputs must be finite, got {got} (window {window}, step {step}, feature {feature})")]
    InputNotFinite {
        /// Which window.
        window: usize,
        /// Which of its rows, 0 being the oldest.
        step: usize,
        /// Which feature.
        feature: usize,
        /// The value.
        got: f32,
    },
    /// A training target is NaN or infinite.
    #[error("targets must be finite, got {got} (window {window}, horizon {horizon})")]
    TargetNotFinite {
        /// Which window.
        window: usize,
        /// Index of the horizon.
        horizon: usize,
        /// The value.
        got: f32,
    },
    /// Training ran away; a smaller learning rate is the usual cure.
    #[error("training diverged: loss is {loss} at step {step}")]
    Diverged {
        /// The training step.
        step: usize,
        /// The loss there.
        loss: f32,
    },
    /// The device gave up.
    #[error("device {device} failed: {reason}")]
    DeviceFailed {
        /// The device.
        device: Device,
        /// In the words of the tensor library.
        reason: String,
    },
    /// A stored array is absent, twice there, or of another kind or shape than the format says.
    #[error("tensor {name} {problem}")]
    Tensor {
        /// Name of the array.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

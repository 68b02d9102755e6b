//! LSTM forecaster: from the last `lookback` rows of features, three quantiles of one value at each of
//! several horizons.
//!
//! One LSTM layer (Hochreiter and Schmidhuber 1997, with forget gate) and a linear head on its last
//! hidden state, trained on the pinball loss (Koenker and Bassett 1978) with Adam by the tensor library.
//! The quantiles cannot cross: the head gives the middle one and two distances, made positive by softplus.
//! Serving does not touch the tensor library: [`LstmForecaster::forecast`] has neither start-up cost nor global
//! state, and a forecaster trained on one device serves on any machine.

mod algorithm;
mod core;
mod error;
mod forecaster;
mod hyperparams;
mod network;
mod persistence;
mod recurrence;
mod side_by_side;

pub use self::core::LstmState;
pub use algorithm::LstmTrainingSet;
pub(crate) use algorithm::Trainer;
pub use error::LstmError;
pub use forecaster::LstmForecaster;
pub use hyperparams::{CheckedLstmParams, Device, LstmParams, QUANTILES};

#[cfg(test)]
mod tests;

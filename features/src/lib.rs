//! Signals, resampling, windows and seasonal baselines: the same code over history and live.

pub mod observation;
pub mod presets;
pub mod promql;
pub mod signal;

pub use observation::{Observation, ServiceStep, join};
pub use signal::{Role, Signal, SignalError, SignalLimit, SignalQuery, SignalSet};

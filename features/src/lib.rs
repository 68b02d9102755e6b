//! Signals, windows and seasonal baselines: the same code over history and live.
//!
//! An expression becomes instant vectors (`promql`), vectors become [`ServiceStep`]s
//! (`observation`), and a service's steps become rows of numbers (`pipeline`).

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails to set up should panic"))]

pub mod calendar;
mod known;
pub mod live;
mod load_effect;
pub mod observation;
pub mod pipeline;
pub mod presence;
pub mod presets;
pub mod promql;
pub mod seasonal;
pub mod signal;

pub use calendar::{Calendar, CalendarError, LocalTime};
pub use known::Known;
pub use live::LiveSignals;
pub use observation::{Observation, ServiceStep, VectorSample, join};
pub use pipeline::{Absence, FeaturePipelineParams, FeatureState, FittedFeaturePipeline, LOAD_SIGNAL, service_value};
pub use seasonal::SeasonalProfile;
pub use signal::{Role, Signal, SignalError, SignalLimit, SignalQuery, SignalSet};

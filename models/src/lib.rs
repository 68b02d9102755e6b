//! Forest, forecasters, time to breach and calibration; how they are stored; and the engine that
//! turns steps into predictions, the same for a backtest and for the server.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot set up its case has failed"))]

pub mod anomaly;
pub mod baselines;
pub mod bench;
pub mod bundle;
pub mod calibration;
pub mod decision;
pub mod engine;
pub mod ensemble;
pub mod forecast_input;
pub mod growth;
pub mod guardrails;
pub mod isolation_forest;
pub mod ladder;
pub mod learning;
pub mod lstm;
pub mod metrics;
pub mod registry;
pub mod rehearsal;
pub mod runs;
pub mod scorer;
pub mod settle;
pub mod shadow;
mod tensor;
pub mod time_to_breach;
pub mod verification;

pub use bundle::{ForecastModel, ModelBundle, ModelVersion};
pub use engine::{Engine, EngineOptions, EngineOutput, TargetView};
pub use forewarn_schema::{BandPoint, FanPoint};
pub use registry::ModelRegistry;
pub use runs::{RunLog, RunLogError};
pub use tensor::{NamedTensor, TensorData};

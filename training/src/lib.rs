//! Offline: fitting a bundle a service, replaying history through the serving engine, settling what
//! was said from the data, the gate between a candidate and serving, and the report of all that.
//!
//! Pure functions of what they are handed: no I/O, no clock, no configuration. Not here: fetching
//! history (`forewarn-datasets`), keeping models (`forewarn_models::registry`), printing.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails to set up should panic"))]

mod alarms;
pub mod backtest;
pub mod changes;
pub mod compare;
mod detectors;
pub mod drift;
pub mod evaluate;
pub mod exclusions;
mod feedback;
pub mod fit;
pub mod fleet;
mod forecasts;
pub mod gate;
pub mod intervals;
pub mod learning;

mod pictures;
mod quality;
mod rehearsal;
mod replay;
pub mod report;
pub mod week;
mod words;

pub use backtest::{BacktestSummary, Replaying, RollingOriginBacktest, backtest};
pub use detectors::{AnomalyQuality, DetectorQuality};
pub use evaluate::{EvaluationInput, demote_forecasters, evaluate};
pub use exclusions::{Known, KnownOfService, LabelledTime, LeftOut};
pub use fit::{FitError, FitOptions, FitProgress, FitQuality, Quiet, fit_all, fit_service, is_of_this_fit};
pub use fleet::FleetPrior;
pub use forewarn_models::metrics;
pub use forewarn_models::settle::Truth;
pub use forewarn_models::settle::required_lead;
pub use gate::{GateVerdict, PromotionGate};
pub use report::{EvaluationReport, render_html};

//! PromQL: parsing, the subset that has one meaning everywhere, and live evaluation over samples in
//! memory.
//!
//! The subset is what alert rules are written in: selectors with offset, functions over a range or a
//! subquery, aggregation, arithmetic and comparison with vector matching, classic and native histograms
//! (`docs/formats/promql-subset.md`). What it leaves out (`@`, negative offsets, …) is refused when an
//! expression is parsed, not when it is needed. Values are those of Prometheus 2.x, whose windows include
//! their left edge; integration tests ask a real server.
//!
//! There is one evaluation. [`Expression::eval`] starts with nothing, [`Expression::eval_range`] and the live
//! signals go from one time to the next and keep what they know; the bits are the same.
//!
//! Not here: history (that comes from blocks or from the server's own query API), or what the values mean.

mod aggregate;
mod binary;
mod calendar;
mod calls;
mod classic;
mod eval;
mod evaluator;
mod exact_sum;
mod expression;
mod functions;
mod kept;
mod line;
mod lower;
mod memo;
mod names;
mod native;
mod node;
mod over_range;
mod place;
mod push_error;
mod reach;
mod selector;
mod series;
#[cfg(test)]
mod sliding_tests;
mod spread;
mod state;
mod store;
mod subquery;
mod value;
mod window;

pub use eval::EvalError;
pub(crate) use evaluator::Evaluator;
pub use expression::{Expression, ExpressionError};
pub use kept::KeptSeries;
pub use push_error::PushError;
pub use selector::Selector;
pub use store::{SampleStore, SeriesPlace};

/// How far back an instant selector looks for a sample; Prometheus' default, in milliseconds.
const LOOKBACK_MS: i64 = 300_000;

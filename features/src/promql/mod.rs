//! PromQL: parsing, the subset that has one meaning everywhere, and live evaluation over samples in
//! memory.
//!
//! The subset is what alert rules are written in: selectors with offset, functions over a range,
//! aggregation, arithmetic and comparison with vector matching. What it leaves out (subqueries, `@`,
//! `label_join`, …) is refused when an expression is parsed, not when it is needed. Values are those
//! of Prometheus 2.x, whose windows include their left edge; an integration test asks a real server.
//!
//! Not here: history (that comes from the server's own query API), or what the values mean.

mod aggregate;
mod binary;
mod eval;
mod expression;
mod functions;
mod histogram;
mod lower;
mod node;
mod over_range;
mod selector;
mod store;

pub use eval::EvalError;
pub use expression::{Expression, ExpressionError};
pub use selector::Selector;
pub use store::{PushError, SampleStore};

/// How far back an instant selector looks for a sample; Prometheus' default, in milliseconds.
const LOOKBACK_MS: i64 = 300_000;

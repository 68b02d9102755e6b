//! Isolation forest: how unusual one row of features is, and which features make it so.
//!
//! Liu, Ting and Zhou, *Isolation Forest*, ICDM 2008. A row that random cuts separate from the
//! others after few cuts is unusual. Where we depart from the paper:
//!
//! - `c(n)` uses the exact harmonic number instead of `ln(n) + 0.5772`.
//! - A cut is drawn among the features that vary within the node, so no cut is spent on a constant.
//! - A missing value (NaN) follows both sides of a cut, weighted by how many training rows went to
//!   each: the path length is the expected one. A row with nothing but NaN scores 0.5. While a tree is
//!   grown, a row without the value goes to a side drawn with those odds.
//!
//! ```
//! use forewarn_models::isolation_forest::IsolationForestParams;
//!
//! // CPU and heap use of a quiet service, then one row with a full heap.
//! let quiet: Vec<f32> = (0..500).flat_map(|i| [0.3 + (i % 7) as f32 * 0.01, 0.5 + (i % 11) as f32 * 0.01]).collect();
//! let forest = IsolationForestParams::default().check()?.fit(&quiet, 2)?;
//! assert!(forest.score(&[0.33, 0.95]) > forest.score(&[0.33, 0.55]));
//! assert!(forest.explain(&[0.33, 0.95])[1] > 0.9);
//! # Ok::<(), forewarn_models::isolation_forest::IsolationForestError>(())
//! ```

mod algorithm;
mod batch;
mod build;
mod error;
mod explain;
mod hyperparams;
mod persistence;
mod plan;
mod ranks;
mod trees;

pub use algorithm::{IsolationForest, average_path_length};
pub use error::IsolationForestError;
pub use explain::Attribution;
pub use hyperparams::{CheckedIsolationForestParams, IsolationForestParams};

//! Isolation forest: how unusual one row of features is, and which features make it so.
//!
//! Liu, Ting and Zhou, *Isolation Forest*, ICDM 2008. A row that random cuts separate from the
//! others after few cuts is unusual. Where we depart from the paper:
//!
//! - `c(n)` uses the exact harmonic number instead of `ln(n) + 0.5772`.
//! - A cut is drawn among the features that vary within the node, so no cut is spent on a constant.
//!
//! What odd values do:
//!
//! | | growing the trees | scoring |
//! |---|---|---|
//! | missing (NaN) | the row goes to a side drawn with the odds of the rows that have a value | both sides of a cut, weighted by the training rows that went there: the path length is the expected one |
//! | a row of nothing but NaN | as above | the score of the average training row ([`Attribution::baseline`]) |
//! | infinite | refused, with row and feature | beyond every threshold on its side |
//! | a feature that is constant, or missing in all rows | never cut | does not matter |
//! | all rows alike, or all missing | no tree has a cut | every row scores 0.5 |
//! | one row, or none | refused: a forest needs two | as any other number of rows |
//!
//! Why trees lie in memory and are asked as they are: `docs/decisions/0017-forest-in-bytes.md`.
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
mod threads;
mod trees;

pub use algorithm::{IsolationForest, average_path_length};
pub use error::IsolationForestError;
pub use explain::Attribution;
pub use hyperparams::{CheckedIsolationForestParams, IsolationForestParams};

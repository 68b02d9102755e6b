//! Settings of an isolation forest, before and after they are checked.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::algorithm::IsolationForest;
use super::build;
use super::error::IsolationForestError;
use super::threads::share_out;

/// Most trees a forest may have.
pub(super) const MAX_TREES: usize = 10_000;
/// Most rows a tree may be grown from; the paper finds that 256 is enough.
pub(super) const MAX_SAMPLE_SIZE: usize = 65_536;
/// Most features a row may have.
pub(super) const MAX_FEATURES: usize = 65_536;
/// Most nodes a forest may have, at most 80 MiB of them. The paper's forest has about 12,000, at most 51,100.
pub(super) const MAX_NODES: usize = 16 << 20;

/// Settings of an isolation forest, not yet checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IsolationForestParams {
    /// Number of trees, 1..=10,000. The paper's 100 is the default.
    pub trees: usize,
    /// Rows a tree is grown from, drawn without replacement, 2..=65,536. The paper's 256 is the
    /// default. With fewer training rows, each tree is grown from all of them.
    pub sample_size: usize,
    /// Same seed, rows and settings: the same forest, bit for bit, on any number of threads.
    pub seed: u64,
}

impl Default for IsolationForestParams {
    fn default() -> Self {
        Self { trees: 100, sample_size: 256, seed: 1 }
    }
}

impl IsolationForestParams {
    /// Checks each setting against its range, and both together against 8,388,608 rows in all.
    pub fn check(self) -> Result<CheckedIsolationForestParams, IsolationForestError> {
        check_range("trees", 1, MAX_TREES, self.trees)?;
        check_range("sample_size", 2, MAX_SAMPLE_SIZE, self.sample_size)?;
        // A tree over n rows has at most 2 n - 1 nodes.
        check_range("trees times sample_size", 2, MAX_NODES / 2, self.trees * self.sample_size)?;
        Ok(CheckedIsolationForestParams(self))
    }
}

/// Settings of an isolation forest that are known to be in range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedIsolationForestParams(IsolationForestParams);

impl CheckedIsolationForestParams {
    /// The settings.
    pub fn params(&self) -> &IsolationForestParams {
        &self.0
    }

    /// Grows a forest from `rows`, row-major with `features` values each, on the calling thread.
    ///
    /// NaN is a missing value; infinite values are refused. At least two rows are needed. Rows that
    /// are all alike give a forest that scores every row 0.5.
    pub fn fit(&self, rows: &[f32], features: usize) -> Result<IsolationForest, IsolationForestError> {
        self.fit_with_threads(rows, features, 1)
    }

    /// As [`fit`](Self::fit), on `threads` threads (0 counts as 1). The forest is the same, bit for bit.
    pub fn fit_with_threads(
        &self,
        rows: &[f32],
        features: usize,
        threads: usize,
    ) -> Result<IsolationForest, IsolationForestError> {
        check_range("features", 1, MAX_FEATURES, features)?;
        if !rows.len().is_multiple_of(features) {
            return Err(IsolationForestError::Ragged { features, values: rows.len() });
        }
        let n = rows.len() / features;
        if n < 2 {
            return Err(IsolationForestError::TooFewRows { got: n });
        }
        if let Some(at) = first_infinite(rows, threads) {
            let (row, feature) = (at / features, at % features);
            return Err(IsolationForestError::Infinite { row, feature, got: rows[at] });
        }
        let sample_size = self.0.sample_size.min(n);
        let trees = build::grow_trees(rows, features, sample_size, self.0.trees, self.0.seed, threads.max(1));
        Ok(IsolationForest::of(features, sample_size, trees))
    }
}

/// Where the first infinite value is. Reading all rows takes a good part of the time in which the trees grow, which see
/// only their samples.
fn first_infinite(values: &[f32], threads: usize) -> Option<usize> {
    /// What a thread takes at a time; within it, so many are looked at without a branch.
    const PART: usize = 1 << 16;
    const CHUNK: usize = 1024;
    let any =
        |values: &[f32]| values.chunks(CHUNK).any(|c| c.iter().fold(false, |any, value| any | value.is_infinite()));
    let found = AtomicBool::new(false);
    share_out(threads.min(values.len() / PART), values.chunks(PART), |queue| {
        while let Some(part) = queue.next() {
            found.fetch_or(any(part), Ordering::Relaxed);
        }
    });
    if found.into_inner() { values.iter().position(|value| value.is_infinite()) } else { None }
}

pub(super) fn check_range(name: &'static str, min: usize, max: usize, got: usize) -> Result<(), IsolationForestError> {
    if (min..=max).contains(&got) {
        return Ok(());
    }
    Err(IsolationForestError::Setting { name, min, max, got })
}

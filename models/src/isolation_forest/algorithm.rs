//! Scores rows with a fitted isolation forest, one at a time here, many at once in `batch`. Growing the
//! trees is in `build`, what a score is made of in `explain`, storing them in `persistence`.

use std::sync::{LazyLock, OnceLock};

use super::batch::{BLOCK, Plan, Scratch, WORTHWHILE};
use super::build::TreeNode;
use super::threads::share_out;
use super::trees::Trees;

/// Average path length of an unsuccessful search in a binary search tree over `n` rows: `c(n)` of
/// the paper, `2 H(n-1) - 2 (n-1)/n`, with the exact harmonic number `H`. `c(0) = c(1) = 0`, `c(2) = 1`.
pub fn average_path_length(n: usize) -> f64 {
    if n < 2 {
        return 0.0;
    }
    2.0 * harmonic_number(n - 1) - 2.0 * (n as f64 - 1.0) / n as f64
}

/// `1 + 1/2 + … + 1/n`. Above 256 the asymptotic series is exact to the last bits of an f64.
fn harmonic_number(n: usize) -> f64 {
    const EULER_MASCHERONI: f64 = 0.577_215_664_901_532_9;
    static FIRST: LazyLock<Vec<f64>> = LazyLock::new(|| {
        // Small terms first, so that none is lost beside the sum.
        (0..=256_u32).map(|n| (1..=n).rev().map(|i| 1.0 / f64::from(i)).sum()).collect()
    });
    if let Some(sum) = FIRST.get(n) {
        return *sum;
    }
    let n = n as f64;
    let square = n * n;
    n.ln() + EULER_MASCHERONI + 1.0 / (2.0 * n) - 1.0 / (12.0 * square) + 1.0 / (120.0 * square * square)
}

/// Rows that a thread takes at a time: half a millisecond or so, of whole blocks.
const CHUNK: usize = 16 * BLOCK;
/// How many trees a single row walks down side by side: as many as registers hold.
const LANES: usize = 4;

/// A fitted isolation forest: immutable, to be shared between threads.
#[derive(Clone, Debug)]
pub struct IsolationForest {
    features: usize,
    sample_size: usize,
    trees: Trees,
    /// What `explain` compares with; made when it is first asked for.
    pub(super) expected: OnceLock<Vec<f64>>,
}

impl IsolationForest {
    /// Lays the trees out for walking. Trees must be valid: checked when read, so by construction when grown.
    pub(super) fn from_trees(features: usize, sample_size: usize, trees: &[Vec<TreeNode>]) -> Self {
        Self::of(features, sample_size, Trees::new(trees))
    }

    /// The forest of trees that are laid out.
    pub(super) fn of(features: usize, sample_size: usize, trees: Trees) -> Self {
        Self { features, sample_size, trees, expected: OnceLock::new() }
    }

    /// Values a row must have.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of trees.
    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// Rows each tree was grown from: the setting, or all rows if they were fewer.
    pub fn sample_size(&self) -> usize {
        self.sample_size
    }

    /// Memory that the forest takes, in bytes: 7 a cut of trees over up to 256 rows and 256 features, and 8
    /// more once a row was explained.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.trees.bytes() + 8 * self.expected.get().map_or(0, Vec::capacity)
    }

    pub(super) fn as_trees(&self) -> &Trees {
        &self.trees
    }

    /// Anomaly score of one row, `2^(-path_length / c(sample_size))`: in 0..1, high = unusual.
    ///
    /// A row with nothing but missing values scores what the average training row does, mostly a little
    /// below 0.5. An infinite value is beyond every threshold on its side.
    ///
    /// # Panics
    /// If the row has not [`features`](Self::features) values.
    pub fn score(&self, row: &[f32]) -> f64 {
        self.score_of(self.path_length(row))
    }

    pub(super) fn score_of(&self, mean_path: f64) -> f64 {
        (-mean_path / average_path_length(self.sample_size)).exp2()
    }

    /// Mean path length of one row over the trees, in edges. A missing value (NaN) follows both sides
    /// of a cut, weighted by the training rows there.
    ///
    /// # Panics
    /// If the row has not [`features`](Self::features) values.
    pub fn path_length(&self, row: &[f32]) -> f64 {
        self.check_width(row.len(), 1);
        self.sum_path_lengths(row) / self.trees() as f64
    }

    /// Scores `rows`, row-major, into `out` on `threads` threads (0 counts as 1): the same bits as
    /// [`score`](Self::score) gives for each row.
    ///
    /// # Panics
    /// If `rows` does not have `out.len()` times [`features`](Self::features) values.
    pub fn score_rows(&self, rows: &[f32], out: &mut [f64], threads: usize) {
        self.check_width(rows.len(), out.len());
        let plan = (out.len() >= WORTHWHILE).then(|| Plan::new(self));
        let chunks = rows.chunks(CHUNK * self.features).zip(out.chunks_mut(CHUNK));
        share_out(threads.min(chunks.len()), chunks, |queue| {
            let mut scratch = Scratch::default();
            while let Some((rows, out)) = queue.next() {
                self.score_chunk(plan.as_ref(), rows, out, &mut scratch);
            }
        });
    }

    fn score_chunk(&self, plan: Option<&Plan<'_>>, rows: &[f32], out: &mut [f64], scratch: &mut Scratch) {
        // By row of the block: whether the plan cannot be asked, so that the row walks.
        let mut walks = Vec::with_capacity(BLOCK);
        for (rows, out) in rows.chunks(BLOCK * self.features).zip(out.chunks_mut(BLOCK)) {
            let rows = rows.chunks_exact(self.features);
            walks.clear();
            walks.extend(rows.clone().map(|row| plan.is_none_or(|plan| plan.is_missing(row))));
            if let Some(plan) = plan
                && walks.contains(&false)
            {
                plan.sum_path_lengths(rows.clone(), out, scratch);
            }
            for ((row, out), walks) in rows.zip(out).zip(&walks) {
                if *walks {
                    *out = self.sum_path_lengths(row);
                }
                *out = self.score_of(*out / self.trees() as f64);
            }
        }
    }

    pub(super) fn check_width(&self, values: usize, rows: usize) {
        assert_eq!(values, rows * self.features, "a row has {} values", self.features);
    }

    /// Sum over all trees, in their order.
    fn sum_path_lengths(&self, row: &[f32]) -> f64 {
        let mut sum = 0.0;
        let whole = self.trees() / LANES * LANES;
        if row.iter().any(|value| value.is_nan()) {
            for tree in 0..self.trees() {
                sum += self.trees.mean_path_length(self.trees.root(tree), row);
            }
            return sum;
        }
        for first in (0..whole).step_by(LANES) {
            let roots = std::array::from_fn(|lane| self.trees.root(first + lane));
            for length in self.trees.walk::<LANES>(roots, [row; LANES]) {
                sum += length;
            }
        }
        for tree in whole..self.trees() {
            let [length] = self.trees.walk([self.trees.root(tree)], [row]);
            sum += length;
        }
        sum
    }
}

/// Equal if the trees are.
impl PartialEq for IsolationForest {
    fn eq(&self, other: &Self) -> bool {
        self.features == other.features && self.sample_size == other.sample_size && self.trees == other.trees
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! Scores rows with a fitted isolation forest and says which features made a row unusual.
//! Growing the trees is in `build`, storing them in `persistence`.

use super::build::{Cut, TreeNode};

/// Average path length of an unsuccessful search in a binary search tree over `n` rows: `c(n)` of
/// the paper, `2 H(n-1) - 2 (n-1)/n`, with the exact harmonic number `H`. `c(0) = c(1) = 0`, `c(2) = 1`.
pub fn average_path_length(n: usize) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let n = n as f64;
    2.0 * harmonic_number(n - 1.0) - 2.0 * (n - 1.0) / n
}

/// `1 + 1/2 + … + 1/n`. Above 256 the asymptotic series is exact to the last bits of an f64.
fn harmonic_number(n: f64) -> f64 {
    const EULER_MASCHERONI: f64 = 0.577_215_664_901_532_9;
    if n <= 256.0 {
        return (1..=n as u32).rev().map(|i| 1.0 / f64::from(i)).sum();
    }
    let square = n * n;
    n.ln() + EULER_MASCHERONI + 1.0 / (2.0 * n) - 1.0 / (12.0 * square) + 1.0 / (120.0 * square * square)
}

/// A node as it is walked at scoring: 16 bytes, so that a tree of 256 rows stays in the first-level cache.
#[derive(Clone, Copy, Debug)]
struct WalkNode {
    /// Rows go to `next`, or to `next + 1` if `value >= threshold`. A leaf leads to itself: no value
    /// is at or above its threshold, NaN.
    next: u32,
    feature: u32,
    threshold: f32,
    /// Training rows that reached the node.
    size: u32,
}

/// How many rows are walked side by side: their loads overlap, and no branch depends on the data.
const LANES: usize = 8;
/// Rows scored tree by tree before the next rows are taken, so that both stay in cache.
const BLOCK: usize = 256;

/// A fitted isolation forest: immutable, to be shared between threads.
#[derive(Clone, Debug)]
pub struct IsolationForest {
    features: usize,
    sample_size: usize,
    nodes: Vec<WalkNode>,
    /// For a leaf, its path length: depth + c(size). For an inner node, what its training rows have
    /// on average. Edges from the root.
    path: Vec<f64>,
    /// First node of each tree.
    roots: Vec<u32>,
    /// Depth of the deepest leaf of each tree.
    depths: Vec<u32>,
}

impl IsolationForest {
    /// Lays the trees out for walking. Trees must be valid: checked when read, so by construction when grown.
    pub(super) fn from_trees(features: usize, sample_size: usize, trees: &[Vec<TreeNode>]) -> Self {
        let total: usize = trees.iter().map(Vec::len).sum();
        let mut forest = Self {
            features,
            sample_size,
            nodes: Vec::with_capacity(total),
            path: vec![0.0; total],
            roots: Vec::with_capacity(trees.len()),
            depths: Vec::with_capacity(trees.len()),
        };
        for tree in trees {
            forest.push_tree(tree);
        }
        forest
    }

    fn push_tree(&mut self, tree: &[TreeNode]) {
        let root = self.nodes.len();
        let mut depth = vec![0_u32; tree.len()];
        for (at, node) in tree.iter().enumerate() {
            let own = (root + at) as u32;
            let walk = match node.cut {
                Some(Cut { feature, threshold, left }) => {
                    let left = left as usize;
                    depth[left] = depth[at] + 1;
                    depth[left + 1] = depth[at] + 1;
                    WalkNode { next: (root + left) as u32, feature, threshold, size: node.size }
                }
                None => WalkNode { next: own, feature: 0, threshold: f32::NAN, size: node.size },
            };
            self.nodes.push(walk);
        }
        // Children lie behind their parent, so backwards every child is done before its parent.
        let mut expected = vec![0.0_f64; tree.len()];
        for (at, node) in tree.iter().enumerate().rev() {
            expected[at] = match node.cut {
                None => f64::from(depth[at]) + average_path_length(node.size as usize),
                Some(Cut { left, .. }) => {
                    let left = left as usize;
                    let left_share = f64::from(tree[left].size) / f64::from(node.size);
                    left_share * expected[left] + (1.0 - left_share) * expected[left + 1]
                }
            };
            self.path[root + at] = expected[at];
        }
        self.roots.push(root as u32);
        self.depths.push(depth.iter().copied().max().unwrap_or(0));
    }

    /// Values a row must have.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of trees.
    pub fn trees(&self) -> usize {
        self.roots.len()
    }

    /// Rows each tree was grown from: the setting, or all rows if they were fewer.
    pub fn sample_size(&self) -> usize {
        self.sample_size
    }

    /// Anomaly score of one row, `2^(-path_length / c(sample_size))`: in 0..1, high = unusual, 0.5 for
    /// a row like the average training row or with nothing but missing values.
    ///
    /// # Panics
    /// If the row has not [`features`](Self::features) values.
    pub fn score(&self, row: &[f32]) -> f64 {
        self.score_of(self.path_length(row))
    }

    fn score_of(&self, mean_path: f64) -> f64 {
        (-mean_path / average_path_length(self.sample_size)).exp2()
    }

    /// Mean path length of one row over the trees, in edges. A missing value (NaN) follows both sides
    /// of a cut, weighted by the training rows there; with nothing but missing values it is
    /// `c(sample_size)`.
    ///
    /// # Panics
    /// If the row has not [`features`](Self::features) values.
    pub fn path_length(&self, row: &[f32]) -> f64 {
        self.check_width(row.len(), 1);
        let mut sum = [0.0];
        self.sum_path_lengths(row, &mut sum);
        sum[0] / self.trees() as f64
    }

    /// Scores `rows`, row-major, into `out` on `threads` threads (0 counts as 1): the same bits as
    /// [`score`](Self::score) gives for each row.
    ///
    /// # Panics
    /// If `rows` does not have `out.len()` times [`features`](Self::features) values.
    pub fn score_rows(&self, rows: &[f32], out: &mut [f64], threads: usize) {
        self.check_width(rows.len(), out.len());
        let per_thread = out.len().div_ceil(threads.max(1)).next_multiple_of(BLOCK);
        if out.len() <= per_thread {
            self.score_chunk(rows, out);
            return;
        }
        std::thread::scope(|scope| {
            for (rows, out) in rows.chunks(per_thread * self.features).zip(out.chunks_mut(per_thread)) {
                scope.spawn(move || self.score_chunk(rows, out));
            }
        });
    }

    fn score_chunk(&self, rows: &[f32], out: &mut [f64]) {
        for (rows, out) in rows.chunks(BLOCK * self.features).zip(out.chunks_mut(BLOCK)) {
            out.fill(0.0);
            self.sum_path_lengths(rows, out);
            for score in out {
                *score = self.score_of(*score / self.trees() as f64);
            }
        }
    }

    fn check_width(&self, values: usize, rows: usize) {
        assert_eq!(values, rows * self.features, "a row has {} values", self.features);
    }

    /// Adds every tree's path length of each row to `sums`, in the order of the trees.
    fn sum_path_lengths(&self, rows: &[f32], sums: &mut [f64]) {
        let missing = rows.iter().any(|value| value.is_nan());
        if !missing && sums.len() >= LANES {
            let whole = sums.len() / LANES * LANES;
            for (&root, &depth) in self.roots.iter().zip(&self.depths) {
                let lanes = rows.chunks_exact(LANES * self.features);
                for (rows, sums) in lanes.zip(sums[..whole].chunks_exact_mut(LANES)) {
                    self.walk_lanes(root, depth, rows, sums);
                }
            }
            let rest = &rows[whole * self.features..];
            for (row, sum) in rest.chunks_exact(self.features).zip(&mut sums[whole..]) {
                *sum = self.sum_path_lengths_of(row);
            }
            return;
        }
        for (row, sum) in rows.chunks_exact(self.features).zip(sums) {
            *sum = self.sum_path_lengths_of(row);
        }
    }

    /// `LANES` rows without missing values down one tree. Every lane takes as many steps as the
    /// deepest leaf needs, since a leaf leads to itself.
    fn walk_lanes(&self, root: u32, depth: u32, rows: &[f32], sums: &mut [f64]) {
        let mut at = [root; LANES];
        for _ in 0..depth {
            for lane in 0..LANES {
                let node = self.nodes[at[lane] as usize];
                let value = rows[lane * self.features + node.feature as usize];
                at[lane] = node.next + u32::from(value >= node.threshold);
            }
        }
        for lane in 0..LANES {
            sums[lane] += self.path[at[lane] as usize];
        }
    }

    fn sum_path_lengths_of(&self, row: &[f32]) -> f64 {
        if row.iter().all(|value| value.is_nan()) {
            return average_path_length(self.sample_size) * self.trees() as f64;
        }
        let mut open = Vec::new();
        let mut sum = 0.0;
        for &root in &self.roots {
            sum += self.tree_path_length(root, row, &mut open);
        }
        sum
    }

    /// One row down one tree; `open` is scratch space and is empty before and after.
    fn tree_path_length(&self, root: u32, row: &[f32], open: &mut Vec<(u32, f64)>) -> f64 {
        let mut length = 0.0;
        let (mut at, mut weight) = (root, 1.0);
        loop {
            let node = self.nodes[at as usize];
            let value = row[node.feature as usize];
            if node.next == at {
                length += weight * self.path[at as usize];
                match open.pop() {
                    Some(branch) => (at, weight) = branch,
                    None => return length,
                }
            } else if value.is_nan() {
                let left_share = self.left_share(node);
                open.push((node.next + 1, weight * (1.0 - left_share)));
                (at, weight) = (node.next, weight * left_share);
            } else {
                at = node.next + u32::from(value >= node.threshold);
            }
        }
    }

    fn left_share(&self, node: WalkNode) -> f64 {
        f64::from(self.nodes[node.next as usize].size) / f64::from(node.size)
    }

    /// Which features make this row unusual: one share per feature, 0..=1, which sum to 1.
    ///
    /// Every cut on the row's path credits its feature with the drop from the path length expected at
    /// the node (the mean of its training rows) to the one expected where the row goes; over all trees
    /// the credits sum to how much earlier than the average row this one is isolated. Credits below
    /// zero, of features that make the row look normal, become 0, and the rest is scaled to 1. A missing
    /// value gets no credit. Where no feature has any (a row more normal than the average, or with
    /// nothing but missing values), all shares are equal.
    ///
    /// # Panics
    /// If the row has not [`features`](Self::features) values.
    pub fn explain(&self, row: &[f32]) -> Vec<f64> {
        self.check_width(row.len(), 1);
        let mut credit = vec![0.0; self.features];
        let mut open = Vec::new();
        for &root in &self.roots {
            open.push((root, 1.0));
            while let Some((at, weight)) = open.pop() {
                self.credit_path(at, weight, row, &mut credit, &mut open);
            }
        }
        let mut total = 0.0;
        for credit in &mut credit {
            *credit = f64::max(*credit, 0.0);
            total += *credit;
        }
        // Rounding must not be taken for a reason.
        let noise = 1e-9 * self.trees() as f64;
        if total <= noise {
            return vec![1.0 / self.features as f64; self.features];
        }
        credit.into_iter().map(|credit| credit / total).collect()
    }

    fn credit_path(&self, from: u32, weight: f64, row: &[f32], credit: &mut [f64], open: &mut Vec<(u32, f64)>) {
        let mut at = from;
        loop {
            let node = self.nodes[at as usize];
            if node.next == at {
                return;
            }
            let value = row[node.feature as usize];
            if value.is_nan() {
                let left_share = self.left_share(node);
                open.push((node.next, weight * left_share));
                open.push((node.next + 1, weight * (1.0 - left_share)));
                return;
            }
            let next = node.next + u32::from(value >= node.threshold);
            let drop = self.path[at as usize] - self.path[next as usize];
            credit[node.feature as usize] += weight * drop;
            at = next;
        }
    }

    /// The trees one by one, as they were grown.
    pub(super) fn to_trees(&self) -> Vec<Vec<TreeNode>> {
        let mut ends = self.roots[1..].to_vec();
        ends.push(self.nodes.len() as u32);
        let mut trees = Vec::with_capacity(self.trees());
        for (&root, end) in self.roots.iter().zip(ends) {
            let mut tree = Vec::with_capacity((end - root) as usize);
            for at in root..end {
                let node = self.nodes[at as usize];
                let cut = (node.next != at).then(|| Cut {
                    feature: node.feature,
                    threshold: node.threshold,
                    left: node.next - root,
                });
                tree.push(TreeNode { cut, size: node.size });
            }
            trees.push(tree);
        }
        trees
    }
}

/// Equal if the trees are.
impl PartialEq for IsolationForest {
    fn eq(&self, other: &Self) -> bool {
        self.features == other.features && self.sample_size == other.sample_size && self.to_trees() == other.to_trees()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

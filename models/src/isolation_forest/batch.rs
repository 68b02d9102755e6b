//! Scores many rows at once, with the vector unit and without gathers.
//!
//! A walk down a tree waits at every cut for the one before. Here, instead, every cut of a tree is asked
//! of every row, in the order in which the cuts lie. A row stands at a leaf, at first at the leftmost one.
//! A cut whose leftmost leaf is where the row stands has been reached by it; if the row belongs right, it
//! moves on to the leftmost leaf of the right side. When the cuts are through, each row stands at its own
//! leaf. That is a few byte operations a cut on a whole vector of rows, and no branch or address depends
//! on the data: of the paper's trees some 60 cuts are asked instead of 8, but of 32 rows at a time.
//!
//! No row takes another side than in a walk, and path lengths are added in the same order: same bits.

use std::slice::ChunksExact;

use super::algorithm::IsolationForest;
use super::plan::{AskedCut, AskedTree, Chapter, Part, prepare};

/// Rows taken through all trees before the next ones are, so that what is known of them stays in cache.
pub(super) const BLOCK: usize = 256;
/// From how many rows on the preparation pays, which costs as much as the walks of some three hundred.
pub(super) const WORTHWHILE: usize = 384;
/// Rows that walk down a large tree side by side.
const LANES: usize = 4;

/// A forest prepared for many rows.
pub(super) struct Plan<'a> {
    forest: &'a IsolationForest,
    parts: Vec<Part>,
    /// Features that are cut at all.
    cut_features: Vec<usize>,
}

/// What one thread computes with.
#[derive(Default)]
pub(super) struct Scratch {
    /// By feature of the chapter: each row's rank among the chapter's thresholds.
    ranks: Vec<[u16; BLOCK]>,
    /// By column of the group: each row's rank among the group's thresholds, less 128.
    columns: Vec<[i8; BLOCK]>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(forest: &'a IsolationForest) -> Self {
        let trees = forest.as_trees();
        let mut is_cut = vec![false; forest.features()];
        for tree in 0..trees.len() {
            trees.visit(trees.root(tree), |node| {
                if !node.is_leaf() {
                    is_cut[trees.cut(node).0] = true;
                }
            });
        }
        let cut_features = (0..is_cut.len()).filter(|feature| is_cut[*feature]).collect();
        Self { forest, parts: prepare(trees, forest.features()), cut_features }
    }

    /// Whether a value is missing that a cut looks at.
    pub(super) fn is_missing(&self, row: &[f32]) -> bool {
        // Mostly none is; to see that takes no branch a value.
        let any = row.iter().fold(false, |any, value| any | value.is_nan());
        any && self.cut_features.iter().any(|feature| row[*feature].is_nan())
    }

    /// Adds up the path lengths of each row over all trees, in the order of the trees. There are
    /// `sums.len()` rows, at most `BLOCK`, and a row that [misses](Self::is_missing) a value gets no
    /// meaningful sum.
    pub(super) fn sum_path_lengths(&self, rows: ChunksExact<'_, f32>, sums: &mut [f64], scratch: &mut Scratch) {
        let mut padded = [0.0; BLOCK];
        for part in &self.parts {
            match part {
                Part::Asked(chapter) => ask(chapter, rows.clone(), &mut padded, scratch),
                Part::Walked(tree) => self.walk(*tree, rows.clone(), &mut padded),
            }
        }
        sums.copy_from_slice(&padded[..sums.len()]);
    }

    fn walk(&self, tree: usize, mut rows: ChunksExact<'_, f32>, sums: &mut [f64; BLOCK]) {
        let trees = self.forest.as_trees();
        let root = trees.root(tree);
        let mut sums = sums.iter_mut();
        while rows.len() > 0 {
            let lanes: [Option<&[f32]>; LANES] = std::array::from_fn(|_| rows.next());
            // Where fewer rows are left, the last lanes walk with the first.
            let lengths =
                trees.walk([root; LANES], lanes.map(|row| row.or(lanes[0]).expect("one row is left at least")));
            for (length, sum) in lengths.iter().zip(&mut sums) {
                *sum += length;
            }
        }
    }
}

fn ask(chapter: &Chapter, rows: ChunksExact<'_, f32>, sums: &mut [f64; BLOCK], scratch: &mut Scratch) {
    scratch.ranks.resize(chapter.features.len(), [0; BLOCK]);
    for (cut, ranks) in chapter.features.iter().zip(&mut scratch.ranks) {
        // Of rows that are not there, any rank will do.
        let mut values = [0.0; BLOCK];
        for (row, value) in rows.clone().zip(&mut values) {
            *value = row[cut.feature];
        }
        *ranks = cut.thresholds.rank(&values);
    }
    for group in &chapter.groups {
        scratch.columns.resize(group.columns.len(), [0; BLOCK]);
        for (column, out) in group.columns.iter().zip(&mut scratch.columns) {
            for (rank, out) in scratch.ranks[column.feature].iter().zip(out) {
                *out = column.ranks[usize::from(*rank)];
            }
        }
        add_path_lengths(&group.trees, &scratch.columns, sums);
    }
}

/// Adds the path length of each row in each tree to the row's sum, in the order of the trees, with the widest
/// vectors at hand. Without AVX2 the same code runs on those of sixteen bytes, half as fast.
fn add_path_lengths(trees: &[AskedTree], columns: &[[i8; BLOCK]], sums: &mut [f64; BLOCK]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = pulp::x86::V3::try_new() {
        return avx2.vectorize(Avx2 { trees, columns, sums });
    }
    add_with_any_vectors(trees, columns, sums);
}

#[cfg(target_arch = "x86_64")]
struct Avx2<'a> {
    trees: &'a [AskedTree],
    columns: &'a [[i8; BLOCK]],
    sums: &'a mut [f64; BLOCK],
}

#[cfg(target_arch = "x86_64")]
impl pulp::NullaryFnOnce for Avx2<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        add_with_any_vectors(self.trees, self.columns, self.sums);
    }
}

/// Built with the instructions of its caller, if it is inlined and has no closures.
#[inline(always)]
fn add_with_any_vectors(trees: &[AskedTree], columns: &[[i8; BLOCK]], sums: &mut [f64; BLOCK]) {
    let (fours, rest) = trees.as_chunks::<4>();
    for trees in fours {
        let mut leaves = [[0; BLOCK]; 4];
        for (tree, leaves) in trees.iter().zip(&mut leaves) {
            find_leaves(&tree.cuts, columns, leaves);
        }
        // Four at once, so that a sum is fetched and put back once for four trees.
        let [first, second, third, fourth] = trees;
        for row in 0..BLOCK {
            let mut sum = sums[row];
            sum += first.path_lengths[usize::from(leaves[0][row])];
            sum += second.path_lengths[usize::from(leaves[1][row])];
            sum += third.path_lengths[usize::from(leaves[2][row])];
            sum += fourth.path_lengths[usize::from(leaves[3][row])];
            sums[row] = sum;
        }
    }
    for tree in rest {
        let mut leaves = [0; BLOCK];
        find_leaves(&tree.cuts, columns, &mut leaves);
        for (leaf, sum) in leaves.iter().zip(&mut *sums) {
            *sum += tree.path_lengths[usize::from(*leaf)];
        }
    }
}

#[inline(always)]
fn find_leaves(cuts: &[AskedCut], columns: &[[i8; BLOCK]], leaves: &mut [u8; BLOCK]) {
    // Here, not behind the reference: they stay in registers.
    let mut at = [0_u8; BLOCK];
    // Taken apart here, or the loop below is not vectorised.
    for &AskedCut { column, threshold, reached, right } in cuts {
        let ranks = &columns[column as usize];
        for row in 0..BLOCK {
            let goes_right = (ranks[row] > threshold) & (at[row] == reached);
            at[row] = if goes_right { right } else { at[row] };
        }
    }
    *leaves = at;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation_forest::IsolationForestParams;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn width_of_the_vectors_does_not_change_bits() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let rows: Vec<f32> = (0..2_000 * 3).map(|_| rng.random()).collect();
        let params = IsolationForestParams { trees: 30, sample_size: 128, seed: 1 }.check().unwrap();
        let forest = params.fit(&rows, 3).unwrap();
        let plan = Plan::new(&forest);
        let [Part::Asked(chapter)] = plan.parts.as_slice() else { panic!("one chapter is wanted") };
        let columns: Vec<[i8; BLOCK]> = (0..3).map(|_| std::array::from_fn(|_| rng.random())).collect();
        for group in &chapter.groups {
            let (mut widest, mut any) = ([0.1; BLOCK], [0.1; BLOCK]);
            add_path_lengths(&group.trees, &columns, &mut widest);
            add_with_any_vectors(&group.trees, &columns, &mut any);
            assert_eq!(widest, any);
        }
    }
}

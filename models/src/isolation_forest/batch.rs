//! Scores many rows at once, with the vector unit and without gathers.
//!
//! A walk down a tree waits at every cut for the one before. Here, instead, every cut of a tree is asked
//! of every row, in the order in which the cuts lie. A row stands at a leaf, at first at the leftmost one.
//! A cut whose leftmost leaf is where the row stands has been reached by it; if the row belongs right, it
//! moves on to the leftmost leaf of the right side. When the cuts are through, each row stands at its own
//! leaf. That is three byte operations a cut on a whole vector of rows, and no branch or address depends
//! on the data: of the paper's trees some 60 cuts are asked instead of 8, but of 32 rows at a time.
//!
//! Bytes are enough because a value matters only by which thresholds it has reached: trees are taken in
//! groups with at most 255 different thresholds a feature, and values become ranks among those. No row
//! takes another side than in a walk, and path lengths are added in the same order: same bits.

use super::algorithm::IsolationForest;
use super::ranks::Thresholds;
use super::trees::{Subtree, Trees};

/// Rows taken through all trees before the next ones are, so that what is known of them stays in cache.
pub(super) const BLOCK: usize = 256;
/// From how many rows on the preparation pays, which costs as much as the walks of some hundred.
pub(super) const WORTHWHILE: usize = 512;
/// Thresholds of one feature that fit a byte beside "below all of them".
const MAX_THRESHOLDS: usize = 255;
/// Leaves that fit a byte.
const MAX_LEAVES: usize = 256;
/// Trees whose path lengths are added in one go over the rows.
const AT_ONCE: usize = 4;

/// A forest prepared for many rows.
pub(super) struct Plan<'a> {
    forest: &'a IsolationForest,
    features: Vec<CutFeature>,
    groups: Vec<Group>,
}

/// A feature that is cut.
struct CutFeature {
    feature: usize,
    /// Over all trees.
    thresholds: Thresholds,
}

/// Trees that follow one another.
enum Group {
    Asked { columns: Vec<Column>, trees: Vec<AskedTree> },
    /// A tree with more leaves or thresholds than a byte can tell apart: its rows walk.
    Walked(usize),
}

/// A feature as a group of trees sees it.
struct Column {
    /// Which of [`Plan::features`].
    feature: usize,
    /// By a value's rank among all thresholds of the feature: its rank among the group's, less 128.
    ranks: Vec<i8>,
}

struct AskedTree {
    cuts: Vec<AskedCut>,
    /// By leaf. A byte cannot point past the end.
    path_lengths: Box<[f64; MAX_LEAVES]>,
}

#[derive(Clone, Copy)]
struct AskedCut {
    /// Which of the group's columns.
    column: u32,
    /// Rows with a rank above this one belong right.
    threshold: i8,
    /// The leftmost leaf.
    reached: u8,
    /// The leftmost leaf of the right side.
    right: u8,
}

/// What one thread computes with.
pub(super) struct Scratch {
    /// By feature of the plan: each row's rank among all thresholds.
    ranks: Vec<[u32; BLOCK]>,
    /// By column of the group: each row's rank among the group's thresholds, less 128.
    columns: Vec<[i8; BLOCK]>,
    open: Vec<(Subtree, f64)>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(forest: &'a IsolationForest) -> Self {
        let trees = forest.as_trees();
        let mut by_feature: Vec<Vec<f32>> = vec![Vec::new(); forest.features()];
        for tree in 0..trees.len() {
            trees.visit(trees.root(tree), |node| {
                if !node.is_leaf() {
                    let (feature, threshold) = trees.cut(node);
                    by_feature[feature].push(threshold);
                }
            });
        }
        let mut features = Vec::new();
        // Which of `features` a feature is; not read for a feature that is never cut.
        let mut position = vec![0; forest.features()];
        for (feature, thresholds) in by_feature.into_iter().enumerate() {
            if !thresholds.is_empty() {
                position[feature] = features.len();
                features.push(CutFeature { feature, thresholds: Thresholds::new(thresholds) });
            }
        }
        let groups = group_trees(trees, &features, &position);
        Self { forest, features, groups }
    }

    /// Room for one thread's work.
    pub(super) fn scratch(&self) -> Scratch {
        Scratch { ranks: vec![[0; BLOCK]; self.features.len()], columns: Vec::new(), open: Vec::new() }
    }

    /// Adds up the path lengths of each row over all trees, in the order of the trees. There are
    /// `sums.len()` rows, row-major, at most `BLOCK`.
    pub(super) fn sum_path_lengths(&self, rows: &[f32], sums: &mut [f64], scratch: &mut Scratch) {
        let width = self.forest.features();
        for (column, ranks) in self.features.iter().zip(&mut scratch.ranks) {
            for (row, rank) in rows.chunks_exact(width).zip(ranks) {
                *rank = column.thresholds.rank(row[column.feature]) as u32;
            }
        }
        let mut padded = [0.0; BLOCK];
        for group in &self.groups {
            match group {
                Group::Asked { columns, trees } => {
                    scratch.columns.resize(columns.len(), [0; BLOCK]);
                    for (column, out) in columns.iter().zip(&mut scratch.columns) {
                        for (rank, out) in scratch.ranks[column.feature].iter().zip(out) {
                            *out = column.ranks[*rank as usize];
                        }
                    }
                    add_path_lengths(trees, &scratch.columns, &mut padded);
                }
                Group::Walked(tree) => {
                    for (row, sum) in rows.chunks_exact(width).zip(&mut padded) {
                        *sum += self.forest.path_length_in(*tree, row, &mut scratch.open);
                    }
                }
            }
        }
        sums.copy_from_slice(&padded[..sums.len()]);
    }
}

fn group_trees(trees: &Trees, features: &[CutFeature], position: &[usize]) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut marks = Marks::new(features);
    let mut members = Vec::new();
    for tree in 0..trees.len() {
        let root = trees.root(tree);
        let mut cuts = Vec::with_capacity(root.leaves - 1);
        trees.visit(root, |node| {
            if !node.is_leaf() {
                let (feature, threshold) = trees.cut(node);
                let feature = position[feature];
                // It reaches itself; less that one, it is its place among them.
                let rank = features[feature].thresholds.rank(threshold) - 1;
                cuts.push((feature, rank, node));
            }
        });
        let ranks = || cuts.iter().map(|(feature, rank, _)| (*feature, *rank));
        if root.leaves <= MAX_LEAVES && marks.add(ranks()) {
            members.push((tree, cuts));
            continue;
        }
        groups.extend(close_group(trees, &mut marks, &mut members));
        if root.leaves <= MAX_LEAVES && marks.add(ranks()) {
            members.push((tree, cuts));
        } else {
            groups.push(Group::Walked(tree));
        }
    }
    groups.extend(close_group(trees, &mut marks, &mut members));
    groups
}

/// A tree's cuts, each with its feature and its threshold's rank among all thresholds of the feature.
type Member = (usize, Vec<(usize, usize, Subtree)>);

/// The group of the trees collected, if there are any; what was collected is empty then.
fn close_group(trees: &Trees, marks: &mut Marks, members: &mut Vec<Member>) -> Option<Group> {
    if members.is_empty() {
        return None;
    }
    let (columns, column_of) = marks.take();
    let mut asked = Vec::with_capacity(members.len());
    for (tree, cuts) in members.drain(..) {
        let root = trees.root(tree);
        let leaf = |node: Subtree| (node.leaf - root.leaf) as u8;
        let cuts = cuts.into_iter().map(|(feature, rank, node)| AskedCut {
            column: column_of[feature],
            // A value that reaches the threshold has at least one threshold more below it than the threshold has.
            threshold: columns[column_of[feature] as usize].ranks[rank],
            reached: leaf(node),
            right: leaf(trees.right(node)),
        });
        let cuts = cuts.collect();
        let mut path_lengths = Box::new([0.0; MAX_LEAVES]);
        trees.visit(root, |node| {
            if node.is_leaf() {
                path_lengths[usize::from(leaf(node))] = trees.path_length(node);
            }
        });
        asked.push(AskedTree { cuts, path_lengths });
    }
    Some(Group::Asked { columns, trees: asked })
}

/// Which thresholds a group of trees has, by feature and rank.
struct Marks {
    marked: Vec<Vec<bool>>,
    count: Vec<usize>,
}

impl Marks {
    fn new(features: &[CutFeature]) -> Self {
        let marked = features.iter().map(|feature| vec![false; feature.thresholds.len()]).collect();
        Self { marked, count: vec![0; features.len()] }
    }

    /// Marks these, unless a feature would have too many: then nothing changes, and the answer is no.
    fn add(&mut self, ranks: impl Iterator<Item = (usize, usize)>) -> bool {
        let mut added = Vec::new();
        let mut fits = true;
        for (feature, rank) in ranks {
            if !std::mem::replace(&mut self.marked[feature][rank], true) {
                self.count[feature] += 1;
                fits &= self.count[feature] <= MAX_THRESHOLDS;
                added.push((feature, rank));
            }
        }
        if !fits {
            for (feature, rank) in added {
                self.marked[feature][rank] = false;
                self.count[feature] -= 1;
            }
        }
        fits
    }

    /// A column for each feature with marks, and by feature which column it is; the marks are gone then.
    fn take(&mut self) -> (Vec<Column>, Vec<u32>) {
        let mut columns = Vec::new();
        let mut column_of = vec![0; self.count.len()];
        for (feature, marked) in self.marked.iter_mut().enumerate() {
            if std::mem::take(&mut self.count[feature]) == 0 {
                continue;
            }
            column_of[feature] = columns.len() as u32;
            let mut rank = i8::MIN;
            let mut ranks = vec![rank];
            for mark in marked {
                // At most 255 steps up from -128.
                rank += i8::from(std::mem::take(mark));
                ranks.push(rank);
            }
            columns.push(Column { feature, ranks });
        }
        (columns, column_of)
    }
}

/// Adds the path length of each row in each tree to the row's sum, in the order of the trees.
fn add_path_lengths(trees: &[AskedTree], columns: &[[i8; BLOCK]], sums: &mut [f64; BLOCK]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = pulp::x86::V3::try_new() {
        return avx2.vectorize(Avx2 { trees, columns, sums });
    }
    // 128 bytes are what sixteen-byte registers hold beside what they are compared with.
    add_in_registers::<128>(trees, columns, sums);
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
        add_in_registers::<256>(self.trees, self.columns, self.sums);
    }
}

/// `ROWS` is how many rows' leaves stay in registers; it divides `BLOCK`.
#[inline(always)]
fn add_in_registers<const ROWS: usize>(trees: &[AskedTree], columns: &[[i8; BLOCK]], sums: &mut [f64; BLOCK]) {
    let (fours, rest) = trees.as_chunks::<AT_ONCE>();
    for trees in fours {
        let mut leaves = [[0; BLOCK]; AT_ONCE];
        for (tree, leaves) in trees.iter().zip(&mut leaves) {
            find_leaves::<ROWS>(&tree.cuts, columns, leaves);
        }
        let path_lengths = trees.each_ref().map(|tree| &*tree.path_lengths);
        for row in 0..BLOCK {
            let mut sum = sums[row];
            for tree in 0..AT_ONCE {
                sum += path_lengths[tree][usize::from(leaves[tree][row])];
            }
            sums[row] = sum;
        }
    }
    for tree in rest {
        let mut leaves = [0; BLOCK];
        find_leaves::<ROWS>(&tree.cuts, columns, &mut leaves);
        for (leaf, sum) in leaves.iter().zip(&mut *sums) {
            *sum += tree.path_lengths[usize::from(*leaf)];
        }
    }
}

#[inline(always)]
fn find_leaves<const ROWS: usize>(cuts: &[AskedCut], columns: &[[i8; BLOCK]], leaves: &mut [u8; BLOCK]) {
    let (parts, _) = leaves.as_chunks_mut::<ROWS>();
    for (part, leaves) in parts.iter_mut().enumerate() {
        let mut at = [0_u8; ROWS];
        for &AskedCut { column, threshold, reached, right } in cuts {
            let (ranks, _) = columns[column as usize].as_chunks::<ROWS>();
            let ranks = &ranks[part];
            for row in 0..ROWS {
                let goes_right = (ranks[row] > threshold) & (at[row] == reached);
                at[row] = if goes_right { right } else { at[row] };
            }
        }
        *leaves = at;
    }
}

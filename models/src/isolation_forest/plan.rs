//! A forest prepared for scoring many rows in `batch`: cuts in bytes.
//!
//! A value matters to a tree only by which thresholds it has reached, so its rank among them will do. Trees
//! are taken in groups that have at most 255 different thresholds of each feature: ranks fit a byte there.
//! The rank in a group is looked up by the rank among the thresholds of a chapter of groups, which is
//! searched for once.

use super::ranks::Thresholds;
use super::trees::{Subtree, Trees};

/// Thresholds of one feature that fit a byte beside "below all of them".
const MAX_THRESHOLDS: usize = 255;
/// Leaves that fit a byte.
pub(super) const MAX_LEAVES: usize = 256;
/// Cuts of a chapter. Its look-ups take a byte for every threshold and group, which must not grow with the
/// square of a forest. The paper's forest is one chapter of some 6,000 cuts.
const MAX_CUTS: u32 = 16_384;

/// Trees that follow one another.
pub(super) enum Part {
    Asked(Chapter),
    /// A tree with more leaves than a byte can tell apart: its rows walk.
    Walked(usize),
}

pub(super) struct Chapter {
    pub(super) features: Vec<CutFeature>,
    pub(super) groups: Vec<Group>,
}

/// A feature that the chapter's trees cut.
pub(super) struct CutFeature {
    pub(super) feature: usize,
    pub(super) thresholds: Thresholds,
}

pub(super) struct Group {
    pub(super) columns: Vec<Column>,
    pub(super) trees: Vec<AskedTree>,
}

/// A feature as a group of trees sees it.
pub(super) struct Column {
    /// Which of the chapter's features.
    pub(super) feature: usize,
    /// By a value's rank among the chapter's thresholds: its rank among the group's, less 128.
    pub(super) ranks: Vec<i8>,
}

pub(super) struct AskedTree {
    pub(super) cuts: Vec<AskedCut>,
    /// By leaf. A byte cannot point past the end.
    pub(super) path_lengths: Box<[f64; MAX_LEAVES]>,
}

#[derive(Clone, Copy)]
pub(super) struct AskedCut {
    /// Which of the group's columns.
    pub(super) column: u32,
    /// Rows with a rank above this one belong right.
    pub(super) threshold: i8,
    /// The leftmost leaf.
    pub(super) reached: u8,
    /// The leftmost leaf of the right side.
    pub(super) right: u8,
}

/// All trees in their order, prepared. `features` is how many values a row has.
pub(super) fn prepare(trees: &Trees, features: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut tree = 0;
    while tree < trees.len() {
        let start = tree;
        let mut cuts = 0;
        while tree < trees.len() && trees.root(tree).leaves <= MAX_LEAVES as u32 && cuts < MAX_CUTS {
            cuts += trees.root(tree).leaves - 1;
            tree += 1;
        }
        if tree > start {
            parts.push(Part::Asked(Chapter::new(trees, start..tree, features)));
        } else {
            parts.push(Part::Walked(tree));
            tree += 1;
        }
    }
    parts
}

impl Chapter {
    fn new(trees: &Trees, range: std::ops::Range<usize>, features: usize) -> Self {
        let mut by_feature: Vec<Vec<f32>> = vec![Vec::new(); features];
        for tree in range.clone() {
            trees.visit(trees.root(tree), |node| {
                if !node.is_leaf() {
                    let (feature, threshold) = trees.cut(node);
                    by_feature[feature].push(threshold);
                }
            });
        }
        let mut features = Vec::new();
        // Which of the chapter's features a feature is; not read for a feature that is never cut.
        let mut position = vec![0; by_feature.len()];
        for (feature, thresholds) in by_feature.into_iter().enumerate() {
            if !thresholds.is_empty() {
                position[feature] = features.len();
                features.push(CutFeature { feature, thresholds: Thresholds::new(thresholds) });
            }
        }

        let mut groups = Vec::new();
        let mut marks = Marks::new(&features);
        let mut members = Vec::new();
        for tree in range {
            let mut cuts = Vec::new();
            trees.visit(trees.root(tree), |node| {
                if !node.is_leaf() {
                    let (feature, threshold) = trees.cut(node);
                    let feature = position[feature];
                    // It reaches itself; less that one, it is its place among them.
                    let [reached] = features[feature].thresholds.rank(&[threshold]);
                    let rank = usize::from(reached - 1);
                    cuts.push(RankedCut { feature, rank, node });
                }
            });
            if !marks.add(&cuts) {
                groups.push(Group::new(trees, &mut marks, std::mem::take(&mut members)));
                // A single tree has too few cuts to be too much.
                marks.add(&cuts);
            }
            members.push((tree, cuts));
        }
        groups.push(Group::new(trees, &mut marks, members));
        Self { features, groups }
    }
}

struct RankedCut {
    /// Which of the chapter's features.
    feature: usize,
    /// Its threshold's place among the chapter's.
    rank: usize,
    node: Subtree,
}

impl Group {
    /// Of trees whose thresholds are marked; the marks are gone then.
    fn new(trees: &Trees, marks: &mut Marks, members: Vec<(usize, Vec<RankedCut>)>) -> Self {
        let (columns, column_of) = marks.take();
        let mut asked = Vec::with_capacity(members.len());
        for (tree, ranked) in members {
            let root = trees.root(tree);
            let leaf = |node: Subtree| (node.leaf - root.leaf) as u8;
            let mut cuts = Vec::with_capacity(ranked.len());
            for RankedCut { feature, rank, node } in ranked {
                let column = column_of[feature];
                // A value that has reached the threshold has a rank at least one above it.
                let threshold = columns[column].ranks[rank];
                let right = leaf(trees.right(node));
                cuts.push(AskedCut { column: column as u32, threshold, reached: leaf(node), right });
            }
            let mut path_lengths = Box::new([0.0; MAX_LEAVES]);
            trees.visit(root, |node| {
                if node.is_leaf() {
                    path_lengths[usize::from(leaf(node))] = trees.path_length(node);
                }
            });
            asked.push(AskedTree { cuts, path_lengths });
        }
        Self { columns, trees: asked }
    }
}

/// Which thresholds a group of trees has, by feature and rank in the chapter.
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
    fn add(&mut self, cuts: &[RankedCut]) -> bool {
        let mut added = Vec::new();
        let mut fits = true;
        for &RankedCut { feature, rank, .. } in cuts {
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
    fn take(&mut self) -> (Vec<Column>, Vec<usize>) {
        let mut columns = Vec::new();
        let mut column_of = vec![0; self.count.len()];
        for (feature, marked) in self.marked.iter_mut().enumerate() {
            if std::mem::take(&mut self.count[feature]) == 0 {
                continue;
            }
            column_of[feature] = columns.len();
            let mut rank = i8::MIN;
            let mut ranks = Vec::with_capacity(marked.len() + 1);
            ranks.push(rank);
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

//! How the trees lie in memory: cuts in the order in which a walk that takes the left side first meets
//! them, leaves from left to right. Where a subtree's cuts and leaves are follows from how many leaves
//! its left sides have, so no node points to another, and six bytes a cut and one a leaf are enough for
//! the paper's trees of 256 rows.

use std::hint::select_unpredictable;
use std::ops::Range;

use super::algorithm::average_path_length;
use super::build::{Cut, TreeNode};

/// Whole numbers, a byte each where all of them fit one.
#[derive(Clone, Debug, PartialEq)]
enum Packed {
    Bytes(Vec<u8>),
    Words(Vec<u16>),
}

impl Packed {
    fn new(values: Vec<u16>) -> Self {
        if values.iter().all(|value| *value <= u16::from(u8::MAX)) {
            return Self::Bytes(values.into_iter().map(|value| value as u8).collect());
        }
        Self::Words(values)
    }

    #[inline]
    fn get(&self, at: usize) -> u32 {
        match self {
            Self::Bytes(values) => u32::from(values[at]),
            Self::Words(values) => u32::from(values[at]),
        }
    }

    fn sum(&self, range: Range<usize>) -> u32 {
        match self {
            Self::Bytes(values) => values[range].iter().map(|value| u32::from(*value)).sum(),
            Self::Words(values) => values[range].iter().map(|value| u32::from(*value)).sum(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Bytes(values) => values.capacity(),
            Self::Words(values) => 2 * values.capacity(),
        }
    }
}

/// A node with everything below it: `leaves` leaves from `leaf` on, and one cut fewer from `cut` on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subtree {
    pub(super) cut: u32,
    pub(super) leaf: u32,
    pub(super) leaves: u32,
    /// Edges from the root.
    pub(super) depth: u32,
}

impl Subtree {
    #[inline]
    pub(super) fn is_leaf(self) -> bool {
        self.leaves == 1
    }

    /// The left or the right side, chosen without a branch.
    #[inline]
    fn side(self, goes_right: bool, left_leaves: u32) -> Self {
        Self {
            cut: self.cut + select_unpredictable(goes_right, left_leaves, 1),
            leaf: self.leaf + select_unpredictable(goes_right, left_leaves, 0),
            leaves: select_unpredictable(goes_right, self.leaves.wrapping_sub(left_leaves), left_leaves),
            depth: self.depth + 1,
        }
    }
}

/// The trees of a forest. Two are equal if all their cuts and sizes are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trees {
    /// The first cut of each tree, and behind the last tree the number of cuts. A tree has one leaf more
    /// than it has cuts, so its first leaf is its first cut plus its own number.
    first_cut: Vec<u32>,
    feature: Packed,
    /// Rows go right if `value >= threshold`.
    threshold: Vec<f32>,
    left_leaves: Packed,
    /// Training rows in each leaf, less the one that every leaf has.
    size_less_one: Packed,
    /// `c(size)` for every size that a leaf has.
    rest_of_path: Vec<f64>,
}

/// One tree as it will lie among the others.
#[derive(Debug)]
pub(super) struct LaidTree {
    feature: Vec<u16>,
    threshold: Vec<f32>,
    left_leaves: Vec<u16>,
    size_less_one: Vec<u16>,
    /// Leaves below each node of the tree as it was grown.
    leaves: Vec<u32>,
    open: Vec<usize>,
}

impl LaidTree {
    /// Room for a tree of so many leaves: made beforehand, so that threads do not wait for each other's memory.
    pub(super) fn with_room(leaves: usize) -> Self {
        Self {
            feature: Vec::with_capacity(leaves),
            threshold: Vec::with_capacity(leaves),
            left_leaves: Vec::with_capacity(leaves),
            size_less_one: Vec::with_capacity(leaves),
            leaves: Vec::with_capacity(2 * leaves),
            open: Vec::with_capacity(leaves),
        }
    }

    /// Lays out a tree that is known to be sound: checked when read, so by construction when grown.
    pub(super) fn lay(&mut self, tree: &[TreeNode]) {
        count_leaves(tree, &mut self.leaves);
        self.open.push(0);
        while let Some(at) = self.open.pop() {
            match tree[at].cut {
                Some(cut) => {
                    let left = cut.left as usize;
                    self.feature.push(cut.feature as u16);
                    // Below zero or not is all that the sign of a zero could say.
                    self.threshold.push(cut.threshold + 0.0);
                    self.left_leaves.push(self.leaves[left] as u16);
                    self.open.push(left + 1);
                    self.open.push(left);
                }
                None => self.size_less_one.push((tree[at].size - 1) as u16),
            }
        }
    }
}

impl Trees {
    /// Lays out trees that are known to be sound.
    pub(super) fn new(trees: &[Vec<TreeNode>]) -> Self {
        let laid: Vec<LaidTree> = trees
            .iter()
            .map(|tree| {
                let mut laid = LaidTree::with_room(tree.len().div_ceil(2));
                laid.lay(tree);
                laid
            })
            .collect();
        Self::of(&laid)
    }

    /// Puts trees that are laid out one behind the other.
    pub(super) fn of(trees: &[LaidTree]) -> Self {
        let mut first_cut = Vec::with_capacity(trees.len() + 1);
        first_cut.push(0);
        let mut cuts = 0;
        for tree in trees {
            cuts += tree.threshold.len();
            first_cut.push(cuts as u32);
        }
        let mut threshold = Vec::with_capacity(cuts);
        trees.iter().for_each(|tree| threshold.extend_from_slice(&tree.threshold));
        let all = |of: fn(&LaidTree) -> &[u16], count: usize| {
            let mut joined = Vec::with_capacity(count);
            trees.iter().for_each(|tree| joined.extend_from_slice(of(tree)));
            joined
        };
        let size_less_one = all(|tree| &tree.size_less_one, cuts + trees.len());
        let largest = size_less_one.iter().copied().max().map_or(0, |most| usize::from(most) + 1);
        Self {
            first_cut,
            feature: Packed::new(all(|tree| &tree.feature, cuts)),
            threshold,
            left_leaves: Packed::new(all(|tree| &tree.left_leaves, cuts)),
            size_less_one: Packed::new(size_less_one),
            rest_of_path: (0..=largest).map(average_path_length).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.first_cut.len() - 1
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        4 * self.first_cut.capacity()
            + self.feature.bytes()
            + 4 * self.threshold.capacity()
            + self.left_leaves.bytes()
            + self.size_less_one.bytes()
            + 8 * self.rest_of_path.capacity()
    }

    pub(super) fn cuts(&self) -> usize {
        self.threshold.len()
    }

    /// A whole tree.
    pub(super) fn root(&self, tree: usize) -> Subtree {
        let (cut, end) = (self.first_cut[tree], self.first_cut[tree + 1]);
        Subtree { cut, leaf: cut + tree as u32, leaves: end - cut + 1, depth: 0 }
    }

    /// What the subtree's first cut looks at, and the threshold.
    #[inline]
    pub(super) fn cut(&self, subtree: Subtree) -> (usize, f32) {
        let at = subtree.cut as usize;
        (self.feature.get(at) as usize, self.threshold[at])
    }

    pub(super) fn left(&self, subtree: Subtree) -> Subtree {
        subtree.side(false, self.left_leaves.get(subtree.cut as usize))
    }

    pub(super) fn right(&self, subtree: Subtree) -> Subtree {
        subtree.side(true, self.left_leaves.get(subtree.cut as usize))
    }

    /// The side that a value takes, which is not NaN.
    #[inline]
    pub(super) fn side(&self, subtree: Subtree, value: f32, threshold: f32) -> Subtree {
        subtree.side(value >= threshold, self.left_leaves.get(subtree.cut as usize))
    }

    /// Takes rows without missing values down to their leaves, each from a root of its own, and says how long
    /// their paths are. Side by side their look-ups overlap, and no branch depends on which side a row takes.
    pub(super) fn walk<const LANES: usize>(&self, roots: [Subtree; LANES], rows: [&[f32]; LANES]) -> [f64; LANES] {
        let mut at = roots;
        while at.iter().any(|at| !at.is_leaf()) {
            for (at, row) in at.iter_mut().zip(rows) {
                // A leaf may lie behind the last cut; it takes no side, whichever cut it looks at.
                let cut = (at.cut as usize).min(self.threshold.len() - 1);
                let goes_right = row[self.feature.get(cut) as usize] >= self.threshold[cut];
                let next = at.side(goes_right, self.left_leaves.get(cut));
                *at = select_unpredictable(at.is_leaf(), *at, next);
            }
        }
        at.map(|leaf| self.path_length(leaf))
    }

    /// Path length of a row: where its value is missing (NaN), the mean of both sides, weighted by their
    /// training rows.
    pub(super) fn mean_path_length(&self, subtree: Subtree, row: &[f32]) -> f64 {
        let mut at = subtree;
        while !at.is_leaf() {
            let (feature, threshold) = self.cut(at);
            let value = row[feature];
            if value.is_nan() {
                let [left, right] = [self.left(at), self.right(at)].map(|side| self.mean_path_length(side, row));
                return self.weighted_mean(at, left, right);
            }
            at = self.side(at, value, threshold);
        }
        self.path_length(at)
    }

    /// The mean over the subtree's training rows, where it is `left` over those that went left and `right` over
    /// the others.
    pub(super) fn weighted_mean(&self, subtree: Subtree, left: f64, right: f64) -> f64 {
        let left_share = self.left_share(subtree);
        left_share * left + (1.0 - left_share) * right
    }

    /// The share of its training rows that went left.
    pub(super) fn left_share(&self, subtree: Subtree) -> f64 {
        let (left, right) = (self.size(self.left(subtree)), self.size(self.right(subtree)));
        f64::from(left) / f64::from(left + right)
    }

    /// Training rows that reached the subtree.
    pub(super) fn size(&self, subtree: Subtree) -> u32 {
        let first = subtree.leaf as usize;
        subtree.leaves + self.size_less_one.sum(first..first + subtree.leaves as usize)
    }

    /// Path length of a row that ends in this leaf: `depth + c(size)`.
    #[inline]
    pub(super) fn path_length(&self, leaf: Subtree) -> f64 {
        let size = self.size_less_one.get(leaf.leaf as usize) + 1;
        f64::from(leaf.depth) + self.rest_of_path[size as usize]
    }

    /// Calls `each` with every node of the subtree: cuts in the order in which they lie, leaves from left to right.
    pub(super) fn visit(&self, subtree: Subtree, mut each: impl FnMut(Subtree)) {
        let mut open = vec![subtree];
        while let Some(node) = open.pop() {
            each(node);
            if !node.is_leaf() {
                open.push(self.right(node));
                open.push(self.left(node));
            }
        }
    }

    /// The nodes of one tree, in the order in which it was grown.
    pub(super) fn nodes(&self, tree: usize) -> Vec<TreeNode> {
        let root = self.root(tree);
        let mut nodes = vec![TreeNode { cut: None, size: self.size(root) }];
        let mut open = vec![(0, root)];
        while let Some((node, subtree)) = open.pop() {
            if subtree.is_leaf() {
                continue;
            }
            let (feature, threshold) = self.cut(subtree);
            let at = nodes.len();
            nodes[node].cut = Some(Cut { feature: feature as u32, threshold, left: at as u32 });
            let (left, right) = (self.left(subtree), self.right(subtree));
            nodes.push(TreeNode { cut: None, size: self.size(left) });
            nodes.push(TreeNode { cut: None, size: self.size(right) });
            open.push((at + 1, right));
            open.push((at, left));
        }
        nodes
    }
}

/// How many leaves there are under each node. Children lie behind their parent.
fn count_leaves(tree: &[TreeNode], leaves: &mut Vec<u32>) {
    leaves.clear();
    leaves.resize(tree.len(), 1);
    for (at, node) in tree.iter().enumerate().rev() {
        if let Some(Cut { left, .. }) = node.cut {
            leaves[at] = leaves[left as usize] + leaves[left as usize + 1];
        }
    }
}

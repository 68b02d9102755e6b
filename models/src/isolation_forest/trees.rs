//! How the trees lie in memory: cuts in the order in which a walk that takes the left side first meets
//! them, leaves from left to right. Where a subtree's cuts and leaves are follows from how many leaves
//! its left sides have, so no node points to another, and six bytes a cut and one a leaf are enough for
//! the paper's trees of 256 rows.

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

    fn get(&self, at: usize) -> usize {
        match self {
            Self::Bytes(values) => usize::from(values[at]),
            Self::Words(values) => usize::from(values[at]),
        }
    }

    fn sum(&self, range: std::ops::Range<usize>) -> usize {
        match self {
            Self::Bytes(values) => values[range].iter().map(|value| u32::from(*value)).sum::<u32>() as usize,
            Self::Words(values) => values[range].iter().map(|value| u32::from(*value)).sum::<u32>() as usize,
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
    pub(super) cut: usize,
    pub(super) leaf: usize,
    pub(super) leaves: usize,
    /// Edges from the root.
    pub(super) depth: u32,
}

impl Subtree {
    pub(super) fn is_leaf(self) -> bool {
        self.leaves == 1
    }

    fn left(self, left_leaves: usize) -> Self {
        Self { cut: self.cut + 1, leaves: left_leaves, depth: self.depth + 1, ..self }
    }

    fn right(self, left_leaves: usize) -> Self {
        Self {
            cut: self.cut + left_leaves,
            leaf: self.leaf + left_leaves,
            leaves: self.leaves - left_leaves,
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

impl Trees {
    /// Lays out trees that are known to be sound: checked when read, so by construction when grown.
    pub(super) fn new(trees: &[Vec<TreeNode>]) -> Self {
        let nodes: usize = trees.iter().map(Vec::len).sum();
        let cuts = (nodes - trees.len()) / 2;
        let mut first_cut = Vec::with_capacity(trees.len() + 1);
        let (mut feature, mut threshold) = (Vec::with_capacity(cuts), Vec::with_capacity(cuts));
        let (mut left_leaves, mut size_less_one) = (Vec::with_capacity(cuts), Vec::with_capacity(cuts + trees.len()));
        let mut largest = 0;
        first_cut.push(0);
        let (mut leaves, mut open) = (Vec::new(), Vec::new());
        for tree in trees {
            count_leaves(tree, &mut leaves);
            open.push(0);
            while let Some(at) = open.pop() {
                match tree[at].cut {
                    Some(cut) => {
                        let left = cut.left as usize;
                        feature.push(cut.feature as u16);
                        // Below zero or not is all that the sign of a zero could say.
                        threshold.push(cut.threshold + 0.0);
                        left_leaves.push(leaves[left] as u16);
                        open.push(left + 1);
                        open.push(left);
                    }
                    None => {
                        largest = largest.max(tree[at].size as usize);
                        size_less_one.push((tree[at].size - 1) as u16);
                    }
                }
            }
            first_cut.push(threshold.len() as u32);
        }
        Self {
            first_cut,
            feature: Packed::new(feature),
            threshold,
            left_leaves: Packed::new(left_leaves),
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
        let (cut, end) = (self.first_cut[tree] as usize, self.first_cut[tree + 1] as usize);
        Subtree { cut, leaf: cut + tree, leaves: end - cut + 1, depth: 0 }
    }

    /// What the subtree's first cut looks at, and the threshold.
    pub(super) fn cut(&self, subtree: Subtree) -> (usize, f32) {
        (self.feature.get(subtree.cut), self.threshold[subtree.cut])
    }

    pub(super) fn left(&self, subtree: Subtree) -> Subtree {
        subtree.left(self.left_leaves.get(subtree.cut))
    }

    pub(super) fn right(&self, subtree: Subtree) -> Subtree {
        subtree.right(self.left_leaves.get(subtree.cut))
    }

    /// The side that a value takes, which is not NaN.
    pub(super) fn side(&self, subtree: Subtree, value: f32, threshold: f32) -> Subtree {
        if value >= threshold { self.right(subtree) } else { self.left(subtree) }
    }

    /// Training rows that reached the subtree.
    pub(super) fn size(&self, subtree: Subtree) -> usize {
        subtree.leaves + self.size_less_one.sum(subtree.leaf..subtree.leaf + subtree.leaves)
    }

    /// The share of its training rows that went left.
    pub(super) fn left_share(&self, subtree: Subtree) -> f64 {
        let (left, right) = (self.size(self.left(subtree)), self.size(self.right(subtree)));
        left as f64 / (left + right) as f64
    }

    /// Path length of a row that ends in this leaf: `depth + c(size)`.
    pub(super) fn path_length(&self, leaf: Subtree) -> f64 {
        let size = self.size_less_one.get(leaf.leaf) + 1;
        f64::from(leaf.depth) + self.rest_of_path[size]
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
        let mut nodes = vec![TreeNode { cut: None, size: self.size(root) as u32 }];
        let mut open = vec![(0, root)];
        while let Some((node, subtree)) = open.pop() {
            if subtree.is_leaf() {
                continue;
            }
            let (feature, threshold) = self.cut(subtree);
            let at = nodes.len();
            nodes[node].cut = Some(Cut { feature: feature as u32, threshold, left: at as u32 });
            let (left, right) = (self.left(subtree), self.right(subtree));
            nodes.push(TreeNode { cut: None, size: self.size(left) as u32 });
            nodes.push(TreeNode { cut: None, size: self.size(right) as u32 });
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

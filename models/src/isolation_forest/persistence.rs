//! An isolation forest as named arrays, and back. What is read is hostile: every index, count and
//! threshold is checked before a tree is walked. The arrays are described in
//! `docs/formats/model-tensors.md`.

use std::ops::Range;

use super::algorithm::IsolationForest;
use super::build::{Cut, TreeNode, height_limit};
use super::error::IsolationForestError;
use super::hyperparams::{MAX_FEATURES, MAX_NODES, MAX_SAMPLE_SIZE, MAX_TREES, check_range};
use crate::{NamedTensor, TensorData};

const DIMS: &str = "forest.dims";
const TREE_NODES: &str = "forest.tree_nodes";
const FEATURE: &str = "forest.feature";
const THRESHOLD: &str = "forest.threshold";
const LEFT: &str = "forest.left";
const SIZE: &str = "forest.size";
/// What a leaf has in place of a feature and of a child.
const NONE: i32 = -1;

impl IsolationForest {
    /// The forest as arrays whose names begin with `forest.`.
    pub fn to_tensors(&self) -> Vec<NamedTensor> {
        let trees: Vec<_> = (0..self.trees()).map(|tree| self.as_trees().nodes(tree)).collect();
        let tree_nodes = trees.iter().map(|tree| tree.len() as i32).collect();
        let (mut feature, mut threshold) = (Vec::new(), Vec::new());
        let (mut left, mut size) = (Vec::new(), Vec::new());
        for node in trees.iter().flatten() {
            feature.push(node.cut.map_or(NONE, |cut| cut.feature as i32));
            threshold.push(node.cut.map_or(0.0, |cut| cut.threshold));
            left.push(node.cut.map_or(NONE, |cut| cut.left as i32));
            size.push(node.size as i32);
        }
        let row = |name: &str, data| NamedTensor { name: name.to_owned(), shape: vec![len(&data)], data };
        vec![
            row(DIMS, TensorData::I32(vec![self.features() as i32, self.sample_size() as i32])),
            row(TREE_NODES, TensorData::I32(tree_nodes)),
            row(FEATURE, TensorData::I32(feature)),
            row(THRESHOLD, TensorData::F32(threshold)),
            row(LEFT, TensorData::I32(left)),
            row(SIZE, TensorData::I32(size)),
        ]
    }

    /// Reads the arrays that [`to_tensors`](Self::to_tensors) gives; arrays with other names are left alone.
    ///
    /// Refuses anything that is not a forest as `fit` grows it: each node but the root hangs under
    /// exactly one node before it, sizes add up, features exist, thresholds are finite, no leaf is deeper
    /// than `ceil(log2(sample_size))`.
    pub fn from_tensors(tensors: &[NamedTensor]) -> Result<Self, IsolationForestError> {
        let dims = ints(tensors, DIMS)?;
        let &[features, sample_size] = dims else {
            return Err(tensor_error(DIMS, format!("must have 2 elements, has {}", dims.len())));
        };
        let features = in_range("features", 1, MAX_FEATURES, features)?;
        let sample_size = in_range("sample_size", 2, MAX_SAMPLE_SIZE, sample_size)?;

        let stored = Stored {
            features,
            sample_size,
            feature: ints(tensors, FEATURE)?,
            threshold: floats(tensors, THRESHOLD)?,
            left: ints(tensors, LEFT)?,
            size: ints(tensors, SIZE)?,
        };
        let nodes = stored.feature.len();
        check_range("nodes", 1, MAX_NODES, nodes)?;
        for (name, got) in [(THRESHOLD, stored.threshold.len()), (LEFT, stored.left.len()), (SIZE, stored.size.len())] {
            if got != nodes {
                return Err(tensor_error(name, format!("must have {nodes} elements as {FEATURE} has, has {got}")));
            }
        }

        let tree_nodes = ints(tensors, TREE_NODES)?;
        check_range("trees", 1, MAX_TREES, tree_nodes.len())?;
        let mut trees = Vec::with_capacity(tree_nodes.len());
        let mut start = 0;
        for (tree, &count) in tree_nodes.iter().enumerate() {
            let count = in_range("nodes of a tree", 1, nodes - start, count)?;
            trees.push(stored.tree(tree, start..start + count)?);
            start += count;
        }
        if start != nodes {
            return Err(tensor_error(TREE_NODES, format!("must sum to {nodes}, sums to {start}")));
        }
        Ok(Self::from_trees(features, sample_size, &trees))
    }
}

/// The arrays over all nodes; their lengths are equal.
struct Stored<'a> {
    features: usize,
    sample_size: usize,
    feature: &'a [i32],
    threshold: &'a [f32],
    left: &'a [i32],
    size: &'a [i32],
}

impl Stored<'_> {
    fn tree(&self, tree: usize, range: Range<usize>) -> Result<Vec<TreeNode>, IsolationForestError> {
        let refuse = |node: usize, problem| Err(IsolationForestError::Node { tree, node, problem });
        let count = range.len();
        let sizes = &self.size[range.clone()];
        let limit = height_limit(self.sample_size);
        // Depth of each node that a node before it points to; the root hangs under nothing.
        let mut depth: Vec<Option<u32>> = vec![None; count];
        depth[0] = Some(0);
        if sizes[0] as usize != self.sample_size {
            return refuse(0, "the root must hold sample_size rows");
        }
        let mut nodes = Vec::with_capacity(count);
        for node in 0..count {
            let at = range.start + node;
            let Some(own_depth) = depth[node] else {
                return refuse(node, "must hang under a node before it");
            };
            if sizes[node] < 1 {
                return refuse(node, "size must be at least 1");
            }
            let size = sizes[node] as u32;
            if self.left[at] == NONE && self.feature[at] == NONE {
                nodes.push(TreeNode { cut: None, size });
                continue;
            }
            if self.feature[at] < 0 || self.feature[at] as usize >= self.features {
                return refuse(node, "cuts a feature that does not exist");
            }
            if !self.threshold[at].is_finite() {
                return refuse(node, "threshold must be finite");
            }
            if own_depth >= limit {
                return refuse(node, "is too deep to be cut");
            }
            let left = self.left[at];
            if left <= node as i32 || left as usize + 1 >= count {
                return refuse(node, "children must lie behind their parent, within the tree");
            }
            let left = left as usize;
            if depth[left].is_some() || depth[left + 1].is_some() {
                return refuse(node, "takes a child that hangs under another node");
            }
            if i64::from(sizes[left]) + i64::from(sizes[left + 1]) != i64::from(size) {
                return refuse(node, "sizes of the children must add up");
            }
            depth[left] = Some(own_depth + 1);
            depth[left + 1] = Some(own_depth + 1);
            let cut = Cut { feature: self.feature[at] as u32, threshold: self.threshold[at], left: left as u32 };
            nodes.push(TreeNode { cut: Some(cut), size });
        }
        Ok(nodes)
    }
}

fn in_range(name: &'static str, min: usize, max: usize, got: i32) -> Result<usize, IsolationForestError> {
    let got = usize::try_from(got).unwrap_or(0);
    check_range(name, min, max, got)?;
    Ok(got)
}

fn tensor_error(name: &'static str, problem: String) -> IsolationForestError {
    IsolationForestError::Tensor { name, problem }
}

fn len(data: &TensorData) -> usize {
    match data {
        TensorData::F32(values) => values.len(),
        TensorData::I32(values) => values.len(),
    }
}

/// The one array of this name, which must have one dimension.
fn find<'a>(tensors: &'a [NamedTensor], name: &'static str) -> Result<&'a TensorData, IsolationForestError> {
    let mut named = tensors.iter().filter(|tensor| tensor.name == name);
    let Some(tensor) = named.next() else {
        return Err(tensor_error(name, "is missing".to_owned()));
    };
    if named.next().is_some() {
        return Err(tensor_error(name, "is there twice".to_owned()));
    }
    if tensor.shape != [len(&tensor.data)] {
        return Err(tensor_error(name, format!("must have shape [{}], has {:?}", len(&tensor.data), tensor.shape)));
    }
    Ok(&tensor.data)
}

fn ints<'a>(tensors: &'a [NamedTensor], name: &'static str) -> Result<&'a [i32], IsolationForestError> {
    match find(tensors, name)? {
        TensorData::I32(values) => Ok(values),
        TensorData::F32(_) => Err(tensor_error(name, "must hold i32, holds f32".to_owned())),
    }
}

fn floats<'a>(tensors: &'a [NamedTensor], name: &'static str) -> Result<&'a [f32], IsolationForestError> {
    match find(tensors, name)? {
        TensorData::F32(values) => Ok(values),
        TensorData::I32(_) => Err(tensor_error(name, "must hold f32, holds i32".to_owned())),
    }
}

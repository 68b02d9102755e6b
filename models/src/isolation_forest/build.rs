//! Grows isolation trees. Each tree has a random stream of its own, so that which thread grows it
//! does not change it.

use rand::seq::index;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::threads::share_out;
use super::trees::{LaidTree, Trees};

/// One node while a forest is grown, stored or checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TreeNode {
    /// Where it cuts; `None` for a leaf.
    pub(super) cut: Option<Cut>,
    /// Training rows that reached it, at least 1.
    pub(super) size: u32,
}

/// A cut: rows with `value < threshold` go to the node `left`, the others to `left + 1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    pub(super) feature: u32,
    pub(super) threshold: f32,
    /// Index within the tree, larger than the node's own.
    pub(super) left: u32,
}

/// Cuts beyond this depth tell little, says the paper: anomalies are the rows with short paths.
pub(super) fn height_limit(sample_size: usize) -> u32 {
    sample_size.next_power_of_two().ilog2()
}

/// Grows `trees` trees over `rows`, whose shape and content are checked by the caller.
pub(super) fn grow_trees(
    rows: &[f32],
    features: usize,
    sample_size: usize,
    trees: usize,
    seed: u64,
    threads: usize,
) -> Trees {
    // Room is made here, once: threads that ask for memory at the same time wait for each other longer than trees grow.
    let mut laid: Vec<LaidTree> = (0..trees).map(|_| LaidTree::with_room(sample_size)).collect();
    share_out(threads, laid.iter_mut().zip(0..), |queue| {
        let mut grower = TreeGrower::new(rows, features);
        let mut nodes = Vec::with_capacity(2 * sample_size - 1);
        while let Some((laid, number)) = queue.next() {
            nodes.clear();
            grower.grow(sample_size, seed, number, &mut nodes);
            laid.lay(&nodes);
        }
    });
    Trees::of(&laid)
}

struct TreeGrower<'a> {
    rows: &'a [f32],
    features: usize,
    /// Every feature, in an order that each draw continues to shuffle.
    order: Vec<u32>,
}

impl<'a> TreeGrower<'a> {
    fn new(rows: &'a [f32], features: usize) -> Self {
        Self { rows, features, order: Vec::with_capacity(features) }
    }

    /// Grows tree number `tree` into `nodes`, which are empty.
    fn grow(&mut self, sample_size: usize, seed: u64, tree: u64, nodes: &mut Vec<TreeNode>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(tree);
        self.order.clear();
        self.order.extend(0..self.features as u32);

        let total = self.rows.len() / self.features;
        let mut sample = index::sample(&mut rng, total, sample_size).into_vec();
        let limit = height_limit(sample_size);
        nodes.push(TreeNode { cut: None, size: sample_size as u32 });
        // Depth first, left before right: (node, where its rows lie in `sample`, depth).
        let mut open = vec![(0_usize, 0_usize, sample_size, 0_u32)];
        while let Some((node, start, end, depth)) = open.pop() {
            if depth == limit || end - start == 1 {
                continue;
            }
            let Some((feature, threshold)) = self.draw_cut(&sample[start..end], &mut rng) else {
                continue;
            };
            let middle = start + self.partition(&mut sample[start..end], feature, threshold, &mut rng);
            let left = nodes.len();
            nodes[node].cut = Some(Cut { feature, threshold, left: left as u32 });
            nodes.push(TreeNode { cut: None, size: (middle - start) as u32 });
            nodes.push(TreeNode { cut: None, size: (end - middle) as u32 });
            open.push((left + 1, middle, end, depth + 1));
            open.push((left, start, middle, depth + 1));
        }
    }

    fn value(&self, row: usize, feature: u32) -> f32 {
        self.rows[row * self.features + feature as usize]
    }

    /// A feature that varies among `members`, each equally likely, and a threshold in (min, max];
    /// `None` if nothing varies.
    fn draw_cut(&mut self, members: &[usize], rng: &mut ChaCha8Rng) -> Option<(u32, f32)> {
        for drawn in 0..self.order.len() {
            let pick = rng.random_range(drawn..self.order.len());
            self.order.swap(drawn, pick);
            let feature = self.order[drawn];
            let (mut min, mut max) = (f32::INFINITY, f32::NEG_INFINITY);
            for &row in members {
                // NaN is never smaller or larger: missing values leave the range alone.
                let value = self.value(row, feature);
                min = if value < min { value } else { min };
                max = if value > max { value } else { max };
            }
            if min < max {
                // In f64, because max - min may overflow f32; the way back to f32 stays in [min, max].
                let share: f64 = rng.random();
                let threshold = (f64::from(max) - share * (f64::from(max) - f64::from(min))) as f32;
                return Some((feature, if threshold > min { threshold } else { max }));
            }
        }
        None
    }

    /// Moves the rows that go left to the front and says how many they are. A row whose value is
    /// missing goes to a side drawn in proportion to the rows that have a value.
    fn partition(&self, members: &mut [usize], feature: u32, threshold: f32, rng: &mut ChaCha8Rng) -> usize {
        let (mut below, mut present) = (0_usize, 0_usize);
        for &row in members.iter() {
            let value = self.value(row, feature);
            present += usize::from(!value.is_nan());
            below += usize::from(value < threshold);
        }
        let all_present = present == members.len();
        let mut middle = 0;
        for at in 0..members.len() {
            let member = members[at];
            let value = self.value(member, feature);
            let goes_left =
                if all_present || !value.is_nan() { value < threshold } else { rng.random_range(0..present) < below };
            // Whatever stood at `middle` belongs right, or is this one: swapped each time, it takes no branch.
            members[at] = members[middle];
            members[middle] = member;
            middle += usize::from(goes_left);
        }
        middle
    }
}

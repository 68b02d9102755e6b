//! What a score is made of, feature by feature.
//!
//! Every cut on the row's path credits its feature with the drop from the path length expected at the cut,
//! which is what the training rows there have on average, to the one expected where the row goes. Along a
//! path these drops add up to the tree's average path length less the row's own, so nothing is lost and
//! nothing counted twice. A missing value goes both ways and drops nothing.

use super::algorithm::{IsolationForest, average_path_length};
use super::trees::Subtree;

/// A score as a sum: `baseline + contributions[0] + contributions[1] + …`, up to rounding.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    /// What a row with the average path length of the training rows scores, and one whose values are all
    /// missing: in 0..1.
    pub baseline: f64,
    /// By feature: above zero if its value makes the row unusual, below if it makes it look normal, 0 if it
    /// is missing.
    pub contributions: Vec<f64>,
}

impl IsolationForest {
    /// Splits the row's score into what each feature adds to the score of the average training row.
    ///
    /// Path lengths add up, but a score is 2 to the power of one. The difference between the score and the
    /// baseline is shared out in proportion to the features' parts of the difference in path length, which
    /// is what the Aumann-Shapley value is for a function of a sum (Sundararajan, Taly and Yan, *Axiomatic
    /// Attribution for Deep Networks*, ICML 2017, for the line from the baseline to the row).
    ///
    /// # Panics
    /// If the row has not [`features`](Self::features) values.
    pub fn attribute(&self, row: &[f32]) -> Attribution {
        let mut contributions = self.path_credits(row);
        let mean_root: f64 = (0..self.trees()).map(|tree| self.expected_at(self.as_trees().root(tree))).sum::<f64>()
            / self.trees() as f64;
        let baseline = self.score_of(mean_root);
        let normaliser = average_path_length(self.sample_size());
        let powers_of_two = contributions.iter().sum::<f64>() / normaliser;
        // (2^s - 1) / s, which is ln 2 at 0.
        let slope = match powers_of_two * std::f64::consts::LN_2 {
            0.0 => std::f64::consts::LN_2,
            log => log.exp_m1() / powers_of_two,
        };
        for part in &mut contributions {
            *part *= baseline * slope / normaliser;
        }
        Attribution { baseline, contributions }
    }

    /// Which features make this row unusual: one share per feature, 0..=1, which sum to 1.
    ///
    /// The shares are the positive [contributions](Self::attribute) over their sum; features that make the
    /// row look normal, or are missing, have none. Where no feature has any (a row more normal than the
    /// average in every feature, or with nothing but missing values), all shares are equal.
    ///
    /// # Panics
    /// If the row has not [`features`](Self::features) values.
    pub fn explain(&self, row: &[f32]) -> Vec<f64> {
        let mut shares = self.path_credits(row);
        let mut total = 0.0;
        for share in &mut shares {
            *share = f64::max(*share, 0.0);
            total += *share;
        }
        // Rounding must not be taken for a reason.
        if total <= 1e-9 {
            return vec![1.0 / self.features() as f64; self.features()];
        }
        shares.into_iter().map(|share| share / total).collect()
    }

    /// By feature, how many edges shorter than the average training row's path it makes this row's.
    fn path_credits(&self, row: &[f32]) -> Vec<f64> {
        self.check_width(row.len(), 1);
        let mut credits = vec![0.0; self.features()];
        let mut open = Vec::new();
        for tree in 0..self.trees() {
            open.push((self.as_trees().root(tree), 1.0));
            while let Some((subtree, weight)) = open.pop() {
                self.credit_path(subtree, weight, row, &mut credits, &mut open);
            }
        }
        for credit in &mut credits {
            *credit /= self.trees() as f64;
        }
        credits
    }

    fn credit_path(
        &self,
        from: Subtree,
        weight: f64,
        row: &[f32],
        credits: &mut [f64],
        open: &mut Vec<(Subtree, f64)>,
    ) {
        let trees = self.as_trees();
        let mut at = from;
        while !at.is_leaf() {
            let (feature, threshold) = trees.cut(at);
            let value = row[feature];
            if value.is_nan() {
                let left_share = trees.left_share(at);
                open.push((trees.left(at), weight * left_share));
                open.push((trees.right(at), weight * (1.0 - left_share)));
                return;
            }
            let next = trees.side(at, value, threshold);
            credits[feature] += weight * (self.expected_at(at) - self.expected_at(next));
            at = next;
        }
    }

    /// Average path length of the training rows that reached the subtree, from the root.
    fn expected_at(&self, subtree: Subtree) -> f64 {
        if subtree.is_leaf() {
            return self.as_trees().path_length(subtree);
        }
        self.expected.get_or_init(|| self.expected_at_cuts())[subtree.cut as usize]
    }

    fn expected_at_cuts(&self) -> Vec<f64> {
        let trees = self.as_trees();
        let mut expected = vec![0.0; trees.cuts()];
        let mut cuts = Vec::new();
        for tree in 0..trees.len() {
            trees.visit(trees.root(tree), |node| {
                if !node.is_leaf() {
                    cuts.push(node);
                }
            });
            // Cuts lie behind those above them, so backwards what is below is known.
            for cut in cuts.drain(..).rev() {
                let known = |side: Subtree| match side.is_leaf() {
                    true => trees.path_length(side),
                    false => expected[side.cut as usize],
                };
                let mean = trees.weighted_mean(cut, known(trees.left(cut)), known(trees.right(cut)));
                expected[cut.cut as usize] = mean;
            }
        }
        expected
    }
}

//! How badly a row's features go together: the Mahalanobis distance (1936) from what is normal, under a covariance that is
//! shrunk to the diagonal (Ledoit and Wolf 2004, with a fixed share). Latency that rises without traffic is far away here
//! although either is usual; so is one replica that parts from the others.

use serde::{Deserialize, Serialize};

use crate::anomaly::{cholesky, squared_length};

/// A feature counts for no more than so many standard deviations where the covariance is learnt.
const CLIP: f64 = 6.0;
/// Fewer rows than these for each feature say too little of pairs.
const ROWS_A_FEATURE: usize = 10;

/// Means, standard deviations and the factored correlation of the features of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JointDistance {
    mean: Vec<f64>,
    /// More than 0.
    deviation: Vec<f64>,
    /// The Cholesky factor of the shrunk correlation, lower triangle, row by row.
    factor: Vec<f64>,
}

impl JointDistance {
    /// Learns from normal rows, `width` features each, row-major; NaN is left out, feature by feature. `None` where there
    /// are too few rows.
    pub fn fit(rows: &[f32], width: usize) -> Option<Self> {
        let count = rows.len().checked_div(width)?;
        if count < ROWS_A_FEATURE * width {
            return None;
        }
        let moments_of = |column: usize| {
            let seen = || rows.iter().skip(column).step_by(width).map(|v| f64::from(*v)).filter(|v| v.is_finite());
            let mean_of = |of: &dyn Fn(f64) -> f64| {
                let (sum, n) = seen().fold((0.0, 0.0), |(sum, n), v| (sum + of(v.clamp(-CLIP, CLIP)), n + 1.0));
                if n > 0.0 { sum / n } else { 0.0 }
            };
            let mean = mean_of(&|v| v);
            let variance = mean_of(&|v| (v - mean).powi(2));
            // A feature that never moves gets the unit that features are in.
            (mean, if variance > 1e-12 { variance.sqrt() } else { 1.0 })
        };
        let (mean, deviation): (Vec<f64>, Vec<f64>) = (0..width).map(moments_of).unzip();
        let mut joint = Self { mean, deviation, factor: Vec::new() };
        let mut correlation = vec![0.0; width * (width + 1) / 2];
        for row in rows.chunks_exact(width) {
            let standard: Vec<f64> = joint.standardised(row).map(|z| z.clamp(-CLIP, CLIP)).collect();
            let mut cells = correlation.iter_mut();
            for (i, a) in standard.iter().enumerate() {
                standard[..=i].iter().zip(cells.by_ref()).for_each(|(b, cell)| *cell += a * b);
            }
        }
        correlation.iter_mut().for_each(|cell| *cell /= count as f64);
        joint.factor = cholesky(&correlation, width);
        Some(joint)
    }

    /// The squared distance in standard deviations, mean over the features: about 1 for a normal row. A missing feature is
    /// no evidence. NaN where all are missing.
    pub fn distance(&self, row: &[f32]) -> f64 {
        if row.iter().all(|v| v.is_nan()) {
            return f64::NAN;
        }
        squared_length(&self.factor, &self.standardised(row).collect::<Vec<f64>>())
    }

    /// What each feature adds to the distance: shares of at least 0 that sum to 1, or all 0 where there is no distance.
    pub fn shares(&self, row: &[f32]) -> Vec<f64> {
        let standard: Vec<f64> = self.standardised(row).collect();
        let mut solved = standard.clone();
        let at = |i: usize, j: usize| self.factor[i * (i + 1) / 2 + j];
        for i in 0..solved.len() {
            let known: f64 = (0..i).map(|j| at(i, j) * solved[j]).sum();
            solved[i] = (solved[i] - known) / at(i, i);
        }
        for i in (0..solved.len()).rev() {
            let known: f64 = (i + 1..solved.len()).map(|j| at(j, i) * solved[j]).sum();
            solved[i] = (solved[i] - known) / at(i, i);
        }
        // A feature that makes its companions look better has no share.
        let parts: Vec<f64> = standard.iter().zip(&solved).map(|(z, s)| (z * s).max(0.0)).collect();
        let total: f64 = parts.iter().sum();
        parts.into_iter().map(|part| if total > 0.0 { part / total } else { 0.0 }).collect()
    }

    fn standardised(&self, row: &[f32]) -> impl Iterator<Item = f64> {
        row.iter().zip(&self.mean).zip(&self.deviation).map(|((value, mean), deviation)| {
            let z = (f64::from(*value) - mean) / deviation;
            if z.is_finite() { z } else { 0.0 }
        })
    }

    /// Whether what was deserialised is for rows of `width` features.
    pub(super) fn is_well_formed(&self, width: usize) -> bool {
        let pivots = || (0..width).filter_map(|i| self.factor.get(i * (i + 1) / 2 + i));
        self.mean.len() == width
            && self.deviation.len() == width
            && self.factor.len() == width * (width + 1) / 2
            && self.mean.iter().chain(&self.factor).all(|v| v.is_finite())
            && self.deviation.iter().chain(pivots()).all(|v| *v > 0.0 && v.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second follows the first, the third is its own.
    fn rows() -> Vec<f32> {
        let noise = |i: i32, k: i32| ((i * k) % 101) as f32 / 50.0 - 1.0;
        (0..2000)
            .flat_map(|i| {
                let wave = (i as f32 / 40.0).sin();
                [wave, wave + 0.1 * noise(i, 7919), noise(i, 104_729)]
            })
            .collect()
    }

    #[test]
    fn a_pair_that_parts_is_far_and_the_pair_is_blamed() {
        let joint = JointDistance::fit(&rows(), 3).unwrap();
        let (together, apart) = ([0.8, 0.8, 0.1], [0.8, -0.8, 0.1]);
        assert!(joint.distance(&together) < 2.0, "{}", joint.distance(&together));
        assert!(joint.distance(&apart) > 5.0 * joint.distance(&together), "{}", joint.distance(&apart));
        let shares = joint.shares(&apart);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9 && shares[2] < 0.1, "{shares:?}");
    }

    #[test]
    fn missing_features_are_no_evidence_and_too_few_rows_no_distance() {
        let joint = JointDistance::fit(&rows(), 3).unwrap();
        assert!(joint.distance(&[f32::NAN; 3]).is_nan());
        let distance = joint.distance(&[f32::NAN, f32::NAN, 0.1]);
        assert!(distance < joint.distance(&[2.0, -2.0, 0.1]), "{distance}");
        assert!(JointDistance::fit(&rows()[..60], 3).is_none());
        assert!(JointDistance::fit(&[], 0).is_none());
    }
}

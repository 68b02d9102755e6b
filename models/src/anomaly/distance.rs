//! How far a row lies from what its columns usually do together: the Mahalanobis distance (1936) of the row and the
//! one before it, with running means and a running covariance that is shrunk to the diagonal (Ledoit and Wolf 2004,
//! with a fixed share).
//!
//! With the row before in it, a jump between two usual values is unusual, too; with the covariance, so is a pair of
//! usual values that do not go together.

/// Columns whose covariance is kept together; wider tables are cut into blocks, so that cost and memory grow with the
/// width and not with its square.
const BLOCK: usize = 64;
/// This row and so many before it, less one.
const LAGS: usize = 2;
/// Rows after which the oldest begin to fade.
const MEMORY: f64 = 20_000.0;
/// What is added to each variance, in units of the column's own.
const RIDGE: f64 = 0.03;
/// No value counts for more spreads than this, neither in the distance nor in what is learnt.
const CLIP: f64 = 20.0;
/// A column that never moved and moves is this many of the spreads that it does not have away.
const FIRST_MOVE: f64 = 5.0;
/// Rows before the first distance; it is 0 until then.
const FIRST_ROWS: usize = 16;
/// The covariance is factored anew when an eighth more rows have been seen, but at the latest after these.
const REFACTOR: usize = 500;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct RowDistance {
    blocks: Vec<Block>,
}

impl RowDistance {
    pub(super) fn new(columns: usize) -> Self {
        let widths = (0..columns).step_by(BLOCK).map(|start| BLOCK.min(columns - start));
        Self { blocks: widths.map(Block::new).collect() }
    }

    /// The squared distance in spreads, mean over the columns: about 1 for a usual row.
    pub(super) fn push(&mut self, row: &[f64], learn: bool) -> f64 {
        let (mut sum, mut start, mut columns) = (0.0, 0, 0);
        for block in &mut self.blocks {
            let width = block.columns.len();
            let fields = row.get(start..).unwrap_or_default();
            sum += block.push(&fields[..fields.len().min(width)], learn) * width as f64;
            start += width;
            columns += width;
        }
        if columns == 0 { 0.0 } else { sum / columns as f64 }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Column {
    mean: f64,
    variance: f64,
    count: f64,
    last: f64,
}

impl Column {
    /// Spreads from the mean.
    fn standardised(&self, value: f64) -> f64 {
        let from_mean = value - self.mean;
        // Rounding of a constant is no movement.
        let still = 1e-9 * self.mean.abs();
        let spread = self.variance.sqrt();
        if !from_mean.is_finite() || from_mean.abs() <= still || self.count == 0.0 {
            0.0
        } else if spread <= still {
            FIRST_MOVE.copysign(from_mean)
        } else {
            (from_mean / spread).clamp(-CLIP, CLIP)
        }
    }

    fn learn(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.count += 1.0;
        let rate = self.count.min(MEMORY).recip();
        let limit = CLIP * self.variance.sqrt();
        let mut from_mean = value - self.mean;
        if self.count > FIRST_ROWS as f64 && limit > 0.0 {
            from_mean = from_mean.clamp(-limit, limit);
        }
        if self.count == 1.0 {
            (self.mean, self.variance) = (value, 0.0);
        } else {
            self.mean += rate * from_mean;
            self.variance = (1.0 - rate) * (self.variance + rate * from_mean * from_mean);
        }
    }
}

#[derive(Clone, Debug)]
struct Block {
    columns: Vec<Column>,
    /// Mean of the standardised row and the one before it.
    mean: Vec<f64>,
    /// Their covariance, lower triangle, row by row.
    covariance: Vec<f64>,
    /// Its Cholesky factor, in the same shape; empty before the first.
    factor: Vec<f64>,
    learnt: usize,
    factored_at: usize,
}

impl Block {
    fn new(width: usize) -> Self {
        let size = width * LAGS;
        Self {
            columns: vec![Column { last: f64::NAN, ..Column::default() }; width],
            mean: vec![0.0; size],
            covariance: vec![0.0; size * (size + 1) / 2],
            factor: Vec::new(),
            learnt: 0,
            factored_at: 0,
        }
    }

    fn push(&mut self, row: &[f64], learn: bool) -> f64 {
        let value = |j: usize| row.get(j).copied().filter(|v| v.is_finite()).unwrap_or(f64::NAN);
        let now = self.columns.iter().enumerate().map(|(j, column)| column.standardised(value(j)));
        let before = self.columns.iter().map(|column| column.standardised(column.last));
        let mut centred: Vec<f64> = now.chain(before).zip(&self.mean).map(|(z, mean)| z - mean).collect();
        if self.is_due(learn) {
            self.factor = cholesky(&self.covariance, self.mean.len());
            self.factored_at = self.learnt;
        }
        let distance = if self.factor.is_empty() { 0.0 } else { squared_length(&self.factor, &centred) };
        if learn {
            self.learnt += 1;
            let rate = (self.learnt as f64).min(MEMORY).recip();
            for (j, column) in self.columns.iter_mut().enumerate() {
                column.learn(value(j));
            }
            for (mean, z) in self.mean.iter_mut().zip(&centred) {
                *mean += rate * z;
            }
            let scale = rate.sqrt();
            centred.iter_mut().for_each(|z| *z *= scale);
            let mut cell = 0;
            for (i, a) in centred.iter().enumerate() {
                for (covariance, b) in self.covariance[cell..=cell + i].iter_mut().zip(&centred) {
                    *covariance = (1.0 - rate) * (*covariance + a * b);
                }
                cell += i + 1;
            }
        }
        for (j, column) in self.columns.iter_mut().enumerate() {
            column.last = value(j);
        }
        distance
    }

    /// Whether the factor is too old for the next distance. The last rows that are learnt from count as well.
    fn is_due(&self, learn: bool) -> bool {
        if self.learnt < FIRST_ROWS || self.learnt == self.factored_at {
            return false;
        }
        !learn || self.learnt >= self.factored_at + (self.factored_at / 8).clamp(1, REFACTOR)
    }
}

/// The lower triangular factor of `covariance` + [`RIDGE`]; the ridge keeps every pivot above nothing.
pub(crate) fn cholesky(covariance: &[f64], size: usize) -> Vec<f64> {
    let mut factor = covariance.to_vec();
    for i in 0..size {
        let (above, row) = factor.split_at_mut(i * (i + 1) / 2);
        for j in 0..i {
            let start = j * (j + 1) / 2;
            let pivot_row = &above[start..=start + j];
            let known: f64 = pivot_row[..j].iter().zip(&row[..j]).map(|(a, b)| a * b).sum();
            row[j] = (row[j] - known) / pivot_row[j];
        }
        let known: f64 = row[..i].iter().map(|a| a * a).sum();
        row[i] = (row[i] + RIDGE - known).max(f64::MIN_POSITIVE).sqrt();
    }
    factor
}

/// The squared length of `vector` where the factored covariance is the unit, mean over its components.
pub(crate) fn squared_length(factor: &[f64], vector: &[f64]) -> f64 {
    let mut solved: Vec<f64> = Vec::with_capacity(vector.len());
    let mut start = 0;
    for (i, value) in vector.iter().enumerate() {
        let row = &factor[start..=start + i];
        let known: f64 = row[..i].iter().zip(&solved).map(|(a, b)| a * b).sum();
        solved.push((value - known) / row[i]);
        start += i + 1;
    }
    solved.iter().map(|s| s * s).sum::<f64>() / vector.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_that_does_not_go_together_is_further_than_one_that_does() {
        let mut distance = RowDistance::new(2);
        let wave = |i: usize| (i as f64 / 9.0).sin() + 0.01 * (i * 7 % 5) as f64;
        for i in 0..2000 {
            distance.push(&[wave(i), 3.0 * wave(i)], true);
        }
        let usual = distance.clone().push(&[wave(2000), 3.0 * wave(2000)], true);
        let apart = distance.push(&[wave(2000), -3.0 * wave(2000)], true);
        assert!(usual < 2.0, "{usual}");
        assert!(apart > 5.0 * usual, "{apart} against {usual}");
    }

    #[test]
    fn the_factor_times_itself_is_the_covariance_with_its_ridge() {
        // [[4, 2], [2, 3]] plus the ridge, by hand.
        let factor = cholesky(&[4.0, 2.0, 3.0], 2);
        assert!((factor[0] * factor[0] - 4.03).abs() < 1e-12);
        assert!((factor[0] * factor[1] - 2.0).abs() < 1e-12);
        assert!((factor[1].powi(2) + factor[2].powi(2) - 3.03).abs() < 1e-12);
        // The inverse of [[4.03, 2], [2, 3.03]] is [[3.03, -2], [-2, 4.03]] / 8.2109.
        let length = squared_length(&factor, &[1.0, 2.0]);
        assert!((length - (3.03 - 8.0 + 16.12) / 8.2109 / 2.0).abs() < 1e-12);
    }

    #[test]
    fn wide_tables_are_cut_into_blocks() {
        let mut distance = RowDistance::new(BLOCK + 3);
        assert_eq!(distance.blocks.iter().map(|b| b.columns.len()).collect::<Vec<_>>(), [BLOCK, 3]);
        for i in 0..200 {
            let row: Vec<f64> = (0..BLOCK + 3).map(|j| ((i * (j + 3)) % 17) as f64).collect();
            assert!(distance.push(&row, true).is_finite());
        }
        // A row that is too short lacks its last values.
        assert!(distance.push(&[1.0], true).is_finite());
    }

    #[test]
    fn a_constant_that_moves_is_seen() {
        let mut distance = RowDistance::new(1);
        for _ in 0..100 {
            assert_eq!(distance.push(&[0.1 + 0.2], true), 0.0);
        }
        assert!(distance.push(&[0.4], true) > 100.0);
    }
}

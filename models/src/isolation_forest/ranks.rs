//! Where values stand among the thresholds of one feature. A value matters to a forest only by this rank.

use std::hint::select_unpredictable;

/// So many that most cells have none or one.
const CELLS_PER_THRESHOLD: usize = 4;

/// The thresholds of one feature, to be searched for many values: a grid of even cells says where to begin,
/// and as many halvings as its fullest cell needs finish, the same number for each value, so that no branch
/// depends on the data. Where thresholds crowd in one cell this is a binary search over all of them.
pub(super) struct Thresholds {
    /// Ascending, each once; then NaN, which no value reaches, so that a search may look past the end.
    padded: Vec<f32>,
    len: usize,
    low: f32,
    cells_per_unit: f32,
    /// By cell: how many thresholds are in the cells before.
    start: Vec<u16>,
    /// The first of the search's steps, a power of two; each is half of the one before.
    first_step: usize,
}

impl Thresholds {
    /// Of finite thresholds, at least one and at most 65,535, in any order.
    pub(super) fn new(mut thresholds: Vec<f32>) -> Self {
        thresholds.sort_unstable_by(f32::total_cmp);
        thresholds.dedup();
        let len = thresholds.len();
        let (low, high) = (thresholds[0], thresholds[len - 1]);
        let cells = (CELLS_PER_THRESHOLD * len).next_power_of_two();
        let mut found = Self {
            padded: thresholds,
            len,
            low,
            // Infinite where all are (almost) equal, 0 where their range is: then all fall into one cell or two.
            cells_per_unit: cells as f32 / (high - low),
            start: vec![0; cells],
            first_step: 1,
        };
        let mut in_cell = vec![0_u16; cells];
        for threshold in &found.padded {
            in_cell[found.cell(*threshold)] += 1;
        }
        let mut before = 0;
        for (start, count) in found.start.iter_mut().zip(&in_cell) {
            *start = before;
            before += count;
        }
        let fullest = in_cell.iter().copied().max().unwrap_or(0).max(1);
        found.first_step = 1 << fullest.ilog2();
        found.padded.resize(len + 2 * found.first_step, f32::NAN);
        found
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many thresholds each value has reached (`value >= threshold`); 0 for NaN.
    pub(super) fn rank<const N: usize>(&self, values: &[f32; N]) -> [u16; N] {
        let mut cells = [0; N];
        for (cell, value) in cells.iter_mut().zip(values) {
            *cell = self.cell(*value);
        }
        let mut ranks = [0; N];
        for ((rank, cell), value) in ranks.iter_mut().zip(cells).zip(values) {
            *rank = self.search(cell, *value) as u16;
        }
        ranks
    }

    #[inline]
    fn search(&self, cell: usize, value: f32) -> usize {
        // Rounding never turns the order of two values round, so a value in a later cell than a threshold's has
        // reached it, and one in an earlier cell has not.
        let mut rank = usize::from(self.start[cell]);
        let mut step = self.first_step;
        while step > 0 {
            rank += select_unpredictable(value >= self.padded[rank + step - 1], step, 0);
            step /= 2;
        }
        rank
    }

    /// NaN and what is below the lowest threshold are in the first cell, what is above the highest in the last.
    #[inline]
    fn cell(&self, value: f32) -> usize {
        let cell = ((value - self.low) * self.cells_per_unit) as i32;
        cell.clamp(0, self.start.len() as i32 - 1) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Values that crowd, that are far out, and that are as large and as small as can be.
    fn value() -> impl Strategy<Value = f32> {
        prop_oneof![
            -4.0_f32..4.0,
            (-8_i32..8).prop_map(|whole| whole as f32),
            (0_u32..64).prop_map(|bits| f32::from_bits(0x3f80_0000 + bits)),
            (0_u32..64).prop_map(f32::from_bits),
            -1e30_f32..1e30,
            prop::sample::select(vec![f32::MIN, f32::MAX, -0.0, 0.0, f32::MIN_POSITIVE]),
        ]
    }

    proptest! {
        #[test]
        fn rank_is_the_number_of_thresholds_reached(
            thresholds in prop::collection::vec(value(), 1..300),
            values in prop::collection::vec(value(), 1..50),
        ) {
            let mut distinct: Vec<f32> = thresholds.iter().map(|threshold| threshold + 0.0).collect();
            let found = Thresholds::new(distinct.clone());
            distinct.sort_unstable_by(f32::total_cmp);
            distinct.dedup();
            prop_assert_eq!(found.len(), distinct.len());
            for value in values.iter().chain(&distinct).chain(&[f32::INFINITY, f32::NEG_INFINITY, f32::NAN]) {
                let reached = distinct.iter().filter(|threshold| value >= threshold).count();
                prop_assert_eq!(usize::from(found.rank(&[*value])[0]), reached, "{}", value);
            }
        }
    }
}

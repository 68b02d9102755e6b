//! The values that a column has had, in bounded memory: sorted, the equal ones counted. When there are too many, those
//! that lie closest together are joined, so that crowds coarsen and the rare ones stay where they were.

/// Distinct values kept.
const CAPACITY: usize = 2048;
/// Pairs that are joined at once when it is full.
const JOINED: usize = CAPACITY / 8;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct ValueStore {
    /// Ascending.
    values: Vec<(f64, u32)>,
}

/// How often, and how far, values lay off the commonest one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moves {
    pub count: u32,
    /// Of the distances from the commonest value; NaN where there is none.
    pub mean_square: f64,
}

impl ValueStore {
    /// The moves off the commonest value; `None` from `enough` of them on.
    pub(super) fn moves(&self, enough: u32) -> Option<Moves> {
        if self.values.len() > enough as usize {
            return None; // So many distinct values are at least so many moves.
        }
        let (usual, usual_count) = self.values.iter().copied().max_by_key(|(_, count)| *count)?;
        let all: u64 = self.values.iter().map(|(_, count)| u64::from(*count)).sum();
        let count = u32::try_from(all - u64::from(usual_count)).ok().filter(|count| *count < enough)?;
        let squares: f64 = self.values.iter().map(|(v, n)| f64::from(*n) * (v - usual) * (v - usual)).sum();
        Some(Moves { count, mean_square: squares / f64::from(count) })
    }

    /// Takes a finite value.
    pub(super) fn insert(&mut self, value: f64) {
        let at = self.values.partition_point(|(v, _)| *v < value);
        match self.values.get_mut(at) {
            Some((v, count)) if *v == value => *count = count.saturating_add(1),
            _ => self.values.insert(at, (value, 1)),
        }
        if self.values.len() > CAPACITY {
            self.join_the_closest();
        }
    }

    /// The distance from `value` to the `rank`-th nearest that was taken, 1 being the nearest; `None` before so many.
    pub(super) fn distance_to_nearest(&self, value: f64, rank: u32) -> Option<f64> {
        let mut above = self.values.partition_point(|(v, _)| *v < value);
        let mut below = above;
        let mut missing = rank;
        loop {
            let up = self.values.get(above).map(|(v, count)| (*v - value, *count));
            let down = below.checked_sub(1).map(|i| (value - self.values[i].0, self.values[i].1));
            let (distance, count, is_up) = match (up, down) {
                (Some(up), Some(down)) if up.0 <= down.0 => (up.0, up.1, true),
                (_, Some(down)) => (down.0, down.1, false),
                (Some(up), None) => (up.0, up.1, true),
                (None, None) => return None,
            };
            if count >= missing {
                return Some(distance);
            }
            missing -= count;
            if is_up { above += 1 } else { below -= 1 }
        }
    }

    fn join_the_closest(&mut self) {
        let mut gaps: Vec<f64> = self.values.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        let (_, limit, _) = gaps.select_nth_unstable_by(JOINED, f64::total_cmp);
        let limit = *limit;
        let mut joined: Vec<(f64, u32)> = Vec::with_capacity(CAPACITY + 1);
        // Only pairs: a chain of small gaps would collapse a whole crowd into one.
        let mut open = false;
        for (value, count) in self.values.drain(..) {
            match joined.last_mut() {
                Some((last, last_count)) if open && value - *last <= limit => {
                    let share = f64::from(count) / (f64::from(count) + f64::from(*last_count));
                    *last += share * (value - *last);
                    *last_count = last_count.saturating_add(count);
                    open = false;
                }
                _ => {
                    joined.push((value, count));
                    open = true;
                }
            }
        }
        self.values = joined;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_are_counted_with_their_number() {
        let mut store = ValueStore::default();
        assert_eq!(store.distance_to_nearest(1.0, 1), None);
        for value in [10.0, 4.0, 4.0, 7.0] {
            store.insert(value);
        }
        let distances: Vec<_> = (1..=5).map(|rank| store.distance_to_nearest(6.0, rank)).collect();
        assert_eq!(distances, [Some(1.0), Some(2.0), Some(2.0), Some(4.0), None]);
        assert_eq!(store.distance_to_nearest(4.0, 2), Some(0.0));
    }

    #[test]
    fn moves_are_counted_from_the_commonest_value() {
        let mut store = ValueStore::default();
        for value in [7.0, 7.0, 7.0, 10.0, 6.0] {
            store.insert(value);
        }
        assert_eq!(store.moves(3), Some(Moves { count: 2, mean_square: 5.0 }));
        assert_eq!(store.moves(2), None);
    }

    #[test]
    fn it_stays_bounded_and_keeps_the_rare() {
        let mut store = ValueStore::default();
        store.insert(1000.0);
        for i in 0..100_000_u32 {
            store.insert(f64::from(i.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24));
        }
        assert!(store.values.len() <= CAPACITY);
        assert_eq!(store.distance_to_nearest(1000.0, 1), Some(0.0));
        assert!(store.distance_to_nearest(0.5, 3).is_some_and(|d| d < 0.01));
        assert_eq!(store.values.iter().map(|(_, count)| u64::from(*count)).sum::<u64>(), 100_001);
        assert!(store.values.is_sorted_by(|a, b| a.0 < b.0));
    }
}

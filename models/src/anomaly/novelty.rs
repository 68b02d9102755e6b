//! How new a column's value is, and the mean of its last ones: the distance to the nearest values ever seen, which
//! finds what lies between two usual values as well as what lies beyond them.
//!
//! The idea of a nearest neighbour with a conformal tail is that of KNN-CAD (Burnaev and Ishimtsev 2016). Here the
//! distance counts in two ways: against the column's spread, and against the distances before it. Either alone is
//! fooled: by values that keep far apart by their nature, or by a column that hardly moves.

use std::collections::VecDeque;

use super::tail::Exceedances;
use super::value_store::ValueStore;

/// Rows whose mean is looked at beside the value itself.
const MEAN_OF: usize = 12;
/// Which of the nearest values counts: what happened twice may happen again.
const NEIGHBOUR: u32 = 3;
/// How much the rarity of a distance weighs beside its size: a tenth of the probability doubles the strength.
const RARITY: f64 = 0.3;
/// Distances before which none is called rare.
const FIRST_ROWS: usize = 20;
/// No distance counts for more spreads than this.
const CLIP: f64 = 20.0;
/// Until a column has moved so often, how far it moves is read from the times that it did.
const KNOWN_MOVES: u32 = 20;
/// A column that never moved and moves is this many of the spreads that it does not have away.
const FIRST_MOVE: f64 = 5.0;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct ColumnNovelty {
    recent: VecDeque<f64>,
    value: Stream,
    mean: Stream,
}

impl Default for ColumnNovelty {
    fn default() -> Self {
        Self { recent: VecDeque::new(), value: Stream::new(1), mean: Stream::new(MEAN_OF) }
    }
}

impl ColumnNovelty {
    /// How new `value` is, from 0 up: the distance in spreads, times [`RARITY`]'s power of how rare it is among
    /// `columns` columns. A value that is not finite is not new.
    pub(super) fn push(&mut self, value: f64, columns: usize) -> f64 {
        if !value.is_finite() {
            return 0.0;
        }
        if self.recent.len() == MEAN_OF {
            self.recent.pop_front();
        }
        self.recent.push_back(value);
        // Divided first: the sum of huge values is not finite.
        let mean = self.recent.iter().map(|v| v / self.recent.len() as f64).sum();
        let (value, mean) = (self.value.push(value), self.mean.push(mean));
        let rarity = (value.rarity.min(mean.rarity) * columns as f64).min(1.0);
        value.in_spreads.max(mean.in_spreads) * rarity.powf(-RARITY)
    }
}

/// How new one value is.
struct New {
    /// Distance to the nearest values seen, 0 to [`CLIP`].
    in_spreads: f64,
    /// The probability of a distance so great, above 0, at most 1.
    rarity: f64,
}

/// One sequence of values.
#[derive(Clone, Debug)]
struct Stream {
    seen: ValueStore,
    /// The last values, not yet among the seen: a value is no witness that its neighbour in time is usual.
    pending: VecDeque<f64>,
    overlap: usize,
    distances: Exceedances,
    rows: usize,
    mean: f64,
    variance: f64,
}

impl Stream {
    /// `overlap`: how many values in a row are made of the same rows.
    fn new(overlap: usize) -> Self {
        Self {
            seen: ValueStore::default(),
            pending: VecDeque::new(),
            overlap,
            distances: Exceedances::default(),
            rows: 0,
            mean: 0.0,
            variance: 0.0,
        }
    }

    fn push(&mut self, value: f64) -> New {
        self.rows += 1;
        let rate = (self.rows as f64).recip();
        let from_mean = value - self.mean;
        self.mean += rate * from_mean;
        self.variance = (1.0 - rate) * (self.variance + rate * from_mean * from_mean);
        self.pending.push_back(value);
        if self.pending.len() > self.overlap + 1
            && let Some(known) = self.pending.pop_front()
        {
            self.seen.insert(known);
        }
        let distance = self.seen.distance_to_nearest(value, NEIGHBOUR);
        let Some(distance) = distance.filter(|_| self.rows > FIRST_ROWS) else {
            return New { in_spreads: 0.0, rarity: 1.0 };
        };
        let rarity = self.distances.push(distance);
        New { in_spreads: self.in_spreads(distance), rarity }
    }

    /// `distance` in units of how the values spread, 0 to [`CLIP`].
    ///
    /// Where one value is had nearly always, the spread says how seldom it is left, not how far: a count that is 0 for
    /// days has none to speak of, and any failure would be [`CLIP`] of it. So while few moves were seen, the unit goes
    /// over to their own size, and that they are rare is left to the rarity.
    fn in_spreads(&self, distance: f64) -> f64 {
        let spread = match self.seen.moves(KNOWN_MOVES) {
            _ if distance == 0.0 => return 0.0,
            Some(moves) if moves.count == 0 => return FIRST_MOVE,
            Some(moves) => {
                let little = 1.0 - f64::from(moves.count) / f64::from(KNOWN_MOVES);
                self.variance.max(little * moves.mean_square).sqrt()
            }
            None => self.variance.sqrt(),
        };
        (distance / spread).min(CLIP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strengths(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let mut column = ColumnNovelty::default();
        values.into_iter().map(|v| column.push(v, 1)).collect()
    }

    #[test]
    fn a_value_between_two_usual_ones_is_new() {
        let usual = (0..500).map(|i| if i % 2 == 0 { 10.0 } else { 90.0 } + f64::from(i * 7 % 5));
        let strengths = strengths(usual.chain([50.0]));
        assert!(strengths[..500].iter().skip(100).all(|s| *s < 0.5));
        assert!(strengths[500] > 4.0, "{}", strengths[500]);
    }

    #[test]
    fn what_happens_again_and_again_is_no_longer_new() {
        let spikes = (0..2000).map(|i| if i % 200 == 199 { 80.0 } else { f64::from(i * 7 % 5) });
        let strengths = strengths(spikes);
        assert!(strengths[199] > 4.0);
        assert_eq!(strengths[1999], 0.0);
    }

    #[test]
    fn a_count_that_was_always_zero_is_new_once() {
        let failures = (0..8000).map(|i| if i == 6000 || i == 7000 { 1.0 } else { 0.0 });
        let strengths = strengths(failures);
        assert!(strengths[6000] > 5.0 * strengths[7000], "{} and {}", strengths[6000], strengths[7000]);
        // Ten times as many are another matter than one more.
        let worse = (0..8000).map(|i| {
            if i == 6000 {
                1.0
            } else if i == 7000 {
                10.0
            } else {
                0.0
            }
        });
        assert!(self::strengths(worse)[7000] > 4.0 * strengths[7000]);
    }

    #[test]
    fn gaps_and_constants_are_not_new() {
        assert!(strengths((0..300).map(|i| if i % 3 == 0 { f64::NAN } else { 5.0 })).iter().all(|s| *s == 0.0));
        assert!(strengths((0..300).map(|i| f64::MAX * f64::from(i % 3 - 1))).iter().all(|s| s.is_finite()));
    }
}

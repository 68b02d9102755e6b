//! What is remembered of one target: its values for the last days, and where its current run began.

use forewarn_features::seasonal::median;
use forewarn_schema::{Direction, Step, Timestamp};

use super::ring::{CAPACITY, StepRing};
use crate::baselines::fraction;

/// A fall of the fraction by this much that lasts is a restart, not a garbage collection.
const RESTART_FALL: f64 = 0.3;
/// A target that was not seen for this many steps is gone.
const GONE_AFTER: i64 = 10;

/// One target's values and runs.
#[derive(Clone, Debug)]
pub(super) struct TargetHistory {
    direction: Direction,
    values: StepRing,
    /// The last value, as exact as it came.
    value: f64,
    limit: f64,
    reference: f64,
    /// The step number at which the current run began.
    run_start: i64,
    /// Whether it began while we were watching.
    began: bool,
}

impl TargetHistory {
    /// A target that is first seen at `at`; `began` says that it was not there before.
    pub(super) fn new(direction: Direction, step: Step, at: Timestamp, reference: f64, began: bool) -> Self {
        let values = StepRing::new(step, at);
        let run_start = values.number(at);
        Self { direction, values, value: f64::NAN, limit: f64::NAN, reference, run_start, began }
    }

    /// Takes the value at `at`; what is not later than the last is left out.
    pub(super) fn push(&mut self, at: Timestamp, value: f64, limit: f64) {
        let Some(missed) = self.values.push(at, value) else { return };
        if missed >= CAPACITY as i64 {
            (self.run_start, self.began) = (self.values.last(), false);
        }
        (self.value, self.limit) = (value, limit);
        if self.direction == Direction::Below {
            self.reference = self.reference.max(value);
        }
        self.notice_restart();
    }

    /// A run ends where the last ten steps lie far below the fifty before them.
    fn notice_restart(&mut self) {
        let (n, last) = (self.values.len(), self.values.last());
        if n < 20 || last - self.run_start < 20 {
            return;
        }
        let last_fall = self.fraction_of(self.values.at(last)).unwrap_or(f64::NAN);
        let earlier = self.fraction_of(self.values.at(last - 10)).unwrap_or(f64::NAN);
        if earlier - last_fall < RESTART_FALL / 2.0 {
            return; // The cheap test first: medians only where something fell.
        }
        let now = self.median_fraction(n - 10, n);
        let before = self.median_fraction(n.saturating_sub(60), n - 10);
        if before - now >= RESTART_FALL {
            (self.run_start, self.began) = (self.deepest_fall(last - 14), true);
        }
    }

    /// The step, from `from` on, that lies furthest below the one before it: the first of the new run.
    fn deepest_fall(&self, from: i64) -> i64 {
        let fall = |number: i64| {
            let pair = self.fraction_of(self.values.at(number - 1)).zip(self.fraction_of(self.values.at(number)));
            pair.map_or(f64::NEG_INFINITY, |(before, after)| before - after)
        };
        (from..=self.values.last()).max_by(|a, b| fall(*a).total_cmp(&fall(*b))).unwrap_or(from)
    }

    fn median_fraction(&self, from: usize, to: usize) -> f64 {
        let mut fractions: Vec<f64> = self.values.range(from, to).filter_map(|v| self.fraction_of(v)).collect();
        median(&mut fractions)
    }

    fn fraction_of(&self, value: f64) -> Option<f64> {
        fraction(self.direction, value, self.limit, self.reference)
    }

    /// Whether it was seen within the last steps before `at`.
    pub(super) fn is_live(&self, at: Timestamp) -> bool {
        self.values.number(at) - self.values.last() < GONE_AFTER
    }

    /// Whether nothing of it is worth keeping at `at`.
    pub(super) fn is_forgotten(&self, at: Timestamp) -> bool {
        self.values.number(at) - self.values.last() > CAPACITY as i64
    }

    /// Values with their times, gaps as NaN, oldest first.
    pub(super) fn values(&self) -> impl DoubleEndedIterator<Item = (Timestamp, f64)> + ExactSizeIterator {
        self.values.iter()
    }

    /// Fractions of the last `count` steps with their times, gaps as NaN, oldest first.
    pub(super) fn fractions(&self, count: usize) -> impl DoubleEndedIterator<Item = (Timestamp, f64)> + '_ {
        self.values()
            .skip(self.values.len().saturating_sub(count))
            .map(|(at, v)| (at, self.fraction_of(v).unwrap_or(f64::NAN)))
    }

    /// Steps since the current run began, the last one included, as far as they are kept.
    pub(super) fn run_length(&self) -> usize {
        usize::try_from(self.values.last() - self.run_start + 1).unwrap_or(0).min(self.values.len())
    }

    /// Whether the run's beginning was seen and is still kept.
    pub(super) fn saw_start(&self) -> bool {
        self.began && self.values.last() - self.run_start < self.values.len() as i64
    }

    /// The last value.
    pub(super) fn value(&self) -> f64 {
        self.value
    }

    /// The median fraction of the last ten steps: what a spike does not move.
    pub(super) fn level(&self) -> f64 {
        let n = self.values.len();
        self.median_fraction(n.saturating_sub(10), n)
    }

    pub(super) fn limit(&self) -> f64 {
        self.limit
    }

    pub(super) fn reference(&self) -> f64 {
        self.reference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(values: impl Iterator<Item = f64>) -> TargetHistory {
        let mut history = TargetHistory::new(Direction::Above, Step::MINUTE, Timestamp::default(), 0.0, true);
        for (minute, value) in values.enumerate() {
            history.push(Timestamp::from_seconds(minute as i64 * 60), value, 100.0);
        }
        history
    }

    #[test]
    fn a_restart_begins_a_run_and_a_spike_or_a_collection_does_not() {
        let restarted = history((0..200).map(|m| if m < 150 { 20.0 + 0.5 * m as f64 } else { 25.0 }));
        assert!((45..=55).contains(&restarted.run_length()), "{}", restarted.run_length());
        let collected = history((0..200).map(|m| 50.0 + f64::from(m % 40) * 0.5));
        assert_eq!(collected.run_length(), 200);
        let spiked = history((0..200).map(|m| if (100..106).contains(&m) { 95.0 } else { 10.0 }));
        assert_eq!(spiked.run_length(), 200);
    }

    #[test]
    fn a_run_begins_right_after_its_fall() {
        let crashed = history((0..180).map(|m| if m < 150 { 75.0 } else { 15.0 + 2.5 * f64::from(m - 150) }));
        assert_eq!(crashed.run_length(), 30);
    }

    #[test]
    fn a_gap_is_nan_and_late_values_are_left_out() {
        let mut history = history((0..3).map(f64::from));
        history.push(Timestamp::from_seconds(300), 5.0, 100.0);
        history.push(Timestamp::from_seconds(240), 9.0, 100.0);
        let values: Vec<f64> = history.values().map(|(_, v)| v).collect();
        assert_eq!(values.len(), 6);
        assert!(values[3].is_nan() && values[4].is_nan());
        assert_eq!(values[5], 5.0);
        assert!(history.is_live(Timestamp::from_seconds(600)));
        assert!(!history.is_live(Timestamp::from_seconds(1000)));
    }
}

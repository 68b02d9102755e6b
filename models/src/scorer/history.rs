//! What is remembered of one target: its values for the last days, and where its current run began.

use forewarn_features::seasonal::median;
use forewarn_schema::{Direction, Step, Timestamp};
use serde::{Deserialize, Serialize};

use super::pyramid::{CAPACITY, Joined, Pyramid, SINGLE};
use super::teeth::Teeth;
use crate::baselines::fraction;
use crate::growth::{Course, LEAST_TOOTH_HEIGHT, Saw, Stretch, noise, usual_rise};

/// A fall of the fraction by this much that lasts is a restart, not a garbage collection.
const RESTART_FALL: f64 = 0.3;
/// A target that was not seen for this many steps is gone.
const GONE_AFTER: i64 = 10;

/// One target's values and runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TargetHistory {
    direction: Direction,
    values: Pyramid,
    /// Of what saws; `None` while no tooth was seen, and where teeth mean nothing.
    teeth: Option<Box<Teeth>>,
    elastic: bool,
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
    /// A target that is first seen at `at`; `began` says that it was not there before, `elastic` that its falls may be a
    /// collector's.
    pub(super) fn new(
        direction: Direction,
        step: Step,
        at: Timestamp,
        reference: f64,
        began: bool,
        elastic: bool,
    ) -> Self {
        let values = Pyramid::new(step, Joined::Median, at);
        let run_start = values.number(at);
        Self { direction, values, teeth: None, elastic, value: f64::NAN, limit: f64::NAN, reference, run_start, began }
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
        if self.elastic {
            self.notice_tooth(at);
        }
        self.notice_restart();
    }

    /// A tooth falls by more than what usually goes up and down.
    fn notice_tooth(&mut self, at: Timestamp) {
        let last = self.values.last();
        let [before, after] = [last - 1, last].map(|number| self.fraction_of(self.values.at(number)));
        let fall = before.zip(after).map_or(f64::NAN, |(before, after)| before - after);
        // The cheap test first: what is usual only where something fell.
        if fall >= LEAST_TOOTH_HEIGHT && fall >= Saw::least_tooth(usual_rise(self.changes(SINGLE))) {
            let joined = if self.direction == Direction::Above { Joined::Least } else { Joined::Most };
            let teeth = self.teeth.get_or_insert_with(|| Box::new(Teeth::new(self.values.step(), joined, at)));
            teeth.push(at, Some((self.value, fall)));
        } else if let Some(teeth) = &mut self.teeth {
            teeth.push(at, None);
        }
    }

    /// Changes of the fraction from step to step within the last `count` steps; none over a gap.
    fn changes(&self, count: usize) -> impl Iterator<Item = f64> + '_ {
        let mut before = f64::NAN;
        self.values.singles(count).filter_map(move |(_, value)| {
            let now = self.fraction_of(value).unwrap_or(f64::NAN);
            let change = now - std::mem::replace(&mut before, now);
            change.is_finite().then_some(change)
        })
    }

    /// The last `count` steps, to be weighed. `load` tells the relative load of a stretch that is so many steps long.
    pub(super) fn course(&self, count: usize, load: impl Fn(i64, usize) -> f64) -> Course {
        let of = |value: f64| self.fraction_of(value).unwrap_or(f64::NAN);
        let trough = |number: i64| self.teeth.as_ref().map_or(f64::NAN, |teeth| of(teeth.trough(number)));
        let stretches = self.values.stretches(count).map(|s| Stretch {
            steps: s.steps,
            value: of(s.value),
            load: load(s.first, s.steps),
            trough: trough(s.first),
        });
        let teeth = self.teeth.as_ref().map_or_else(Vec::new, |teeth| teeth.recent(self.values.last(), count));
        let saws = !teeth.is_empty();
        Course {
            stretches: stretches.collect(),
            teeth,
            usual_rise: if saws { usual_rise(self.changes(count.min(SINGLE))) } else { f64::NAN },
        }
    }

    /// One standard deviation of single steps among the last `count`.
    pub(super) fn noise(&self, count: usize) -> f64 {
        noise(self.changes(count.min(SINGLE)))
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
        let now = self.median_fraction(10, 0);
        let before = self.median_fraction(60, 10);
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

    /// Of the steps from `from` steps ago until `to` steps ago.
    fn median_fraction(&self, from: usize, to: usize) -> f64 {
        let until = self.values.last() - to as i64;
        let within = self.values.singles(from).take_while(|(number, _)| *number <= until);
        median(&mut within.filter_map(|(_, v)| self.fraction_of(v)).collect::<Vec<f64>>())
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

    /// The distance between steps.
    pub(super) fn step(&self) -> Step {
        self.values.step()
    }

    /// On which side of the limit the breach is.
    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    /// How many steps are remembered.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Values with their times, gaps as NaN, oldest first: the last steps one by one, older ones as medians in their middle.
    pub(super) fn values(&self) -> impl Iterator<Item = (Timestamp, f64)> + '_ {
        self.values.stretches(usize::MAX).map(|s| (self.values.time(s.first + (s.steps / 2) as i64), s.value))
    }

    /// The last `count` steps, at most [`SINGLE`], with their times, gaps as NaN, oldest first.
    pub(super) fn single_values(&self, count: usize) -> impl DoubleEndedIterator<Item = (Timestamp, f64)> + '_ {
        self.values.singles(count).map(|(number, value)| (self.values.time(number), value))
    }

    /// Fractions of the last `count` steps, at most [`SINGLE`], with their times, gaps as NaN, oldest first.
    pub(super) fn fractions(&self, count: usize) -> impl Iterator<Item = (Timestamp, f64)> + '_ {
        let of = |value| self.fraction_of(value).unwrap_or(f64::NAN);
        self.values.singles(count).map(move |(number, value)| (self.values.time(number), of(value)))
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
        self.median_fraction(10, 0)
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
        let mut history = TargetHistory::new(Direction::Above, Step::MINUTE, Timestamp::default(), 0.0, true, false);
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

//! The last values of something that is seen once a step; a step that was not seen is NaN.

use std::collections::VecDeque;

use forewarn_schema::{Step, Timestamp};

/// Steps kept: five days at the default step.
pub(super) const CAPACITY: usize = 7200;

/// Values by step number, which is time over step.
#[derive(Clone, Debug)]
pub(super) struct StepRing {
    step: Step,
    values: VecDeque<f32>,
    /// The step number of the last value.
    last: i64,
}

impl StepRing {
    /// Holds nothing; `at` will be the first.
    pub(super) fn new(step: Step, at: Timestamp) -> Self {
        Self { step, values: VecDeque::new(), last: at.millis() / step.millis() - 1 }
    }

    /// Takes the value at `at` and says how many steps were missed before it; `None`: it is not later than the last and is left out.
    pub(super) fn push(&mut self, at: Timestamp, value: f64) -> Option<i64> {
        let number = at.millis() / self.step.millis();
        if number <= self.last {
            return None;
        }
        let missed = number - self.last - 1;
        if missed >= CAPACITY as i64 {
            self.values.clear();
        } else {
            self.values.extend((0..missed).map(|_| f32::NAN));
        }
        self.values.push_back(value as f32);
        while self.values.len() > CAPACITY {
            self.values.pop_front();
        }
        self.last = number;
        Some(missed)
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The step number of the last value.
    pub(super) fn last(&self) -> i64 {
        self.last
    }

    /// The step number of a time.
    pub(super) fn number(&self, at: Timestamp) -> i64 {
        at.millis() / self.step.millis()
    }

    /// The value of a step number; NaN where it was not seen or is not kept.
    pub(super) fn at(&self, number: i64) -> f64 {
        let first = self.last - self.values.len() as i64 + 1;
        let index = usize::try_from(number - first).ok();
        index.and_then(|i| self.values.get(i)).map_or(f64::NAN, |v| f64::from(*v))
    }

    /// Values with their times, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Timestamp, f64)> + ExactSizeIterator {
        let (first, step) = (self.last - self.values.len() as i64 + 1, self.step.millis());
        self.values
            .iter()
            .enumerate()
            .map(move |(i, v)| (Timestamp::from_millis((first + i as i64) * step), f64::from(*v)))
    }

    /// The values between two places from the oldest, oldest first.
    pub(super) fn range(&self, from: usize, to: usize) -> impl Iterator<Item = f64> + '_ {
        self.values.range(from..to).map(|v| f64::from(*v))
    }
}

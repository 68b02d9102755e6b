//! Days of something that is seen once a step, in a few hundred numbers: the last steps one by one, older ones as one value for
//! eight, and older still for sixty-four of them. What is asked of the past grows coarser with its age in the same way, so nothing
//! is missed; five days take 2.6 kB instead of 29. A step that was not seen is NaN.

use std::collections::VecDeque;

use forewarn_features::seasonal::median;
use forewarn_schema::{Step, Timestamp};
use serde::{Deserialize, Serialize};

/// Steps remembered: five days at the default step.
pub(super) const CAPACITY: usize = 7200;
/// Steps kept one by one, at least.
pub(super) const SINGLE: usize = 256;
/// From the finest level to the coarsest. Eight at once, for the median of four leans towards the mean where noise is lopsided, and
/// then old steps would seem to lie higher than new ones.
const LEVELS: [Level; 3] = [
    Level { bits: 0, reach: SINGLE as i64 },
    Level { bits: 3, reach: 2048 },
    Level { bits: 6, reach: CAPACITY as i64 },
];
/// A level grows by so many values at a time: doubling would waste half of them.
const GROWTH: usize = 16;

struct Level {
    /// Two to the power of it are the steps that a value stands for. Values begin at multiples of these, so that the same steps are
    /// joined whenever they were first seen.
    bits: u32,
    /// It tells of so many steps back, at least; then the next level does.
    reach: i64,
}

impl Level {
    const fn width(&self) -> i64 {
        1 << self.bits
    }

    /// The number of the value that stands for a step, also for one before 1970.
    const fn value_of(&self, step: i64) -> i64 {
        step >> self.bits
    }
}

/// What one value for several steps is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Joined {
    /// A spike does not count.
    Median,
    Mean,
    Least,
    Most,
}

/// Steps that are remembered by one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stretch {
    /// The number of the first, which is time over step.
    pub first: i64,
    pub steps: usize,
    /// NaN where none was seen.
    pub value: f64,
}

/// Values by step number, which is time over step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pyramid {
    step: Step,
    joined: Joined,
    /// From single steps to the widest, each up to now, oldest in front.
    levels: [VecDeque<f32>; LEVELS.len()],
    /// The step number of the first value that was ever taken since the last long gap.
    first: i64,
    /// The step number of the last value.
    last: i64,
}

impl Pyramid {
    /// Holds nothing; `at` will be the first.
    pub(super) fn new(step: Step, joined: Joined, at: Timestamp) -> Self {
        let mut pyramid = Self { step, joined, levels: Default::default(), first: 0, last: 0 };
        pyramid.begin(at.millis() / step.millis());
        pyramid
    }

    fn begin(&mut self, number: i64) {
        self.levels.iter_mut().for_each(VecDeque::clear);
        (self.first, self.last) = (number, number - 1);
    }

    /// Takes the value at `at` and says how many steps were missed before it; `None`: it is not later than the last and is left out.
    pub(super) fn push(&mut self, at: Timestamp, value: f64) -> Option<i64> {
        let number = self.number(at);
        if number <= self.last {
            return None;
        }
        let missed = number - self.last - 1;
        if missed >= CAPACITY as i64 {
            self.begin(number);
        } else {
            (0..missed).for_each(|_| self.push_next(f32::NAN));
        }
        self.push_next(value as f32);
        Some(missed)
    }

    fn push_next(&mut self, value: f32) {
        self.last += 1;
        append(&mut self.levels[0], value);
        for (level, one) in LEVELS.iter().enumerate() {
            let width = one.width();
            if level > 0 && (self.last + 1) & (width - 1) == 0 {
                let singles = &self.levels[0];
                let joined = self.joined.of(singles.range(singles.len().saturating_sub(width as usize)..));
                append(&mut self.levels[level], joined);
            }
            // The next level takes over at a multiple of its own width, which may be that much later.
            let most = one.reach + LEVELS.get(level + 1).map_or(0, Level::width);
            while (self.levels[level].len() as i64) << one.bits >= most + width {
                self.levels[level].pop_front();
            }
        }
    }

    /// Where each level begins, by step number, for what is not told by a finer one.
    fn starts(&self) -> [i64; LEVELS.len()] {
        std::array::from_fn(|level| {
            let next = LEVELS.get(level + 1).unwrap_or(&LEVELS[0]);
            next.value_of(self.last + 1 - LEVELS[level].reach) << next.bits
        })
    }

    /// The value of a level that stands for a step.
    fn of_level(&self, level: usize, number: i64) -> f64 {
        let (one, values) = (&LEVELS[level], &self.levels[level]);
        let back = usize::try_from(one.value_of(self.last + 1) - one.value_of(number)).unwrap_or(0);
        let place = values.len().checked_sub(back).filter(|_| back > 0);
        place.and_then(|place| values.get(place)).map_or(f64::NAN, |v| f64::from(*v))
    }

    /// The distance between steps.
    pub(super) fn step(&self) -> Step {
        self.step
    }

    /// How many steps it remembers.
    pub(super) fn len(&self) -> usize {
        usize::try_from(self.last - self.first + 1).unwrap_or(0).min(CAPACITY)
    }

    /// The step number of the last value.
    pub(super) fn last(&self) -> i64 {
        self.last
    }

    /// The step number of a time.
    pub(super) fn number(&self, at: Timestamp) -> i64 {
        at.millis() / self.step.millis()
    }

    /// The time of a step number.
    pub(super) fn time(&self, number: i64) -> Timestamp {
        Timestamp::from_millis(number * self.step.millis())
    }

    /// The value that stands for a step number; NaN where it was not seen or is not kept.
    pub(super) fn at(&self, number: i64) -> f64 {
        let starts = self.starts();
        let level = starts.iter().position(|start| number >= *start);
        level.filter(|_| number >= self.first).map_or(f64::NAN, |level| self.of_level(level, number))
    }

    /// The last `count` values, oldest first, each of one step; at most [`SINGLE`] and no more than were seen.
    pub(super) fn singles(&self, count: usize) -> impl DoubleEndedIterator<Item = (i64, f64)> + '_ {
        let values = &self.levels[0];
        let count = count.min(self.len()).min(values.len());
        let first = self.last - count as i64 + 1;
        let of_place = move |(i, v): (usize, &f32)| (first + i as i64, f64::from(*v));
        values.range(values.len() - count..).enumerate().map(of_place)
    }

    /// The last `count` steps as they are remembered, oldest first and without a hole.
    pub(super) fn stretches(&self, count: usize) -> impl Iterator<Item = Stretch> + '_ {
        let from = self.last - count.min(self.len()) as i64 + 1;
        let starts = self.starts();
        let mut number = from;
        std::iter::from_fn(move || {
            let level = starts.iter().position(|start| number >= *start).filter(|_| number <= self.last)?;
            let end = (LEVELS[level].value_of(number) + 1) << LEVELS[level].bits;
            let steps = usize::try_from(end - number).unwrap_or(0);
            let stretch = Stretch { first: number, steps, value: self.of_level(level, number) };
            number = end;
            Some(stretch)
        })
    }
}

impl Joined {
    /// Of what was seen; NaN where nothing was.
    fn of<'a>(self, values: impl Iterator<Item = &'a f32>) -> f32 {
        let mut seen: Vec<f64> = values.filter(|value| !value.is_nan()).map(|value| f64::from(*value)).collect();
        let joined = match self {
            Self::Median => median(&mut seen),
            Self::Mean => seen.iter().sum::<f64>() / seen.len() as f64,
            Self::Least => seen.iter().copied().fold(f64::NAN, f64::min),
            Self::Most => seen.iter().copied().fold(f64::NAN, f64::max),
        };
        joined as f32
    }
}

fn append(values: &mut VecDeque<f32>, value: f32) {
    if values.len() == values.capacity() {
        values.reserve_exact(GROWTH);
    }
    values.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn minute(number: i64) -> Timestamp {
        Timestamp::from_seconds(number * 60)
    }

    fn pyramid(joined: Joined, numbers: std::ops::Range<i64>, value: impl Fn(i64) -> f64) -> Pyramid {
        let mut pyramid = Pyramid::new(Step::MINUTE, joined, minute(numbers.start));
        numbers.for_each(|number| assert_eq!(pyramid.push(minute(number), value(number)), Some(0)));
        pyramid
    }

    #[test]
    fn the_last_steps_are_kept_one_by_one_and_old_ones_joined() {
        let pyramid = pyramid(Joined::Mean, 0..20_000, |n| n as f64);
        assert_eq!(pyramid.len(), CAPACITY);
        assert_eq!(
            pyramid.singles(3).collect::<Vec<_>>(),
            [(19_997, 19_997.0), (19_998, 19_998.0), (19_999, 19_999.0)]
        );
        for stretch in pyramid.stretches(usize::MAX).skip(1) {
            let middle = stretch.first as f64 + (stretch.steps - 1) as f64 / 2.0;
            assert!((stretch.value - middle).abs() < 0.01, "{stretch:?}");
            let age = 19_999 - stretch.first;
            assert!(stretch.steps == 1 || stretch.steps as i64 * 32 <= age, "{stretch:?} is too coarse for its age");
        }
        let held: usize = pyramid.levels.iter().map(|level| level.capacity() * 4).sum();
        assert!(held <= 2800, "{held} bytes");
    }

    #[test]
    fn a_spike_is_not_seen_in_a_median_and_is_the_most() {
        let spiky = |n: i64| if n % 8 == 1 { 9.0 } else { 1.0 };
        let (median, most) = (pyramid(Joined::Median, 0..2000, spiky), pyramid(Joined::Most, 0..2000, spiky));
        assert!((0..1700).all(|n| median.at(n) == 1.0 && most.at(n) == 9.0));
    }

    #[test]
    fn a_gap_is_nan_what_is_late_is_left_out_and_a_long_gap_starts_anew() {
        let mut pyramid = pyramid(Joined::Median, 0..3, |n| n as f64);
        assert_eq!(pyramid.push(minute(5), 5.0), Some(2));
        assert_eq!(pyramid.push(minute(4), 9.0), None);
        let values: Vec<f64> = pyramid.stretches(usize::MAX).map(|s| s.value).collect();
        assert_eq!(values.len(), 6);
        assert!(values[3].is_nan() && values[4].is_nan());
        assert!(pyramid.push(minute(5 + 8000), 1.0).is_some_and(|missed| missed >= CAPACITY as i64));
        assert_eq!((pyramid.len(), pyramid.at(8005)), (1, 1.0));
        assert!(pyramid.at(5).is_nan());
    }

    #[test]
    fn the_same_steps_are_joined_whenever_they_were_first_seen() {
        let value = |n: i64| (n * 7919 % 101) as f64;
        let (old, young) = (pyramid(Joined::Median, 17..30_011, value), pyramid(Joined::Median, 22_500..30_011, value));
        assert!(old.stretches(7200).eq(young.stretches(7200)));
    }

    proptest! {
        #[test]
        fn stretches_cover_what_is_asked_for_without_a_hole(
            start in 0..200_i64, gaps in prop::collection::vec(1..90_i64, 1..400), count in 0..9000_usize,
        ) {
            let mut pyramid = Pyramid::new(Step::MINUTE, Joined::Median, minute(start));
            let mut number = start;
            for gap in gaps {
                pyramid.push(minute(number), number as f64);
                number += gap;
            }
            let mut next = pyramid.last() + 1 - count.min(pyramid.len()) as i64;
            for stretch in pyramid.stretches(count) {
                prop_assert_eq!(stretch.first, next);
                let value = pyramid.at(stretch.first);
                prop_assert!(value.to_bits() == stretch.value.to_bits());
                next += stretch.steps as i64;
            }
            prop_assert_eq!(next, pyramid.last() + 1);
        }
    }
}

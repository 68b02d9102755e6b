//! A run cut into bins: few enough to try many explanations, each value a median so that spikes do not count.

use forewarn_features::seasonal::median;
use serde::{Deserialize, Serialize};

use super::MAX_BINS;
use super::course::{Course, Stretch, usual_rise};

/// Fewer bins with a value than this say nothing.
const MIN_BINS: usize = 10;
/// Where only the troughs of a saw count, fewer do.
const MIN_TROUGHS: usize = 5;
/// Steps, at most, in which a saw's teeth are looked for: a day at the default step.
const SAW_STEPS: usize = 1440;
/// A tooth falls by this many times the largest of the usual rises, and by at least this much of the way.
const TOOTH_RISES: f64 = 4.0;
pub(crate) const LEAST_TOOTH_HEIGHT: f64 = 0.04;
/// A saw has at least two teeth and one for each quarter of a day besides.
const STEPS_A_TOOTH: usize = 360;

/// Median values, mean loads and both clocks of equal parts of a run.
pub(super) struct Bins {
    /// Steps a bin.
    pub width: usize,
    /// The fraction; NaN where nothing was seen.
    pub values: Vec<f64>,
    /// The mean relative load.
    pub loads: Vec<f64>,
    /// Steps from each bin's middle to now, negative.
    pub time: Vec<f64>,
    /// The same in units of load.
    pub load_clock: Vec<f64>,
    /// How much a tooth falls, where this is a saw that is judged by its troughs.
    pub tooth: Option<f64>,
}

impl Bins {
    /// Of what `course` remembers after its first `from` steps; `None` where too few bins have a value.
    pub(super) fn cut(course: &Course, from: usize, elastic: bool, known: Option<Saw>) -> Option<Self> {
        let steps = course.steps() - from;
        let width = steps.div_ceil(MAX_BINS).max(1);
        let count = steps / width;
        let mut bins = Self {
            width,
            values: Vec::with_capacity(count),
            loads: Vec::with_capacity(count),
            time: Vec::with_capacity(count),
            load_clock: Vec::with_capacity(count),
            tooth: None,
        };
        let mut seen: Vec<(f64, usize)> = Vec::with_capacity(width);
        let (mut load, mut filled, mut passed) = (0.0, 0, 0.0);
        for part in Parts::new(&course.stretches, from + steps - count * width, width) {
            if part.value.is_finite() {
                seen.push((part.value, part.steps));
            }
            load += part.load * part.steps as f64;
            filled += part.steps;
            if filled == width {
                bins.time.push((bins.values.len() as f64 + 0.5 - count as f64) * width as f64);
                bins.values.push(weighted_median(&mut seen));
                bins.loads.push(load / width as f64);
                bins.load_clock.push(passed + load / 2.0);
                passed += load;
                (load, filled) = (0.0, 0);
                seen.clear();
            }
        }
        for clock in &mut bins.load_clock {
            *clock -= passed;
        }
        if elastic && let Some(saw) = Saw::of_course(course, steps).or(known) {
            bins.take_troughs(&course.stretches, saw);
        }
        let wanted = if bins.tooth.is_some() { MIN_TROUGHS } else { MIN_BINS };
        (bins.values.iter().filter(|v| v.is_finite()).count() >= wanted).then_some(bins)
    }

    /// Keeps of each bin only what is left after a fall.
    fn take_troughs(&mut self, stretches: &[Stretch], saw: Saw) {
        self.tooth = Some(saw.height);
        self.values.fill(f64::NAN);
        let mut age = 0;
        for stretch in stretches.iter().rev() {
            let bin = self.values.len().checked_sub(1 + (age + stretch.steps / 2) / self.width);
            let Some(value) = bin.map(|bin| &mut self.values[bin]) else { return };
            if stretch.trough.is_finite() {
                *value = value.min(stretch.trough);
            }
            age += stretch.steps;
        }
    }
}

/// Stretches from a step on, taken apart at every `width` steps from there.
struct Parts<'a> {
    stretches: std::slice::Iter<'a, Stretch>,
    rest: Option<Stretch>,
    /// Steps to leave out yet.
    skip: usize,
    width: usize,
    /// Steps that the bin begun still takes.
    room: usize,
}

impl<'a> Parts<'a> {
    fn new(stretches: &'a [Stretch], skip: usize, width: usize) -> Self {
        Self { stretches: stretches.iter(), rest: None, skip, width, room: width }
    }
}

impl Iterator for Parts<'_> {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        let mut stretch = match self.rest.take() {
            Some(rest) => rest,
            None => *self.stretches.next()?,
        };
        while self.skip >= stretch.steps {
            self.skip -= stretch.steps;
            stretch = *self.stretches.next()?;
        }
        stretch.steps -= std::mem::take(&mut self.skip);
        let taken = stretch.steps.min(self.room);
        if stretch.steps > taken {
            self.rest = Some(Stretch { steps: stretch.steps - taken, ..stretch });
        }
        self.room = if taken == self.room { self.width } else { self.room - taken };
        Some(Stretch { steps: taken, ..stretch })
    }
}

/// The median where each value counts for so many; NaN of none. `values` is put into another order by it.
fn weighted_median(values: &mut [(f64, usize)]) -> f64 {
    let by_value = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0);
    let total: usize = values.iter().map(|(_, steps)| steps).sum();
    // The ranks whose mean it is: twice the same where the total is odd.
    let (low, high) = (total.saturating_sub(1) / 2, total / 2);
    match *values {
        [] => f64::NAN,
        [(only, _)] => only,
        // Nearly always: single steps, or medians of as many.
        [(_, each), ..] if values.iter().all(|(_, steps)| *steps == each) => {
            let (below, (high_value, _), _) = values.select_nth_unstable_by(high / each, by_value);
            let high_value = *high_value;
            if low / each == high / each {
                return high_value;
            }
            let low_value = below.iter().map(|(value, _)| *value).max_by(f64::total_cmp).unwrap_or(high_value);
            (low_value + high_value) / 2.0
        }
        _ => {
            values.sort_unstable_by(by_value);
            let at_rank = |rank: usize| {
                let mut passed = 0;
                let found = values.iter().find(|(_, steps)| {
                    passed += steps;
                    passed > rank
                });
                found.map_or(f64::NAN, |(value, _)| *value)
            };
            if low == high { at_rank(high) } else { (at_rank(low) + at_rank(high)) / 2.0 }
        }
    }
}

/// A series that falls again and again by what it rose before, as memory does under a garbage collector. In fractions of the way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saw {
    /// The least fall from one step to the next that is a tooth's.
    least: f64,
    /// The median fall of the teeth.
    height: f64,
}

impl Saw {
    /// From which fall on, where rises up to `usual_rise` are usual, a fall is a tooth's.
    pub(crate) fn least_tooth(usual_rise: f64) -> f64 {
        (TOOTH_RISES * usual_rise).max(LEAST_TOOTH_HEIGHT)
    }

    /// Finds it in the last `steps` of what is remembered of a run; `None`: it does not saw.
    fn of_course(course: &Course, steps: usize) -> Option<Self> {
        let recent = steps.min(SAW_STEPS);
        let teeth = course.teeth.iter().filter(|tooth| tooth.age < recent).map(|tooth| tooth.height);
        Self::among(teeth.collect(), course.usual_rise, recent)
    }

    /// Finds it in up to a day of steps (gaps NaN).
    pub(super) fn of(recent: &[f64]) -> Option<Self> {
        let changes = || recent.windows(2).map(|p| p[1] - p[0]).filter(|c| c.is_finite());
        Self::among(changes().map(|c| -c).collect(), usual_rise(changes()), recent.len())
    }

    /// Falls that no usual rise comes near, again and again within so many `steps`.
    fn among(mut falls: Vec<f64>, usual_rise: f64, steps: usize) -> Option<Self> {
        if usual_rise.is_nan() {
            return None;
        }
        let least = Self::least_tooth(usual_rise);
        falls.retain(|fall| *fall >= least);
        let wanted = MIN_TROUGHS.max(2 + steps / STEPS_A_TOOTH);
        if falls.len() < wanted {
            return None;
        }
        falls.sort_by(|a, b| b.total_cmp(a));
        Some(Self { least, height: falls[falls.len() / 2] })
    }

    /// Learns from days of targets; `None` unless most of them saw.
    pub fn learn<'a>(days: impl Iterator<Item = &'a [f64]>) -> Option<Self> {
        let (mut all, mut least, mut heights) = (0, Vec::new(), Vec::new());
        for day in days {
            all += 1;
            if let Some(saw) = Self::of(&day[day.len().saturating_sub(SAW_STEPS)..]) {
                least.push(saw.least);
                heights.push(saw.height);
            }
        }
        (heights.len() * 2 > all).then(|| Self { least: median(&mut least), height: median(&mut heights) })
    }

    /// Whether what was deserialised hangs together.
    pub(crate) fn is_well_formed(&self) -> bool {
        self.least > 0.0 && self.height > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_weighted_median_is_that_of_every_value_as_often_as_it_counts(
            mut values in prop::collection::vec((prop::sample::select(vec![0.0, 0.25, 0.5, 1.0, -1.0]), 1..4_usize), 1..20),
            alike in any::<bool>(),
        ) {
            if alike {
                values.iter_mut().for_each(|(_, steps)| *steps = 3);
            }
            let mut each: Vec<f64> = values.iter().flat_map(|(value, steps)| vec![*value; *steps]).collect();
            each.sort_by(f64::total_cmp);
            let (low, high) = (each[(each.len() - 1) / 2], each[each.len() / 2]);
            prop_assert_eq!(weighted_median(&mut values), (low + high) / 2.0);
        }
    }
}

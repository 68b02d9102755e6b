//! A window that slides over a series, and what is remembered of it: the reason why a step costs what
//! came and went since the last step, and not what the window holds.
//!
//! There is no second way to evaluate. A window that is looked at once starts empty and takes everything
//! in; one that slides ends up with the same state, bit for bit, because each kind of tally depends on
//! nothing but the samples inside: counts are whole numbers, sums are exact until they are read, extremes
//! and resets are kept by position.

use std::collections::VecDeque;

use forewarn_schema::Sample;

use super::exact_sum::ExactSum;
use super::line::LineSums;
use super::node::RangeFunction;
use super::series::{HistogramPoint, Point, StoredSeries, Track};
use super::spread::SpreadSums;

/// The windows over one series, at the same times.
#[derive(Clone, Debug)]
pub(super) struct SeriesWindow {
    floats: Span,
    histograms: Span,
    tally: Tally,
}

/// What a window holds: the points at or after its start and at or before its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowView<'w> {
    /// Staleness markers included.
    pub(super) floats: &'w [Sample],
    /// Staleness markers included.
    pub(super) histograms: &'w [HistogramPoint],
    pub(super) tally: &'w Tally,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

impl SeriesWindow {
    /// An empty one that keeps what `function` needs.
    pub(super) fn new(function: Option<RangeFunction>) -> Self {
        Self { floats: Span::default(), histograms: Span::default(), tally: Tally::new(function) }
    }

    /// Forgets where it stood.
    pub(super) fn forget(&mut self) {
        (self.floats.stands, self.histograms.stands) = (None, None);
    }

    /// Moves to `[start_ms, end_ms]`, both ends included. Forwards it costs what comes and goes; backwards,
    /// or after a late sample, all that the window holds.
    pub(super) fn slide<'w>(&'w mut self, series: &'w StoredSeries, start_ms: i64, end_ms: i64) -> WindowView<'w> {
        self.floats.slide(&series.floats, start_ms, end_ms, &mut self.tally);
        self.histograms.slide(series.histograms(), start_ms, end_ms, &mut ());
        WindowView {
            floats: series.floats.slice(self.floats.start, self.floats.end),
            histograms: series.histograms().slice(self.histograms.start, self.histograms.end),
            tally: &self.tally,
            start_ms,
            end_ms,
        }
    }
}

/// Is told what enters and leaves a window, in order of time.
trait Watch<P> {
    /// Start again with nothing.
    fn clear(&mut self);
    /// `point` is the newest now.
    fn enter(&mut self, index: u64, point: &P);
    /// `point` was the oldest; `rest` is what the window still holds.
    fn leave(&mut self, index: u64, point: &P, rest: &[P]);
}

impl<P> Watch<P> for () {
    fn clear(&mut self) {}
    fn enter(&mut self, _: u64, _: &P) {}
    fn leave(&mut self, _: u64, _: &P, _: &[P]) {}
}

/// Where a window stands, in the indices of a [`Track`].
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u64,
    end: u64,
    /// The times it was moved to last, and the track's rewrites then; none before the first time.
    stands: Option<(i64, i64, u32)>,
}

impl Span {
    fn slide<P: Point>(&mut self, track: &Track<P>, start_ms: i64, end_ms: i64, watch: &mut impl Watch<P>) {
        let forwards = self
            .stands
            .is_some_and(|(start, end, rewrites)| start <= start_ms && end <= end_ms && rewrites == track.rewrites());
        // What has been forgotten cannot be seen leaving.
        if !forwards || self.start < track.first() {
            watch.clear();
            self.start = track.index_of(start_ms);
            self.end = self.start;
        }
        self.stands = Some((start_ms, end_ms, track.rewrites()));
        while let Some(point) = track.get(self.end).filter(|p| p.at().millis() <= end_ms) {
            watch.enter(self.end, point);
            self.end += 1;
        }
        while self.start < self.end {
            let Some(point) = track.get(self.start).filter(|p| p.at().millis() < start_ms) else { break };
            watch.leave(self.start, point, track.slice(self.start + 1, self.end));
            self.start += 1;
        }
    }
}

/// What is remembered of the samples in a window. Staleness markers are no samples.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// How many samples there are.
    pub(super) count: usize,
    /// Index and value of the newest.
    last: Option<(u64, f64)>,
    pub(super) kept: Kept,
}

/// What a function needs besides the count, where that can be kept up to date.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// Nothing: the function looks at the ends only, or at every sample each time.
    Nothing,
    /// Each sample after which a counter fell: its index and value. A window holds few of them.
    Resets(VecDeque<(u64, f64)>),
    /// How many neighbours differ in a certain way.
    Pairs { counts: fn(f64, f64) -> bool, number: usize },
    /// The sum.
    Sum(ExactSum),
    /// What makes a line.
    Line(Box<LineSums>),
    /// What makes a variance.
    Spread(Box<SpreadSums>),
    /// Samples that are or may yet become the extreme, the extreme first; of equals the oldest. NaN is none.
    Extreme { beats: fn(f64, f64) -> bool, candidates: VecDeque<(u64, f64)> },
}

impl Tally {
    fn new(function: Option<RangeFunction>) -> Self {
        let extreme = |beats| Kept::Extreme { beats, candidates: VecDeque::new() };
        let kept = match function {
            Some(RangeFunction::Rate | RangeFunction::Increase) => Kept::Resets(VecDeque::new()),
            Some(RangeFunction::Changes) => {
                Kept::Pairs { counts: |a, b| a != b && !(a.is_nan() && b.is_nan()), number: 0 }
            }
            Some(RangeFunction::Resets) => Kept::Pairs { counts: |a, b| b < a, number: 0 },
            Some(RangeFunction::Sum | RangeFunction::Avg) => Kept::Sum(ExactSum::default()),
            Some(RangeFunction::Deriv | RangeFunction::PredictLinear) => Kept::Line(Box::default()),
            Some(RangeFunction::Stddev | RangeFunction::Stdvar) => Kept::Spread(Box::default()),
            Some(RangeFunction::Max) => extreme(|a, b| a > b),
            Some(RangeFunction::Min) => extreme(|a, b| a < b),
            _ => Kept::Nothing,
        };
        Self { count: 0, last: None, kept }
    }
}

impl Watch<Sample> for Tally {
    fn clear(&mut self) {
        self.count = 0;
        self.last = None;
        match &mut self.kept {
            Kept::Nothing => {}
            Kept::Resets(entries) | Kept::Extreme { candidates: entries, .. } => entries.clear(),
            Kept::Pairs { number, .. } => *number = 0,
            Kept::Sum(sum) => *sum = ExactSum::default(),
            Kept::Line(sums) => **sums = LineSums::default(),
            Kept::Spread(sums) => **sums = SpreadSums::default(),
        }
    }

    fn enter(&mut self, index: u64, sample: &Sample) {
        if sample.is_stale() {
            return;
        }
        let value = sample.value;
        match &mut self.kept {
            Kept::Nothing => {}
            Kept::Resets(resets) => resets.extend(self.last.filter(|(_, before)| value < *before)),
            Kept::Pairs { counts, number } => {
                *number += usize::from(self.last.is_some_and(|(_, before)| counts(before, value)));
            }
            Kept::Sum(sum) => sum.add(value),
            Kept::Line(sums) => sums.enter(sample, self.last.map(|(_, before)| before)),
            Kept::Spread(sums) => sums.enter(sample, self.last.map(|(_, before)| before)),
            Kept::Extreme { .. } if value.is_nan() => {}
            Kept::Extreme { beats, candidates } => {
                while candidates.back().is_some_and(|(_, candidate)| beats(value, *candidate)) {
                    candidates.pop_back();
                }
                candidates.push_back((index, value));
            }
        }
        self.count += 1;
        self.last = Some((index, value));
    }

    fn leave(&mut self, index: u64, sample: &Sample, rest: &[Sample]) {
        if sample.is_stale() {
            return;
        }
        match &mut self.kept {
            Kept::Nothing => {}
            Kept::Resets(entries) | Kept::Extreme { candidates: entries, .. } => {
                if entries.front().is_some_and(|(oldest, _)| *oldest == index) {
                    entries.pop_front();
                }
            }
            Kept::Pairs { counts, number } => {
                *number -= usize::from(next_value(rest).is_some_and(|next| counts(sample.value, next)));
            }
            Kept::Sum(sum) => sum.remove(sample.value),
            Kept::Line(sums) => sums.leave(sample, next_value(rest)),
            Kept::Spread(sums) => sums.leave(sample, next_value(rest)),
        }
        self.count -= 1;
        if self.count == 0 {
            self.last = None;
        }
    }
}

fn next_value(rest: &[Sample]) -> Option<f64> {
    rest.iter().find(|s| !s.is_stale()).map(|s| s.value)
}

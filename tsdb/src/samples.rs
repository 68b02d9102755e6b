//! Decoded samples in columns, filled and emptied again and again.

use forewarn_schema::{HistogramSample, Sample, Timestamp};

use crate::Interval;

/// Samples of one series. Floats and histograms lie apart; each list is in the order of the chunks decoded into it, and
/// that is the order of time unless chunks overlap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// When, in Unix milliseconds, one for each of `values`.
    pub times: Vec<i64>,
    /// Floats, bit by bit as they were written.
    pub values: Vec<f64>,
    /// Native histograms.
    pub histograms: Vec<HistogramSample>,
}

impl Samples {
    /// How many there are, of both kinds.
    pub fn len(&self) -> usize {
        self.times.len() + self.histograms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty() && self.histograms.is_empty()
    }

    /// The floats, one after another.
    pub fn floats(&self) -> impl ExactSizeIterator<Item = Sample> {
        self.times.iter().zip(&self.values).map(|(at, value)| Sample { at: Timestamp::from_millis(*at), value: *value })
    }

    /// Takes all out and keeps the memory.
    pub fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
    }

    /// Takes out what lies within any of `intervals`, which are sorted and do not touch (as
    /// [`Tombstones::of`](crate::Tombstones::of) gives them).
    pub fn remove_within(&mut self, intervals: &[Interval]) {
        if intervals.is_empty() {
            return;
        }
        let kept = |time: i64| {
            let next = intervals.partition_point(|interval| interval.end < time);
            intervals.get(next).is_none_or(|interval| time < interval.start)
        };
        let mut to = 0;
        for from in 0..self.times.len() {
            if kept(self.times[from]) {
                self.times[to] = self.times[from];
                self.values[to] = self.values[from];
                to += 1;
            }
        }
        self.times.truncate(to);
        self.values.truncate(to);
        self.histograms.retain(|sample| kept(sample.at.millis()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_deleted_interval_are_gone() {
        let times: Vec<i64> = (0..10).collect();
        let values = times.iter().map(|t| *t as f64).collect();
        let mut samples = Samples { times, values, histograms: Vec::new() };
        samples.remove_within(&[Interval { start: -5, end: 0 }, Interval { start: 3, end: 5 }]);
        assert_eq!(samples.times, [1, 2, 6, 7, 8, 9]);
        assert_eq!(samples.values, [1.0, 2.0, 6.0, 7.0, 8.0, 9.0]);
    }
}

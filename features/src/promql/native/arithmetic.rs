//! Histograms added, subtracted, scaled and compared.

use std::borrow::Cow;

use super::{FloatHistogram, SCHEMAS};
use crate::promql::series::HistogramPoint;

impl FloatHistogram {
    /// Adds `other` at the coarser resolution of the two. `false`, and nothing done, where they cannot meet.
    pub(in crate::promql) fn add(&mut self, other: &Self) -> bool {
        self.combine(other, 1.0)
    }

    /// Takes `other` away; counts may become negative.
    pub(in crate::promql) fn subtract(&mut self, other: &Self) -> bool {
        self.combine(other, -1.0)
    }

    /// Multiplies every count and the sum.
    pub(in crate::promql) fn scale(&mut self, factor: f64) {
        let (positive, negative) = (self.positive.iter_mut(), self.negative.iter_mut());
        positive.chain(negative).for_each(|(_, count)| *count *= factor);
        self.zero_count *= factor;
        self.count *= factor;
        self.sum *= factor;
    }

    /// Lets go of buckets that hold nothing.
    pub(in crate::promql) fn compact(&mut self) {
        self.positive.retain(|(_, count)| *count != 0.0);
        self.negative.retain(|(_, count)| *count != 0.0);
    }

    /// Whether the counter must have been reset since `before`: some count is lower, or the histogram has
    /// become finer. As 2.42 does, hints are not asked.
    pub(in crate::promql) fn is_after_reset(&self, before: &Self) -> bool {
        if self.count < before.count || self.schema > before.schema || self.zero_threshold < before.zero_threshold {
            return true;
        }
        if self.is_custom() != before.is_custom() || self.custom_bounds != before.custom_bounds {
            return true;
        }
        let (zero_count, threshold) = before.zero_at(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        let before = before.at_schema(self.schema);
        let fell = |now: &[(i32, f64)], then: &[(i32, f64)]| {
            let outside_zero = then.iter().filter(|(index, _)| before.bound(*index) > self.zero_threshold);
            outside_zero.into_iter().any(|(index, count)| {
                let now = now.binary_search_by_key(index, |(i, _)| *i).map_or(0.0, |at| now[at].1);
                now < *count
            })
        };
        fell(&self.positive, &before.positive) || fell(&self.negative, &before.negative)
    }

    fn combine(&mut self, other: &Self, sign: f64) -> bool {
        if self.is_custom() != other.is_custom() || self.custom_bounds != other.custom_bounds {
            return false;
        }
        let schema = self.schema.min(other.schema);
        if let Cow::Owned(coarser) = self.at_schema(schema) {
            *self = coarser;
        }
        let mut other = other.at_schema(schema).into_owned();
        self.meet_at_zero(&mut other);
        self.zero_count += sign * other.zero_count;
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        self.positive = merged(&self.positive, &other.positive, sign);
        self.negative = merged(&self.negative, &other.negative, sign);
        true
    }

    fn is_custom(&self) -> bool {
        self.schema == forewarn_schema::CUSTOM_BOUNDS_SCHEMA
    }

    /// At a coarser schema: 2^(difference) neighbours become one bucket. Custom buckets have none.
    fn at_schema(&self, schema: i32) -> Cow<'_, Self> {
        if schema >= self.schema || self.is_custom() || !SCHEMAS.contains(&schema) {
            return Cow::Borrowed(self);
        }
        let by = self.schema - schema;
        let coarser = |buckets: &[(i32, f64)]| {
            let mut coarse: Vec<(i32, f64)> = Vec::with_capacity(buckets.len());
            for (index, count) in buckets {
                let index = (index.saturating_sub(1) >> by) + 1;
                match coarse.last_mut() {
                    Some(last) if last.0 == index => last.1 += count,
                    _ => coarse.push((index, *count)),
                }
            }
            coarse
        };
        let (positive, negative) = (coarser(&self.positive), coarser(&self.negative));
        Cow::Owned(Self { schema, positive, negative, ..self.clone() })
    }

    /// Widens the narrower zero bucket, and the other too where the edge would cut a bucket in two.
    fn meet_at_zero(&mut self, other: &mut Self) {
        // Each round widens one of them to the end of a bucket, so it ends.
        while self.zero_threshold != other.zero_threshold {
            let wider = self.zero_threshold.max(other.zero_threshold);
            if wider.is_nan() {
                return;
            }
            let narrow = if self.zero_threshold < other.zero_threshold { &mut *self } else { &mut *other };
            let (zero_count, threshold) = narrow.zero_at(wider);
            narrow.zero_count = zero_count;
            narrow.zero_threshold = threshold;
            let bounds = Self { schema: narrow.schema, ..Self::default() };
            narrow.positive.retain(|(index, _)| bounds.bound(*index) > threshold);
            narrow.negative.retain(|(index, _)| bounds.bound(*index) > threshold);
        }
    }

    /// What the zero bucket would hold were it as wide as `threshold`, or a little wider so that it ends
    /// where a bucket ends that holds something.
    fn zero_at(&self, threshold: f64) -> (f64, f64) {
        let mut threshold = threshold;
        if threshold == self.zero_threshold {
            return (self.zero_count, threshold);
        }
        loop {
            let mut count = self.zero_count;
            let mut end = threshold;
            for bucket in self.positive.iter().chain(&self.negative) {
                let bucket = self.positive_bucket(*bucket);
                if bucket.lower < threshold {
                    count += bucket.count;
                    if bucket.upper > threshold && bucket.count != 0.0 {
                        end = end.max(bucket.upper);
                    }
                }
            }
            if end == threshold {
                return (count, threshold);
            }
            threshold = end;
        }
    }
}

/// The sum of two sorted lists of buckets, `sign` before the second.
fn merged(a: &[(i32, f64)], b: &[(i32, f64)], sign: f64) -> Vec<(i32, f64)> {
    let mut result = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x.0 == y.0 => {
                let sum = (x.0, x.1 + sign * y.1);
                a.next();
                b.next();
                sum
            }
            (Some(x), y) if y.is_none_or(|y| x.0 < y.0) => {
                let only = *x;
                a.next();
                only
            }
            (_, Some(y)) => {
                let only = (y.0, sign * y.1);
                b.next();
                only
            }
            (_, None) => return result,
        };
        result.push(next);
    }
}

/// What the histograms of a window grew by from the first to the last, resets added up where `counter`;
/// none is stale. `None` for fewer than two, or where they cannot meet.
pub(in crate::promql) fn growth(points: &[&HistogramPoint], counter: bool) -> Option<FloatHistogram> {
    let [first, .., last] = points else { return None };
    let counted = points.iter().filter(|_| counter).chain([first, last]);
    let schema = counted.map(|p| p.histogram.schema).min()?;
    let mut growth = last.histogram.at_schema(schema).into_owned();
    if !growth.subtract(&first.histogram) {
        return None;
    }
    for pair in points.windows(2).filter(|pair| counter && pair[1].after_reset) {
        if !growth.add(&pair[0].histogram) {
            return None;
        }
    }
    growth.compact();
    Some(growth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::Timestamp;
    use std::sync::Arc;

    fn histogram(schema: i32, positive: &[(i32, f64)]) -> FloatHistogram {
        let count = positive.iter().map(|(_, count)| count).sum();
        FloatHistogram { schema, count, positive: positive.to_vec(), ..FloatHistogram::default() }
    }

    #[test]
    fn histograms_meet_at_the_coarser_resolution() {
        let mut coarse = histogram(0, &[(1, 3.0)]);
        assert!(coarse.add(&histogram(1, &[(1, 1.0), (2, 2.0), (3, 5.0)])));
        assert_eq!(coarse.positive, [(1, 6.0), (2, 5.0)]);
        let mut fine = histogram(1, &[(1, 1.0), (2, 2.0), (3, 5.0)]);
        assert!(fine.subtract(&histogram(0, &[(1, 3.0)])));
        fine.compact();
        assert_eq!((fine.schema, fine.positive, fine.count), (0, vec![(2, 5.0)], 5.0));
    }

    #[test]
    fn the_wider_zero_bucket_takes_whole_buckets() {
        let mut wide = FloatHistogram { zero_threshold: 3.0, zero_count: 1.0, ..FloatHistogram::default() };
        // (2, 4] straddles 3, so the zero bucket ends at 4.
        assert!(wide.add(&histogram(0, &[(1, 2.0), (2, 4.0), (3, 8.0)])));
        assert_eq!((wide.zero_threshold, wide.zero_count), (4.0, 7.0));
        assert_eq!(wide.positive, [(3, 8.0)]);
    }

    #[test]
    fn a_count_that_falls_or_a_finer_schema_is_a_reset() {
        let before = histogram(1, &[(1, 2.0), (4, 2.0)]);
        assert!(!histogram(1, &[(1, 2.0), (4, 3.0)]).is_after_reset(&before));
        assert!(!histogram(0, &[(1, 2.0), (2, 3.0)]).is_after_reset(&before));
        assert!(histogram(1, &[(1, 5.0), (4, 1.0)]).is_after_reset(&before));
        assert!(histogram(1, &[(4, 9.0)]).is_after_reset(&before));
        assert!(histogram(2, &[(1, 9.0), (8, 9.0)]).is_after_reset(&before));
        assert!(histogram(1, &[(1, 2.0)]).is_after_reset(&before));
    }

    #[test]
    fn custom_bounds_meet_only_their_like() {
        let custom = |bounds: &[f64]| FloatHistogram { custom_bounds: bounds.to_vec(), ..histogram(-53, &[(0, 1.0)]) };
        assert!(custom(&[1.0]).add(&custom(&[1.0])));
        assert!(!custom(&[1.0]).add(&custom(&[2.0])));
        assert!(!histogram(0, &[]).add(&custom(&[1.0])));
        assert!(
            custom(&[]).is_after_reset(&histogram(8, &[])) && histogram(8, &[(1, 1.0)]).is_after_reset(&custom(&[]))
        );
        let point = |histogram: FloatHistogram| HistogramPoint {
            at: Timestamp::from_seconds(0),
            histogram: Arc::new(histogram),
            after_reset: true,
        };
        assert_eq!(growth(&[&point(custom(&[])), &point(histogram(8, &[]))], true), None);
    }
}

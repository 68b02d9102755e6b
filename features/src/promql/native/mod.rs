//! Native histograms as evaluation computes with them: buckets by index, counts as floats.
//!
//! The arithmetic is that of Prometheus 2.42 (`model/histogram/float_histogram.go`): two histograms meet
//! at the coarser resolution and at the wider zero bucket. Custom bounds, which 2.42 does not know, meet
//! only where they are equal.

mod arithmetic;
mod estimate;

pub(super) use arithmetic::growth;

use forewarn_schema::{Buckets, CUSTOM_BOUNDS_SCHEMA, NativeHistogram};
use serde::{Deserialize, Serialize};

/// Finest and coarsest exponential schema.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// More buckets on one side than any schema needs for the whole range of floats at a useful resolution.
const MAX_BUCKETS: usize = 65_536;
const ODD_SPANS: &str = "spans that rise and hold as many buckets as there are counts";
const ODD_BOUNDS: &str = "custom bounds that rise";

/// A histogram. Bucket *i* of schema *s* ends at 2^(i 2^-s), on the negative side mirrored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct FloatHistogram {
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) zero_count: f64,
    pub(super) count: f64,
    pub(super) sum: f64,
    /// Index and count, sorted by index.
    pub(super) positive: Vec<(i32, f64)>,
    /// Index and count, sorted by index, so from zero downwards.
    pub(super) negative: Vec<(i32, f64)>,
    /// Upper bounds where the schema says so.
    pub(super) custom_bounds: Vec<f64>,
}

/// A bucket with its bounds: what it holds is above `lower` and at most `upper`, or on the negative side
/// at least `lower` and below `upper`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    pub(super) lower: f64,
    pub(super) upper: f64,
    pub(super) count: f64,
}

impl FloatHistogram {
    /// The working form; or what is wrong with it.
    pub(super) fn read(native: &NativeHistogram) -> Result<Self, &'static str> {
        let buckets = |buckets: &Buckets| -> Result<Vec<(i32, f64)>, &'static str> {
            if buckets.counts.len() > MAX_BUCKETS {
                return Err("at most 65,536 buckets on a side");
            }
            let read: Vec<_> = buckets.iter().collect();
            if read.len() != buckets.counts.len() {
                return Err(ODD_SPANS);
            }
            Ok(read)
        };
        if native.custom_bounds.len() > MAX_BUCKETS {
            return Err(ODD_BOUNDS);
        }
        let read = Self {
            schema: native.schema,
            zero_threshold: native.zero_threshold,
            zero_count: native.zero_count,
            count: native.count,
            sum: native.sum,
            positive: buckets(&native.positive)?,
            negative: buckets(&native.negative)?,
            custom_bounds: native.custom_bounds.clone(),
        };
        read.check()?;
        Ok(read)
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let custom = self.schema == CUSTOM_BOUNDS_SCHEMA;
        if !custom && !SCHEMAS.contains(&self.schema) {
            return Err("a schema in -4..=8 or -53");
        }
        if !(self.zero_threshold >= 0.0 && self.zero_threshold.is_finite()) {
            return Err("a zero bucket of finite width");
        }
        if self.custom_bounds.windows(2).any(|pair| !matches!(pair, [a, b] if a < b)) {
            return Err(ODD_BOUNDS);
        }
        if [&self.positive, &self.negative].into_iter().any(|side| side.windows(2).any(|pair| pair[0].0 >= pair[1].0)) {
            return Err(ODD_SPANS);
        }
        let known = |index: i32| usize::try_from(index).is_ok_and(|index| index <= self.custom_bounds.len());
        if custom && (!self.negative.is_empty() || self.positive.iter().any(|(index, _)| !known(*index))) {
            return Err("a custom bucket for each count");
        }
        Ok(())
    }

    /// Whether it is the same, NaN equal to itself.
    pub(super) fn same_bits(&self, other: &Self) -> bool {
        let sum = self.sum.to_bits() == other.sum.to_bits();
        sum && Self { sum: 0.0, ..self.clone() } == Self { sum: 0.0, ..other.clone() }
    }

    /// Where the bucket with this index ends, away from zero.
    fn bound(&self, index: i32) -> f64 {
        if self.schema == CUSTOM_BOUNDS_SCHEMA {
            return match usize::try_from(index) {
                Ok(index) => self.custom_bounds.get(index).copied().unwrap_or(f64::INFINITY),
                Err(_) => f64::NEG_INFINITY,
            };
        }
        let index = i64::from(index);
        let (whole, part) = if self.schema <= 0 {
            (index << -self.schema, 0.0)
        } else {
            let per_octave = 1_i64 << self.schema;
            (index.div_euclid(per_octave), index.rem_euclid(per_octave) as f64 / per_octave as f64)
        };
        // The last bucket with a bound ends at the largest float, not past it.
        if whole == 1024 && part == 0.0 { f64::MAX } else { part.exp2() * (whole as f64).exp2() }
    }

    /// All buckets from the lowest to the highest; the zero bucket only where it holds something. A bucket
    /// that reaches into the zero bucket ends where that begins.
    pub(super) fn buckets(&self) -> impl Iterator<Item = Bucket> {
        let edge = if self.schema == CUSTOM_BOUNDS_SCHEMA { f64::NEG_INFINITY } else { self.zero_threshold };
        let outside = move |mut bucket: Bucket| {
            bucket.lower = bucket.lower.max(edge);
            bucket
        };
        let negative = self.negative.iter().rev().map(move |bucket| {
            let Bucket { lower, upper, count } = outside(self.positive_bucket(*bucket));
            Bucket { lower: -upper, upper: -lower, count }
        });
        let zero = (self.zero_count > 0.0).then_some(Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            count: self.zero_count,
        });
        negative.chain(zero).chain(self.positive.iter().map(move |bucket| outside(self.positive_bucket(*bucket))))
    }

    fn positive_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        Bucket { lower: self.bound(index.saturating_sub(1)), upper: self.bound(index), count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::BucketSpan;
    use proptest::prelude::*;

    #[test]
    fn bounds_grow_by_the_schema() {
        let bound = |schema, index| FloatHistogram { schema, ..FloatHistogram::default() }.bound(index);
        assert_eq!([bound(0, -1), bound(0, 0), bound(0, 3)], [0.5, 1.0, 8.0]);
        assert_eq!([bound(-2, 1), bound(1, 2), bound(3, -8)], [16.0, 2.0, 0.5]);
        assert_eq!(bound(0, 1024), f64::MAX);
        assert_eq!(bound(0, 1025), f64::INFINITY);
        assert!((bound(1, 1) - 2f64.sqrt()).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn whatever_comes_in_is_read_or_refused(
            schema in prop_oneof![-60..60_i32, Just(CUSTOM_BOUNDS_SCHEMA)],
            spans in prop::collection::vec((any::<i32>(), 0..9_u32), 0..4),
            counts in prop::collection::vec(any::<f64>(), 0..12),
            custom_bounds in prop::collection::vec(any::<f64>(), 0..4),
            (other, threshold) in (prop_oneof![-4..=8_i32, Just(CUSTOM_BOUNDS_SCHEMA)], 0.0..10_f64),
        ) {
            let spans = spans.into_iter().map(|(offset, length)| BucketSpan { offset, length }).collect();
            let positive = Buckets { spans, counts };
            let native = NativeHistogram { schema, negative: positive.clone(), positive, custom_bounds, ..NativeHistogram::default() };
            if let Ok(read) = FloatHistogram::read(&native) {
                let mut sum = read.clone();
                sum.add(&read);
                let _ = (sum.buckets().count(), read.is_after_reset(&sum), sum.quantile(0.5), sum.fraction(-1.0, 1.0));
                let another = FloatHistogram { schema: other, zero_threshold: threshold, ..read.clone() };
                let _ = (sum.subtract(&another), another.is_after_reset(&sum), sum.is_after_reset(&another));
            }
        }
    }
}

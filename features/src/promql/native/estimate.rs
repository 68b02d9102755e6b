//! What a native histogram says of the distribution behind it: quantiles and fractions, on a straight
//! line inside a bucket (Prometheus 2.42, `promql/quantile.go`).

use super::{Bucket, FloatHistogram};

impl FloatHistogram {
    /// The `q`-quantile. NaN without observations or for a NaN `q`, an infinity for a `q` outside 0..1.
    pub(in crate::promql) fn quantile(&self, q: f64) -> f64 {
        if q < 0.0 {
            return f64::NEG_INFINITY;
        }
        if q > 1.0 {
            return f64::INFINITY;
        }
        if self.count == 0.0 || q.is_nan() {
            return f64::NAN;
        }
        let mut rank = q * self.count;
        let mut found = Bucket { lower: 0.0, upper: 0.0, count: 0.0 };
        let mut cumulative = 0.0;
        for bucket in self.buckets() {
            found = bucket;
            cumulative += bucket.count;
            if cumulative >= rank {
                break;
            }
        }
        let found = self.without_empty_side(found);
        // Rounding may have added up to more than there are.
        cumulative = if cumulative > self.count { self.count } else { cumulative };
        // Observations of NaN are in no bucket: the answer is where the buckets end.
        if cumulative < rank {
            return found.upper;
        }
        if found.lower == f64::NEG_INFINITY {
            return found.upper;
        }
        if found.upper == f64::INFINITY && !self.custom_bounds.is_empty() {
            return found.lower;
        }
        rank -= cumulative - found.count;
        found.lower + (found.upper - found.lower) * (rank / found.count)
    }

    /// The fraction of observations between `lower` and `upper`; 0 where `lower` is not below `upper`,
    /// NaN without observations or for a NaN bound.
    pub(in crate::promql) fn fraction(&self, lower: f64, upper: f64) -> f64 {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        (self.rank_of(upper) - self.rank_of(lower)) / self.count
    }

    /// How many observations are below `value`, at most all.
    fn rank_of(&self, value: f64) -> f64 {
        let mut rank = 0.0;
        for bucket in self.buckets() {
            let bucket = self.without_empty_side(bucket);
            if bucket.lower >= value {
                return if rank > self.count { self.count } else { rank };
            }
            if bucket.upper > value {
                let share = bucket.count * (value - bucket.lower) / (bucket.upper - bucket.lower);
                let rank = rank + share;
                return if rank > self.count { self.count } else { rank };
            }
            rank += bucket.count;
        }
        self.count
    }

    /// The zero bucket of a histogram with buckets on one side only does not reach over to the other; nor
    /// does the first custom bucket reach below zero.
    fn without_empty_side(&self, mut bucket: Bucket) -> Bucket {
        if bucket.lower < 0.0 && bucket.upper > 0.0 {
            if self.negative.is_empty() && !self.positive.is_empty() {
                bucket.lower = 0.0;
            } else if self.positive.is_empty() && !self.negative.is_empty() {
                bucket.upper = 0.0;
            }
        }
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn latency() -> FloatHistogram {
        let positive = vec![(-1, 10.0), (0, 30.0), (3, 50.0)];
        FloatHistogram { zero_threshold: 0.001, zero_count: 10.0, count: 100.0, positive, ..FloatHistogram::default() }
    }

    #[test]
    fn a_quantile_lies_on_the_line_inside_its_bucket() {
        // (0.5, 1] holds the ranks 20 to 50.
        assert_eq!(latency().quantile(0.35), 0.75);
        assert_eq!(latency().quantile(0.05), 0.0005);
        assert_eq!(latency().quantile(1.0), 8.0);
        assert!(FloatHistogram::default().quantile(0.5).is_nan());
    }

    #[test]
    fn a_fraction_counts_what_lies_between() {
        assert_eq!(latency().fraction(0.5, 1.0), 0.3);
        assert_eq!(latency().fraction(f64::NEG_INFINITY, f64::INFINITY), 1.0);
        assert_eq!(latency().fraction(2.0, 1.0), 0.0);
    }

    #[test]
    fn custom_bounds_answer_as_classic_buckets_do() {
        let positive = vec![(0, 50.0), (1, 40.0), (2, 10.0)];
        let custom = FloatHistogram {
            schema: -53,
            count: 100.0,
            positive,
            custom_bounds: vec![0.1, 0.5],
            ..FloatHistogram::default()
        };
        assert_eq!(custom.quantile(0.25), 0.05);
        assert_eq!(custom.quantile(0.99), 0.5);
    }

    proptest! {
        #[test]
        fn a_higher_quantile_is_never_below_a_lower_one(
            counts in prop::collection::vec(0.0..1e6_f64, 1..20), schema in -4..=8_i32,
            a in 0.0..=1.0_f64, b in 0.0..=1.0_f64,
        ) {
            let count = counts.iter().sum();
            let positive = counts.into_iter().enumerate().map(|(i, c)| (i as i32 - 5, c)).collect();
            let histogram = FloatHistogram { schema, count, positive, ..FloatHistogram::default() };
            let (low, high) = (histogram.quantile(a.min(b)), histogram.quantile(a.max(b)));
            prop_assert!(low.is_nan() || low <= high * (1.0 + 1e-9), "{low} > {high}");
        }
    }
}

//! `histogram_quantile`: over classic buckets (`le`) as Prometheus 2.42's `promql/quantile.go` has it, and
//! over native histograms, which answer for themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use forewarn_schema::LabelSet;

use super::eval::{EvalError, nameless};
use super::memo::LabelMemo;
use super::value::{Element, Value};

const BUCKET_LABEL: &str = "le";

/// A cumulative bucket: how many observations were at most `upper_bound`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    upper_bound: f64,
    count: f64,
}

/// One quantile per histogram. Numbers without a number as `le` belong to none and are left out; where the
/// same labels have classic buckets and a native histogram, neither counts.
pub(super) fn quantiles(q: f64, elements: &[Element], memo: &mut LabelMemo) -> Result<Vec<Element>, EvalError> {
    let mut classic: BTreeMap<Arc<LabelSet>, Vec<Bucket>> = BTreeMap::new();
    let mut native = Vec::new();
    for element in elements {
        let labels = memo.make(&element.labels, |labels| labels.without(&[BUCKET_LABEL]));
        match &element.value {
            Value::Histogram(histogram) => native.push((labels, histogram)),
            Value::Float(count) => {
                let bound = element.labels.get(BUCKET_LABEL).and_then(|le| le.parse::<f64>().ok());
                let Some(upper_bound) = bound else { continue };
                classic.entry(labels).or_default().push(Bucket { upper_bound, count: *count });
            }
        }
    }
    let mut result = Vec::with_capacity(classic.len() + native.len());
    for (labels, histogram) in native {
        if classic.remove(&labels).is_none() {
            result.push(Element::float(labels, histogram.quantile(q)));
        }
    }
    result.extend(classic.into_iter().map(|(labels, buckets)| Element::float(labels, bucket_quantile(q, buckets))));
    nameless(result, memo)
}

/// The `q`-quantile, linear inside its bucket; the first bucket starts at 0 unless its bound is not
/// above that. In the last bucket the answer is the bound below it. NaN without a `+Inf` bucket, with
/// fewer than two buckets, without observations, and for a NaN `q`.
fn bucket_quantile(q: f64, mut buckets: Vec<Bucket>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    buckets.sort_by(|a, b| a.upper_bound.total_cmp(&b.upper_bound));
    if buckets.last().is_none_or(|last| last.upper_bound != f64::INFINITY) {
        return f64::NAN;
    }
    let buckets = monotonic(merge_equal_bounds(&buckets));
    let (Some(last), true) = (buckets.last(), buckets.len() >= 2) else { return f64::NAN };
    let observations = last.count;
    if observations == 0.0 {
        return f64::NAN;
    }
    let rank = q * observations;
    let inner = &buckets[..buckets.len() - 1];
    // The first bucket that holds the rank: `>=` fails for NaN, as the search upstream does.
    let at = inner.partition_point(|b| !matches!(b.count.partial_cmp(&rank), Some(o) if o.is_ge()));
    if at == inner.len() {
        return inner[at - 1].upper_bound;
    }
    let bucket = buckets[at];
    if at == 0 && bucket.upper_bound <= 0.0 {
        return bucket.upper_bound;
    }
    let below = if at == 0 { Bucket { upper_bound: 0.0, count: 0.0 } } else { buckets[at - 1] };
    let share = (rank - below.count) / (bucket.count - below.count);
    below.upper_bound + (bucket.upper_bound - below.upper_bound) * share
}

fn merge_equal_bounds(buckets: &[Bucket]) -> Vec<Bucket> {
    let mut merged: Vec<Bucket> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        match merged.last_mut() {
            Some(last) if last.upper_bound == bucket.upper_bound => last.count += bucket.count,
            _ => merged.push(*bucket),
        }
    }
    merged
}

/// Counts never fall with the bound; where scrapes raced, the larger count before is taken.
fn monotonic(mut buckets: Vec<Bucket>) -> Vec<Bucket> {
    let mut max = f64::NEG_INFINITY;
    for (i, bucket) in buckets.iter_mut().enumerate() {
        if i == 0 || bucket.count > max {
            max = bucket.count;
        } else if bucket.count < max {
            bucket.count = max;
        }
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buckets(counts: &[(f64, f64)]) -> Vec<Bucket> {
        counts.iter().map(|(upper_bound, count)| Bucket { upper_bound: *upper_bound, count: *count }).collect()
    }

    #[test]
    fn the_quantile_lies_on_the_line_inside_its_bucket() {
        let latency = [(0.1, 50.0), (0.5, 90.0), (1.0, 100.0), (f64::INFINITY, 100.0)];
        assert_eq!(bucket_quantile(0.25, buckets(&latency)), 0.05);
        assert_eq!(bucket_quantile(0.7, buckets(&latency)), 0.30000000000000004);
        assert_eq!(bucket_quantile(1.0, buckets(&latency)), 1.0);
        let overflowing = [(0.1, 0.0), (f64::INFINITY, 10.0)];
        assert_eq!(bucket_quantile(0.5, buckets(&overflowing)), 0.1);
    }

    #[test]
    fn without_its_last_bucket_or_observations_it_is_unknown() {
        assert!(bucket_quantile(0.5, buckets(&[(0.1, 1.0), (0.5, 2.0)])).is_nan());
        assert!(bucket_quantile(0.5, buckets(&[(0.1, 0.0), (f64::INFINITY, 0.0)])).is_nan());
        assert!(bucket_quantile(0.5, buckets(&[(f64::INFINITY, 5.0)])).is_nan());
    }

    #[test]
    fn counts_that_fall_are_taken_as_flat() {
        let raced = [(0.1, 10.0), (0.5, 8.0), (f64::INFINITY, 10.0)];
        assert_eq!(bucket_quantile(0.5, buckets(&raced)), 0.05);
    }

    proptest! {
        #[test]
        fn a_higher_quantile_is_never_below_a_lower_one(
            counts in prop::collection::vec(0.0..1e6f64, 2..12), a in 0.0..=1.0f64, b in 0.0..=1.0f64,
        ) {
            let last = counts.len() - 1;
            let bound = |i: usize| if i == last { f64::INFINITY } else { i as f64 };
            let of = |q| bucket_quantile(q, counts.iter().enumerate().map(|(i, c)| Bucket { upper_bound: bound(i), count: *c }).collect());
            let (low, high) = (of(a.min(b)), of(a.max(b)));
            prop_assert!(low <= high + 1e-9 || low.is_nan(), "{low} > {high}");
        }
    }
}

//! Native histograms: one sample that is a whole distribution, in buckets that grow exponentially or
//! have bounds of their own. Counts are floats, as Prometheus' engine computes with them; an integer
//! histogram is exact up to 2^53 observations.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Timestamp, is_stale};

/// The schema whose buckets have the bounds listed in [`NativeHistogram::custom_bounds`].
pub const CUSTOM_BOUNDS_SCHEMA: i32 = -53;

/// What is known of a counter reset before a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetHint {
    /// Nothing: it must be compared with the one before.
    #[default]
    Unknown,
    /// The counter was reset before this histogram.
    Yes,
    /// It was not.
    No,
    /// Not a counter.
    Gauge,
}

/// A run of neighbouring buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BucketSpan {
    /// Of the first span: the index of its first bucket. Of later ones: how many buckets are left out
    /// since the end of the one before.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// Buckets on one side of zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Buckets {
    /// Which buckets there are.
    pub spans: Vec<BucketSpan>,
    /// Observations in each of them, not cumulative; as many as the spans have buckets.
    pub counts: Vec<f64>,
}

impl Buckets {
    /// Index and count of each bucket, by index. A bucket that the spans promise and that has no count
    /// is left out.
    pub fn iter(&self) -> impl Iterator<Item = (i32, f64)> {
        let mut next = 0_i32;
        let indices = self.spans.iter().flat_map(move |span| {
            let first = next.saturating_add(span.offset);
            next = first.saturating_add_unsigned(span.length);
            first..next
        });
        indices.zip(self.counts.iter().copied())
    }
}

/// A native histogram with exponential buckets or custom bounds (remote write specification 1.0 and 2.0,
/// message `Histogram`).
///
/// For schema *s* in -4..=8, the positive bucket *i* holds observations in (2^(2^-s))^(i-1) < v <= (2^(2^-s))^i; the
/// negative ones mirror it. For [`CUSTOM_BOUNDS_SCHEMA`] the bucket *i* ends at `custom_bounds[i]`, the last one at
/// infinity, and there is nothing zero or negative.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NativeHistogram {
    /// Counter reset or gauge.
    pub reset_hint: ResetHint,
    /// -4..=8, or [`CUSTOM_BOUNDS_SCHEMA`].
    pub schema: i32,
    /// Observations nearer to zero than this are in the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Their sum; the staleness marker where the series has ended.
    pub sum: f64,
    /// Buckets above zero.
    pub positive: Buckets,
    /// Buckets below zero.
    pub negative: Buckets,
    /// Upper bounds of the custom buckets, rising; empty for the exponential schemas.
    pub custom_bounds: Vec<f64>,
}

impl NativeHistogram {
    /// Whether it says that the series has ended.
    pub fn is_stale(&self) -> bool {
        is_stale(self.sum)
    }
}

/// One histogram at one time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistogramSample {
    /// When.
    pub at: Timestamp,
    /// What.
    pub histogram: Arc<NativeHistogram>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_between_spans_is_left_out_of_the_indices() {
        let spans = vec![BucketSpan { offset: -2, length: 2 }, BucketSpan { offset: 3, length: 1 }];
        let buckets = Buckets { spans, counts: vec![1.0, 2.0, 3.0] };
        assert_eq!(buckets.iter().collect::<Vec<_>>(), [(-2, 1.0), (-1, 2.0), (3, 3.0)]);
    }
}

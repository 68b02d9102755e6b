//! Native histograms in remote write 1.0, as Prometheus sends and takes them with `--enable-feature=native-histograms`.

use forewarn_schema::{Buckets, HistogramSample, NativeHistogram, ResetHint};
use prost::Message;

/// `prometheus.Histogram`. Of each pair of an integer and a float field one is set.
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    /// All observations.
    #[prost(uint64, optional, tag = "1")]
    pub count_int: Option<u64>,
    /// All observations.
    #[prost(double, optional, tag = "2")]
    pub count_float: Option<f64>,
    /// Their sum.
    #[prost(double, tag = "3")]
    pub sum: f64,
    /// -4..=8, or -53 for custom bounds.
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    /// The zero bucket's width to either side.
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    #[prost(uint64, optional, tag = "6")]
    pub zero_count_int: Option<u64>,
    /// Observations in the zero bucket.
    #[prost(double, optional, tag = "7")]
    pub zero_count_float: Option<f64>,
    /// Which buckets there are below zero.
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    /// The first count, then differences.
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    /// Counts.
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    /// Which buckets there are above zero.
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    /// The first count, then differences.
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    /// Counts.
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    /// 0 unknown, 1 yes, 2 no, 3 gauge.
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    /// Unix milliseconds.
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    /// Upper bounds of custom buckets.
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
}

/// `prometheus.BucketSpan`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct BucketSpan {
    /// The first bucket's index, or the gap since the span before.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// How many buckets.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// Whether counts are sent as whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// As whole numbers.
    Integer,
    /// As floats.
    Float,
}

impl Histogram {
    /// As a client library writes it: an integer histogram where every count is whole, else a float one.
    pub fn of(sample: &HistogramSample) -> Self {
        let h = &*sample.histogram;
        let counts = h.positive.counts.iter().chain(&h.negative.counts).chain([&h.count, &h.zero_count]);
        let whole = counts.into_iter().all(|c| c.fract() == 0.0 && (0.0..9e15).contains(c));
        Self::new(sample.at.millis(), h, if whole { Counts::Integer } else { Counts::Float })
    }

    /// At a time in Unix milliseconds.
    pub fn new(timestamp: i64, h: &NativeHistogram, counts: Counts) -> Self {
        let spans = |buckets: &Buckets| {
            buckets.spans.iter().map(|span| BucketSpan { offset: span.offset, length: span.length }).collect()
        };
        let common = Self {
            sum: h.sum,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            negative_spans: spans(&h.negative),
            positive_spans: spans(&h.positive),
            reset_hint: match h.reset_hint {
                ResetHint::Unknown => 0,
                ResetHint::Yes => 1,
                ResetHint::No => 2,
                ResetHint::Gauge => 3,
            },
            timestamp,
            custom_values: h.custom_bounds.clone(),
            ..Self::default()
        };
        match counts {
            Counts::Integer => Self {
                count_int: Some(h.count as u64),
                zero_count_int: Some(h.zero_count as u64),
                negative_deltas: deltas(&h.negative.counts),
                positive_deltas: deltas(&h.positive.counts),
                ..common
            },
            Counts::Float => Self {
                count_float: Some(h.count),
                zero_count_float: Some(h.zero_count),
                negative_counts: h.negative.counts.clone(),
                positive_counts: h.positive.counts.clone(),
                ..common
            },
        }
    }
}

/// Each count's difference to the one before.
fn deltas(counts: &[f64]) -> Vec<i64> {
    let before = std::iter::once(0.0).chain(counts.iter().copied());
    counts.iter().zip(before).map(|(count, before)| (count - before) as i64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::Timestamp;
    use std::sync::Arc;

    #[test]
    fn integer_buckets_go_out_as_differences() {
        assert_eq!(deltas(&[3.0, 1.0, 4.0]), [3, -2, 3]);
        let h = NativeHistogram { count: 8.0, ..NativeHistogram::default() };
        let sent = Histogram::new(7, &h, Counts::Integer);
        assert_eq!((sent.count_int, sent.count_float, sent.timestamp), (Some(8), None, 7));
    }

    #[test]
    fn whole_counts_travel_as_differences_and_others_as_they_are() {
        let spans = vec![forewarn_schema::BucketSpan { offset: -1, length: 3 }];
        let mut histogram = NativeHistogram {
            count: 9.0,
            positive: Buckets { spans, counts: vec![2.0, 6.0, 1.0] },
            ..NativeHistogram::default()
        };
        let wire = |histogram: &NativeHistogram| {
            let histogram = Arc::new(histogram.clone());
            Histogram::of(&HistogramSample { at: Timestamp::from_seconds(60), histogram })
        };
        let integer = wire(&histogram);
        assert_eq!((integer.count_int, integer.positive_deltas), (Some(9), vec![2, 4, -5]));
        histogram.positive.counts[0] = 2.5;
        let float = wire(&histogram);
        assert_eq!((float.count_float, float.positive_counts), (Some(9.0), vec![2.5, 6.0, 1.0]));
        assert!(float.count_int.is_none() && float.positive_deltas.is_empty());
    }
}

//! Remote write 1.0 with native histograms, as Prometheus sends and takes them with `--enable-feature=native-histograms`:
//! the messages of [`remote_write`](crate::remote_write) with the fields that came later.

use forewarn_schema::{Buckets, LabelSet, NativeHistogram, ResetHint};
use prost::Message;

use crate::remote_write::{Label, Sample};

/// `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// One entry a series.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// `prometheus.TimeSeries`.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Sorted by time.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// Sorted by time.
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<Histogram>,
}

/// `prometheus.Histogram`. Integer histograms fill the integer fields, float ones the float fields.
#[derive(Clone, PartialEq, Message)]
#[expect(missing_docs, reason = "the fields are the specification's")]
pub struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    pub count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub count_float: Option<f64>,
    #[prost(double, tag = "3")]
    pub sum: f64,
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    pub zero_count_int: Option<u64>,
    #[prost(double, optional, tag = "7")]
    pub zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
}

/// `prometheus.BucketSpan`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Span {
    /// Buckets left out before it.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// Buckets in it.
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
    /// At a time in Unix milliseconds.
    pub fn new(timestamp: i64, h: &NativeHistogram, counts: Counts) -> Self {
        let spans = |buckets: &Buckets| {
            buckets.spans.iter().map(|span| Span { offset: span.offset, length: span.length }).collect()
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

impl TimeSeries {
    /// A series that has no samples yet.
    pub fn new(labels: &LabelSet) -> Self {
        let label = |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
        Self { labels: labels.iter().map(label).collect(), ..Self::default() }
    }
}

/// A request body: protobuf in snappy's block format.
pub fn encode(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    let request = WriteRequest { timeseries };
    snap::raw::Encoder::new()
        .compress_vec(&request.encode_to_vec())
        .expect("snappy fails only past 4 GiB, which no test writes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_buckets_go_out_as_differences() {
        assert_eq!(deltas(&[3.0, 1.0, 4.0]), [3, -2, 3]);
        let h = NativeHistogram { count: 8.0, ..NativeHistogram::default() };
        let sent = Histogram::new(7, &h, Counts::Integer);
        assert_eq!((sent.count_int, sent.count_float, sent.timestamp), (Some(8), None, 7));
    }
}

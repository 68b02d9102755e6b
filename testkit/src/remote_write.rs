//! Prometheus remote write 1.0 as a sender writes it: for tests and the demo to speak to a receiver in
//! its own words. Not a client: posting the body is the caller's.

use forewarn_schema::{Buckets, HistogramSample, LabelSet, ResetHint, Series, Timestamp};
use prost::Message;

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

/// `prometheus.Label`.
#[derive(Clone, PartialEq, Message)]
pub struct Label {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `prometheus.Sample`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    /// In the metric's unit.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Unix milliseconds.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

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

/// The headers that a sender must set, lower case.
pub const HEADERS: [(&str, &str); 4] = [
    ("content-encoding", "snappy"),
    ("content-type", "application/x-protobuf"),
    ("user-agent", "forewarn-testkit/0.1"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

/// One scrape as a request body: protobuf in snappy's block format.
pub fn encode_scrape(at: Timestamp, scrape: &[(LabelSet, f64)]) -> Vec<u8> {
    let timeseries = scrape.iter().map(|(labels, value)| TimeSeries {
        labels: wire_labels(labels),
        samples: vec![Sample { value: *value, timestamp: at.millis() }],
        histograms: vec![],
    });
    compress(&WriteRequest { timeseries: timeseries.collect() })
}

/// Whole series as a request body.
pub fn encode_series(series: &[Series]) -> Vec<u8> {
    let timeseries = series.iter().map(|s| TimeSeries {
        labels: wire_labels(&s.labels),
        samples: s.samples.iter().map(|x| Sample { value: x.value, timestamp: x.at.millis() }).collect(),
        histograms: vec![],
    });
    compress(&WriteRequest { timeseries: timeseries.collect() })
}

/// Whole series of native histograms as a request body.
pub fn encode_histograms(series: &[(LabelSet, Vec<HistogramSample>)]) -> Vec<u8> {
    let timeseries = series.iter().map(|(labels, histograms)| TimeSeries {
        labels: wire_labels(labels),
        samples: vec![],
        histograms: histograms.iter().map(wire_histogram).collect(),
    });
    compress(&WriteRequest { timeseries: timeseries.collect() })
}

/// As a client library writes it: an integer histogram where every count is whole, else a float one.
pub fn wire_histogram(sample: &HistogramSample) -> Histogram {
    let h = &*sample.histogram;
    let counts = h.positive.counts.iter().chain(&h.negative.counts).chain([&h.count, &h.zero_count]);
    let whole = counts.into_iter().all(|c| c.fract() == 0.0 && (0.0..9e15).contains(c));
    let integer = |value: f64| whole.then_some(value as u64);
    let float = |value: f64| (!whole).then_some(value);
    let spans = |buckets: &Buckets| {
        buckets.spans.iter().map(|s| BucketSpan { offset: s.offset, length: s.length }).collect::<Vec<_>>()
    };
    let deltas = |buckets: &Buckets| {
        let mut before = 0;
        let counts = buckets.counts.iter().map(|count| *count as i64);
        let deltas = counts.map(|count| count - std::mem::replace(&mut before, count));
        if whole { deltas.collect() } else { vec![] }
    };
    let counts = |buckets: &Buckets| if whole { vec![] } else { buckets.counts.clone() };
    Histogram {
        count_int: integer(h.count),
        count_float: float(h.count),
        sum: h.sum,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count_int: integer(h.zero_count),
        zero_count_float: float(h.zero_count),
        negative_spans: spans(&h.negative),
        negative_deltas: deltas(&h.negative),
        negative_counts: counts(&h.negative),
        positive_spans: spans(&h.positive),
        positive_deltas: deltas(&h.positive),
        positive_counts: counts(&h.positive),
        reset_hint: match h.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Yes => 1,
            ResetHint::No => 2,
            ResetHint::Gauge => 3,
        },
        timestamp: sample.at.millis(),
        custom_values: h.custom_bounds.clone(),
    }
}

/// Compresses any message, also one that breaks the rules on purpose.
pub fn compress(request: &WriteRequest) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(&request.encode_to_vec())
        .expect("snappy fails only past 4 GiB, which no test writes")
}

fn wire_labels(labels: &LabelSet) -> Vec<Label> {
    labels.iter().map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::NativeHistogram;
    use std::sync::Arc;

    #[test]
    fn a_body_reads_back() {
        let labels = LabelSet::from([("__name__", "up"), ("job", "api")]);
        let body = encode_scrape(Timestamp::from_seconds(60), &[(labels, 1.0)]);
        let bytes = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let request = WriteRequest::decode(bytes.as_slice()).unwrap();
        assert_eq!(request.timeseries[0].labels[1], Label { name: "job".into(), value: "api".into() });
        assert_eq!(request.timeseries[0].samples, [Sample { value: 1.0, timestamp: 60_000 }]);
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
            wire_histogram(&HistogramSample { at: Timestamp::from_seconds(60), histogram })
        };
        let integer = wire(&histogram);
        assert_eq!((integer.count_int, integer.positive_deltas), (Some(9), vec![2, 4, -5]));
        histogram.positive.counts[0] = 2.5;
        let float = wire(&histogram);
        assert_eq!((float.count_float, float.positive_counts), (Some(9.0), vec![2.5, 6.0, 1.0]));
        assert!(float.count_int.is_none() && float.positive_deltas.is_empty());
    }
}

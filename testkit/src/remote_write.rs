//! Prometheus remote write as a sender writes it, 1.0 here and 2.0 in [`v2`]: for tests and the demo to speak to a receiver in
//! its own words. Not a client: posting the body is the caller's.

use forewarn_schema::{HistogramSample, LabelSet, Series, Timestamp};
use prost::Message;

use crate::native_histograms::Histogram;

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

/// The headers that a sender must set, lower case.
pub const HEADERS: [(&str, &str); 4] = [
    ("content-encoding", "snappy"),
    ("content-type", "application/x-protobuf"),
    ("user-agent", "forewarn-testkit/0.1"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

impl TimeSeries {
    /// A series that has no samples yet.
    pub fn new(labels: &LabelSet) -> Self {
        Self { labels: wire_labels(labels), ..Self::default() }
    }
}

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
        histograms: histograms.iter().map(Histogram::of).collect(),
    });
    compress(&WriteRequest { timeseries: timeseries.collect() })
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

/// Version 2.0: labels refer to a table of strings.
pub mod v2 {
    use std::collections::BTreeMap;

    use forewarn_schema::Series;
    use prost::Message;

    pub use super::Sample;
    use crate::native_histograms::Histogram;

    /// The headers that a sender must set, lower case.
    pub const HEADERS: [(&str, &str); 4] = [
        ("content-encoding", "snappy"),
        ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
        ("user-agent", "forewarn-testkit/0.1"),
        ("x-prometheus-remote-write-version", "2.0.0"),
    ];

    /// `io.prometheus.write.v2.Request`.
    #[derive(Clone, PartialEq, Message)]
    pub struct Request {
        /// The first is empty.
        #[prost(string, repeated, tag = "4")]
        pub symbols: Vec<String>,
        /// One entry a series.
        #[prost(message, repeated, tag = "5")]
        pub timeseries: Vec<TimeSeries>,
    }

    /// `io.prometheus.write.v2.TimeSeries`.
    #[derive(Clone, PartialEq, Message)]
    pub struct TimeSeries {
        /// Name, value, name, value…
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        /// Sorted by time.
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
        /// Sorted by time.
        #[prost(message, repeated, tag = "3")]
        pub histograms: Vec<Histogram>,
    }

    /// Whole series as a message.
    pub fn request(series: &[Series]) -> Request {
        let mut numbers = BTreeMap::from([(String::new(), 0)]);
        let mut symbols = vec![String::new()];
        let mut refer = |text: &str| {
            *numbers.entry(text.to_owned()).or_insert_with(|| {
                symbols.push(text.to_owned());
                symbols.len() as u32 - 1
            })
        };
        let timeseries = series.iter().map(|s| TimeSeries {
            labels_refs: s.labels.iter().flat_map(|(name, value)| [refer(name), refer(value)]).collect(),
            samples: s.samples.iter().map(|x| Sample { value: x.value, timestamp: x.at.millis() }).collect(),
            histograms: vec![],
        });
        let timeseries = timeseries.collect();
        Request { symbols, timeseries }
    }

    /// Compresses any message, also one that breaks the rules on purpose.
    pub fn compress(request: &Request) -> Vec<u8> {
        snap::raw::Encoder::new()
            .compress_vec(&request.encode_to_vec())
            .expect("snappy fails only past 4 GiB, which no test writes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_reads_back() {
        let labels = LabelSet::from([("__name__", "up"), ("job", "api")]);
        let body = encode_scrape(Timestamp::from_seconds(60), &[(labels, 1.0)]);
        let bytes = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let request = WriteRequest::decode(bytes.as_slice()).unwrap();
        assert_eq!(request.timeseries[0].labels[1], Label { name: "job".into(), value: "api".into() });
        assert_eq!(request.timeseries[0].samples, [Sample { value: 1.0, timestamp: 60_000 }]);
    }
}

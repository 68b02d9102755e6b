//! The messages of remote write 1.0 (<https://prometheus.io/docs/specs/prw/remote_write_spec/>). The outer
//! `WriteRequest` is not here: it is walked one series at a time, so that a small body cannot unfold
//! into much memory.

/// `prometheus.TimeSeries`; exemplars (3) are skipped.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<WireSample>,
    /// Counted, not read.
    #[prost(message, repeated, tag = "4")]
    pub(super) histograms: Vec<Histogram>,
}

/// `prometheus.Label`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// `prometheus.Sample`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct WireSample {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    /// Unix milliseconds.
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
}

/// `prometheus.Histogram`: native histograms, which no signal reads.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Histogram {}

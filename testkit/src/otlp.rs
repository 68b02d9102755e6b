//! OTLP metrics as a sender writes them (`opentelemetry.proto.collector.metrics.v1`), as far as tests need it.

use prost::Message;

macro_rules! message {
    ($(#[$doc:meta])* $name:ident { $($tag:literal [$($what:ident),*] $field:ident: $type:ty, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Message)]
        pub struct $name {
            $(#[doc = $text] #[prost($($what,)* tag = $tag)] pub $field: $type,)*
        }
    };
}

message!(
    /// `ExportMetricsServiceRequest`.
    Request { "1" [message, repeated] resource_metrics: Vec<ResourceMetrics>, "One entry a sender."; }
);
message!(
    /// `ResourceMetrics`.
    ResourceMetrics {
        "1" [message, optional] resource: Option<Resource>, "Who sends.";
        "2" [message, repeated] scope_metrics: Vec<ScopeMetrics>, "One entry an instrumentation.";
    }
);
message!(
    /// `Resource`.
    Resource { "1" [message, repeated] attributes: Vec<KeyValue>, "What is known of the sender."; }
);
message!(
    /// `ScopeMetrics`.
    ScopeMetrics { "2" [message, repeated] metrics: Vec<Metric>, "What it measures."; }
);
message!(
    /// `Metric`: one of the five kinds is set.
    Metric {
        "1" [string] name: String, "With dots.";
        "3" [string] unit: String, "In UCUM.";
        "5" [message, optional] gauge: Option<Gauge>, "What goes up and down.";
        "7" [message, optional] sum: Option<Sum>, "What adds up.";
        "9" [message, optional] histogram: Option<Histogram>, "Buckets with bounds.";
        "10" [message, optional] exponential_histogram: Option<ExponentialHistogram>, "Buckets that grow.";
        "11" [message, optional] summary: Option<Summary>, "Quantiles.";
    }
);
message!(
    /// `Gauge`.
    Gauge { "1" [message, repeated] data_points: Vec<NumberDataPoint>, "Its points."; }
);
message!(
    /// `Sum`.
    Sum {
        "1" [message, repeated] data_points: Vec<NumberDataPoint>, "Its points.";
        "2" [int32] aggregation_temporality: i32, "1 delta, 2 cumulative.";
        "3" [bool] is_monotonic: bool, "Whether it only rises.";
    }
);
message!(
    /// `Histogram`.
    Histogram {
        "1" [message, repeated] data_points: Vec<HistogramDataPoint>, "Its points.";
        "2" [int32] aggregation_temporality: i32, "1 delta, 2 cumulative.";
    }
);
message!(
    /// `ExponentialHistogram`.
    ExponentialHistogram {
        "1" [message, repeated] data_points: Vec<ExponentialHistogramDataPoint>, "Its points.";
        "2" [int32] aggregation_temporality: i32, "1 delta, 2 cumulative.";
    }
);
message!(
    /// `Summary`.
    Summary { "1" [message, repeated] data_points: Vec<SummaryDataPoint>, "Its points."; }
);
message!(
    /// `NumberDataPoint`.
    NumberDataPoint {
        "7" [message, repeated] attributes: Vec<KeyValue>, "What tells it apart.";
        "3" [fixed64] time_unix_nano: u64, "When.";
        "4" [double, optional] as_double: Option<f64>, "What.";
        "6" [sfixed64, optional] as_int: Option<i64>, "Or what.";
        "8" [uint32] flags: u32, "1: no value.";
    }
);
message!(
    /// `HistogramDataPoint`.
    HistogramDataPoint {
        "9" [message, repeated] attributes: Vec<KeyValue>, "What tells it apart.";
        "3" [fixed64] time_unix_nano: u64, "When.";
        "4" [fixed64] count: u64, "All observations.";
        "5" [double, optional] sum: Option<f64>, "Their sum.";
        "6" [fixed64, repeated] bucket_counts: Vec<u64>, "One more than bounds.";
        "7" [double, repeated] explicit_bounds: Vec<f64>, "Upper bounds.";
        "8" [message, repeated] exemplars: Vec<Exemplar>, "Examples.";
        "10" [uint32] flags: u32, "1: no value.";
    }
);
message!(
    /// `Exemplar`.
    Exemplar { "3" [double] as_double: f64, "What was observed."; }
);
message!(
    /// `ExponentialHistogramDataPoint`.
    ExponentialHistogramDataPoint {
        "1" [message, repeated] attributes: Vec<KeyValue>, "What tells it apart.";
        "3" [fixed64] time_unix_nano: u64, "When.";
        "4" [fixed64] count: u64, "All observations.";
        "5" [double, optional] sum: Option<f64>, "Their sum.";
        "6" [sint32] scale: i32, "The base is 2^(2^-scale).";
        "7" [fixed64] zero_count: u64, "Observations that are nearly zero.";
        "8" [message, optional] positive: Option<ExponentialBuckets>, "Above zero.";
        "9" [message, optional] negative: Option<ExponentialBuckets>, "Below zero.";
        "10" [uint32] flags: u32, "1: no value.";
        "14" [double] zero_threshold: f64, "How near.";
    }
);
message!(
    /// `Buckets` of an exponential histogram.
    ExponentialBuckets {
        "1" [sint32] offset: i32, "Index of the first.";
        "2" [uint64, repeated] bucket_counts: Vec<u64>, "Of neighbours.";
    }
);
message!(
    /// `SummaryDataPoint`.
    SummaryDataPoint {
        "7" [message, repeated] attributes: Vec<KeyValue>, "What tells it apart.";
        "3" [fixed64] time_unix_nano: u64, "When.";
        "4" [fixed64] count: u64, "All observations.";
        "5" [double] sum: f64, "Their sum.";
        "6" [message, repeated] quantile_values: Vec<ValueAtQuantile>, "Some of them.";
        "8" [uint32] flags: u32, "1: no value.";
    }
);
message!(
    /// `ValueAtQuantile`.
    ValueAtQuantile {
        "1" [double] quantile: f64, "0 to 1.";
        "2" [double] value: f64, "What so many do not exceed.";
    }
);
message!(
    /// `KeyValue`.
    KeyValue {
        "1" [string] key: String, "Its name.";
        "2" [message, optional] value: Option<AnyValue>, "Its value.";
    }
);
message!(
    /// `AnyValue`: one of them is set.
    AnyValue {
        "1" [string, optional] string_value: Option<String>, "Text.";
        "2" [bool, optional] bool_value: Option<bool>, "Yes or no.";
        "3" [int64, optional] int_value: Option<i64>, "A whole number.";
        "4" [double, optional] double_value: Option<f64>, "A number.";
        "5" [message, optional] array_value: Option<ArrayValue>, "A list.";
        "7" [bytes, optional] bytes_value: Option<Vec<u8>>, "Bytes.";
    }
);
message!(
    /// `ArrayValue`.
    ArrayValue { "1" [message, repeated] values: Vec<AnyValue>, "Its items."; }
);
message!(
    /// `ExportMetricsServiceResponse`.
    Response { "1" [message, optional] partial_success: Option<PartialSuccess>, "Where not all was taken."; }
);
message!(
    /// `ExportMetricsPartialSuccess`.
    PartialSuccess {
        "1" [int64] rejected_data_points: i64, "How many were not.";
        "2" [string] error_message: String, "Why.";
    }
);

/// Attributes with text.
pub fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    let text = |text: &str| AnyValue { string_value: Some(text.to_owned()), ..AnyValue::default() };
    pairs.iter().map(|(key, value)| KeyValue { key: (*key).to_owned(), value: Some(text(value)) }).collect()
}

/// A request of one resource.
pub fn request(resource: &[(&str, &str)], metrics: Vec<Metric>) -> Request {
    let resource = Some(Resource { attributes: attributes(resource) });
    let scope_metrics = vec![ScopeMetrics { metrics }];
    Request { resource_metrics: vec![ResourceMetrics { resource, scope_metrics }] }
}

/// A gauge with one point.
pub fn gauge(name: &str, unit: &str, seconds: i64, value: f64, pairs: &[(&str, &str)]) -> Metric {
    let point = NumberDataPoint {
        attributes: attributes(pairs),
        time_unix_nano: seconds.unsigned_abs() * 1_000_000_000,
        as_double: Some(value),
        ..NumberDataPoint::default()
    };
    let gauge = Some(Gauge { data_points: vec![point] });
    Metric { name: name.to_owned(), unit: unit.to_owned(), gauge, ..Metric::default() }
}

/// The bytes of a request.
pub fn encode(request: &Request) -> Vec<u8> {
    request.encode_to_vec()
}

/// What an answer says.
pub fn decode_response(body: &[u8]) -> Result<Response, prost::DecodeError> {
    Response::decode(body)
}

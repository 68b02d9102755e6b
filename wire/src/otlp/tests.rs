//! Against the text of the specifications: OTLP 1.x, and OpenTelemetry's compatibility with Prometheus.

use std::io::Write as _;

use forewarn_schema::{STALE_NAN_BITS, is_stale};
use forewarn_testkit::otlp::{self as sent, Metric, NumberDataPoint, attributes, encode, gauge, request};
use proptest::prelude::*;

use super::*;

const LIMITS: Limits<'_> = Limits { max_decoded_bytes: 1 << 20, promote: &[] };
const AT: u64 = 1_767_225_600_250_000_000;
const SENDER: [(&str, &str); 3] =
    [("service.name", "cart"), ("service.namespace", "shop"), ("service.instance.id", "i-1")];

fn read_all(request: &sent::Request) -> Incoming {
    read(&encode(request), Encoding::Identity, LIMITS, &|_| true).unwrap()
}

/// Each float sample as PromQL writes its series, and its value.
fn floats(incoming: &Incoming) -> Vec<(String, f64)> {
    let floats = incoming.points.iter().flat_map(|point| &point.floats);
    floats.map(|(labels, sample)| (labels.to_string(), sample.value)).collect()
}

fn number(value: f64) -> NumberDataPoint {
    NumberDataPoint { time_unix_nano: AT, as_double: Some(value), ..NumberDataPoint::default() }
}

fn sum(name: &str, temporality: i32, monotonic: bool) -> Metric {
    let sum =
        sent::Sum { data_points: vec![number(3.0)], aggregation_temporality: temporality, is_monotonic: monotonic };
    Metric { name: name.to_owned(), sum: Some(sum), ..Metric::default() }
}

#[test]
fn a_gauge_is_named_by_its_unit_and_a_sender_by_job_and_instance() {
    let incoming = read_all(&request(&SENDER, vec![gauge("pool.size", "By", 60, 1.5, &[("pool.name", "main")])]));
    let series = r#"pool_size_bytes{instance="i-1",job="shop/cart",pool_name="main"}"#;
    assert_eq!(floats(&incoming), [(series.to_owned(), 1.5)]);
    assert_eq!(incoming.points[0].floats[0].1.at.millis(), 60_000);
    let whole = NumberDataPoint { as_double: None, as_int: Some(-7), ..number(0.0) };
    let ended = NumberDataPoint { flags: 1, as_double: None, ..number(0.0) };
    let of = |point| Metric {
        name: "x".to_owned(),
        gauge: Some(sent::Gauge { data_points: vec![point] }),
        ..Metric::default()
    };
    let incoming = read_all(&request(&[], vec![of(whole), of(ended)]));
    assert_eq!(floats(&incoming)[0], ("x".to_owned(), -7.0));
    assert!(is_stale(floats(&incoming)[1].1), "no value ends a series");
}

#[test]
fn what_only_rises_is_a_total_and_what_is_not_cumulative_is_refused() {
    let metrics = vec![sum("hits", 2, true), sum("queue", 2, false), sum("delta", 1, true), sum("unsaid", 0, true)];
    let incoming = read_all(&request(&[], metrics));
    assert_eq!(floats(&incoming), [("hits_total".to_owned(), 3.0), ("queue".to_owned(), 3.0)]);
    assert_eq!(incoming.refused["not_cumulative"], 2);
    assert!(incoming.example.unwrap().contains("delta: sums and histograms must be cumulative"));
}

fn histogram(point: sent::HistogramDataPoint) -> Metric {
    let histogram = sent::Histogram { data_points: vec![point], aggregation_temporality: 2 };
    Metric { name: "latency".to_owned(), unit: "s".to_owned(), histogram: Some(histogram), ..Metric::default() }
}

#[test]
fn a_histogram_becomes_buckets_that_add_up() {
    let point = sent::HistogramDataPoint {
        attributes: attributes(&[("path", "/")]),
        time_unix_nano: AT,
        count: 10,
        sum: Some(4.5),
        bucket_counts: vec![1, 2, 3, 4],
        explicit_bounds: vec![0.005, 0.5, 10.0],
        exemplars: vec![sent::Exemplar { as_double: 0.3 }],
        flags: 0,
    };
    let incoming = read_all(&request(&[], vec![histogram(point.clone())]));
    let bucket = |le: &str| format!(r#"latency_seconds_bucket{{le="{le}",path="/"}}"#);
    let expected = [
        (r#"latency_seconds_sum{path="/"}"#.to_owned(), 4.5),
        (r#"latency_seconds_count{path="/"}"#.to_owned(), 10.0),
        (bucket("0.005"), 1.0),
        (bucket("0.5"), 3.0),
        (bucket("10"), 6.0),
        (bucket("+Inf"), 10.0),
    ];
    assert_eq!(floats(&incoming), expected);
    assert_eq!(incoming.points.len(), 1, "one point, whatever it becomes");

    let no_sum_no_buckets = sent::HistogramDataPoint { sum: None, bucket_counts: vec![], ..point.clone() };
    let names: Vec<_> = floats(&read_all(&request(&[], vec![histogram(no_sum_no_buckets)])));
    assert_eq!(names, [expected[1].clone(), expected[5].clone()]);

    for (wrong, says) in [
        (sent::HistogramDataPoint { bucket_counts: vec![1], ..point.clone() }, "3 bounds make 4 buckets, got 1"),
        (sent::HistogramDataPoint { explicit_bounds: vec![1.0, 1.0, 2.0], ..point.clone() }, "must rise"),
        (sent::HistogramDataPoint { time_unix_nano: 0, ..point.clone() }, "must have a time"),
        (sent::HistogramDataPoint { explicit_bounds: vec![1.0; 1001], ..point.clone() }, "at most 1000 buckets"),
    ] {
        let incoming = read_all(&request(&[], vec![histogram(wrong), sum("good", 2, true)]));
        assert_eq!(incoming.refused["invalid_point"], 1);
        assert!(incoming.example.as_ref().unwrap().contains(says), "{incoming:?}");
        assert_eq!(floats(&incoming).len(), 1, "the others are kept");
    }
}

#[test]
fn a_summary_keeps_its_quantiles() {
    let point = sent::SummaryDataPoint {
        time_unix_nano: AT,
        count: 4,
        sum: 2.0,
        quantile_values: vec![sent::ValueAtQuantile { quantile: 0.99, value: 0.7 }],
        ..sent::SummaryDataPoint::default()
    };
    let summary = Some(sent::Summary { data_points: vec![point] });
    let metric = Metric { name: "rpc".to_owned(), summary, ..Metric::default() };
    let expected = [("rpc_sum", 2.0), ("rpc_count", 4.0), (r#"rpc{quantile="0.99"}"#, 0.7)];
    assert_eq!(floats(&read_all(&request(&[], vec![metric]))), expected.map(|(name, value)| (name.to_owned(), value)));
}

fn exponential(scale: i32, offset: i32, counts: &[u64]) -> Metric {
    let point = sent::ExponentialHistogramDataPoint {
        time_unix_nano: AT,
        count: counts.iter().sum::<u64>() + 2,
        sum: Some(9.0),
        scale,
        zero_count: 2,
        positive: Some(sent::ExponentialBuckets { offset, bucket_counts: counts.to_vec() }),
        ..sent::ExponentialHistogramDataPoint::default()
    };
    let histogram = sent::ExponentialHistogram { data_points: vec![point], aggregation_temporality: 2 };
    Metric { name: "size".to_owned(), exponential_histogram: Some(histogram), ..Metric::default() }
}

#[test]
fn an_exponential_histogram_becomes_a_native_one_and_too_fine_a_scale_becomes_coarser() {
    let native = |metric| {
        let incoming = read_all(&request(&[], vec![metric]));
        let (labels, sample) = incoming.points[0].histogram.clone().unwrap();
        assert_eq!((labels.to_string().as_str(), sample.at.millis()), ("size", (AT / 1_000_000) as i64));
        sample.histogram
    };
    let same = native(exponential(3, -2, &[1, 0, 5]));
    assert_eq!((same.schema, same.count, same.zero_count, same.sum), (3, 8.0, 2.0, 9.0));
    assert_eq!(same.positive.iter().collect::<Vec<_>>(), [(-1, 1.0), (0, 0.0), (1, 5.0)]);
    // Two scales too fine: four neighbours become one. Indices -2, -1 | 0, 1, 2, 3 | 4.
    let coarser = native(exponential(10, -2, &[1, 2, 3, 4, 5, 6, 7]));
    assert_eq!(coarser.schema, 8);
    assert_eq!(coarser.positive.iter().collect::<Vec<_>>(), [(0, 3.0), (1, 18.0), (2, 7.0)]);
    let too_coarse = read_all(&request(&[], vec![exponential(-5, 0, &[1])]));
    assert_eq!(too_coarse.refused["invalid_point"], 1);
}

#[test]
fn a_resource_says_all_it_knows_in_one_series_and_what_is_promoted_in_each() {
    let resource = [&SENDER[..], &[("k8s.pod.name", "cart-1"), ("host.arch", "arm64")]].concat();
    let sent = request(&resource, vec![gauge("x", "", 60, 1.0, &[("job", "not for a point to say")])]);
    let promote = ["k8s.pod.name".to_owned(), "service.name".to_owned()];
    let limits = Limits { promote: &promote, ..LIMITS };
    let incoming = read(&encode(&sent), Encoding::Identity, limits, &|_| true).unwrap();
    let expected = [
        (r#"x{instance="i-1",job="shop/cart",k8s_pod_name="cart-1",service_name="cart"}"#, 1.0),
        (r#"target_info{host_arch="arm64",instance="i-1",job="shop/cart",k8s_pod_name="cart-1"}"#, 1.0),
    ];
    assert_eq!(floats(&incoming), expected.map(|(name, value)| (name.to_owned(), value)));
}

#[test]
fn attributes_of_one_name_share_it_and_values_of_every_kind_are_text() {
    let value = |value| sent::KeyValue { key: "k".to_owned(), value: Some(value) };
    let list = sent::ArrayValue {
        values: vec![
            sent::AnyValue { string_value: Some("a\"b".to_owned()), ..Default::default() },
            sent::AnyValue { int_value: Some(-3), ..Default::default() },
        ],
    };
    for (any, expected) in [
        (sent::AnyValue { bool_value: Some(true), ..Default::default() }, "true"),
        (sent::AnyValue { int_value: Some(-5), ..Default::default() }, "-5"),
        (sent::AnyValue { double_value: Some(0.25), ..Default::default() }, "0.25"),
        (sent::AnyValue { bytes_value: Some(b"foob".to_vec()), ..Default::default() }, "Zm9vYg=="),
        (sent::AnyValue { array_value: Some(list), ..Default::default() }, r#"["a\"b",-3]"#),
    ] {
        let point = NumberDataPoint { attributes: vec![value(any)], ..number(1.0) };
        let gauge = Some(sent::Gauge { data_points: vec![point] });
        let incoming = read_all(&request(&[], vec![Metric { name: "x".to_owned(), gauge, ..Metric::default() }]));
        assert_eq!(incoming.points[0].floats[0].0.get("k"), Some(expected));
    }
    let same = gauge("x", "", 60, 1.0, &[("a-b", "second"), ("a.b", "third"), ("a b", "first")]);
    let incoming = read_all(&request(&[], vec![same]));
    assert_eq!(incoming.points[0].floats[0].0.get("a_b"), Some("first;second;third"));
}

#[test]
fn gzip_is_unpacked_up_to_the_cap() {
    let pack = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let body = encode(&request(&[], vec![sum("hits", 2, true)]));
    let incoming = read(&pack(&body), Encoding::Gzip, LIMITS, &|_| true).unwrap();
    assert_eq!(floats(&incoming).len(), 1);
    let bomb = pack(&vec![0; LIMITS.max_decoded_bytes + 1]);
    assert!(bomb.len() < 10_000);
    let refused = |body: &[u8], encoding| read(body, encoding, LIMITS, &|_| true).unwrap_err();
    assert_eq!(refused(&bomb, Encoding::Gzip), OtlpError::TooLarge { limit: LIMITS.max_decoded_bytes });
    assert!(matches!(refused(&body, Encoding::Gzip), OtlpError::Gzip(_)));
    assert!(matches!(refused(&pack(&body), Encoding::Identity), OtlpError::Malformed { .. }));
}

#[test]
fn a_small_message_cannot_unfold_into_much_memory() {
    let long = "x".repeat(2000);
    let point = sent::HistogramDataPoint {
        attributes: attributes(&[("a", &long)]),
        time_unix_nano: AT,
        count: 0,
        bucket_counts: vec![0; 1000],
        explicit_bounds: (0..999).map(f64::from).collect(),
        ..sent::HistogramDataPoint::default()
    };
    let body = encode(&request(&[], vec![histogram(point); 10]));
    assert!(body.len() < 200_000);
    let error = read(&body, Encoding::Identity, LIMITS, &|_| true).unwrap_err();
    assert!(error.to_string().contains("must take at most 2097152 bytes"), "{error}");
    assert_eq!(read(&body, Encoding::Identity, LIMITS, &|_| false).unwrap().unwanted, 10);
}

#[test]
fn an_answer_says_how_many_points_were_refused() {
    assert!(response(0, "").is_empty());
    let partial = sent::decode_response(&response(300, "why")).unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_data_points, partial.error_message.as_str()), (300, "why"));
    assert!(error_status(3, "no").ends_with(b"no"));
}

fn everything() -> Vec<u8> {
    let metrics = vec![
        gauge("pool.size", "By", 60, f64::from_bits(STALE_NAN_BITS), &[("a", "b")]),
        sum("hits", 2, true),
        exponential(3, -2, &[1, 0, 5]),
        histogram(sent::HistogramDataPoint {
            time_unix_nano: AT,
            count: 3,
            bucket_counts: vec![1, 2],
            explicit_bounds: vec![0.5],
            ..sent::HistogramDataPoint::default()
        }),
    ];
    encode(&request(&SENDER, metrics))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for encoding in [Encoding::Identity, Encoding::Gzip] {
            let _ = read(&bytes, encoding, LIMITS, &|_| true);
        }
    }

    #[test]
    fn a_damaged_message_is_read_or_refused(cut in 0_usize..400, flip in 0_usize..400, bit in 0_u8..8) {
        let mut message = everything();
        let len = message.len();
        message[flip % len] ^= 1 << bit;
        message.truncate(len - cut % len);
        let _ = read(&message, Encoding::Identity, LIMITS, &|_| true);
    }

    #[test]
    fn names_are_always_names(name in "\\PC{0,30}", unit in "\\PC{0,8}", key in "\\PC{0,20}") {
        let sent = request(&[(&key, "v")], vec![gauge(&name, &unit, 60, 1.0, &[(&key, "v")])]);
        for point in read_all(&sent).points {
            for (labels, _) in &point.floats {
                for (name, _) in labels.iter() {
                    prop_assert!(name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'), "{name}");
                    prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name}");
                }
                let name = labels.get("__name__").unwrap();
                prop_assert!(name.starts_with(|c: char| !c.is_ascii_digit()), "{name}");
            }
        }
    }
}

use std::collections::BTreeMap;
use std::sync::Arc;

use forewarn_schema::{
    BucketSpan, Buckets, HistogramSample, LabelSet, NativeHistogram, ResetHint, STALE_NAN_BITS, Sample, Timestamp,
};
use forewarn_testkit::native_histograms::{Counts, Histogram};
use forewarn_testkit::remote_write::{self as wire, TimeSeries, WriteRequest, compress, v2};
use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { max_decoded_bytes: 1 << 20, seed: 7 };

/// What a receiver that wants everything gets: each series with its labels unfolded.
#[derive(Debug, Default, PartialEq)]
struct Decoded {
    wanted: Vec<(LabelSet, Vec<Sample>)>,
    refused: BTreeMap<&'static str, usize>,
    example: Option<String>,
}

fn decode(body: &[u8], version: Version) -> Result<Decoded, DecodeError> {
    let mut incoming = read(body, version, LIMITS)?;
    let mut wanted = Vec::new();
    for series in incoming.series().to_vec() {
        assert!(incoming.histograms(&series).count() <= series.histograms as usize);
        let samples = incoming.samples(&series).to_vec();
        match incoming.labels(&series) {
            Ok(labels) => wanted.push((labels, samples)),
            Err(reason) => incoming.refuse("invalid_labels", samples.len(), || reason),
        }
    }
    Ok(Decoded { wanted, refused: incoming.refused, example: incoming.example })
}

fn series(labels: &[(&str, &str)], samples: usize) -> TimeSeries {
    TimeSeries {
        labels: labels.iter().map(|(n, v)| wire::Label { name: (*n).into(), value: (*v).into() }).collect(),
        samples: (0..samples).map(|i| wire::Sample { value: i as f64, timestamp: i as i64 }).collect(),
        histograms: Vec::new(),
    }
}

fn body(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    compress(&WriteRequest { timeseries })
}

fn snappy(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).unwrap()
}

#[test]
fn labels_come_in_any_order_and_an_empty_value_is_no_label() {
    let body = body(vec![series(&[("pod", "a"), ("empty", ""), ("__name__", "up")], 2)]);
    let decoded = decode(&body, Version::V1).unwrap();
    let expected = LabelSet::from([("__name__", "up"), ("pod", "a")]);
    assert_eq!(decoded.wanted.len(), 1);
    assert_eq!(decoded.wanted[0].0, expected);
    assert_eq!(decoded.wanted[0].1.len(), 2);
}

#[test]
fn a_staleness_marker_keeps_its_bits() {
    let mut stale = series(&[("__name__", "up")], 1);
    stale.samples[0].value = f64::from_bits(forewarn_schema::STALE_NAN_BITS);
    let decoded = decode(&body(vec![stale]), Version::V1).unwrap();
    assert!(forewarn_schema::is_stale(decoded.wanted[0].1[0].value));
}

#[test]
fn bad_labels_cost_only_their_own_series() {
    let many: Vec<(String, String)> = (0..200).map(|i| (format!("l{i}"), "x".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let long = "x".repeat(3000);
    let bad: [&[(&str, &str)]; 6] = [
        &[("job", "api")],
        &[("__name__", "up"), ("a", "1"), ("a", "2")],
        &[("__name__", "1up")],
        &[("__name__", "up"), ("a-b", "1")],
        &[("__name__", "up"), ("a", &long)],
        &many,
    ];
    for labels in bad {
        let body = body(vec![series(labels, 3), series(&[("__name__", "up")], 2)]);
        let decoded = decode(&body, Version::V1).unwrap();
        assert_eq!(decoded.refused, BTreeMap::from([("invalid_labels", 3)]), "{labels:?}");
        assert_eq!(decoded.wanted.len(), 1);
        assert!(decoded.example.is_some_and(|e| e.len() < 300));
    }
}

#[test]
fn a_malformed_message_says_where() {
    let mut message = Vec::new();
    for _ in 0..2 {
        message.extend([0x0a, 0x04, 0x0a, 0x02, 0x0a, 0x00]);
    }
    message.extend([0x0a, 0x7f]);
    let error = decode(&snappy(&message), Version::V1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the message is malformed at byte 12 of 14, series 2: a field of 127 bytes, with 0 left"
    );
    assert!(matches!(decode(b"not snappy", Version::V1), Err(DecodeError::Snappy(_))));
}

#[test]
fn a_declared_length_is_not_believed() {
    // Says that it becomes 4 GiB less one byte; holds nothing.
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(
        decode(&bomb, Version::V1),
        Err(DecodeError::TooLarge { got: 0xffff_ffff, limit: LIMITS.max_decoded_bytes })
    );
}

#[test]
fn a_version_2_message_is_not_taken_for_an_empty_one() {
    // Symbols are field 4, series field 5.
    let message = [0x22, 0x00, 0x22, 0x02, b'u', b'p', 0x2a, 0x00];
    assert_eq!(decode(&snappy(&message), Version::V1), Err(DecodeError::OtherVersion { is: "2.0", says: "1.0" }));
}

fn up(pod: &str, samples: usize) -> forewarn_schema::Series {
    let samples = (0..samples).map(|i| Sample { at: Timestamp::from_millis(i as i64), value: i as f64 });
    forewarn_schema::Series { labels: LabelSet::from([("__name__", "up"), ("pod", pod)]), samples: samples.collect() }
}

#[test]
fn both_versions_say_the_same_by_the_same_fingerprints() {
    let all = [up("a", 2), up("b", 3)];
    let (first, second) = (wire::encode_series(&all), v2::compress(&v2::request(&all)));
    let decoded = decode(&second, Version::V2).unwrap();
    assert_eq!(decoded, decode(&first, Version::V1).unwrap());
    assert_eq!(decoded.wanted, all.map(|s| (s.labels, s.samples)));
    let fingerprints = |body: &[u8], version, seed| -> Vec<u128> {
        let incoming = read(body, version, Limits { seed, ..LIMITS }).unwrap();
        incoming.series().iter().map(|s| s.fingerprint).collect()
    };
    assert_eq!(fingerprints(&first, Version::V1, 7), fingerprints(&second, Version::V2, 7));
    assert_ne!(fingerprints(&first, Version::V1, 7), fingerprints(&first, Version::V1, 8), "the seed is the secret");
}

#[test]
fn references_that_lead_nowhere_cost_only_their_own_series() {
    let good = v2::request(&[up("a", 2)]);
    let name = good.symbols.iter().position(|s| s == "up").unwrap() as u32;
    for (refs, says) in [
        (vec![1, 99], "must lie below"),
        (vec![1, name, 3], "pairs"),
        (vec![0, name], "must have a name"),
        (vec![1, name, 1, name], "given twice"),
        (vec![3, 4], "metric name"),
    ] {
        let mut request = good.clone();
        let samples = vec![wire::Sample { value: 1.0, timestamp: 1 }; 3];
        request.timeseries.push(v2::TimeSeries { labels_refs: refs.clone(), samples, histograms: vec![] });
        let decoded = decode(&v2::compress(&request), Version::V2).unwrap();
        assert_eq!((decoded.wanted.len(), &decoded.refused), (1, &BTreeMap::from([("invalid_labels", 3)])), "{refs:?}");
        assert!(decoded.example.as_ref().unwrap().contains(says), "{decoded:?}");
    }
    let mut first_is_not_empty = good;
    first_is_not_empty.symbols[0] = "x".to_owned();
    assert!(matches!(decode(&v2::compress(&first_is_not_empty), Version::V2), Err(DecodeError::Malformed { .. })));
}

#[test]
fn a_small_message_cannot_unfold_into_much_memory() {
    let long = "x".repeat(100_000);
    let request = v2::Request {
        symbols: vec![String::new(), "__name__".to_owned(), long],
        timeseries: vec![
            v2::TimeSeries {
                labels_refs: [1, 2].repeat(100),
                samples: vec![wire::Sample { value: 1.0, timestamp: 1 }],
                histograms: vec![],
            };
            50
        ],
    };
    let decoded = decode(&v2::compress(&request), Version::V2).unwrap();
    assert!(decoded.wanted.is_empty());
    assert!(decoded.example.unwrap().contains("too many bytes"));
}

/// One series of one histogram, as either version sends it.
fn histogram_body(histogram: &Histogram, version: Version) -> Vec<u8> {
    match version {
        Version::V1 => {
            let labels = vec![wire::Label { name: "__name__".into(), value: "latency".into() }];
            compress(&WriteRequest {
                timeseries: vec![TimeSeries { labels, samples: vec![], histograms: vec![histogram.clone()] }],
            })
        }
        Version::V2 => v2::compress(&v2::Request {
            symbols: ["", "__name__", "latency"].map(str::to_owned).to_vec(),
            timeseries: vec![v2::TimeSeries {
                labels_refs: vec![1, 2],
                samples: vec![],
                histograms: vec![histogram.clone()],
            }],
        }),
    }
}

fn read_histogram(histogram: &Histogram, version: Version) -> Result<HistogramSample, String> {
    let incoming = read(&histogram_body(histogram, version), version, LIMITS).unwrap();
    assert_eq!((incoming.series().len(), incoming.histograms), (1, 1));
    let series = &incoming.series()[0];
    assert_eq!(incoming.labels(series).unwrap().to_string(), "latency");
    incoming.histograms(series).next().unwrap()
}

/// Buckets in spans, with gaps between them.
fn buckets() -> impl Strategy<Value = Buckets> {
    let spans = prop::collection::vec((-3_i32..4, 1_u32..4), 0..4);
    (spans, prop::collection::vec(0_u32..1000, 12)).prop_map(|(spans, counts)| {
        let mut spans: Vec<_> = spans.into_iter().map(|(offset, length)| BucketSpan { offset, length }).collect();
        for span in spans.iter_mut().skip(1) {
            span.offset = span.offset.abs() + 1;
        }
        let held: u32 = spans.iter().map(|span| span.length).sum();
        Buckets { spans, counts: counts.into_iter().take(held as usize).map(f64::from).collect() }
    })
}

#[test]
fn a_histogram_that_cannot_be_one_says_why() {
    let span = |length| forewarn_testkit::native_histograms::BucketSpan { offset: 0, length };
    let good = Histogram {
        count_int: Some(5),
        positive_spans: vec![span(2)],
        positive_deltas: vec![3, -1],
        ..Histogram::default()
    };
    let counts = |histogram: &HistogramSample| histogram.histogram.positive.counts.clone();
    assert_eq!(counts(&read_histogram(&good, Version::V1).unwrap()), [3.0, 2.0]);
    for (histogram, says) in [
        (Histogram { positive_deltas: vec![3], ..good.clone() }, "promise 2 buckets, got 1"),
        (Histogram { positive_spans: vec![span(u32::MAX); 2], ..good.clone() }, "promise 8589934590"),
        (Histogram { positive_deltas: vec![1, -2], ..good.clone() }, "must not be negative"),
        (Histogram { positive_deltas: vec![i64::MAX, i64::MAX], ..good.clone() }, "does not fit 64 bits"),
        (Histogram { positive_counts: vec![1.0], ..good.clone() }, "all be whole numbers or all be floats"),
        (Histogram { count_int: Some(4), ..good.clone() }, "hold 5 observations, of 4 in all"),
        (Histogram { zero_count_int: Some(1), ..good.clone() }, "hold 6 observations, of 5"),
        (Histogram { count_int: None, count_float: Some(f64::NAN), ..Histogram::default() }, "negative, got NaN"),
    ] {
        for version in [Version::V1, Version::V2] {
            let error = read_histogram(&histogram, version).unwrap_err();
            assert!(error.contains(says), "{says}: {error}");
        }
    }
    let stale = Histogram { sum: f64::from_bits(STALE_NAN_BITS), ..Histogram::default() };
    assert!(read_histogram(&stale, Version::V2).unwrap().histogram.is_stale());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// What a chunk of a block says of the same histogram is held against the same writer in `tsdb`.
    #[test]
    fn a_histogram_is_the_same_by_either_version_and_either_kind_of_counts(
        positive in buckets(), negative in buckets(), zero in 0_u32..100, schema in -4_i32..=8, hint in 0_u8..4, whole: bool,
    ) {
        let held: f64 = positive.counts.iter().chain(&negative.counts).sum::<f64>() + f64::from(zero);
        let reset_hint = [ResetHint::Unknown, ResetHint::Yes, ResetHint::No, ResetHint::Gauge][usize::from(hint)];
        let native = NativeHistogram {
            reset_hint, schema, zero_threshold: 1e-9, zero_count: f64::from(zero), count: held + 1.0, sum: -7.5,
            positive, negative, custom_bounds: vec![],
        };
        let sample = HistogramSample { at: Timestamp::from_millis(1_700_000_000_123), histogram: Arc::new(native) };
        let counts = if whole { Counts::Integer } else { Counts::Float };
        let sent = Histogram::new(sample.at.millis(), &sample.histogram, counts);
        for version in [Version::V1, Version::V2] {
            prop_assert_eq!(read_histogram(&sent, version).unwrap(), sample.clone());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for version in [Version::V1, Version::V2] {
            let _ = decode(&bytes, version);
            let _ = decode(&snappy(&bytes), version);
        }
    }

    #[test]
    fn a_damaged_message_is_read_or_refused(cut in 0usize..200, flip in 0usize..200, bit in 0u8..8) {
        let request = WriteRequest { timeseries: vec![series(&[("__name__", "up"), ("job", "api")], 5); 3] };
        let mut message = prost::Message::encode_to_vec(&request);
        let len = message.len();
        message[flip % len] ^= 1 << bit;
        message.truncate(len - cut % len);
        let _ = decode(&snappy(&message), Version::V1);
    }

    #[test]
    fn a_damaged_message_of_version_2_is_read_or_refused(cut in 0usize..200, flip in 0usize..200, bit in 0u8..8) {
        let mut message = prost::Message::encode_to_vec(&v2::request(&[up("a", 5), up("b", 5)]));
        let len = message.len();
        message[flip % len] ^= 1 << bit;
        message.truncate(len - cut % len);
        let _ = decode(&snappy(&message), Version::V2);
    }
}

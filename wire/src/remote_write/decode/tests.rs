use forewarn_testkit::remote_write::{self as wire, TimeSeries, WriteRequest, compress};
use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { max_decoded_bytes: 1 << 20 };

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
    let decoded = decode(&body, LIMITS, |_| true).unwrap();
    let expected = LabelSet::from([("__name__", "up"), ("pod", "a")]);
    assert_eq!(decoded.wanted.len(), 1);
    assert_eq!(decoded.wanted[0].0, expected);
    assert_eq!(decoded.wanted[0].1.len(), 2);
}

#[test]
fn a_staleness_marker_keeps_its_bits() {
    let mut stale = series(&[("__name__", "up")], 1);
    stale.samples[0].value = f64::from_bits(forewarn_schema::STALE_NAN_BITS);
    let decoded = decode(&body(vec![stale]), LIMITS, |_| true).unwrap();
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
        let decoded = decode(&body, LIMITS, |_| true).unwrap();
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
    let error = decode(&snappy(&message), LIMITS, |_| true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the message is malformed at byte 12 of 14, series 2: a series of 127 bytes, with 0 left"
    );
    assert!(matches!(decode(b"not snappy", LIMITS, |_| true), Err(DecodeError::Snappy(_))));
}

#[test]
fn a_declared_length_is_not_believed() {
    // Says that it becomes 4 GiB less one byte; holds nothing.
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(
        decode(&bomb, LIMITS, |_| true),
        Err(DecodeError::TooLarge { got: 0xffff_ffff, limit: LIMITS.max_decoded_bytes })
    );
}

#[test]
fn a_version_2_message_is_not_taken_for_an_empty_one() {
    // Symbols are field 4, series field 5.
    let message = [0x22, 0x00, 0x22, 0x02, b'u', b'p', 0x2a, 0x00];
    assert_eq!(decode(&snappy(&message), LIMITS, |_| true), Err(DecodeError::Version2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes, LIMITS, |_| true);
        let _ = decode(&snappy(&bytes), LIMITS, |_| true);
    }

    #[test]
    fn a_damaged_message_is_read_or_refused(cut in 0usize..200, flip in 0usize..200, bit in 0u8..8) {
        let request = WriteRequest { timeseries: vec![series(&[("__name__", "up"), ("job", "api")], 5); 3] };
        let mut message = prost::Message::encode_to_vec(&request);
        let len = message.len();
        message[flip % len] ^= 1 << bit;
        message.truncate(len - cut % len);
        let _ = decode(&snappy(&message), LIMITS, |_| true);
    }
}

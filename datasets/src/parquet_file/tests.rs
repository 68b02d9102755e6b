use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use forewarn_features::Role;
use forewarn_schema::{Sample, Series, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::table::{DayTable, Point, SeriesKey, labels_text};

/// A made-up day: every fifth series belongs to no service.
fn table(series: usize, rows: i64) -> DayTable {
    let mut table = DayTable::default();
    for i in 0..series {
        let mut labels = LabelSet::from([("pod", format!("cart-{i}\"é")), ("service", format!("cart-{}", i % 3))]);
        if i % 5 == 4 {
            labels = labels.without(&["service"]);
        }
        let value = |k: i64| if k == 3 { f64::NAN } else { k as f64 * 0.1 + i as f64 };
        let samples = (0..rows).map(|k| Sample { at: Timestamp::from_seconds(k * 60), value: value(k) }).collect();
        let role = if i % 2 == 0 { Role::Value } else { Role::Limit };
        table.add(&Arc::from("memory"), role, "service", vec![Series { labels, samples }]);
    }
    table
}

fn bits(table: &DayTable) -> Vec<(SeriesKey, Vec<(i64, u64)>)> {
    let points = |p: &[Point]| p.iter().map(|(at, v)| (*at, v.to_bits())).collect();
    table.series.iter().map(|(k, p)| (k.clone(), points(p))).collect()
}

fn encoded(table: &DayTable) -> (Bytes, Parts) {
    let Encoded { bytes, footer } = encode(table).unwrap();
    let bytes = Bytes::from(bytes);
    let end = bytes.slice(bytes.len() - footer.bytes as usize..);
    let parts = parts(end, bytes.len() as u64).unwrap();
    (bytes, parts)
}

#[test]
fn reads_back_to_the_bit_and_writes_the_same_bytes() {
    // More rows than a batch has, so that runs cross batches.
    let table = table(7, 30_000);
    let bytes = encode(&table).unwrap().bytes;
    assert_eq!(bytes, encode(&table).unwrap().bytes);
    assert_eq!(bits(&decode(bytes.into()).unwrap()), bits(&table));
    assert_eq!(decode(encode(&DayTable::default()).unwrap().bytes.into()).unwrap(), DayTable::default());
    assert_eq!(encoded(&DayTable::default()).1.parts.len(), 0);
}

/// Found by a fuzzer: the library makes room for as many entries as a dictionary says to have.
#[test]
fn a_dictionary_that_says_to_be_longer_than_its_page_is_refused() {
    let (bytes, file) = encoded(&table(1, 10));
    let start = file.parts[0].range.start as usize;
    let mut bytes = bytes.to_vec();
    // The header's field 7, a struct, whose field 1 is the number of entries: one, as zigzag.
    let at = start + bytes[start..].windows(3).position(|three| three == [0x4c, 0x15, 2]).unwrap() + 2;
    bytes[at] = 126;
    let error = decode(bytes.into()).unwrap_err();
    assert!(error.contains("a page of its column service") && error.contains("values wanted, got 63"), "{error}");
}

#[test]
fn a_service_is_read_from_its_own_parts() {
    let table = table(15, 6_000);
    let (bytes, file) = encoded(&table);
    let services: Vec<_> = file.parts.iter().map(|part| part.services.clone()).collect();
    assert_eq!(services, [["".to_owned()], ["cart-0".to_owned()], ["cart-1".to_owned()], ["cart-2".to_owned()]]);
    let all = |part: &Part| (part.clone(), bytes.slice(part.range.start as usize..part.range.end as usize));
    let chosen: Vec<_> = file.parts[1..3].iter().map(all).collect();
    let read = decode_parts(&file, chosen.clone(), &|service| service == "cart-1").unwrap();
    let mut wanted = table.clone();
    wanted.series.retain(|key, _| &*key.service == "cart-1");
    assert!(!wanted.series.is_empty());
    assert_eq!(bits(&read), bits(&wanted));

    let mut damaged = chosen;
    let mut one = damaged[1].1.to_vec();
    one[100] ^= 1;
    damaged[1].1 = one.into();
    let error = decode_parts(&file, damaged, &|_| true).unwrap_err();
    assert!(error.contains("part at byte"), "{error}");
}

#[test]
fn small_services_share_a_part() {
    let parts = encoded(&table(15, 100)).1.parts;
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].services, ["", "cart-0", "cart-1", "cart-2"]);
}

#[test]
fn the_form_on_disk_stays_the_same() {
    let pinned = include_bytes!("../../tests/fixtures/day-v2.parquet");
    assert_eq!(bits(&decode(Bytes::from_static(pinned)).unwrap()), bits(&table(6, 10)));
}

/// What format 1 had for `day-v1.parquet`.
fn table_of_format_1() -> DayTable {
    let mut table = DayTable::default();
    for i in 0..4 {
        let labels = LabelSet::from([("pod", format!("cart-{i}\"é")), ("service", "cart".to_owned())]);
        let value = |k: i64| if k == 3 { f64::NAN } else { k as f64 * 0.1 + i as f64 };
        let samples = (0..10).map(|k| Sample { at: Timestamp::from_seconds(k * 60), value: value(k) }).collect();
        let role = if i % 2 == 0 { Role::Value } else { Role::Limit };
        table.add(&Arc::from("memory"), role, "service", vec![Series { labels, samples }]);
    }
    table
}

#[test]
fn format_1_is_still_read_and_gets_its_services() {
    let pinned = include_bytes!("../../tests/fixtures/day-v1.parquet");
    let mut read = decode(Bytes::from_static(pinned)).unwrap();
    let services: BTreeSet<Arc<str>> = read.series.keys().map(|key| key.service.clone()).collect();
    assert_eq!(services, BTreeSet::from(["".into()]));
    for role in [Role::Value, Role::Limit] {
        read.place("memory", role, "service").unwrap();
    }
    assert_eq!(bits(&read), bits(&table_of_format_1()));
}

#[test]
#[ignore = "writes the fixture: for a new format version only"]
fn write_the_fixture() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/day-v2.parquet");
    std::fs::write(path, encode(&table(6, 10)).unwrap().bytes).unwrap();
}

/// Days `from..to` of services with four series each, smooth with some noise, as most gauges are.
fn days(services: u64, step_seconds: i64, from: i64, to: i64) -> DayTable {
    let noise = forewarn_testkit::noise::Noise::new(3);
    let mut table = DayTable::default();
    for i in 0..services * 4 {
        let service = format!("service-{:03}", i / 4);
        let labels = LabelSet::from([("pod", format!("{service}-{}", i % 2)), ("service", service)]);
        let value = |at: Timestamp| (1e8 * (10.0 + noise.smooth(i, at, 3600.0))).round();
        let times = (from * 86_400..to * 86_400).step_by(step_seconds as usize).map(Timestamp::from_seconds);
        let samples = times.map(|at| Sample { at, value: value(at) }).collect();
        let signal: Arc<str> = if i % 4 < 2 { "memory".into() } else { "threads".into() };
        table.add(&signal, Role::Value, "service", vec![Series { labels, samples }]);
    }
    table
}

#[test]
#[ignore = "measures: what joining a month's files would save"]
#[allow(clippy::print_stderr, reason = "a measurement says what it measured")]
fn a_month_in_one_file_against_thirty() {
    for (services, step_seconds) in [(1, 300), (10, 60), (50, 60)] {
        let size = |from, to| {
            let (bytes, parts) = encoded(&days(services, step_seconds, from, to));
            let last = parts.parts.last().unwrap().range.end;
            (bytes.len() as u64, bytes.len() as u64 - last)
        };
        let daily: Vec<(u64, u64)> = (0..30).map(|day| size(day, day + 1)).collect();
        let (bytes, footers) = daily.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let (month, footer) = size(0, 30);
        eprintln!(
            "{services} services, step {step_seconds} s: 30 files {bytes} (footers {footers}), 1 file {month} ({footer})"
        );
    }
}

#[test]
fn labels_read_back() {
    let labels = LabelSet::from([("a", "x\"\\\n"), ("b", "é")]);
    assert_eq!(labels_of(&labels_text(&labels)).unwrap(), labels);
    assert_eq!(labels_text(&LabelSet::from([("b", "2"), ("a", "1")])), r#"{"a":"1","b":"2"}"#);
    assert!(labels_of("[]").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_bytes_are_an_error_or_a_table(at in 0_usize..2000, byte: u8, cut in 0_usize..4000) {
        let Encoded { mut bytes, footer } = encode(&table(4, 40)).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut.min(bytes.len()) / 4);
        let bytes = Bytes::from(bytes);
        let end = bytes.slice(bytes.len().saturating_sub(footer.bytes as usize)..);
        // The library may panic; what calls this catches it. Only our own code must not loop or abort.
        let _ = std::panic::catch_unwind(|| parts(end, bytes.len() as u64).map(|parts| parts.parts.len()));
        let _ = std::panic::catch_unwind(|| decode(bytes));
    }
}

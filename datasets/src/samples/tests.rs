use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::sync::Arc;

use forewarn_schema::{
    BucketSpan, Buckets, HistogramSample, LabelMatcher, LabelSet, METRIC_NAME, MatchOp, NativeHistogram, ResetHint,
    STALE_NAN_BITS, Sample, TimeRange, Timestamp,
};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use proptest::prelude::*;

use super::schema::{AT, HISTOGRAM, LABELS, METRIC, PAGE_ROWS, STALE};
use super::*;
use crate::{Aggregate, RawSeries};

const ALWAYS: TimeRange = TimeRange { start: Timestamp::from_millis(i64::MIN), end: Timestamp::from_millis(i64::MAX) };

fn labels(metric: &str, pod: usize) -> LabelSet {
    LabelSet::from([(METRIC_NAME, metric.to_owned()), ("pod", format!("cart-{pod:05}\"é"))])
}

fn floats(metric: &str, pod: usize, rows: i64) -> RawSeries {
    let value = |k: i64| match k % 7 {
        3 => f64::NAN,
        5 => f64::from_bits(STALE_NAN_BITS),
        _ => k as f64 * 0.1 + pod as f64,
    };
    let samples = (0..rows).map(|k| Sample { at: Timestamp::from_millis(k * 15_000 + 7), value: value(k) }).collect();
    RawSeries { labels: labels(metric, pod), samples, ..RawSeries::default() }
}

fn histogram(sum: f64) -> Arc<NativeHistogram> {
    Arc::new(NativeHistogram {
        reset_hint: ResetHint::Gauge,
        schema: 3,
        zero_threshold: 1e-128,
        zero_count: 2.0,
        count: 9.0,
        sum,
        positive: Buckets {
            spans: vec![BucketSpan { offset: -4, length: 2 }, BucketSpan { offset: 7, length: 1 }],
            counts: vec![1.0, 2.0, 3.0],
        },
        negative: Buckets { spans: vec![BucketSpan { offset: 0, length: 1 }], counts: vec![1.0] },
        custom_bounds: vec![0.5, 2.5],
    })
}

fn written(series: &[RawSeries]) -> (Vec<u8>, SampleFileStats) {
    let mut writer = SampleWriter::new(Vec::new()).unwrap();
    for one in series {
        writer.push(one).unwrap();
    }
    writer.finish().unwrap()
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// The pieces of one series put together.
fn whole(pieces: impl Iterator<Item = RawSeries>) -> Vec<RawSeries> {
    let mut whole: Vec<RawSeries> = Vec::new();
    for piece in pieces {
        match whole.last_mut() {
            Some(last) if last.labels == piece.labels && last.aggregate == piece.aggregate => {
                last.samples.extend(piece.samples);
                last.histograms.extend(piece.histograms);
            }
            _ => whole.push(piece),
        }
    }
    whole
}

fn read(bytes: &[u8], selector: Option<&[LabelMatcher]>, range: TimeRange) -> Vec<RawSeries> {
    let filter = selector.map(|s| SampleFilter::new(&[s.to_vec()]).unwrap());
    whole(SampleReader::open(file(bytes), filter, range).unwrap().map(Result::unwrap))
}

/// Comparable to the bit.
fn bits(series: &[RawSeries]) -> String {
    let text = |s: &RawSeries| {
        let floats: Vec<_> = s.samples.iter().map(|s| (s.at.millis(), s.value.to_bits())).collect();
        let histograms: Vec<_> = s
            .histograms
            .iter()
            .map(|h| (h.at.millis(), h.histogram.sum.to_bits(), format!("{:?}", h.histogram)))
            .collect();
        format!("{} {:?} {floats:?} {histograms:?}\n", s.labels, s.aggregate)
    };
    series.iter().map(text).collect()
}

#[test]
fn samples_read_back_to_the_bit_however_they_were_cut_into_pieces() {
    // More rows than a page has, so that series cross pages.
    let mut series: Vec<RawSeries> = (0..3).map(|pod| floats("up", pod, 30_000)).collect();
    let stale = f64::from_bits(STALE_NAN_BITS);
    let at =
        |seconds: i64, sum: f64| HistogramSample { at: Timestamp::from_seconds(seconds), histogram: histogram(sum) };
    let mut mixed = floats("v", 0, 10);
    mixed.histograms = vec![at(1, 0.5), at(32, stale), at(1000, -2.0)];
    let aggregates = [Aggregate::Count, Aggregate::Sum, Aggregate::Counter];
    series.push(mixed);
    series.extend(aggregates.map(|aggregate| RawSeries { aggregate, ..floats("w", 0, 5) }));
    let (bytes, stats) = written(&series);
    assert_eq!(bits(&read(&bytes, None, ALWAYS)), bits(&series));
    assert_eq!((stats.rows, stats.histograms, stats.series), (90_028, 3, 5));

    let pieces: Vec<RawSeries> = series
        .iter()
        .flat_map(|s| {
            let cut = s.samples.chunks(if s.histograms.is_empty() { 777 } else { usize::MAX });
            cut.map(|samples| RawSeries { samples: samples.to_vec(), ..s.clone() }).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(written(&pieces).0, bytes);
    assert!(read(&written(&[]).0, None, ALWAYS).is_empty());
}

#[test]
fn a_series_reads_only_what_it_needs_and_all_of_it() {
    let series: Vec<RawSeries> =
        ["a", "b", "c"].iter().flat_map(|metric| (0..40).map(move |pod| floats(metric, pod, 5760))).collect();
    let (bytes, _) = written(&series);
    let equal = |name: &str, value: String| LabelMatcher { name: name.to_owned(), op: MatchOp::Equal, value };
    let selector = [equal(METRIC_NAME, "b".to_owned()), equal("pod", "cart-00007\"é".to_owned())];
    let hour = TimeRange { start: Timestamp::from_seconds(3600), end: Timestamp::from_seconds(7200) };
    let mut wanted = vec![series[47].clone()];
    wanted[0].samples.retain(|s| hour.contains(s.at));
    assert_eq!(bits(&read(&bytes, Some(&selector), hour)), bits(&wanted));

    let filter = SampleFilter::new(&[selector.to_vec()]).unwrap();
    let rows = prune::rows(&metadata(&bytes), Some(&filter), hour);
    // A third of the rows are of the metric; a page more on either side is read too.
    assert!(rows.row_count() < 691_200 / 3 + 2 * PAGE_ROWS, "{}", rows.row_count());
}

/// Three row groups: the first one full, and only its last page has histograms; the second one ends early.
#[test]
fn groups_end_when_they_are_full_of_rows_or_of_texts() {
    let mut series: Vec<RawSeries> = (0..8).map(|pod| floats("a", pod, 1 << 17)).collect();
    let end = series[7].samples.split_off((1 << 17) - 3);
    series[7].histograms =
        end.iter().map(|s| HistogramSample { at: s.at, histogram: histogram(s.at.millis() as f64) }).collect();
    let long = "x".repeat(1000);
    series.extend((0..9000).map(|pod| {
        let mut one = floats("b", pod, 2);
        one.labels.insert("url", &long);
        one
    }));
    let (bytes, stats) = written(&series);
    assert_eq!((stats.rows, stats.histograms), ((1 << 20) + 18_000, 3));
    assert!(bits(&read(&bytes, None, ALWAYS)) == bits(&series));
    let metadata = metadata(&bytes);
    let groups: Vec<i64> = metadata.row_groups().iter().map(|group| group.num_rows()).collect();
    let (full, early) = (groups[0], groups[1]);
    assert_eq!((groups.len(), full, groups.iter().sum::<i64>()), (3, 1 << 20, (1 << 20) + 18_000));
    assert!((15_000..18_000).contains(&early), "{early}");
    // Nothing but levels where there is no histogram.
    let histograms =
        |group: usize| metadata.row_group(group).columns()[HISTOGRAM..].iter().map(|c| c.compressed_size());
    assert!(histograms(0).sum::<i64>() > 1000 && histograms(1).sum::<i64>() < 1000);
}

/// What prunes pages must be true of every row of theirs.
#[test]
fn pages_are_within_their_bounds() {
    let mut series: Vec<RawSeries> = (0..9).map(|pod| floats(["a", "ü", "z"][pod / 3], pod, 20_000)).collect();
    for (pod, one) in series.iter_mut().enumerate() {
        // Longer than a bound may be, and different only where it is cut.
        one.labels.insert("url", "é".repeat(600) + &pod.to_string());
        one.labels.insert("A", (9 - pod).to_string());
    }
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    let (bytes, _) = written(&series);
    let metadata = metadata(&bytes);
    let rows: Vec<(&str, String, i64)> = series
        .iter()
        .flat_map(|one| {
            let metric = one.labels.get(METRIC_NAME).unwrap();
            one.samples.iter().map(move |s| (metric, crate::table::labels_text(&one.labels), s.at.millis()))
        })
        .collect();
    let index = metadata.page_index_for_row_group(0);
    let starts = |column: usize| -> Vec<usize> {
        index.page_locations(column).unwrap().iter().map(|p| usize::try_from(p.first_row_index).unwrap()).collect()
    };
    for column in 0..=STALE {
        assert_eq!(starts(column), (0..rows.len()).step_by(PAGE_ROWS).collect::<Vec<_>>());
    }
    for (page, rows) in rows.chunks(PAGE_ROWS).enumerate() {
        let texts = |column: usize| -> Vec<&[u8]> {
            rows.iter().map(|row| if column == METRIC { row.0.as_bytes() } else { row.1.as_bytes() }).collect()
        };
        for column in [METRIC, LABELS] {
            let ColumnIndexMetaData::BYTE_ARRAY(bounds) = index.column_index(column).unwrap() else { panic!() };
            let (min, max) = (bounds.min_value(page).unwrap(), bounds.max_value(page).unwrap());
            assert!(texts(column).into_iter().all(|text| min <= text && text <= max));
            assert!(max.len() <= 1024 + 4);
        }
        let ColumnIndexMetaData::INT64(bounds) = index.column_index(AT).unwrap() else { panic!() };
        let (min, max) = (rows.iter().map(|r| r.2).min(), rows.iter().map(|r| r.2).max());
        assert_eq!((bounds.min_value(page).copied(), bounds.max_value(page).copied()), (min, max));
    }
}

fn metadata(bytes: &[u8]) -> Arc<ParquetMetaData> {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    Arc::clone(ArrowReaderMetadata::load(&file(bytes), options).unwrap().metadata())
}

/// One series: gaps between times, and what is there: a float of any bits, a staleness marker or a histogram.
fn any_series() -> impl Strategy<Value = Vec<(i64, Option<f64>)>> {
    let float = prop_oneof![any::<u64>().prop_map(f64::from_bits), Just(f64::from_bits(STALE_NAN_BITS)), Just(1.5)];
    let gap = prop_oneof![Just(15_000_i64), 1_i64..40, Just(1 << 40)];
    prop::collection::vec((gap, prop_oneof![9 => float.prop_map(Some), 1 => Just(None)]), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_samples_read_back_to_the_bit(
        drawn in prop::collection::vec((0_usize..5, any_series()), 0..12),
        start in prop_oneof![Just(0_i64), any::<i32>().prop_map(i64::from), Just(-(1_i64 << 50))],
        cut in 1_usize..50,
    ) {
        let mut series: Vec<RawSeries> = Vec::new();
        for (i, (aggregate, samples)) in drawn.into_iter().enumerate() {
            let aggregate = [Aggregate::Raw, Aggregate::Count, Aggregate::Min, Aggregate::Max, Aggregate::Counter][aggregate];
            let mut one = RawSeries { labels: labels(["", "up", "ü"][i % 3], i / 6), aggregate, ..RawSeries::default() };
            let mut at = start;
            for (gap, value) in samples {
                at += gap;
                let at = Timestamp::from_millis(at);
                match value {
                    Some(value) => one.samples.push(Sample { at, value }),
                    None => one.histograms.push(HistogramSample { at, histogram: histogram(i as f64) }),
                }
            }
            series.push(one);
        }
        series.sort_by(|a, b| (&a.labels, a.aggregate).cmp(&(&b.labels, b.aggregate)));
        series.dedup_by(|a, b| (&a.labels, a.aggregate) == (&b.labels, b.aggregate));
        let (bytes, _) = written(&series);
        prop_assert_eq!(bits(&read(&bytes, None, ALWAYS)), bits(&series));
        let pieces: Vec<RawSeries> = series
            .iter()
            .filter(|one| one.histograms.is_empty())
            .flat_map(|one| one.samples.chunks(cut).map(|samples| RawSeries { samples: samples.to_vec(), ..one.clone() }))
            .collect();
        series.retain(|one| one.histograms.is_empty());
        prop_assert!(written(&pieces).0 == written(&series).0);
    }
}

#[test]
fn a_dictionary_that_says_to_be_longer_than_its_page_is_refused() {
    let (mut bytes, _) = written(&[floats("up", 0, 10)]);
    let start =
        usize::try_from(metadata(&bytes).row_group(0).column(METRIC).dictionary_page_offset().unwrap()).unwrap();
    // The header's field 7, a struct, whose field 1 is the number of entries: one, as zigzag.
    let at = start + bytes[start..].windows(3).position(|three| three == [0x4c, 0x15, 2]).unwrap() + 2;
    bytes[at] = 126;
    let error = SampleReader::open(file(&bytes), None, ALWAYS).err().unwrap().to_string();
    assert!(error.contains("a page of its column metric: at most 1 values wanted, got 63"), "{error}");
}

#[test]
fn what_comes_out_of_order_is_refused() {
    let refused = |series: &[RawSeries]| {
        let mut writer = SampleWriter::new(Vec::new()).unwrap();
        series.iter().try_for_each(|s| writer.push(s)).unwrap_err().to_string()
    };
    assert!(refused(&[floats("b", 0, 2), floats("a", 0, 2)]).contains("comes too late"));
    assert!(refused(&[floats("a", 0, 2), floats("a", 0, 2)]).contains("does not go up"));
    let count = RawSeries { aggregate: Aggregate::Count, ..floats("a", 0, 2) };
    let max = RawSeries { aggregate: Aggregate::Max, ..floats("a", 0, 2) };
    assert!(refused(&[max, count]).contains("comes too late"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_apart() {
    // It answers every write with ENOSPC, as a full disk does.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let written = SampleWriter::new(full).and_then(|mut writer| {
        writer.push(&floats("a", 0, 40))?;
        writer.finish()
    });
    let mut cause: Option<&dyn std::error::Error> = None;
    let error = written.map(drop).unwrap_err();
    let mut next: Option<&dyn std::error::Error> = Some(&error);
    while let Some(e) = next {
        (cause, next) = (Some(e), e.source());
    }
    let kind = cause.and_then(|e| e.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    assert_eq!(kind, Some(std::io::ErrorKind::StorageFull), "{error:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn damaged_bytes_are_an_error_or_samples(at in 0_usize..8000, byte: u8, cut in 0_usize..4000) {
        let mut series = floats("a", 0, 40);
        series.histograms = vec![HistogramSample { at: Timestamp::from_seconds(9000), histogram: histogram(1.0) }];
        let (mut bytes, _) = written(&[series]);
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut.min(bytes.len()) / 4);
        // The library may panic; what calls this catches it. Only our own code must not loop or abort.
        let _ = std::panic::catch_unwind(|| {
            SampleReader::open(file(&bytes), None, ALWAYS).map(|reader| reader.take(1000).filter_map(Result::ok).count())
        });
    }
}

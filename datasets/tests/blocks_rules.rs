//! What a folder of blocks means: which are read, under which labels, and what happens where they overlap, disagree or are
//! damaged.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use forewarn_datasets::{
    Aggregate, BlocksOptions, BlocksSource, Dataset, NoProgress, Provenance, RawSeries, SampleQuery, SampleReader,
    SampleSource, SourceError,
};
use forewarn_schema::{
    BucketSpan, Buckets, LabelMatcher, LabelSet, METRIC_NAME, MatchOp, NativeHistogram, STALE_NAN_BITS, Step,
    TimeRange, Timestamp,
};
use forewarn_testkit::tsdb::{
    BlockOptions, BlockWriter, Chunk, ThanosOptions, downsample, float_histogram, integer_histogram, ulid, xor,
};
use support::{presets, store};
use tokio::sync::mpsc;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// A midnight.
const DAY: i64 = 20_000 * 24 * HOUR;

fn labels(pairs: &[(&str, &str)]) -> LabelSet {
    pairs.iter().copied().collect()
}

/// A value each minute of the hours.
fn minutes(hours: std::ops::Range<i64>, value: impl Fn(i64) -> f64) -> Vec<(i64, f64)> {
    (hours.start * 60..hours.end * 60).map(|m| (DAY + m * MINUTE, value(m))).collect()
}

fn thanos(external: &[(&str, &str)], resolution_ms: i64) -> Option<ThanosOptions> {
    let labels = external.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Some(ThanosOptions { labels, resolution_ms, source: "compactor".to_owned(), upload_time: None })
}

fn block(folder: &Path, number: u64, thanos: Option<ThanosOptions>, series: &[(LabelSet, Vec<(i64, f64)>)]) -> String {
    let options = BlockOptions { thanos, ..BlockOptions::new(ulid(DAY as u64, number)) };
    let mut writer = BlockWriter::create(folder, options).unwrap();
    for (labels, samples) in series {
        writer.floats(labels, samples).unwrap();
    }
    let path = writer.finish().unwrap();
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn source(folder: &Path, replica_labels: &[&str]) -> BlocksSource {
    BlocksSource::new(BlocksOptions {
        url: format!("file://{}", folder.display()),
        replica_labels: replica_labels.iter().map(|l| (*l).to_owned()).collect(),
        clock: || Timestamp::from_millis(DAY + 100 * 24 * HOUR),
        ..BlocksOptions::default()
    })
    .unwrap()
}

fn equal(name: &str, value: &str) -> LabelMatcher {
    LabelMatcher { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned() }
}

fn day() -> TimeRange {
    TimeRange { start: Timestamp::from_millis(DAY), end: Timestamp::from_millis(DAY + 24 * HOUR) }
}

async fn ask(source: &BlocksSource, selector: &[LabelMatcher]) -> Result<(Vec<RawSeries>, Provenance), SourceError> {
    let query = SampleQuery { selectors: vec![selector.to_vec()], range: day() };
    let (sender, mut receiver) = mpsc::channel(4);
    let collect = async {
        let mut all = Vec::new();
        while let Some(one) = receiver.recv().await {
            all.push(one);
        }
        all
    };
    let (answer, all) = tokio::join!(source.samples(&query, sender, &NoProgress), collect);
    answer.map(|provenance| (all, provenance))
}

/// Asks again when told to, as a pull does.
async fn all(source: &BlocksSource, selector: &[LabelMatcher]) -> (Vec<RawSeries>, Provenance) {
    for _ in 0..10 {
        match ask(source, selector).await {
            Err(SourceError::Again { .. }) => {}
            other => return other.unwrap(),
        }
    }
    panic!("it goes on asking");
}

fn points(series: &RawSeries) -> Vec<(i64, f64)> {
    series.samples.iter().map(|s| (s.at.millis(), s.value)).collect()
}

#[tokio::test]
async fn external_labels_are_on_every_series_and_the_order_is_that_of_what_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    let samples = minutes(0..1, |m| m as f64);
    let own: Vec<LabelSet> = [
        vec![("__name__", "m"), ("a", "1")],
        vec![("__name__", "m"), ("a", "1"), ("b", "2")],
        vec![("__name__", "m"), ("a", "1"), ("b", "2"), ("z", "3")],
        vec![("__name__", "m"), ("a", "1"), ("z", "3")],
        vec![("__name__", "n")],
    ]
    .iter()
    .map(|pairs| labels(pairs))
    .collect();
    let series: Vec<_> = own.iter().map(|l| (l.clone(), samples.clone())).collect();
    block(folder.path(), 1, thanos(&[("cluster", "eu"), ("zone", "1")], 0), &series);
    block(folder.path(), 2, None, &[(labels(&[("__name__", "m"), ("a", "1"), ("cluster", "us")]), samples.clone())]);
    let source = source(folder.path(), &[]);
    let (got, provenance) = all(&source, &[equal("cluster", "eu")]).await;
    let mut wanted: Vec<LabelSet> = own.clone();
    for labels in &mut wanted {
        labels.insert("cluster", "eu");
        labels.insert("zone", "1");
    }
    wanted.sort();
    assert_eq!(got.iter().map(|s| s.labels.clone()).collect::<Vec<_>>(), wanted);
    assert_eq!(provenance.from.len(), 2);
    let query = SampleQuery { selectors: vec![vec![]], range: day() };
    let mut every = source.series(&query).await.unwrap();
    assert_eq!(every.len(), 6);
    assert!(every.is_sorted());
    every.dedup();
    assert_eq!(every.len(), 6);
}

#[tokio::test]
async fn a_label_that_an_external_one_overwrites_makes_two_series_one() {
    let folder = tempfile::tempdir().unwrap();
    let series = [("x", 0..1), ("y", 1..2)]
        .map(|(zone, hours)| (labels(&[("__name__", "m"), ("zone", zone)]), minutes(hours, |m| m as f64)));
    block(folder.path(), 1, thanos(&[("zone", "eu")], 0), &series);
    let (got, provenance) = all(&source(folder.path(), &[]), &[equal("__name__", "m")]).await;
    assert_eq!(got.len(), 1);
    assert_eq!(points(&got[0]), minutes(0..2, |m| m as f64));
    assert_eq!(provenance.skipped, [("series of which external labels overwrite a label".to_owned(), 2)]);
}

#[tokio::test]
async fn overlapping_blocks_become_one_series_and_what_was_deleted_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let up = labels(&[("__name__", "up")]);
    block(folder.path(), 1, None, &[(up.clone(), minutes(0..4, |m| m as f64))]);
    let stale = f64::from_bits(STALE_NAN_BITS);
    // Out of order: half minutes, two conflicts, and a marker that does not win.
    let late: Vec<(i64, f64)> = (0..60)
        .flat_map(|m| {
            [
                (
                    DAY + m * MINUTE,
                    if m < 2 {
                        -1.0
                    } else if m == 2 {
                        stale
                    } else {
                        m as f64
                    },
                ),
                (DAY + m * MINUTE + 1, 0.5),
            ]
        })
        .collect();
    block(folder.path(), 2, None, &[(up.clone(), late)]);
    let mut writer = BlockWriter::create(folder.path(), BlockOptions::new(ulid(DAY as u64, 3))).unwrap();
    let number = writer.floats(&up, &minutes(5..6, |_| 7.0)).unwrap();
    writer.delete(number, DAY + 5 * HOUR + 10 * MINUTE, DAY + 5 * HOUR + 19 * MINUTE);
    writer.finish().unwrap();

    let (got, provenance) = all(&source(folder.path(), &[]), &[equal("__name__", "up")]).await;
    let mut wanted: BTreeMap<i64, f64> = minutes(0..4, |m| m as f64).into_iter().collect();
    wanted.extend((0..60).map(|m| (DAY + m * MINUTE + 1, 0.5)));
    wanted.extend(
        minutes(5..6, |_| 7.0).into_iter().filter(|(at, _)| !(10..20).contains(&((at - DAY - 5 * HOUR) / MINUTE))),
    );
    assert_eq!(points(&got[0]), wanted.into_iter().collect::<Vec<_>>());
    let conflicts = &provenance.skipped[0];
    assert!(conflicts.0.contains("differ") && conflicts.1 == 3, "{conflicts:?}");
}

#[tokio::test]
async fn one_replica_a_window_and_never_both() {
    let folder = tempfile::tempdir().unwrap();
    let up = labels(&[("__name__", "up")]);
    // a is away from 02:00 to 04:00.
    let a: Vec<_> =
        minutes(0..6, |_| 1.0).into_iter().filter(|(at, _)| !(2 * HOUR..4 * HOUR).contains(&(at - DAY))).collect();
    block(folder.path(), 1, thanos(&[("cluster", "eu"), ("replica", "a")], 0), &[(up.clone(), a)]);
    let b: Vec<_> = minutes(0..6, |_| 2.0).into_iter().map(|(at, v)| (at + 7, v)).collect();
    block(folder.path(), 2, thanos(&[("cluster", "eu"), ("replica", "b")], 0), &[(up.clone(), b)]);
    let (got, provenance) = all(&source(folder.path(), &["replica"]), &[equal("cluster", "eu")]).await;
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].labels, labels(&[("__name__", "up"), ("cluster", "eu")]));
    let chosen: Vec<f64> = (0..3).map(|w| points(&got[0])[w * 120].1).collect();
    assert_eq!(chosen, [1.0, 2.0, 2.0], "b stays, since a has no more than it");
    for window in points(&got[0]).chunks(120) {
        assert!(window.iter().all(|(_, v)| *v == window[0].1) && window.len() == 120);
    }
    let replicas: Vec<_> = provenance.replicas.iter().map(|(_, labels)| labels.as_str()).collect();
    assert_eq!(replicas, ["{replica=\"a\"}", "{replica=\"b\"}"]);
}

#[tokio::test]
async fn where_raw_samples_are_gone_the_finest_that_is_left_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let counter = labels(&[("__name__", "requests_total")]);
    let raw = minutes(0..24, |m| m as f64 * 3.0);
    block(folder.path(), 1, thanos(&[], 0), &[(counter.clone(), raw[720..].to_vec())]);
    let options = BlockOptions { thanos: thanos(&[], 300_000), ..BlockOptions::new(ulid(DAY as u64, 2)) };
    let mut writer = BlockWriter::create(folder.path(), options).unwrap();
    writer.series(&counter, &raw.chunks(120).map(|part| downsample(part, 300_000)).collect::<Vec<_>>()).unwrap();
    writer.finish().unwrap();
    let (got, provenance) = all(&source(folder.path(), &[]), &[equal("__name__", "requests_total")]).await;
    let kinds: Vec<Aggregate> = got.iter().map(|s| s.aggregate).collect();
    assert_eq!(
        kinds,
        [Aggregate::Raw, Aggregate::Count, Aggregate::Sum, Aggregate::Min, Aggregate::Max, Aggregate::Counter]
    );
    assert_eq!(points(&got[0]), raw[720..]);
    let noon = Timestamp::from_millis(DAY + 12 * HOUR);
    assert!(got[1..].iter().all(|s| s.samples.iter().all(|s| s.at < noon)));
    assert!(got[1].samples.iter().all(|s| s.value == 5.0));
    let total = points(&got[5]);
    assert_eq!(total.last().unwrap().1, raw[719].1);
    assert!(total.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
    assert_eq!(provenance.resolution_ms, 300_000);
    assert_eq!(provenance.downsampled, [(TimeRange { start: day().start, end: noon }, 300_000)]);

    // The signals are evaluated where all that they read is raw, and the summary says where not.
    let (_out, url) = store();
    let dataset = Dataset::open(&url).await.unwrap();
    let source = source(folder.path(), &[]);
    let every = vec![vec![equal("__name__", "requests_total")]];
    let summary =
        dataset.pull_sampled(&source, &presets(&["node"]), &every, Step::MINUTE, day(), &NoProgress).await.unwrap();
    assert_eq!(summary.not_evaluated[0].start, day().start);
    assert!(summary.not_evaluated[0].end > noon && summary.not_evaluated[0].end < noon + Duration::from_secs(7200));
}

#[tokio::test]
async fn what_is_not_whole_or_about_to_go_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let up = labels(&[("__name__", "up")]);
    let hour = |hours| [(up.clone(), minutes(hours, |m| m as f64))];
    let partial = block(folder.path(), 1, None, &hour(0..1));
    std::fs::remove_file(folder.path().join(&partial).join("meta.json")).unwrap();
    let mark = |id: &str, hours_ago: i64| {
        let at = (DAY + 100 * 24 * HOUR) / 1000 - hours_ago * 3600;
        let text = format!(r#"{{"id":"{id}","version":1,"deletion_time":{at}}}"#);
        std::fs::write(folder.path().join(id).join("deletion-mark.json"), text).unwrap();
    };
    mark(&block(folder.path(), 2, None, &hour(1..2)), 25);
    let leaving = block(folder.path(), 3, None, &hour(2..3));
    mark(&leaving, 23);
    let fresh = ThanosOptions {
        source: "sidecar".to_owned(),
        upload_time: Some(Timestamp::from_millis(DAY + 100 * 24 * HOUR - 29 * MINUTE).to_rfc3339()),
        ..ThanosOptions::default()
    };
    block(folder.path(), 4, Some(fresh), &hour(3..4));
    std::fs::create_dir_all(folder.path().join("wal")).unwrap();
    let source = source(folder.path(), &[]);
    let (got, provenance) = all(&source, &[equal("__name__", "up")]).await;
    assert_eq!(provenance.from, [leaving]);
    assert_eq!(points(&got[0]), minutes(2..3, |m| m as f64));
    let summary = source.summary(day()).await.unwrap();
    assert_eq!((summary.blocks, summary.left_out.len()), (1, 3), "{summary:?}");
}

#[tokio::test]
async fn an_unknown_encoding_is_skipped_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = BlockWriter::create(folder.path(), BlockOptions::new(ulid(DAY as u64, 1))).unwrap();
    let known = xor(&minutes(0..2, |m| m as f64));
    let unknown = Chunk { encoding: 77, start: DAY + 2 * HOUR, end: DAY + 3 * HOUR, samples: 3, data: vec![0, 3, 1] };
    writer.series(&labels(&[("__name__", "up")]), &[known, unknown]).unwrap();
    writer.finish().unwrap();
    let (got, provenance) = all(&source(folder.path(), &[]), &[equal("__name__", "up")]).await;
    assert_eq!(points(&got[0]).len(), 120);
    assert_eq!(provenance.skipped, [("chunk encoding 77 is not known".to_owned(), 1)]);
}

#[tokio::test]
async fn a_damaged_block_is_refused_by_name_and_the_manifest_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let up = labels(&[("__name__", "up")]);
    let whole = block(folder.path(), 1, None, &[(up.clone(), minutes(0..4, |m| m as f64))]);
    let damaged = block(folder.path(), 2, None, &[(up.clone(), minutes(4..8, |m| m as f64))]);
    let segment = folder.path().join(&damaged).join("chunks/000001");
    let good = std::fs::read(&segment).unwrap();
    let mut bytes = good.clone();
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();

    let (out, url) = store();
    let dataset = Dataset::open(&url).await.unwrap();
    let every = [vec![equal(METRIC_NAME, "up")]];
    let pull = async |source: &BlocksSource| {
        dataset.pull_samples(source, &every, Step::MINUTE, day(), Duration::ZERO, &NoProgress).await.unwrap()
    };
    let summary = pull(&source(folder.path(), &[])).await;
    assert_eq!(summary.rows, 240);
    assert_eq!(summary.missing.len(), 1);
    let (range, reason) = &summary.missing[0];
    assert_eq!(range.start, Timestamp::from_millis(DAY + 4 * HOUR));
    assert!(reason.contains(&damaged) && reason.contains("checksum"), "{reason}");
    let manifest = dataset.manifest().await.unwrap().unwrap();
    let (_, _, file) = manifest.sample_files().next().unwrap();
    assert_eq!(file.from, [whole]);
    assert_eq!(file.missing[0].range, *range);

    // Once the block is whole again, the day is pulled again, and nothing of before is left.
    std::fs::write(&segment, good).unwrap();
    let summary = pull(&source(folder.path(), &[])).await;
    assert_eq!((summary.rows, summary.missing.len()), (480, 0));
    let manifest = dataset.manifest().await.unwrap().unwrap();
    let (_, _, file) = manifest.sample_files().next().unwrap();
    let path = out.path().join("dataset").join(&file.path);
    let read = SampleReader::open(std::fs::File::open(path).unwrap(), None, day()).unwrap();
    assert_eq!(read.map(|piece| piece.unwrap().samples.len()).sum::<usize>(), 480);
    assert_eq!(std::fs::read_dir(out.path().join("dataset/blocks/samples")).unwrap().count(), 1);
    assert_eq!(pull(&source(folder.path(), &[])).await.unchanged_days, 1);
}

/// A histogram whose buckets grow; the last one of a chunk is stale, as nothing follows a stale one in its chunk.
fn histogram(k: i64) -> NativeHistogram {
    if k == 39 || k == 99 {
        return NativeHistogram { sum: f64::from_bits(STALE_NAN_BITS), ..NativeHistogram::default() };
    }
    let counts = vec![k as f64 + 1.0, 2.0, 3.0];
    let count = counts.iter().sum::<f64>() + 1.0;
    NativeHistogram {
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 1.0,
        count,
        sum: k as f64 * 0.1,
        positive: Buckets {
            spans: vec![BucketSpan { offset: -2, length: 1 }, BucketSpan { offset: 1, length: 2 }],
            counts,
        },
        ..NativeHistogram::default()
    }
}

#[tokio::test]
async fn histograms_and_staleness_markers_go_all_the_way_to_parquet() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = BlockWriter::create(folder.path(), BlockOptions::new(ulid(DAY as u64, 1))).unwrap();
    let sent: Vec<(i64, NativeHistogram)> = (0..100).map(|k| (DAY + k * MINUTE, histogram(k))).collect();
    let (first, second) = sent.split_at(40);
    let chunks = [integer_histogram(first, &[]), float_histogram(second, &[])];
    let number = writer.series(&labels(&[("__name__", "latency")]), &chunks).unwrap();
    writer.delete(number, DAY + 10 * MINUTE, DAY + 12 * MINUTE);
    let stale = f64::from_bits(STALE_NAN_BITS);
    let floats: Vec<(i64, f64)> = vec![(DAY, 1.0), (DAY + 1, stale), (DAY + 2, f64::NAN), (DAY + 3, -0.0)];
    writer.floats(&labels(&[("__name__", "up")]), &floats).unwrap();
    writer.finish().unwrap();

    let (out, url) = store();
    let dataset = Dataset::open(&url).await.unwrap();
    let every = [vec![]];
    let source = source(folder.path(), &[]);
    dataset.pull_samples(&source, &every, Step::MINUTE, day(), Duration::ZERO, &NoProgress).await.unwrap();
    let manifest = dataset.manifest().await.unwrap().unwrap();
    let (_, _, file) = manifest.sample_files().next().unwrap();
    assert_eq!((file.rows, file.histograms, file.series), (101, 97, 2));
    let path = out.path().join("dataset").join(&file.path);
    let read = SampleReader::open(std::fs::File::open(path).unwrap(), None, day()).unwrap();
    let read: Vec<RawSeries> = read.map(Result::unwrap).collect();
    let bits = |samples: &[(i64, f64)]| samples.iter().map(|(at, v)| (*at, v.to_bits())).collect::<Vec<_>>();
    assert_eq!(bits(&points(&read[1])), bits(&floats));
    let wanted = sent.iter().filter(|(at, _)| !(10..=12).contains(&((at - DAY) / MINUTE)));
    for (got, (at, wanted)) in read[0].histograms.iter().zip(wanted.clone()) {
        assert_eq!(got.at.millis(), *at);
        assert_eq!(got.histogram.sum.to_bits(), wanted.sum.to_bits());
        if !wanted.is_stale() {
            let values = |h: &NativeHistogram| (h.schema, h.zero_threshold, h.zero_count, h.count, h.positive.clone());
            assert_eq!(values(&got.histogram), values(wanted));
        }
    }
    assert_eq!(read[0].histograms.len(), wanted.count());
}

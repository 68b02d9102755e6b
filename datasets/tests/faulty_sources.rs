//! Blocks and logs in a bucket that slows down, loses answers, breaks off and lies about ranges: what a pull brings out
//! of them, into a folder and into the same bucket, has the bytes of a calm pull.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forewarn_datasets::{BlocksOptions, BlocksSource, Dataset, LogsOptions, LogsSource, NoProgress, SampleSource};
use forewarn_features::SignalSet;
use forewarn_schema::{LabelSet, Step, TimeRange, Timestamp};
use forewarn_storage::Store;
use forewarn_testkit::fault_proxy::{FaultProxy, FaultSchedule, HTTP_FAULTS, HttpFault};
use forewarn_testkit::tsdb::{BlockOptions, BlockWriter, ulid};
use support::{bucket, files, presets, s3_options, store};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// A midnight.
const START: i64 = 20_000 * DAY;

/// Two days from `START`.
fn days() -> TimeRange {
    TimeRange { start: Timestamp::from_millis(START), end: Timestamp::from_millis(START + 2 * DAY) }
}

/// Six blocks of eight hours: disks of forty nodes, and twenty times as much that no signal reads, so that a pull
/// fetches parts of files.
fn write_blocks(folder: &Path) {
    for number in 0..6 {
        let mut writer = BlockWriter::create(folder, BlockOptions::new(ulid(START as u64, number))).unwrap();
        let minutes = number as i64 * 480..(number as i64 + 1) * 480;
        let mut series: Vec<(LabelSet, i64)> = Vec::new();
        for node in 0..40_i64 {
            let labels = |metric: &str, more: &str| {
                let node = format!("node-{node:02}");
                LabelSet::from([
                    ("__name__", metric),
                    ("mountpoint", "/"),
                    ("node", &node),
                    ("other", more),
                    ("service", "store"),
                ])
            };
            series.push((labels("node_filesystem_avail_bytes", ""), node + 1));
            series.push((labels("node_filesystem_size_bytes", ""), 0));
            series.extend((0..20).map(|other| (labels("unwatched_total", &other.to_string()), other)));
        }
        series.sort_by(|a, b| a.0.cmp(&b.0));
        for (labels, slope) in series {
            let value = |minute: i64| 1e9 - (minute * slope) as f64 * 1e3;
            let samples: Vec<(i64, f64)> =
                minutes.clone().map(|minute| (START + minute * MINUTE + 5000, value(minute))).collect();
            writer.floats(&labels, &samples).unwrap();
        }
        writer.finish().unwrap();
    }
}

/// An object an hour and service, gzip and plain in turn, with a line every ten seconds.
fn write_logs(folder: &Path) {
    for hour in 0..16_i64 {
        for (service, nth) in [("cart", 20), ("pay", 7)] {
            let line = |i: i64| {
                let at = Timestamp::from_millis(START + hour * 60 * MINUTE + i * 10_000).to_rfc3339();
                let level = if i % nth == 0 { "ERROR" } else { "INFO" };
                format!(
                    "{{\"date\":\"{at}\",\"log\":\"{level} order {i} took {hour}ms\",\"kubernetes\":{{\"labels\":{{\"app\":\"{service}\"}}}}}}\n"
                )
            };
            let text: String = (0..360).map(line).collect();
            let bytes = if hour % 2 == 0 { text.into_bytes() } else { gzip(text.as_bytes()) };
            let path = folder.join(format!("{service}/{hour:02}"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Puts every file of the folder below `prefix`.
async fn upload(folder: &Path, prefix: &str, endpoint: &str) {
    let bucket = Store::open_with(&format!("s3://history/{prefix}"), &s3_options(endpoint)).unwrap();
    for (path, bytes) in files(folder) {
        bucket.put(path.to_str().unwrap(), bytes.into()).await.unwrap();
    }
}

/// What is below a prefix of the bucket, seen without faults.
async fn stored(prefix: &str, endpoint: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let bucket = Store::open_with(&format!("s3://history/{prefix}"), &s3_options(endpoint)).unwrap();
    let mut found = BTreeMap::new();
    for object in bucket.walk("", 1000).await.unwrap() {
        let bytes = bucket.get_range(&object.path, 0..object.size).await.unwrap().unwrap();
        found.insert(PathBuf::from(object.path), bytes.to_vec());
    }
    found
}

/// Pulls into a store of its own for each seed, through faults, first into a folder and then into the bucket, and
/// compares with `calm`, what a pull without faults left in a folder. Gives the faults that there were.
async fn pulls_through_faults<'p, P, F>(server: &str, calm: &Path, pull: P) -> BTreeMap<HttpFault, u64>
where
    P: Fn(Dataset, String) -> F,
    F: Future<Output = Result<(), String>> + 'p,
{
    let wanted = files(calm);
    assert!(wanted.keys().any(|path| path.extension().is_some_and(|e| e == "parquet")), "{:?}", wanted.keys());
    let mut faults = BTreeMap::new();
    for seed in 0..2 {
        let schedule = FaultSchedule { seed, share: 0.4, faults: HTTP_FAULTS.to_vec(), strips_conditions: false };
        let proxy = FaultProxy::start(server, schedule).unwrap();
        let (folder, url) = store();
        let dataset = Dataset::open(&url).await.unwrap();
        let pulled = pull(dataset, proxy.url()).await;
        assert!(pulled.is_ok(), "seed {seed}: {pulled:?}, {:?}", proxy.traffic());
        assert!(files(folder.path()) == wanted, "seed {seed}, into a folder");

        let place = format!("store-{seed}");
        let endpoint = proxy.url();
        let dataset = Dataset::open_with(&format!("s3://history/{place}"), &s3_options(&endpoint)).await.unwrap();
        let pulled = pull(dataset, proxy.url()).await;
        assert!(pulled.is_ok(), "seed {seed}: {pulled:?}, {:?}", proxy.traffic());
        let found = stored(&place, server).await;
        assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "seed {seed}");
        assert!(found == wanted, "seed {seed}, into the bucket");
        for (fault, count) in proxy.traffic().faults {
            *faults.entry(fault).or_default() += count;
        }
    }
    faults
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_come_out_of_a_faulty_bucket_with_the_same_bytes() {
    let Some(server) = bucket() else { return };
    let url = server.url();
    let blocks = tempfile::tempdir().unwrap();
    write_blocks(blocks.path());
    upload(blocks.path(), "blocks", &url).await;
    let pull = |dataset: Dataset, endpoint: String| async move {
        let s3_options = s3_options(&endpoint).map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let options = BlocksOptions { url: "s3://history/blocks".to_owned(), s3_options, ..BlocksOptions::default() };
        let source = BlocksSource::new(options).unwrap();
        let signals = presets(&["node"]);
        let pulled = dataset.pull_sampled(&source, &signals, &[], Step::MINUTE, days(), &NoProgress).await;
        let summary = pulled.map_err(|e| e.to_string())?;
        assert_eq!((summary.samples.rows, summary.samples.missing.len()), (40 * 2880, 0));
        Ok(())
    };
    let (calm, calm_url) = store();
    pull(Dataset::open(&calm_url).await.unwrap(), url.clone()).await.unwrap();
    let faults = pulls_through_faults(&url, calm.path(), pull).await;
    let missed: Vec<_> = HTTP_FAULTS.iter().filter(|fault| !faults.contains_key(fault)).collect();
    assert!(missed.is_empty(), "{missed:?} did not occur: {faults:?}");
    eprintln!("blocks: {faults:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_come_out_of_a_faulty_bucket_with_the_same_bytes() {
    let Some(server) = bucket() else { return };
    let url = server.url();
    let logs = tempfile::tempdir().unwrap();
    write_logs(logs.path());
    upload(logs.path(), "logs", &url).await;
    let pull = |dataset: Dataset, endpoint: String| async move {
        let options = LogsOptions { url: "s3://history/logs".to_owned(), ..LogsOptions::default() };
        let source = LogsSource::new_with(options, &dataset, &s3_options(&endpoint)).map_err(|e| e.to_string())?;
        let summary = source.take_in().await.map_err(|e| e.to_string())?;
        assert_eq!((summary.objects, summary.unreadable_objects, summary.lines), (32, 0, 32 * 360));
        let extent = source.extent().await.map_err(|e| e.to_string())?.unwrap();
        let signals = SignalSet::new(&["logs".to_owned()], vec![]).unwrap();
        let pulled = dataset.pull_sampled(&source, &signals, &[], Step::MINUTE, extent, &NoProgress).await;
        pulled.map(|_| ()).map_err(|e| e.to_string())
    };
    let (calm, calm_url) = store();
    pull(Dataset::open(&calm_url).await.unwrap(), url.clone()).await.unwrap();
    let faults = pulls_through_faults(&url, calm.path(), pull).await;
    // Objects are read whole, from their beginning; a conflict needs a second writer's condition, and the store's has
    // it.
    for fault in [HttpFault::SlowDown, HttpFault::LostAnswer, HttpFault::Truncated, HttpFault::SlowFirstByte] {
        assert!(faults.contains_key(&fault), "{fault:?} did not occur: {faults:?}");
    }
    eprintln!("logs: {faults:?}");
}

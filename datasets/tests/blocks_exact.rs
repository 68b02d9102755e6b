//! What is pulled from blocks is what is in them: sample for sample what `promtool tsdb dump` says, and evaluated, what a
//! real Prometheus over the same blocks answers.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use forewarn_datasets::{
    BlocksOptions, BlocksSource, Dataset, NoProgress, RawSeries, SampleFilter, SampleReader, SampleSource,
};
use forewarn_schema::{
    BucketSpan, Buckets, HistogramSample, LabelMatcher, LabelSet, METRIC_NAME, MatchOp, NativeHistogram,
    STALE_NAN_BITS, Step, TimeRange, Timestamp,
};
use forewarn_testkit::native_histograms::{Counts, Histogram};
use forewarn_testkit::remote_write::TimeSeries;
use forewarn_testkit::{http, remote_write, servers};
use forewarn_tsdb::{Block, Samples};
use support::{files, presets, range, source, store};

fn history(set: u8) -> Option<PathBuf> {
    let blocks = PathBuf::from(format!("{}/../../shared/data/histories/{set}/tsdb", env!("CARGO_MANIFEST_DIR")));
    if !blocks.is_dir() {
        eprintln!("skipped: no {}", blocks.display());
        return None;
    }
    Some(blocks.canonicalize().unwrap())
}

fn blocks(folder: &Path) -> BlocksSource {
    let url = format!("file://{}", folder.display());
    BlocksSource::new(BlocksOptions { name: "thanos".to_owned(), url, ..BlocksOptions::default() }).unwrap()
}

fn everything() -> Vec<Vec<LabelMatcher>> {
    vec![vec![LabelMatcher { name: METRIC_NAME.to_owned(), op: MatchOp::Regex, value: ".+".to_owned() }]]
}

/// Per series: how many samples, and a sum over them that does not depend on their order.
type Digest = BTreeMap<String, (u64, u64)>;

/// A sample as a number that another sample has only by chance.
fn mixed(at: i64, value: f64) -> u64 {
    // `promtool` writes every NaN alike.
    let bits = if value.is_nan() { 1 } else { value.to_bits() };
    let mixed = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ bits.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    (mixed ^ (mixed >> 29)).wrapping_mul(0x1656_67b1_9e37_79f9)
}

fn as_promtool(labels: &LabelSet) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// `None` where promtool is not installed.
fn dumped(folder: &Path) -> Option<Digest> {
    let copy = tempfile::tempdir().unwrap();
    servers::copy_tree(folder, copy.path()).unwrap();
    // It asks for one, even if there is nothing in it.
    std::fs::create_dir_all(copy.path().join("wal")).unwrap();
    let mut command = Command::new("promtool");
    command.args(["tsdb", "dump"]).arg(copy.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else {
        eprintln!("skipped: promtool is not installed");
        return None;
    };
    let mut digest = Digest::new();
    let mut last: (String, (u64, u64)) = Default::default();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let mut words = line.rsplitn(3, ' ');
        let (at, value, labels) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let value = if value == "+Inf" { f64::INFINITY } else { value.parse().unwrap() };
        if last.0 != labels {
            add(&mut digest, std::mem::replace(&mut last, (labels.to_owned(), (0, 0))));
        }
        last.1.0 += 1;
        last.1.1 = last.1.1.wrapping_add(mixed(at.parse().unwrap(), value));
    }
    add(&mut digest, last);
    assert!(child.wait().unwrap().success());
    Some(digest)
}

fn add(digest: &mut Digest, (labels, (count, sum)): (String, (u64, u64))) {
    if count > 0 {
        let known = digest.entry(labels).or_default();
        *known = (known.0 + count, known.1.wrapping_add(sum));
    }
}

fn read(folder: &Path, file: &str, filter: Option<SampleFilter>, range: TimeRange) -> impl Iterator<Item = RawSeries> {
    let file = std::fs::File::open(folder.join("dataset").join(file)).unwrap();
    SampleReader::open(file, filter, range).unwrap().map(Result::unwrap)
}

fn always() -> TimeRange {
    TimeRange { start: Timestamp::from_millis(i64::MIN), end: Timestamp::from_millis(i64::MAX) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_of_all_histories_is_in_the_files_to_the_bit() {
    for set in [1, 2, 3] {
        let Some(folder) = history(set) else { return };
        let Some(wanted) = dumped(&folder) else { return };
        let source = blocks(&folder);
        let extent = source.extent().await.unwrap().unwrap();
        let (out, url) = store();
        let dataset = Dataset::open(&url).await.unwrap();
        let before = std::time::Instant::now();
        let (step, none) = (Step::MINUTE, std::time::Duration::ZERO);
        let summary = dataset.pull_samples(&source, &everything(), step, extent, none, &NoProgress).await.unwrap();
        eprintln!("history {set}: {summary:?} in {:?}", before.elapsed());
        let mut got = Digest::new();
        let manifest = dataset.manifest().await.unwrap().unwrap();
        for (_, day, file) in manifest.sample_files() {
            for piece in read(out.path(), &file.path, None, always()) {
                assert!(piece.samples.iter().all(|s| day.range().contains(s.at)));
                let sum = piece.samples.iter().fold(0, |sum: u64, s| sum.wrapping_add(mixed(s.at.millis(), s.value)));
                add(&mut got, (as_promtool(&piece.labels), (piece.samples.len() as u64, sum)));
            }
            assert!(!file.from.is_empty() && file.missing.is_empty() && file.skipped.is_empty(), "{file:?}");
        }
        assert_eq!(got.len(), wanted.len());
        assert!(got == wanted, "history {set} differs");
        assert_eq!(summary.rows, wanted.values().map(|(count, _)| count).sum::<u64>());

        // Again: nothing changes, and nothing is read.
        let there = files(out.path());
        let again = dataset.pull_samples(&source, &everything(), step, extent, none, &NoProgress).await.unwrap();
        assert_eq!((again.unchanged_days, again.rows), (again.days, 0));
        assert_eq!(files(out.path()), there);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_over_blocks_are_what_a_prometheus_answers() {
    let Some(folder) = history(1) else { return };
    let copy = tempfile::tempdir().unwrap();
    servers::copy_tree(&folder, copy.path()).unwrap();
    let Some(server) = servers::prometheus("global: {scrape_interval: 1m}\n", Some(copy.path())).unwrap() else {
        return;
    };
    let signals = presets(&["kubernetes", "hikaricp", "http", "node", "blackbox"]);
    // The edge between two blocks, and that between two days, are inside.
    let days = range("2026-01-01T12:00:00Z", "2026-01-02T12:00:00Z");
    let (from_api, api_url) = store();
    let by_query = Dataset::open(&api_url).await.unwrap();
    by_query.pull(&source(&server.url()), &signals, Step::MINUTE, days, &NoProgress).await.unwrap();
    let (from_blocks, blocks_url) = store();
    let by_blocks = Dataset::open(&blocks_url).await.unwrap();
    let pulled =
        by_blocks.pull_sampled(&blocks(&folder), &signals, &[], Step::MINUTE, days, &NoProgress).await.unwrap();
    assert!(pulled.not_evaluated.is_empty() && pulled.samples.missing.is_empty(), "{pulled:?}");
    eprintln!("{pulled:?}");
    let (wanted, got) = (by_query.read(&signals, days).await.unwrap(), by_blocks.read(&signals, days).await.unwrap());
    assert_eq!(got.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    let close = |a: f64, b: f64| {
        a.to_bits() == b.to_bits() || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) || (a.is_nan() && b.is_nan())
    };
    for (service, wanted) in &wanted {
        let got = &got[service];
        assert_eq!(got.len(), wanted.len(), "{service}");
        for (got, wanted) in got.iter().zip(wanted) {
            assert_eq!((got.at, got.observations.len()), (wanted.at, wanted.observations.len()), "{service}");
            for (got, wanted) in got.observations.iter().zip(&wanted.observations) {
                assert_eq!((&got.signal, &got.labels), (&wanted.signal, &wanted.labels));
                assert!(close(got.value, wanted.value), "{service} at {:?}: {got:?}, wanted {wanted:?}", wanted);
                assert_eq!(got.limit.is_some(), wanted.limit.is_some());
                let limits = got.limit.zip(wanted.limit);
                assert!(limits.is_none_or(|(a, b)| close(a, b)), "{got:?}, wanted {wanted:?}");
            }
        }
    }
    drop((from_api, from_blocks));
}

/// What a series has, to the bit: floats, then histograms.
type Bits = (Vec<(i64, u64)>, Vec<(i64, u64, String)>);

fn bits(samples: impl Iterator<Item = (i64, f64)>, histograms: &[HistogramSample]) -> Bits {
    let histogram = |h: &HistogramSample| (h.at.millis(), h.histogram.sum.to_bits(), format!("{:?}", h.histogram));
    (samples.map(|(at, value)| (at, value.to_bits())).collect(), histograms.iter().map(histogram).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_that_a_prometheus_wrote_itself_come_out_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let tsdb = dir.path().join("tsdb");
    let flags = ["--web.enable-admin-api", "--enable-feature=native-histograms"];
    let Some(server) = servers::prometheus_with("global: {}\n", Some(&tsdb), &flags).unwrap() else { return };
    let post = |path: &str, headers: &[(&str, &str)], body: &[u8]| {
        let answer = http::post(&format!("{}{path}", server.url()), headers, body).unwrap();
        assert!(answer.status < 300, "{path}: {} {}", answer.status, answer.body_text());
        answer.body_text()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let start = now / 7_200_000 * 7_200_000 + 60_000;
    let stale = f64::from_bits(STALE_NAN_BITS);
    let named = |name: &str| LabelSet::from([(METRIC_NAME, name), ("job", "shop")]);
    let mut histograms = TimeSeries::new(&named("latency"));
    let histogram = |k: i64| match k {
        39 => NativeHistogram { sum: stale, count: 1.0, ..NativeHistogram::default() },
        _ => NativeHistogram {
            schema: 2,
            count: 3.0 + k as f64,
            sum: k as f64 * 0.3,
            positive: Buckets {
                spans: vec![BucketSpan { offset: 0, length: 1 }, BucketSpan { offset: 3, length: 1 }],
                counts: vec![1.0 + k as f64, 2.0],
            },
            ..NativeHistogram::default()
        },
    };
    histograms.histograms =
        (0..40).map(|k| Histogram::new(start + k * 15_000, &histogram(k), Counts::Integer)).collect();
    let floats = |name: &str, odd: &[f64]| {
        let mut series = TimeSeries::new(&named(name));
        let sample = |(k, value): (i64, &f64)| remote_write::Sample { value: *value, timestamp: start + k * 15_001 };
        series.samples = (0_i64..).zip(odd).map(sample).collect();
        series
    };
    let odd = [1.0, -1.5, f64::INFINITY, f64::from_bits(0x7ff8_0000_0000_0001), 5e-324, stale];
    let many: Vec<f64> = (0..200).map(f64::from).collect();
    let series = vec![histograms, floats("odd", &odd), floats("many", &many)];
    post(
        "/api/v1/write",
        &remote_write::HEADERS,
        &remote_write::compress(&remote_write::WriteRequest { timeseries: series }),
    );
    let seconds = |k: i64| (start + k * 15_001) as f64 / 1000.0;
    let (first, last) = (seconds(50), seconds(99));
    post(&format!("/api/v1/admin/tsdb/delete_series?match[]=many&start={first}&end={last}"), &[], b"");
    let answer = post("/api/v1/admin/tsdb/snapshot", &[], b"");
    let name = answer.split("\"name\":\"").nth(1).unwrap().split('"').next().unwrap();
    let folder = tsdb.join("snapshots").join(name);

    let mut wanted: BTreeMap<LabelSet, Bits> = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let block = Block::open_folder(&entry.unwrap().path()).unwrap();
        let mut chunks = block.chunk_reader();
        for series in block.index.series(block.index.all().unwrap()) {
            let series = series.unwrap();
            let mut samples = Samples::default();
            series.chunks.iter().for_each(|c| chunks.read(c.at).unwrap().decode(&mut samples).unwrap());
            samples.remove_within(block.tombstones.of(series.reference));
            let floats = samples.times.into_iter().zip(samples.values);
            let (floats, histograms) = bits(floats, &samples.histograms);
            let known = wanted.entry(series.labels).or_default();
            known.0.extend(floats);
            known.1.extend(histograms);
        }
    }
    assert_eq!(wanted[&named("many")].0.len(), 150);
    assert_eq!(wanted[&named("odd")].0.iter().map(|s| s.1).collect::<Vec<_>>(), odd.map(f64::to_bits));
    assert_eq!(wanted[&named("latency")].1.len(), 40);

    let source = blocks(&folder);
    let extent = source.extent().await.unwrap().unwrap();
    let (out, url) = store();
    let dataset = Dataset::open(&url).await.unwrap();
    let none = std::time::Duration::ZERO;
    dataset.pull_samples(&source, &everything(), Step::MINUTE, extent, none, &NoProgress).await.unwrap();
    let mut got: BTreeMap<LabelSet, Bits> = BTreeMap::new();
    for (_, _, file) in dataset.manifest().await.unwrap().unwrap().sample_files() {
        for piece in read(out.path(), &file.path, None, always()) {
            let floats = piece.samples.iter().map(|s| (s.at.millis(), s.value));
            let (floats, histograms) = bits(floats, &piece.histograms);
            let known = got.entry(piece.labels).or_default();
            known.0.extend(floats);
            known.1.extend(histograms);
        }
    }
    assert!(got == wanted, "{got:?}\nwanted {wanted:?}");
}

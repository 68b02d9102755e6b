//! A pull from blocks that is killed, goes on later or meets more blocks ends with the bytes of one that did it all at once.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use forewarn_datasets::{
    BlocksOptions, BlocksSource, Dataset, NoProgress, Provenance, PullProgress, RawSeries, SampleQuery, SampleSource,
    SampledSummary, SourceError, SourceInfo,
};
use forewarn_schema::{LabelMatcher, LabelSet, MatchOp, Step, TimeRange, Timestamp};
use forewarn_testkit::tsdb::{BlockOptions, BlockWriter, ulid};
use support::{files, presets, store};
use tokio::sync::{Notify, mpsc};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// A midnight.
const START: i64 = 20_000 * DAY;

/// A block with a disk of two nodes that fills up, and a series that no signal reads.
fn block(folder: &Path, number: u64, minutes: std::ops::Range<i64>) {
    let mut writer = BlockWriter::create(folder, BlockOptions::new(ulid(START as u64, number))).unwrap();
    let labels = |metric: &str, node: &str| {
        LabelSet::from([("__name__", metric), ("mountpoint", "/"), ("node", node), ("service", "store")])
    };
    let samples = |value: &dyn Fn(i64) -> f64| -> Vec<(i64, f64)> {
        minutes.clone().map(|m| (START + m * MINUTE + 5000, value(m))).collect()
    };
    for node in ["a", "b"] {
        writer.floats(&labels("node_filesystem_avail_bytes", node), &samples(&|m| 1e9 - m as f64 * 1e4)).unwrap();
    }
    for node in ["a", "b"] {
        writer.floats(&labels("node_filesystem_size_bytes", node), &samples(&|_| 1e9)).unwrap();
    }
    writer.floats(&labels("unwatched", "a"), &samples(&|m| m as f64)).unwrap();
    writer.finish().unwrap();
}

fn source(folder: &Path) -> BlocksSource {
    let url = format!("file://{}", folder.display());
    BlocksSource::new(BlocksOptions { url, ..BlocksOptions::default() }).unwrap()
}

fn days(first: i64, last: i64) -> TimeRange {
    let at = |day: i64| Timestamp::from_millis(START + day * DAY);
    TimeRange { start: at(first), end: at(last) }
}

async fn pull(dataset: &Dataset, source: &dyn SampleSource, range: TimeRange) -> SampledSummary {
    let unwatched = vec![vec![LabelMatcher { name: "__name__".into(), op: MatchOp::Equal, value: "unwatched".into() }]];
    let signals = presets(&["node"]);
    dataset.pull_sampled(source, &signals, &unwatched, Step::MINUTE, range, &NoProgress).await.unwrap()
}

/// Passes on, and never answers again after so many days of samples: in the middle of sending them.
struct Stuck {
    inner: BlocksSource,
    left: AtomicUsize,
    stuck: Notify,
}

#[async_trait]
impl SampleSource for Stuck {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn probe(&self) -> Result<SourceInfo, SourceError> {
        self.inner.probe().await
    }

    async fn extent(&self) -> Result<Option<TimeRange>, SourceError> {
        self.inner.extent().await
    }

    async fn state(&self, query: &SampleQuery) -> Result<Option<String>, SourceError> {
        self.inner.state(query).await
    }

    async fn series(&self, query: &SampleQuery) -> Result<Vec<LabelSet>, SourceError> {
        self.inner.series(query).await
    }

    async fn samples(
        &self,
        query: &SampleQuery,
        sink: mpsc::Sender<RawSeries>,
        progress: &dyn PullProgress,
    ) -> Result<Provenance, SourceError> {
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err() {
            let (part, mut receiver) = mpsc::channel(1);
            let (answer, _) = tokio::join!(self.inner.samples(query, part, progress), async {
                if let Some(first) = receiver.recv().await {
                    sink.send(first).await.unwrap();
                }
                self.stuck.notify_one();
                std::future::pending::<()>().await;
            });
            return answer;
        }
        self.inner.samples(query, sink, progress).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_or_not_the_bytes_are_the_same() {
    let blocks = tempfile::tempdir().unwrap();
    block(blocks.path(), 1, 0..2000);
    block(blocks.path(), 2, 2000..5760);
    let (folder, url) = store();
    let summary = pull(&Dataset::open(&url).await.unwrap(), &source(blocks.path()), days(0, 4)).await;
    assert_eq!((summary.samples.rows, summary.steps.days), (3 * 5760, 4));
    let wanted = files(folder.path());
    assert_eq!(wanted.len(), 1 + 4 + 5, "a manifest, days of steps, and of samples, one more for the look-back");

    let (folder, url) = store();
    for left in [0, 1, 1, 2] {
        let killed = Dataset::open(&url).await.unwrap();
        let source = Stuck { inner: source(blocks.path()), left: AtomicUsize::new(left), stuck: Notify::new() };
        let _lock = killed.lock().unwrap();
        tokio::select! {
            summary = pull(&killed, &source, days(0, 4)) => assert!(left == 2, "not killed: {summary:?}"),
            () = source.stuck.notified() => {}
        }
    }
    std::fs::write(folder.path().join("dataset/blocks/samples/2024-10-05-x.parquet#"), "half").unwrap();
    let whole = Dataset::open(&url).await.unwrap();
    pull(&whole, &source(blocks.path()), days(0, 4)).await;
    assert_eq!(files(folder.path()), wanted);

    // A file that has gone is brought back, and its steps stay as they are: they were evaluated from the same bytes.
    let sample = wanted.keys().find(|path| path.to_str().unwrap().contains("/samples/")).unwrap();
    std::fs::remove_file(folder.path().join(sample)).unwrap();
    let summary = pull(&whole, &source(blocks.path()), days(0, 4)).await;
    assert_eq!((summary.samples.days - summary.samples.unchanged_days, summary.steps.windows), (1, 0));
    assert_eq!(files(folder.path()), wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_blocks_touch_their_days_only() {
    let (first, all) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [first.path(), all.path()] {
        block(folder, 1, 0..2880);
    }
    // The second day's last hours come late, and so does the third day.
    block(all.path(), 2, 2880..4320);
    block(all.path(), 3, 2700..2880);
    let (folder, url) = store();
    let dataset = Dataset::open(&url).await.unwrap();
    pull(&dataset, &source(first.path()), days(0, 2)).await;
    let before = files(folder.path());
    let late = source(all.path());
    let summary = pull(&dataset, &late, days(0, 3)).await;
    let first_day = before.keys().filter(|path| path.to_str().unwrap().contains("2024-10-04"));
    let after = files(folder.path());
    let kept: Vec<_> = first_day.filter(|path| after.contains_key(*path)).collect();
    assert_eq!(kept.len(), 2, "{before:?}");
    assert_eq!(summary.samples.unchanged_days + 2, summary.samples.days);

    let (fresh_folder, fresh_url) = store();
    // Elsewhere in nothing but the path of the blocks.
    pull(&Dataset::open(&fresh_url).await.unwrap(), &late, days(0, 3)).await;
    assert_eq!(files(fresh_folder.path()), after);
}

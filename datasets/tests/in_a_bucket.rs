//! The same dataset in S3, as moto serves it.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use async_trait::async_trait;
use forewarn_datasets::{Dataset, HistorySource, NoProgress, SourceError, SourceInfo};
use forewarn_schema::{LabelSet, Sample, Series, Step, TimeRange, Timestamp};
use support::{bucket, presets, range, s3_options};

/// One value for every expression, everywhere.
struct Constant;

#[async_trait]
impl HistorySource for Constant {
    fn name(&self) -> &str {
        "constant"
    }

    async fn probe(&self) -> Result<SourceInfo, SourceError> {
        Ok(SourceInfo { kind: "constant".to_owned(), url: "none".to_owned(), version: None })
    }

    async fn fetch(&self, _: &str, range: TimeRange, step: Step) -> Result<Vec<Series>, SourceError> {
        let times = std::iter::successors(Some(range.start), |at| Some(*at + step.duration()));
        let samples = times.take_while(|at| *at < range.end).map(|at| Sample { at, value: 1.5 }).collect();
        Ok(vec![Series { labels: LabelSet::from([("service", "cart"), ("node", "n"), ("mountpoint", "/")]), samples }])
    }

    async fn count(&self, _: &str, _: Timestamp) -> Result<Vec<LabelSet>, SourceError> {
        Ok(vec![LabelSet::new()])
    }

    async fn extent(&self) -> Result<Option<TimeRange>, SourceError> {
        Ok(None)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_holds_the_same_dataset_and_notices_a_second_writer() {
    let Some(server) = bucket() else { return };
    let endpoint = server.url();
    let options = s3_options(&endpoint);
    let dataset = Dataset::open_with("s3://history/team/a", &options).await.unwrap();
    let signals = presets(&["node"]);
    let lock = dataset.lock().unwrap();
    assert!(!lock.is_exclusive());
    assert_eq!(dataset.manifest().await.unwrap(), None);
    let first = range("2026-01-01T00:00:00Z", "2026-01-02T06:00:00Z");
    let summary = dataset.pull(&Constant, &signals, Step::MINUTE, first, &NoProgress).await.unwrap();
    assert_eq!((summary.days, summary.rows), (2, 1800));
    let more = range("2026-01-01T00:00:00Z", "2026-01-02T07:00:00Z");
    assert_eq!(dataset.pull(&Constant, &signals, Step::MINUTE, more, &NoProgress).await.unwrap().rows, 60);
    let read = dataset.read(&signals, more).await.unwrap();
    assert_eq!(read["n"].len(), 1860);

    let (folder, url) = support::store();
    let local = Dataset::open(&url).await.unwrap();
    local.pull(&Constant, &signals, Step::MINUTE, more, &NoProgress).await.unwrap();
    assert_eq!(local.manifest().await.unwrap(), dataset.manifest().await.unwrap());
    drop(folder);

    // Two writers at once: one of them is told, and the dataset is that of the other.
    let next = |hours: &str| range("2026-01-02T07:00:00Z", hours);
    let (early, late) = (next("2026-01-02T08:00:00Z"), next("2026-01-02T09:00:00Z"));
    let results = tokio::join!(
        dataset.pull(&Constant, &signals, Step::MINUTE, early, &NoProgress),
        dataset.pull(&Constant, &signals, Step::MINUTE, late, &NoProgress),
    );
    for result in [results.0, results.1] {
        assert!(result.as_ref().is_ok() || result.as_ref().is_err_and(|e| e.is_in_use()), "{result:?}");
    }
    let manifest = dataset.manifest().await.unwrap().unwrap();
    dataset.read(&signals, manifest.range().unwrap()).await.unwrap();

    drop(server);
    assert!(dataset.manifest().await.unwrap_err().is_unreachable());
}

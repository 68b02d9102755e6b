//! What is read for one service of many, and what a new day touches.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a measurement says what it measured")]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use forewarn_datasets::{Dataset, HistorySource, NoProgress, SourceError, SourceInfo};
use forewarn_features::{Signal, SignalLimit, SignalSet};
use forewarn_schema::{LabelSet, Series, Step, TimeRange, Timestamp};
use forewarn_testkit::fault_proxy::{FaultProxy, FaultSchedule};
use support::{MadeUp, bucket, files, range, s3_options, service_signals, store};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_week_of_one_of_a_hundred_services_reads_a_small_share_of_the_bytes() {
    let Some(server) = bucket() else { return };
    let proxy = FaultProxy::start(&server.url(), FaultSchedule::default()).unwrap();
    let (source, signals) = (MadeUp { services: 100, pods: 2 }, service_signals());
    let week = range("2026-01-05T00:00:00Z", "2026-01-12T00:00:00Z");
    let (direct, endpoint) = (server.url(), proxy.url());
    let dataset = Dataset::open_with("s3://history/a", &s3_options(&direct)).await.unwrap();
    let pulled = dataset.pull(&source, &signals, Step::MINUTE, week, &NoProgress).await.unwrap();

    let watched = Dataset::open_with("s3://history/a", &s3_options(&endpoint)).await.unwrap();
    let one = ["service-042".to_owned()].into();
    let read = watched.read_services(&signals, week, &one).await.unwrap();
    let traffic = proxy.traffic();
    let (fetched, requests) = (traffic.bytes["GET"], traffic.requests["GET"]);
    let share = fetched as f64 / pulled.bytes as f64;
    eprintln!(
        "one service's week of {} rows in {} bytes ({:.2} a row): {fetched} bytes, {:.1} %, {requests} requests",
        pulled.rows,
        pulled.bytes,
        pulled.bytes as f64 / pulled.rows as f64,
        100.0 * share
    );
    assert_eq!(read.keys().map(|service| &**service).collect::<Vec<_>>(), ["service-042"]);
    assert_eq!(read["service-042"].len(), 7 * 1440);
    assert!(share < 0.04, "{share}");
    // The manifest, and of each day the footer and one run of parts.
    assert_eq!(requests, 1 + 2 * 7);

    let services = watched.services(&signals, week).await.unwrap();
    assert_eq!(services.len(), 100);
    assert!(services.contains("service-042"));
}

/// One service's value, and a limit for all.
struct LimitForAll;

#[async_trait]
impl HistorySource for LimitForAll {
    fn name(&self) -> &str {
        "limit-for-all"
    }

    async fn probe(&self) -> Result<SourceInfo, SourceError> {
        MadeUp { services: 0, pods: 0 }.probe().await
    }

    async fn fetch(&self, promql: &str, range: TimeRange, step: Step) -> Result<Vec<Series>, SourceError> {
        let mut series = MadeUp { services: 3, pods: 1 }.fetch(promql, range, step).await?;
        if promql.ends_with("max") {
            series.truncate(1);
            series.iter_mut().for_each(|one| one.labels = LabelSet::new());
        }
        Ok(series)
    }

    async fn count(&self, _: &str, _: Timestamp) -> Result<Vec<LabelSet>, SourceError> {
        Ok(Vec::new())
    }

    async fn extent(&self) -> Result<Option<TimeRange>, SourceError> {
        Ok(None)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_services_read_alone_are_what_they_are_among_all_limits_for_all_included() {
    let (_folder, url) = store();
    let (dataset, signals) = (Dataset::open(&url).await.unwrap(), service_signals());
    let days = range("2026-01-05T12:00:00Z", "2026-01-07T03:00:00Z");
    dataset.pull(&LimitForAll, &signals, Step::MINUTE, days, &NoProgress).await.unwrap();
    let all = dataset.read(&signals, days).await.unwrap();
    let two = ["service-000".to_owned(), "service-002".to_owned(), "unknown".to_owned()].into();
    let some = dataset.read_services(&signals, days, &two).await.unwrap();
    assert_eq!(some.len(), 2);
    for (service, steps) in some {
        assert_eq!(steps, all[&service]);
        let heap = steps[0].observations.iter().find(|o| &*o.signal == "heap").unwrap();
        assert!(heap.limit.is_some(), "the limit for all is this service's too");
    }

    // Where services lie in another label now, rows are not where they should be: they are not mixed up, but asked anew.
    let moved: Vec<Signal> = signals.iter().map(|s| Signal { service: "node".to_owned(), ..s.clone() }).collect();
    let moved = SignalSet::new(&[], moved).unwrap();
    assert!(dataset.read(&moved, days).await.unwrap().is_empty());
    let pulled = dataset.pull(&LimitForAll, &moved, Step::MINUTE, days, &NoProgress).await.unwrap();
    assert_eq!(pulled.windows, 3 * moved.queries().len() as u64);
    let nodes = dataset.services(&moved, days).await.unwrap();
    assert_eq!(nodes.into_iter().collect::<Vec<_>>(), ["service-000-0", "service-001-0", "service-002-0"]);
    assert!(matches!(moved.get("heap").unwrap().limit, Some(SignalLimit::Expression(_))));
}

/// Inode, and time of the last write, of each file.
fn marks(folder: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let mark = |path: PathBuf| {
        let meta = std::fs::metadata(folder.join(&path)).unwrap();
        (path, (meta.ino(), meta.mtime(), meta.mtime_nsec()))
    };
    files(folder).into_keys().map(mark).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_day_touches_that_day_and_the_manifest() {
    let (source, signals) = (MadeUp { services: 2, pods: 1 }, service_signals());
    let days = |end: &str| range("2026-01-05T00:00:00Z", end);
    let (old, new) = (days("2026-01-08T00:00:00Z"), days("2026-01-09T00:00:00Z"));
    let (folder, url) = store();
    let dataset = Dataset::open(&url).await.unwrap();
    dataset.pull(&source, &signals, Step::MINUTE, old, &NoProgress).await.unwrap();
    let before = marks(folder.path());
    dataset.pull(&source, &signals, Step::MINUTE, new, &NoProgress).await.unwrap();
    let after = marks(folder.path());
    let touched: Vec<&PathBuf> =
        after.iter().filter(|(path, mark)| before.get(*path) != Some(mark)).map(|e| e.0).collect();
    assert_eq!(touched.len(), 2, "{touched:?}");
    assert!(touched[0].to_str().unwrap().contains("made-up/2026-01-08-"), "{touched:?}");
    assert!(touched[1].ends_with("manifest.json"), "{touched:?}");
    assert_eq!(after.len(), before.len() + 1);

    let Some(server) = bucket() else { return };
    let proxy = FaultProxy::start(&server.url(), FaultSchedule::default()).unwrap();
    let endpoint = proxy.url();
    let dataset = Dataset::open_with("s3://history/a", &s3_options(&endpoint)).await.unwrap();
    dataset.pull(&source, &signals, Step::MINUTE, old, &NoProgress).await.unwrap();
    let before = proxy.traffic();
    dataset.pull(&source, &signals, Step::MINUTE, new, &NoProgress).await.unwrap();
    let after = proxy.traffic();
    let more = |method: &str| {
        let of = |requests: &std::collections::HashMap<String, u64>| requests.get(method).copied().unwrap_or(0);
        of(&after.requests) - of(&before.requests)
    };
    // Reads the manifest, looks at the three days without reading them, writes the new day and the manifest.
    assert_eq!((more("GET"), more("HEAD"), more("PUT"), more("POST"), more("DELETE")), (1, 3, 2, 0, 0));
}

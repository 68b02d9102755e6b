//! The whole way with a real Prometheus: pull, again, after a kill, after damage, after a change of an expression.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use forewarn_datasets::{Dataset, HistorySource, NoProgress, PullSummary};
use forewarn_features::{Role, SignalLimit, SignalSet, VectorSample, join};
use forewarn_schema::{LabelSet, METRIC_NAME, Sample, Series, Step, TimeRange, Timestamp};
use forewarn_testkit::{http, remote_write, servers};
use support::{Watched, files, presets, range, shop, source, store};

/// Two days and a half, the last one not complete.
fn days() -> TimeRange {
    range("2026-01-02T00:00:00Z", "2026-01-04T12:00:00Z")
}

fn signals() -> SignalSet {
    presets(&["hikaricp", "node"])
}

async fn pull(dataset: &Dataset, source: &dyn HistorySource, signals: &SignalSet, range: TimeRange) -> PullSummary {
    dataset.pull(source, signals, Step::MINUTE, range, &NoProgress).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_is_incremental_resumable_and_repairs_damage() {
    let Some((server, _copy)) = shop() else { return };
    let source = source(&server.url());
    let (whole_folder, whole_url) = store();
    let whole = Dataset::open(&whole_url).await.unwrap();
    let windows = 3 * signals().queries().len() as u64;

    // Nothing there: the plan is everything, and so is what is fetched.
    let plan = whole.plan(&source, &signals(), Step::MINUTE, days()).await.unwrap();
    assert_eq!(plan.windows(), windows);
    let summary = pull(&whole, &source, &signals(), days()).await;
    assert_eq!((summary.windows, summary.days), (windows, 3));
    assert!(summary.rows > 100_000, "{summary:?}");
    let wanted = files(whole_folder.path());
    assert_eq!(wanted.len(), 4, "a manifest and a file a day: {:?}", wanted.keys());
    eprintln!("{} rows, {:.2} bytes a row", summary.rows, summary.bytes as f64 / summary.rows as f64);

    // Again: nothing is asked.
    let watched = Watched::new(&source, u64::MAX);
    assert_eq!(pull(&whole, &watched, &signals(), days()).await, PullSummary::default());
    assert_eq!(watched.asked(), 0);
    assert_eq!(files(whole_folder.path()), wanted);

    // In pieces, with ends inside days: only what is new each time, and the same bytes in the end.
    let (folder, url) = store();
    let pieces = Dataset::open(&url).await.unwrap();
    let ends = ["2026-01-02T07:00:30Z", "2026-01-03T13:00:00Z", "2026-01-04T12:00:00Z"];
    let mut fetched = 0;
    for end in ends {
        fetched += pull(&pieces, &source, &signals(), TimeRange { end: end.parse().unwrap(), ..days() }).await.rows;
    }
    assert_eq!(fetched, summary.rows);
    assert_eq!(files(folder.path()), wanted);

    // Killed at every stage, then run again: what was complete is kept, and the bytes are the same.
    let (folder, url) = store();
    for last in [0, 3, windows / 2, windows - 1] {
        let killed = Dataset::open(&url).await.unwrap();
        let watched = Watched::new(&source, last.saturating_sub(done(&killed).await));
        let (lock, signals) = (killed.lock().unwrap(), signals());
        tokio::select! {
            summary = pull(&killed, &watched, &signals, days()) => panic!("not killed: {summary:?}"),
            () = watched.stuck.notified() => {}
        }
        drop(lock);
    }
    // What a kill in the middle of a write leaves.
    std::fs::write(folder.path().join("dataset/thanos/2026-01-04-0123abcd.parquet#1"), "half").unwrap();
    std::fs::write(folder.path().join("dataset/manifest.json#1"), "{").unwrap();
    let killed = Dataset::open(&url).await.unwrap();
    let already = done(&killed).await;
    assert!(already > 0);
    assert_eq!(pull(&killed, &source, &signals(), days()).await.windows, windows - already);
    assert_eq!(files(folder.path()), wanted);

    // Damage: reading says which file and what to do; a pull brings it back.
    let manifest = killed.manifest().await.unwrap().unwrap();
    let paths: Vec<String> = manifest.day_files().map(|(_, _, file)| file.path.clone()).collect();
    let path = |i: usize| folder.path().join("dataset").join(&paths[i]);
    let mut bytes = std::fs::read(path(0)).unwrap();
    bytes[100] ^= 1;
    std::fs::write(path(0), bytes).unwrap();
    std::fs::remove_file(path(2)).unwrap();
    let error = killed.read(&signals(), days()).await.unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains(&paths[0]), "{error}");
    assert!(error.to_string().contains("forewarn pull"), "{error}");
    let repaired = pull(&killed, &source, &signals(), days()).await;
    assert_eq!((repaired.repaired_days, repaired.days), (2, 2));
    assert_eq!(files(folder.path()), wanted);

    // Another expression: only that one is asked again, and its old rows are not mixed in.
    let mut custom: Vec<_> = signals().iter().cloned().collect();
    custom.iter_mut().find(|s| s.name == "pool_pending").unwrap().value =
        "max by (service) (hikaricp_connections_pending)".to_owned();
    let changed = SignalSet::new(&[], custom).unwrap();
    let stale = killed.read(&changed, days()).await.unwrap();
    assert!(stale.values().flatten().flat_map(|s| &s.observations).all(|o| &*o.signal != "pool_pending"));
    let watched = Watched::new(&source, u64::MAX);
    pull(&killed, &watched, &changed, days()).await;
    assert_eq!(watched.asked(), 3);
    let fresh = killed.read(&changed, days()).await.unwrap();
    assert!(fresh.values().flatten().flat_map(|s| &s.observations).any(|o| &*o.signal == "pool_pending"));
}

/// Windows that the dataset need not fetch any more.
async fn done(dataset: &Dataset) -> u64 {
    let manifest = dataset.manifest().await.unwrap();
    manifest.map_or(0, |m| m.day_files().flat_map(|(_, _, f)| f.coverage.values()).map(|q| q.len() as u64).sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_is_the_join_of_what_prometheus_gives() {
    let Some((server, _copy)) = shop() else { return };
    let (source, signals) = (source(&server.url()), presets(&["kubernetes", "hikaricp", "http", "node", "blackbox"]));
    let range = range("2026-01-03T23:30:00Z", "2026-01-04T00:30:00Z");
    let (_folder, url) = store();
    let dataset = Dataset::open(&url).await.unwrap();
    pull(&dataset, &source, &signals, range).await;
    let read = dataset.read(&signals, range).await.unwrap();

    let mut by_time: BTreeMap<Timestamp, BTreeMap<(String, Role), Vec<VectorSample>>> = BTreeMap::new();
    for query in signals.queries() {
        for series in source.fetch(&query.promql, range, Step::MINUTE).await.unwrap() {
            for sample in series.samples {
                let results = by_time.entry(sample.at).or_default();
                let vector = results.entry((query.signal.clone(), query.role)).or_default();
                vector.push((series.labels.clone(), sample.value));
            }
        }
    }
    assert_eq!(by_time.len(), 60);
    let mut expected: BTreeMap<Arc<str>, Vec<_>> = BTreeMap::new();
    for (at, results) in by_time {
        for step in join(&signals, at, &results).0 {
            expected.entry(Arc::clone(&step.service)).or_default().push(step);
        }
    }
    assert!(expected.len() > 13);
    assert_eq!(read, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_in_the_manifest_and_the_extent_is_that_of_the_data() {
    let Some((server, _copy)) = shop() else { return };
    let source = source(&server.url());
    let info = source.probe().await.unwrap();
    assert!(info.version.unwrap().starts_with("2."));
    let extent = source.extent().await.unwrap().unwrap();
    assert_eq!(extent, range("2026-01-01T00:00:00Z", "2026-01-11T00:00:00Z"));
    let pods = source.count("max by (pod) (hikaricp_connections_max)", extent.end).await.unwrap();
    assert!(pods.iter().all(|p| p.get("pod").is_some()) && pods.len() > 5, "{pods:?}");

    // Past the end of the data, every query is silent once the look-back is over.
    let (_folder, url) = store();
    let dataset = Dataset::open(&url).await.unwrap();
    let range = range("2026-01-10T23:00:00Z", "2026-01-11T01:00:00Z");
    pull(&dataset, &source, &signals(), range).await;
    let manifest = dataset.manifest().await.unwrap().unwrap();
    assert_eq!(manifest.range(), Some(range));
    let gaps: Vec<TimeRange> = manifest.day_files().flat_map(|(_, _, file)| file.gaps.clone()).collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].end, range.end);
    assert!(gaps[0].start <= "2026-01-11T00:05:00Z".parse().unwrap(), "{gaps:?}");
}

#[tokio::test]
async fn the_extent_of_a_live_server_ends_just_before_now() {
    let Some(server) = servers::prometheus("global: {scrape_interval: 1m}\n", None).unwrap() else { return };
    let source = source(&server.url());
    assert_eq!(source.extent().await.unwrap(), None);
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let now = Timestamp::from_seconds(seconds as i64);
    let minute = |k: u64| Sample { at: now - Duration::from_secs(60 * (60 - k)), value: 1.0 };
    let up = Series { labels: LabelSet::from([(METRIC_NAME, "up")]), samples: (0..=60).map(minute).collect() };
    let body = remote_write::encode_series(&[up]);
    let url = format!("{}/api/v1/write", server.url());
    assert_eq!(http::post(&url, &remote_write::HEADERS, &body).unwrap().status, 204);
    let extent = source.extent().await.unwrap().unwrap();
    assert!(minute(0).at.seconds_since(extent.start).abs() < 60.0, "{extent}");
    assert!((60.0..240.0).contains(&now.seconds_since(extent.end)), "{extent}, now is {now}");
}

#[tokio::test]
async fn one_dataset_has_one_step_and_one_writer() {
    let Some((server, _copy)) = shop() else { return };
    let source = source(&server.url());
    let (_folder, url) = store();
    let dataset = Dataset::open(&url).await.unwrap();
    let hour = range("2026-01-02T00:00:00Z", "2026-01-02T01:00:00Z");
    pull(&dataset, &source, &signals(), hour).await;
    let other: Step = "30s".parse().unwrap();
    let error = dataset.pull(&source, &signals(), other, hour, &NoProgress).await.unwrap_err();
    assert!(error.to_string().contains("has a step of 1m, got 30s"), "{error}");

    let _lock = dataset.lock().unwrap();
    let error = Dataset::open(&url).await.unwrap().lock().unwrap_err();
    assert!(error.is_in_use() && error.to_string().contains("(pid "), "{error}");

    // A limit that is a number is no query.
    assert!(matches!(signals().get("disk").unwrap().limit, Some(SignalLimit::Number(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures: ten days of every preset"]
async fn ten_days_are_read_in_two_seconds() {
    let Some((server, _copy)) = shop() else { return };
    let (source, signals) = (source(&server.url()), presets(&["kubernetes", "hikaricp", "http", "node", "blackbox"]));
    let range = range("2026-01-01T00:00:00Z", "2026-01-11T00:00:00Z");
    let (_folder, url) = store();
    let dataset = Dataset::open(&url).await.unwrap();
    let before = std::time::Instant::now();
    let summary = pull(&dataset, &source, &signals, range).await;
    eprintln!("pulled {summary:?} in {:?}", before.elapsed());
    let before = std::time::Instant::now();
    let read = dataset.read(&signals, range).await.unwrap();
    let took = before.elapsed();
    let observations: usize = read.values().flatten().map(|s| s.observations.len()).sum();
    eprintln!("read {observations} observations of {} services in {took:?}", read.len());
    assert!(took.as_secs_f64() < 2.0);
}

//! What the ledger promises: each record counts once however often it is uploaded, read or interrupted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use forewarn_schema::{LabelMatcher, MatchOp, TimeRange};
use tokio::sync::mpsc;

use super::compression::tests::{gzip, zstd};
use super::{LogsOptions, LogsSource};
use crate::sample_source::{RawSeries, SampleQuery, SampleSource};
use crate::{Dataset, NoProgress};

/// Logs and a dataset, each in a folder of its own.
struct Place {
    logs: tempfile::TempDir,
    store: tempfile::TempDir,
}

const BASE: &str = "2026-01-02T00:00:00Z";

/// `n` lines of a service, one a second from a minute of the day on; each tenth an error.
fn lines(service: &str, minute: u64, n: u64) -> String {
    let line = |i: u64| {
        let at = 1_767_312_000 + minute * 60 + i;
        let level = if i.is_multiple_of(10) { "ERROR" } else { "INFO" };
        format!(
            r#"{{"date":{at}.25,"log":"{level} order {i} of {service} took {i}ms\n","kubernetes":{{"namespace_name":"shop","labels":{{"app":"{service}"}}}}}}"#
        ) + "\n"
    };
    (0..n).map(line).collect()
}

impl Place {
    fn new() -> Self {
        Self { logs: tempfile::tempdir().unwrap(), store: tempfile::tempdir().unwrap() }
    }

    /// The same logs, with a dataset that has seen nothing.
    fn with_new_store(&self) -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    /// Writes an object, `hour` hours into the day.
    fn write(&self, key: &str, hour: u64, bytes: &[u8]) {
        let path = self.logs.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_312_000 + hour * 3600);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    }

    async fn source(&self) -> LogsSource {
        source(self.logs.path(), self.store.path()).await
    }
}

async fn source(logs: &Path, store: &Path) -> LogsSource {
    let dataset = Dataset::open(&format!("file://{}", store.display())).await.unwrap();
    let url = format!("file://{}", logs.display());
    LogsSource::new(LogsOptions { url, commit_bytes: 1, ..LogsOptions::default() }, &dataset).unwrap()
}

/// Every file below a folder, by path.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    found
}

/// The same, by what comes after the folder.
fn state(store: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(store).into_iter().map(|(path, bytes)| (path.strip_prefix(store).unwrap().to_owned(), bytes)).collect()
}

fn day() -> TimeRange {
    let start = BASE.parse().unwrap();
    TimeRange { start, end: start + Duration::from_secs(86_400) }
}

fn query(metric: &str, range: TimeRange) -> SampleQuery {
    let matcher = LabelMatcher { name: "__name__".to_owned(), op: MatchOp::Equal, value: metric.to_owned() };
    SampleQuery { selectors: vec![vec![matcher]], range }
}

async fn read(source: &LogsSource, metric: &str) -> Vec<RawSeries> {
    let query = query(metric, day());
    let (sender, mut receiver) = mpsc::channel(1000);
    source.samples(&query, sender, &NoProgress).await.unwrap();
    let mut all = Vec::new();
    while let Some(series) = receiver.recv().await {
        all.push(series);
    }
    all
}

/// Lines by service and level.
async fn totals(source: &LogsSource) -> BTreeMap<(String, String), f64> {
    let mut totals = BTreeMap::new();
    for series in read(source, "log_lines").await {
        let label = |name| series.labels.get(name).unwrap().to_owned();
        *totals.entry((label("service"), label("level"))).or_default() +=
            series.samples.iter().map(|s| s.value).sum::<f64>();
    }
    totals
}

fn total(of: &[(&str, &str, f64)]) -> BTreeMap<(String, String), f64> {
    of.iter().map(|(service, level, lines)| (((*service).to_owned(), (*level).to_owned()), *lines)).collect()
}

#[tokio::test]
async fn any_packing_and_any_key_is_read_once() {
    let place = Place::new();
    place.write("a", 1, &gzip(lines("cart", 0, 100).as_bytes()));
    place.write("deep/er/b.txt", 2, &zstd(lines("cart", 2, 100).as_bytes()));
    place.write("$TAG[1]/c c.gz", 3, lines("pay", 4, 100).as_bytes());
    let source = place.source().await;
    assert_eq!(source.extent().await.unwrap(), None);
    let summary = source.take_in().await.unwrap();
    assert_eq!((summary.objects, summary.lines), (3, 300));
    let wanted =
        total(&[("cart", "error", 20.0), ("cart", "info", 180.0), ("pay", "error", 10.0), ("pay", "info", 90.0)]);
    assert_eq!(totals(&source).await, wanted);
    let before = state(place.store.path());
    assert_eq!(source.take_in().await.unwrap().objects, 0);
    assert_eq!(state(place.store.path()), before, "nothing new writes nothing");
    let extent = source.extent().await.unwrap().unwrap();
    assert_eq!(extent.to_string(), "2026-01-02T00:00:00Z to 2026-01-02T00:06:00Z");
    let templates = read(&source, "log_template_lines").await;
    assert_eq!(templates.len(), 4, "two statements in each of two services");
    let sum: f64 = templates.iter().flat_map(|s| &s.samples).map(|s| s.value).sum();
    assert_eq!(sum, 300.0);
    let new: f64 = read(&source, "log_new_templates").await.iter().flat_map(|s| &s.samples).map(|s| s.value).sum();
    assert_eq!(new, 4.0);
}

#[tokio::test]
async fn records_that_come_again_in_another_object_count_once() {
    let place = Place::new();
    place.write("a", 1, lines("cart", 0, 100).as_bytes());
    let source = place.source().await;
    source.take_in().await.unwrap();
    // Another run, another packing, other borders.
    let again = lines("cart", 0, 150).split_inclusive('\n').skip(50).collect::<String>();
    place.write("b", 2, &gzip(again.as_bytes()));
    assert_eq!(source.take_in().await.unwrap().lines, 50);
    assert_eq!(totals(&source).await, total(&[("cart", "error", 15.0), ("cart", "info", 135.0)]));
    // Past the window it is taken for new.
    place.write("c", 9, lines("cart", 0, 10).as_bytes());
    assert_eq!(source.take_in().await.unwrap().lines, 10);
}

#[tokio::test]
async fn an_object_that_changed_is_taken_back_and_read_anew() {
    let place = Place::new();
    place.write("a", 1, lines("cart", 0, 100).as_bytes());
    place.write("b", 1, lines("pay", 0, 100).as_bytes());
    let source = place.source().await;
    source.take_in().await.unwrap();
    place.write("a", 2, lines("cart", 0, 30).as_bytes());
    let summary = source.take_in().await.unwrap();
    assert_eq!((summary.objects, summary.changed_objects, summary.lines), (1, 1, 30));
    let wanted = [("cart", "error", 3.0), ("cart", "info", 27.0), ("pay", "error", 10.0), ("pay", "info", 90.0)];
    assert_eq!(totals(&source).await, total(&wanted));
    let templates = std::fs::read_to_string(
        files(place.store.path()).keys().find(|p| p.to_string_lossy().contains("templates-")).unwrap(),
    );
    assert!(templates.unwrap().contains("\"lines\": 27"), "what was seen of templates is taken back too");
}

#[tokio::test]
async fn a_late_object_changes_its_day_and_no_other() {
    let place = Place::new();
    place.write("a", 1, lines("cart", 0, 100).as_bytes());
    place.write("b", 40, lines("cart", 1440 + 60, 100).as_bytes());
    let source = place.source().await;
    source.take_in().await.unwrap();
    let next = TimeRange { start: day().end, end: day().end + Duration::from_secs(86_400) };
    let states = (
        source.state(&query("log_lines", day())).await.unwrap(),
        source.state(&query("log_lines", next)).await.unwrap(),
    );
    place.write("late", 41, lines("cart", 1440 + 70, 10).as_bytes());
    source.take_in().await.unwrap();
    assert_eq!(source.state(&query("log_lines", day())).await.unwrap(), states.0);
    assert_ne!(source.state(&query("log_lines", next)).await.unwrap(), states.1);
    assert_eq!(totals(&source).await, total(&[("cart", "error", 10.0), ("cart", "info", 90.0)]));
}

#[tokio::test]
async fn one_run_or_many_give_the_same_bytes() {
    let place = Place::new();
    let many = place.with_new_store();
    for hour in 0..4_u64 {
        let text = lines("cart", hour * 60, 80) + &lines("pay", hour * 60 + 30, 40);
        place.write(&format!("k{hour}"), hour, &gzip(text.as_bytes()));
        source(place.logs.path(), many.path()).await.take_in().await.unwrap();
    }
    place.source().await.take_in().await.unwrap();
    assert_eq!(state(place.store.path()), state(many.path()));
}

#[tokio::test]
async fn a_kill_before_any_write_changes_nothing_in_the_end() {
    let place = Place::new();
    for hour in 0..3_u64 {
        place.write(&format!("k{hour}"), hour, lines("cart", hour * 60, 80).as_bytes());
    }
    place.source().await.take_in().await.unwrap();
    // Then one more object, and one that has changed, so that days and files are replaced.
    let change = |place: &Place| {
        place.write("k1", 4, lines("cart", 61, 50).as_bytes());
        place.write("k3", 4, lines("cart", 1440, 80).as_bytes());
    };
    let start = state(place.store.path());
    change(&place);
    place.source().await.take_in().await.unwrap();
    let end = state(place.store.path());
    assert_ne!(start, end);
    let mut kills = 0;
    for writes in 0.. {
        let killed = place.with_new_store();
        for (path, bytes) in &start {
            let path = killed.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let source = source(place.logs.path(), killed.path()).await;
        source.folder.writes_left.store(writes, Ordering::SeqCst);
        let interrupted = source.take_in().await.is_err();
        // What was not renamed yet when the kill came.
        std::fs::write(killed.path().join("dataset/logs/log-counts/ledger.json#1"), b"half").unwrap();
        source.folder.writes_left.store(i64::MAX, Ordering::SeqCst);
        source.take_in().await.unwrap();
        assert_eq!(state(killed.path()), end, "killed before write {writes}");
        kills += u64::from(interrupted);
        if !interrupted {
            break;
        }
    }
    assert!(kills >= 8, "there are {kills} writes to be killed before");
}

#[tokio::test]
async fn other_keys_than_those_that_were_counted_by_are_refused() {
    let place = Place::new();
    place.write("a", 1, lines("cart", 0, 10).as_bytes());
    place.source().await.take_in().await.unwrap();
    let dataset = Dataset::open(&format!("file://{}", place.store.path().display())).await.unwrap();
    let url = format!("file://{}", place.logs.path().display());
    let options = LogsOptions { url, service_key: Some("pod".to_owned()), ..LogsOptions::default() };
    let error = LogsSource::new(options.clone(), &dataset).unwrap().take_in().await.unwrap_err().to_string();
    assert!(error.contains("service_key=pod") && error.contains("remove it to count anew"), "{error}");
    let missing = LogsOptions { url: "file:///no/such/folder".to_owned(), ..options };
    assert!(LogsSource::new(missing, &dataset).unwrap_err().to_string().contains("url must be a folder"));
}

#[tokio::test]
async fn a_damaged_file_is_refused_by_name() {
    let place = Place::new();
    place.write("a", 1, lines("cart", 0, 10).as_bytes());
    let source = place.source().await;
    source.take_in().await.unwrap();
    for (path, bytes) in files(place.store.path()) {
        std::fs::write(&path, b"{}").unwrap();
        place.write("b", 1, lines("cart", 5, 10).as_bytes());
        let error = source.take_in().await.unwrap_err().to_string();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(error.contains(name) && error.contains("is damaged"), "{error}");
        std::fs::write(&path, bytes).unwrap();
    }
}

#[tokio::test]
async fn a_survey_counts_nothing_and_shows_what_would_be() {
    let place = Place::new();
    place.write("a", 1, &gzip((lines("cart", 0, 100) + "{\n").as_bytes()));
    place.write("b", 2, lines("pay", 2, 50).as_bytes());
    let survey = place.source().await.survey().await.unwrap();
    assert_eq!((survey.objects, survey.lines, survey.wrong_lines), (2, 151, 1));
    assert_eq!(survey.services, ["cart", "pay"]);
    assert!(state(place.store.path()).is_empty());
}

//! What the integration tests share: a real Prometheus over a copy of real blocks, a small server whose answers are
//! written by hand, and a source that counts and can be stopped.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use forewarn_datasets::{
    HistorySource, NoProgress, PrometheusOptions, PrometheusSource, Provenance, RawSeries, SampleQuery, SampleSource,
    SourceError, SourceInfo,
};
use forewarn_features::{Signal, SignalLimit, SignalSet};
use forewarn_schema::{
    BreachKind, Direction, LabelMatcher, LabelSet, METRIC_NAME, MatchOp, Sample, Series, SignalKind, Step, TimeRange,
    Timestamp,
};
use forewarn_testkit::http;
use forewarn_testkit::noise::{self, Noise};
use forewarn_testkit::servers::{self, RunningServer};

pub(crate) fn range(start: &str, end: &str) -> TimeRange {
    TimeRange::new(start.parse().unwrap(), end.parse().unwrap()).unwrap()
}

pub(crate) fn presets(names: &[&str]) -> SignalSet {
    SignalSet::new(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), vec![]).unwrap()
}

/// Options for a server that answers at once or not at all.
pub(crate) fn options(url: &str) -> PrometheusOptions {
    PrometheusOptions {
        name: "thanos".to_owned(),
        url: url.to_owned(),
        backoff: Duration::from_millis(1),
        retries: 3,
        ..PrometheusOptions::default()
    }
}

pub(crate) fn source(url: &str) -> PrometheusSource {
    PrometheusSource::new(options(url)).unwrap()
}

/// A Prometheus over a copy of the shop's ten days; `None`, with the reason printed, where the data or the program is
/// not there.
pub(crate) fn shop() -> Option<(RunningServer, tempfile::TempDir)> {
    shop_with(&[])
}

/// [`shop`] with more flags.
pub(crate) fn shop_with(flags: &[&str]) -> Option<(RunningServer, tempfile::TempDir)> {
    let blocks = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/histories/1/tsdb"));
    if !blocks.is_dir() {
        eprintln!("skipped: no {}", blocks.display());
        return None;
    }
    let copy = tempfile::tempdir().unwrap();
    servers::copy_tree(blocks, copy.path()).unwrap();
    let server = servers::prometheus_with("global: {scrape_interval: 1m}\n", Some(copy.path()), flags).unwrap()?;
    Some((server, copy))
}

/// Matchers of a selector that names a metric, with more conditions as `name=value`.
pub(crate) fn selector(metric: &str, more: &[(&str, &str)]) -> Vec<LabelMatcher> {
    let equal =
        |name: &str, value: &str| LabelMatcher { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned() };
    let more = more.iter().map(|(name, value)| equal(name, value));
    std::iter::once(equal(METRIC_NAME, metric)).chain(more).collect()
}

/// Everything that a source of samples sends.
pub(crate) async fn samples(
    source: &dyn SampleSource,
    query: &SampleQuery,
) -> Result<(Vec<RawSeries>, Provenance), SourceError> {
    let (sink, mut received) = tokio::sync::mpsc::channel(4);
    let receive = async {
        let mut all = Vec::new();
        while let Some(series) = received.recv().await {
            all.push(series);
        }
        all
    };
    let (done, all) = tokio::join!(source.samples(query, sink, &NoProgress), receive);
    Ok((all, done?))
}

/// A `file://` store in a folder of its own.
pub(crate) fn store() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    (folder, url)
}

/// Every file of a dataset but the lock, by path.
pub(crate) fn files(store: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.file_name().unwrap() != "lock" {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(store, store, &mut found);
    found
}

/// A made-up source: every expression gives `pods` series of each of `services` services, at every step, with values
/// that follow from series and time alone.
pub(crate) struct MadeUp {
    pub(crate) services: usize,
    pub(crate) pods: usize,
}

impl MadeUp {
    fn series(&self, promql: &str) -> impl Iterator<Item = (LabelSet, u64)> {
        let stream = noise::stream(&[promql]);
        let (services, pods) = (self.services, self.pods);
        (0..services * pods).map(move |i| {
            let service = format!("service-{:03}", i / pods);
            let labels = LabelSet::from([("node", format!("{service}-{}", i % pods)), ("service", service)]);
            (labels, stream.wrapping_add(i as u64))
        })
    }
}

#[async_trait]
impl HistorySource for MadeUp {
    fn name(&self) -> &str {
        "made-up"
    }

    async fn probe(&self) -> Result<SourceInfo, SourceError> {
        Ok(SourceInfo { kind: "made-up".to_owned(), url: "none".to_owned(), version: None })
    }

    async fn fetch(&self, promql: &str, range: TimeRange, step: Step) -> Result<Vec<Series>, SourceError> {
        let noise = Noise::new(7);
        let first = range.start.align_up(step);
        let times: Vec<Timestamp> = std::iter::successors(Some(first), |at| Some(*at + step.duration()))
            .take_while(|at| *at < range.end)
            .collect();
        let value = |stream: u64, at: &Timestamp| {
            let value = noise.uniform(stream, at.millis() / step.millis());
            Sample { at: *at, value: (value * 10_000.0).round() / 100.0 }
        };
        let series = self.series(promql);
        Ok(series
            .map(|(labels, n)| Series { labels, samples: times.iter().map(|at| value(n, at)).collect() })
            .collect())
    }

    async fn count(&self, promql: &str, _: Timestamp) -> Result<Vec<LabelSet>, SourceError> {
        Ok(self.series(promql).map(|(labels, _)| labels).collect())
    }

    async fn extent(&self) -> Result<Option<TimeRange>, SourceError> {
        Ok(None)
    }
}

/// A moto with one bucket, `history`; `None`, with the reason printed, where it cannot be had.
pub(crate) fn bucket() -> Option<RunningServer> {
    let server = servers::s3().unwrap()?;
    let made = http::send("PUT", &format!("{}/history", server.url()), &[], &[]);
    assert_eq!(made.unwrap().status, 200);
    Some(server)
}

/// How to reach it at `endpoint`.
pub(crate) fn s3_options(endpoint: &str) -> [(&str, &str); 4] {
    [
        ("aws_endpoint", endpoint),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
        ("aws_region", "us-east-1"),
    ]
}

/// Three signals of a service: two with a limit of their own, one without any.
pub(crate) fn service_signals() -> SignalSet {
    let signal = |name: &str, limit: Option<&str>| Signal {
        name: name.to_owned(),
        kind: limit.map_or(SignalKind::Context, |_| SignalKind::Breach(BreachKind::Custom)),
        service: "service".to_owned(),
        value: name.to_owned(),
        limit: limit.map(|limit| SignalLimit::Expression(limit.to_owned())),
        direction: Direction::Above,
        playbook: None,
    };
    let signals = vec![signal("heap", Some("heap_max")), signal("pool", Some("pool_max")), signal("traffic", None)];
    SignalSet::new(&[], signals).unwrap()
}

/// Passes on to another source, counts what it is asked for, and never answers again after `last` windows.
pub(crate) struct Watched<'a> {
    pub(crate) inner: &'a dyn HistorySource,
    pub(crate) windows: AtomicU64,
    pub(crate) last: u64,
    /// Rung when it stops answering.
    pub(crate) stuck: tokio::sync::Notify,
}

impl<'a> Watched<'a> {
    pub(crate) fn new(inner: &'a dyn HistorySource, last: u64) -> Self {
        Self { inner, windows: AtomicU64::new(0), last, stuck: tokio::sync::Notify::new() }
    }

    pub(crate) fn asked(&self) -> u64 {
        self.windows.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl HistorySource for Watched<'_> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn probe(&self) -> Result<SourceInfo, SourceError> {
        self.inner.probe().await
    }

    async fn fetch(&self, promql: &str, range: TimeRange, step: Step) -> Result<Vec<Series>, SourceError> {
        if self.windows.fetch_add(1, Ordering::SeqCst) >= self.last {
            self.stuck.notify_one();
            std::future::pending::<()>().await;
        }
        self.inner.fetch(promql, range, step).await
    }

    async fn count(&self, promql: &str, at: Timestamp) -> Result<Vec<LabelSet>, SourceError> {
        self.inner.count(promql, at).await
    }

    async fn extent(&self) -> Result<Option<TimeRange>, SourceError> {
        self.inner.extent().await
    }
}

/// A server that gives each request the next answer, then closes the connection; after the last one, the last again.
pub(crate) struct Script {
    pub(crate) url: String,
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
}

/// An answer as it goes over the wire.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

pub(crate) fn matrix(series: &str) -> String {
    answer("200 OK", "", &format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{series}]}}}}"#))
}

impl Script {
    pub(crate) fn start(answers: Vec<String>) -> Self {
        Self::answering(move |i, _| answers[i.min(answers.len() - 1)].clone())
    }

    /// `answer` is told the number of the request, from 0, and its text.
    pub(crate) fn answering(answer: impl Fn(usize, &str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for (i, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let request = read_request(&mut stream);
                seen.lock().unwrap().push(request.clone());
                // A client that breaks off is the test's business.
                let _ = stream.write_all(answer(i, &request).as_bytes());
            }
        });
        Self { url, requests }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Head and body in one text.
fn read_request(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut reader = BufReader::new(stream);
    let (mut text, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        text.push_str(&line);
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    text + "\n" + &String::from_utf8_lossy(&body)
}

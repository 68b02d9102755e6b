//! Blocks in S3, as moto serves it: the same samples as from a folder, and no more fetched than they need, counted on the
//! wire.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forewarn_datasets::{
    BlocksOptions, BlocksSource, NoProgress, Provenance, RawSeries, SampleQuery, SampleSource, SourceError,
};
use forewarn_schema::{LabelMatcher, METRIC_NAME, MatchOp};
use forewarn_storage::Store;
use forewarn_testkit::servers::{self, RunningServer};
use tokio::sync::mpsc;

/// Passes everything on, and counts the bytes that come back and the requests.
struct CountingProxy {
    url: String,
    bytes: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
}

impl CountingProxy {
    fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (bytes, requests) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (counted, asked) = (Arc::clone(&bytes), Arc::clone(&requests));
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect(("127.0.0.1", upstream)).unwrap();
                let (to_server, from_server) = (server.try_clone().unwrap(), server);
                let (from_client, to_client) = (client.try_clone().unwrap(), client);
                let (counted, asked) = (Arc::clone(&counted), Arc::clone(&asked));
                std::thread::spawn(move || pass(from_client, to_server, &asked, true));
                std::thread::spawn(move || pass(from_server, to_client, &counted, false));
            }
        });
        Self { url, bytes, requests }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64, reads_only: bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 || to.write_all(&buffer[..n]).is_err() {
            break;
        }
        // A request is small enough to come in one piece.
        let counted = if reads_only { u64::from(buffer.starts_with(b"GET ")) } else { n as u64 };
        count.fetch_add(counted, Ordering::SeqCst);
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn options(endpoint: &str) -> Vec<(String, String)> {
    let pairs = [
        ("aws_endpoint", endpoint),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
        ("aws_region", "us-east-1"),
    ];
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec()
}

fn open(endpoint: &str) -> Store {
    let options = options(endpoint);
    let options: Vec<(&str, &str)> = options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    Store::open_with("s3://thanos/team", &options).unwrap()
}

/// A bucket with every file of the folder, `None` where moto or the data are not there.
async fn bucket() -> Option<(RunningServer, PathBuf, u64)> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/histories/1/tsdb"));
    if !folder.is_dir() {
        eprintln!("skipped: no {}", folder.display());
        return None;
    }
    let folder = folder.canonicalize().unwrap();
    let server = servers::s3().unwrap()?;
    let made = std::process::Command::new("python3")
        .args(["-c", "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], method='PUT'))"])
        .arg(format!("{}/thanos", server.url()))
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no python3 to make a bucket with");
        return None;
    }
    let store = open(&server.url());
    let mut bytes = 0;
    for (path, content) in support::files(&folder) {
        bytes += content.len() as u64;
        store.put(path.to_str().unwrap(), content.into()).await.unwrap();
    }
    Some((server, folder, bytes))
}

fn in_bucket(endpoint: &str) -> BlocksSource {
    let url = "s3://thanos/team".to_owned();
    BlocksSource::new(BlocksOptions { url, s3_options: options(endpoint), ..BlocksOptions::default() }).unwrap()
}

fn selector(op: MatchOp, value: &str) -> Vec<LabelMatcher> {
    vec![LabelMatcher { name: METRIC_NAME.to_owned(), op, value: value.to_owned() }]
}

async fn ask(source: &BlocksSource, query: &SampleQuery) -> Result<(Vec<RawSeries>, Provenance), SourceError> {
    let (sender, mut receiver) = mpsc::channel(16);
    let collect = async {
        let mut all = Vec::new();
        while let Some(one) = receiver.recv().await {
            all.push(one);
        }
        all
    };
    let (answer, all) = tokio::join!(source.samples(query, sender, &NoProgress), collect);
    answer.map(|provenance| (all, provenance))
}

fn bits(series: &[RawSeries]) -> Vec<(String, Vec<(i64, u64)>)> {
    let samples = |s: &RawSeries| s.samples.iter().map(|s| (s.at.millis(), s.value.to_bits())).collect();
    series.iter().map(|s| (s.labels.to_string(), samples(s))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_series_in_twenty_costs_less_than_an_eighth_of_the_bytes() {
    let Some((server, folder, total)) = bucket().await else { return };
    let local =
        BlocksSource::new(BlocksOptions { url: format!("file://{}", folder.display()), ..BlocksOptions::default() })
            .unwrap();
    let range = local.extent().await.unwrap().unwrap();
    let everything = SampleQuery { selectors: vec![selector(MatchOp::Regex, ".+")], range };
    let series = local.series(&everything).await.unwrap();
    let mut metrics: BTreeMap<&str, usize> = BTreeMap::new();
    for labels in &series {
        *metrics.entry(labels.get(METRIC_NAME).unwrap()).or_default() += 1;
    }
    let mut chosen = Vec::new();
    let mut count = 0;
    for (metric, n) in metrics {
        if count + n <= series.len() / 20 {
            count += n;
            chosen.push(selector(MatchOp::Equal, metric));
        }
    }
    assert!(count > series.len() / 40, "{count} of {}", series.len());
    let query = SampleQuery { selectors: chosen, range };

    let proxy = CountingProxy::start(server.port());
    let source = in_bucket(&proxy.url);
    let (got, provenance) = ask(&source, &query).await.unwrap();
    let (fetched, requests) = (proxy.bytes(), proxy.requests.load(Ordering::SeqCst));
    let share = fetched as f64 / total as f64;
    eprintln!(
        "{count} of {} series: {fetched} of {total} bytes ({:.1} %) in {requests} requests",
        series.len(),
        share * 100.0
    );
    assert!(share <= 0.12, "{share}");
    let (wanted, _) = ask(&local, &query).await.unwrap();
    assert_eq!(bits(&got), bits(&wanted));
    assert_eq!(provenance.from.len(), 6);

    // What was fetched is kept.
    let again = ask(&source, &query).await.unwrap().0;
    assert_eq!(bits(&again), bits(&wanted));
    assert!(proxy.bytes() < fetched + 100_000, "{} after {fetched}", proxy.bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_vanishes_is_planned_around_once() {
    let Some((server, folder, _)) = bucket().await else { return };
    let source = in_bucket(&server.url());
    let range = source.extent().await.unwrap().unwrap();
    let query = SampleQuery { selectors: vec![selector(MatchOp::Equal, "hikaricp_connections_max")], range };
    let store = open(&server.url());
    let gone = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).min().unwrap();
    let gone = gone.to_str().unwrap();
    // As a compactor deletes: meta.json first.
    for path in ["meta.json", "index", "chunks/000001", "tombstones"] {
        store.delete(&format!("{gone}/{path}")).await.unwrap();
    }
    let error = ask(&source, &query).await.unwrap_err();
    assert!(matches!(error, SourceError::Again { .. }), "{error}");
    assert!(error.to_string().contains(gone), "{error}");
    let (got, provenance) = ask(&source, &query).await.unwrap();
    assert!(!got.is_empty());
    assert_eq!(provenance.from.len(), 5);
    assert!(!provenance.from.contains(&gone.to_owned()));

    // A server that does not answer is said to be unreachable.
    drop(server);
    let source = in_bucket("http://127.0.0.1:9");
    assert!(ask(&source, &query).await.unwrap_err().is_unreachable());
}

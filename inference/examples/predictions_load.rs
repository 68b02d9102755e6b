//! How long `GET /api/v1/predictions` takes under load, beside an empty handler on the same runtime:
//!
//! `cargo run --workspace --example predictions_load -- [TARGETS] [SECONDS] [ROUNDS]` (1000, 10, 1)
//!
//! One thread serves, another asks over 16 connections that stay open, at a fixed rate: the time of a request that waits
//! behind a slow one runs from when it was due. The bodies are read to their last byte, into memory that is used again. In each round
//! every handler has its turn; of several rounds the median of each figure is shown, so that one in which the machine was busy with
//! something else does not decide.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forewarn_features::SignalSet;
use forewarn_inference::{Server, ServerOptions};
use forewarn_models::{Engine, EngineOptions, ModelRegistry};
use forewarn_schema::{LabelSet, Timestamp};
use forewarn_testkit::{http, remote_write};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const CONNECTIONS: u64 = 16;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<u64>().unwrap());
    let mut next = |default| arguments.next().unwrap_or(default);
    let (targets, seconds, rounds) = (next(1000), next(10), next(1));
    let one_thread = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (serving, asking) = (one_thread(), one_thread());
    let folder = tempfile::tempdir().unwrap();
    let ours = serving.block_on(serve(folder.path()));
    fill(ours, targets);
    let (empty, fixed) = serving.block_on(async {
        let body = body_of(ours).await;
        (plain(Vec::new()).await, plain(body).await)
    });
    println!("{targets} targets, {seconds} s each, median of {rounds} rounds; milliseconds");
    println!(
        "{:<44} {:>6} {:>9} {:>8} {:>8} {:>8} {:>8} {:>9}",
        "", "rate/s", "bytes", "p50", "p90", "p99", "most", "p99/empty"
    );
    for rate in [200, 1000] {
        let mut rows = [const { (0, Vec::new()) }; HANDLERS.len()];
        for _ in 0..rounds {
            // A step ends once a minute: what is known is asked for last.
            let known = asking.block_on(tag(ours));
            for (handler, (bytes, figures)) in HANDLERS.iter().zip(&mut rows) {
                let (to, path, header) = match handler {
                    Handler::Empty => (empty, "/", String::new()),
                    Handler::SameBytes => (fixed, "/", String::new()),
                    Handler::Plain => (ours, PREDICTIONS, String::new()),
                    Handler::Gzip => (ours, PREDICTIONS, "accept-encoding: gzip\r\n".to_owned()),
                    Handler::Known => (ours, PREDICTIONS, format!("if-none-match: {known}\r\n")),
                };
                let request = format!("GET {path} HTTP/1.1\r\nhost: {to}\r\n{header}\r\n");
                let (mut times, size) = asking.block_on(load(to, request, rate, seconds));
                times.sort();
                let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
                *bytes = size;
                figures.push([at(0.5), at(0.9), at(0.99), at(1.0)]);
            }
        }
        let median = |figures: &[[f64; 4]], which: usize| {
            let mut all: Vec<f64> = figures.iter().map(|of_round| of_round[which]).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let of_empty = median(&rows[0].1, 2);
        for (handler, (bytes, figures)) in HANDLERS.iter().zip(&rows) {
            let [p50, p90, p99, most] = [0, 1, 2, 3].map(|which| median(figures, which));
            let (name, ratio) = (handler.name(), p99 / of_empty);
            println!("{name:<44} {rate:>6} {bytes:>9} {p50:>8.2} {p90:>8.2} {p99:>8.2} {most:>8.2} {ratio:>9.1}");
        }
    }
    std::process::exit(0)
}

const PREDICTIONS: &str = "/api/v1/predictions";

#[derive(Clone, Copy)]
enum Handler {
    Empty,
    SameBytes,
    Plain,
    Gzip,
    Known,
}

/// The empty one first: the others are compared with it.
const HANDLERS: [Handler; 5] = [Handler::Empty, Handler::SameBytes, Handler::Plain, Handler::Gzip, Handler::Known];

impl Handler {
    fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty axum handler",
            Self::SameBytes => "axum handler of the same bytes",
            Self::Plain => PREDICTIONS,
            Self::Gzip => "/api/v1/predictions, gzip",
            Self::Known => "/api/v1/predictions, known already (304)",
        }
    }
}

async fn serve(folder: &std::path::Path) -> SocketAddr {
    forewarn_storage::install_crypto_provider();
    let signals = Arc::new(SignalSet::new(&["hikaricp".to_owned()], vec![]).unwrap());
    let registry = ModelRegistry::open(&format!("file://{}", folder.display())).await.unwrap();
    let engine = Engine::new(Arc::clone(&signals), EngineOptions::default());
    let options =
        ServerOptions { listen: ([127, 0, 0, 1], 0).into(), lateness: Duration::ZERO, ..ServerOptions::default() };
    let server = Server::bind(options, signals, engine, registry).await.unwrap();
    let address = server.local_addr();
    tokio::spawn(server.run(std::future::pending()));
    address
}

/// An hour of pools, one in fifty leaking, up to now; then waits until they are scored.
fn fill(to: SocketAddr, targets: u64) {
    let now = forewarn_inference::system_clock()();
    let (write, predictions) = (format!("http://{to}/api/v1/write"), format!("http://{to}/api/v1/predictions"));
    for minute in 0..=60 {
        let at = Timestamp::from_millis(now.millis() - (60 - minute as i64) * 60_000);
        let mut scrape = Vec::new();
        for target in 0..targets {
            let (service, pod) =
                (format!("service-{:04}", target / 4), format!("service-{:04}-{}", target / 4, target % 4));
            let series =
                |name| LabelSet::from([("__name__", name), ("service", service.as_str()), ("pod", pod.as_str())]);
            let leak = if target % 50 == 0 { 0.5 * minute as f64 } else { 0.0 };
            scrape.push((series("hikaricp_connections_active"), 20.0 + ((target * 7 + minute * 13) % 5) as f64 + leak));
            scrape.push((series("hikaricp_connections_max"), 100.0));
        }
        let answer = http::post(&write, &remote_write::HEADERS, &remote_write::encode_scrape(at, &scrape)).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.body_text());
    }
    let begun = Instant::now();
    loop {
        let text = http::get(&predictions).unwrap();
        if text.body_text().matches("\"horizon_seconds\"").count() as u64 >= targets {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "not scored");
        std::thread::sleep(Duration::from_millis(200));
    }
}

async fn plain(body: Vec<u8>) -> SocketAddr {
    let body = bytes::Bytes::from(body);
    let router = axum::Router::new().route("/", axum::routing::get(move || std::future::ready(body.clone())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn body_of(from: SocketAddr) -> Vec<u8> {
    let mut connection = BufReader::new(TcpStream::connect(from).await.unwrap());
    let (_, length) = ask(&mut connection, &format!("GET {PREDICTIONS} HTTP/1.1\r\nhost: {from}\r\n\r\n")).await;
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.unwrap();
    body
}

async fn tag(from: SocketAddr) -> String {
    let mut connection = BufReader::new(TcpStream::connect(from).await.unwrap());
    ask(&mut connection, &format!("GET {PREDICTIONS} HTTP/1.1\r\nhost: {from}\r\n\r\n")).await.0
}

/// One request over an open connection: the answer's tag and how long its body is, which comes next.
async fn ask(connection: &mut BufReader<TcpStream>, request: &str) -> (String, usize) {
    connection.get_mut().write_all(request.as_bytes()).await.unwrap();
    let (mut length, mut tag, mut line) = (0, String::new(), String::new());
    loop {
        line.clear();
        connection.read_line(&mut line).await.unwrap();
        if line.trim().is_empty() {
            return (tag, length);
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "etag" => tag = value.trim().to_owned(),
            _ => {}
        }
    }
}

/// Reads so many bytes and keeps none: a client that makes room for half a megabyte anew each time waits for the room.
async fn read_through(connection: &mut BufReader<TcpStream>, length: usize) {
    let mut left = length;
    while left > 0 {
        let read = connection.fill_buf().await.unwrap().len().min(left);
        assert!(read > 0, "the connection ended {left} bytes early");
        connection.consume(read);
        left -= read;
    }
}

async fn load(to: SocketAddr, request: String, rate: u64, seconds: u64) -> (Vec<Duration>, usize) {
    let begun = Instant::now() + Duration::from_millis(50);
    let mut tasks = Vec::new();
    for connection in 0..CONNECTIONS {
        let request = request.clone();
        tasks.push(tokio::spawn(async move {
            let stream = TcpStream::connect(to).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut open = BufReader::with_capacity(1 << 16, stream);
            let (mut times, mut bytes) = (Vec::new(), 0);
            let mut number = connection;
            while number < rate * seconds {
                let due = begun + Duration::from_secs_f64(number as f64 / rate as f64);
                // The timer's own millisecond is not the server's; being late for it because of the last answer is.
                let from = if due > Instant::now() {
                    tokio::time::sleep_until(due.into()).await;
                    Instant::now()
                } else {
                    due
                };
                bytes = ask(&mut open, &request).await.1;
                read_through(&mut open, bytes).await;
                times.push(from.elapsed());
                number += CONNECTIONS;
            }
            (times, bytes)
        }));
    }
    let (mut all, mut bytes) = (Vec::new(), 0);
    for task in tasks {
        let (times, size) = task.await.unwrap();
        all.extend(times);
        bytes = size;
    }
    (all, bytes)
}

//! A proxy before an S3 server that does what real ones do now and then and moto never does: conflicts, "slow down",
//! answers that get lost, break off or lie about their range, listings that are old. Which request meets what follows from a seed, its
//! method, its key and how often it came, so that threads do not change it. Not a load balancer: a thread a connection.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::http::read_message;

/// What may happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpFault {
    /// 409 ConditionalRequestConflict to a write under a condition; nothing was written.
    Conflict,
    /// 503 SlowDown with `Retry-After: 1`; nothing was done.
    SlowDown,
    /// The request is carried out, the answer is a 500.
    LostAnswer,
    /// Half of the body, then the connection ends.
    Truncated,
    /// A part of an object that says to be another.
    WrongContentRange,
    /// Nothing for 300 ms.
    SlowFirstByte,
    /// A listing as it was when first asked for.
    StaleListing,
}

/// Every fault there is.
pub const HTTP_FAULTS: [HttpFault; 7] = [
    HttpFault::Conflict,
    HttpFault::SlowDown,
    HttpFault::LostAnswer,
    HttpFault::Truncated,
    HttpFault::WrongContentRange,
    HttpFault::SlowFirstByte,
    HttpFault::StaleListing,
];

/// How the proxy behaves.
#[derive(Clone, Debug, Default)]
pub struct FaultSchedule {
    /// Another seed, other faults.
    pub seed: u64,
    /// Share of the requests that meet a fault, 0 to 1. A method and key meets at most two in a row.
    pub share: f64,
    /// The faults that occur; one that does not fit a request is none.
    pub faults: Vec<HttpFault>,
    /// Whether `If-Match` and `If-None-Match` of writes are taken away, as by a server that does not know them.
    pub strips_conditions: bool,
}

/// What went through, by method.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests.
    pub requests: HashMap<String, u64>,
    /// Bytes of the answers' bodies.
    pub bytes: HashMap<String, u64>,
    /// Faults that occurred.
    pub faults: HashMap<HttpFault, u64>,
    /// Listings that were asked for.
    pub listings: u64,
}

/// A running proxy; stops when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    plan: FaultSchedule,
    stopping: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    traffic: Traffic,
    /// Method and key → how many came, and how many faults in a row.
    seen: HashMap<(String, String), (u64, u32)>,
    listings: HashMap<String, Vec<u8>>,
}

const PATIENCE: Duration = Duration::from_secs(20);
const ANSWER_CAP: u64 = 256 << 20;

impl FaultProxy {
    /// Before the server at `upstream` (`http://host:port`), on a spare loopback port.
    pub fn start(upstream: &str, plan: FaultSchedule) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let shared = Arc::new(Shared { upstream, plan, stopping: AtomicBool::new(false), state: Mutex::default() });
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let serving = Arc::clone(&serving);
                // A client that breaks off is the test's business, not the proxy's.
                std::thread::spawn(move || serving.answer(stream));
            }
        });
        Ok(Self { addr, shared, thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What went through so far.
    pub fn traffic(&self) -> Traffic {
        self.shared.state().traffic.clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes `accept`.
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A request on its way.
struct Passing {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Passing {
    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(n, _)| n == name)
    }

    fn is_listing(&self) -> bool {
        self.method == "GET" && self.target.contains("list-type=2")
    }

    fn meets(&self, fault: HttpFault) -> bool {
        match fault {
            HttpFault::Conflict => self.method == "PUT" && (self.has("if-match") || self.has("if-none-match")),
            HttpFault::SlowDown | HttpFault::SlowFirstByte => true,
            HttpFault::LostAnswer => self.method != "HEAD",
            HttpFault::Truncated => self.method == "GET" || self.method == "POST",
            HttpFault::WrongContentRange => self.method == "GET" && self.has("range"),
            HttpFault::StaleListing => self.is_listing(),
        }
    }
}

/// An answer: its head without the empty line, and its body.
type Answer = (String, Vec<u8>);

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let (first, headers, body) = read_message(&mut BufReader::new(stream.try_clone()?), false)?;
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let request = Passing { method: method.to_owned(), target: target.to_owned(), headers, body };
        let fault = self.draw(&request);
        if fault == Some(HttpFault::SlowFirstByte) {
            std::thread::sleep(Duration::from_millis(300));
        }
        let (head, body) = match fault {
            Some(HttpFault::Conflict) => error("409 Conflict", "", "ConditionalRequestConflict"),
            Some(HttpFault::SlowDown) => error("503 Slow Down", "retry-after: 1\r\n", "SlowDown"),
            Some(HttpFault::LostAnswer) => {
                self.pass(&request)?;
                error("500 Internal Server Error", "", "InternalError")
            }
            Some(HttpFault::StaleListing) => self.old_listing(&request)?,
            Some(HttpFault::WrongContentRange) => {
                let (head, body) = self.pass(&request)?;
                (head.replacen("bytes ", "bytes 1", 1), body)
            }
            _ => self.pass(&request)?,
        };
        let sent = if fault == Some(HttpFault::Truncated) { body.len() / 2 } else { body.len() };
        *self.state().traffic.bytes.entry(request.method).or_default() += sent as u64;
        stream.write_all(head.as_bytes())?;
        stream.write_all(b"\r\n\r\n")?;
        stream.write_all(body.get(..sent).unwrap_or_default())
    }

    fn draw(&self, request: &Passing) -> Option<HttpFault> {
        let mut state = self.state();
        *state.traffic.requests.entry(request.method.clone()).or_default() += 1;
        state.traffic.listings += u64::from(request.is_listing());
        // Listings of one folder differ in their query only.
        let key = request.target.split("X-Amz").next().unwrap_or_default().to_owned();
        let (count, in_a_row) = state.seen.entry((request.method.clone(), key.clone())).or_default();
        *count += 1;
        let text = format!("{} {} {key} {count}", self.plan.seed, request.method);
        let digest = Sha256::digest(text.as_bytes());
        let number = |at: usize| digest.iter().skip(at).take(4).fold(0_u32, |n, byte| n << 8 | u32::from(*byte));
        let possible: Vec<HttpFault> = self.plan.faults.iter().copied().filter(|fault| request.meets(*fault)).collect();
        let occurs = f64::from(number(0)) < self.plan.share * f64::from(u32::MAX) && *in_a_row < 2;
        let fault = possible.get(number(4) as usize % possible.len().max(1)).copied().filter(|_| occurs);
        *in_a_row = if fault.is_some() { *in_a_row + 1 } else { 0 };
        if let Some(fault) = fault {
            *state.traffic.faults.entry(fault).or_default() += 1;
        }
        fault
    }

    fn old_listing(&self, request: &Passing) -> io::Result<Answer> {
        let (head, body) = self.pass(request)?;
        let old = self.state().listings.entry(request.target.clone()).or_insert(body).clone();
        let lines = head.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("content-length:"));
        let head = lines.collect::<Vec<_>>().join("\r\n");
        Ok((format!("{head}\r\ncontent-length: {}", old.len()), old))
    }

    /// Asks the server behind.
    fn pass(&self, request: &Passing) -> io::Result<Answer> {
        let mut upstream = TcpStream::connect(&self.upstream)?;
        upstream.set_read_timeout(Some(PATIENCE))?;
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        let stripped = |name: &str| {
            let condition = matches!(name, "if-match" | "if-none-match");
            matches!(name, "connection" | "content-length" | "transfer-encoding")
                || (condition && self.plan.strips_conditions && request.method == "PUT")
        };
        for (name, value) in request.headers.iter().filter(|(name, _)| !stripped(name)) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", request.body.len()));
        upstream.write_all(head.as_bytes())?;
        upstream.write_all(&request.body)?;
        let mut answer = Vec::new();
        upstream.take(ANSWER_CAP).read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let body = answer.split_off(end + 4);
        answer.truncate(end);
        let head = String::from_utf8_lossy(&answer).into_owned();
        let is_connection = |line: &&str| line.to_ascii_lowercase().starts_with("connection:");
        let head = head.split("\r\n").filter(|line| !is_connection(line)).collect::<Vec<_>>().join("\r\n");
        if request.is_listing() && head.contains(" 200 ") {
            self.state().listings.entry(request.target.clone()).or_insert_with(|| body.clone());
        }
        Ok((format!("{head}\r\nconnection: close"), body))
    }
}

fn error(status: &str, headers: &str, code: &str) -> Answer {
    let body = format!("<Error><Code>{code}</Code><Message>made up</Message></Error>");
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-type: application/xml\r\nconnection: close\r\n");
    (format!("{head}content-length: {}", body.len()), body.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Response, TinyServer, get};

    #[test]
    fn the_same_seed_gives_the_same_faults_and_never_three_in_a_row() {
        let server = TinyServer::start(|request| Response::text(request.target.clone())).unwrap();
        let statuses = |seed| {
            let plan = FaultSchedule { seed, share: 0.7, faults: vec![HttpFault::SlowDown], strips_conditions: false };
            let proxy = FaultProxy::start(&server.url(""), plan).unwrap();
            let ask = |_| get(&format!("{}/a", proxy.url())).unwrap().status;
            let statuses: Vec<u16> = (0..30).map(ask).collect();
            assert!(proxy.traffic().faults[&HttpFault::SlowDown] > 5);
            statuses
        };
        let first = statuses(1);
        assert_eq!(first, statuses(1));
        assert_ne!(first, statuses(2));
        assert!(first.windows(3).all(|three| three.contains(&200)), "{first:?}");
    }

    #[test]
    fn a_truncated_body_is_shorter_than_it_says() {
        let server = TinyServer::start(|_| Response::text("0123456789")).unwrap();
        let plan = FaultSchedule { share: 1.0, faults: vec![HttpFault::Truncated], ..FaultSchedule::default() };
        let proxy = FaultProxy::start(&server.url(""), plan).unwrap();
        assert_eq!(get(&format!("{}/a", proxy.url())).unwrap().body_text(), "01234");
    }
}

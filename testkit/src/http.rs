//! HTTP/1.1 on loopback with the standard library alone: a server of one handler in a thread, and a GET
//! and POST for tests that wait for a real server. Not for the network: no TLS, no keep-alive.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// At most 16 MiB.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// 200, …
    pub status: u16,
    /// Of the body.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// 200 with a text.
    pub fn text(body: impl Into<String>) -> Self {
        Self { status: 200, content_type: "text/plain; version=0.0.4".to_owned(), body: body.into().into_bytes() }
    }

    /// No body.
    pub fn status(status: u16) -> Self {
        Self { status, content_type: "text/plain".to_owned(), body: Vec::new() }
    }

    /// The body as text; broken UTF-8 replaced.
    pub fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A server on a spare loopback port; stops when dropped.
#[derive(Debug)]
pub struct TinyServer {
    addr: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

const BODY_CAP: u64 = 16 << 20;
const LINE_CAP: u64 = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

impl TinyServer {
    /// Serves `handler`, one connection at a time.
    pub fn start(handler: impl Fn(&Request) -> Response + Send + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                // A client that breaks off is the test's business, not the server's.
                let _ = stream.and_then(|stream| answer(stream, &handler));
            }
        });
        Ok(Self { addr, stopping, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:PORT` and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

impl Drop for TinyServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes `accept`.
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, handler: &impl Fn(&Request) -> Response) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (first, headers, body) = read_message(&mut reader, false)?;
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    let response = handler(&Request { method, target, headers, body });
    write!(
        stream,
        "HTTP/1.1 {} OK\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        response.status,
        response.content_type,
        response.body.len()
    )?;
    stream.write_all(&response.body)
}

/// Fetches `http://host:port/path`.
pub fn get(url: &str) -> io::Result<Response> {
    send("GET", url, &[], &[])
}

/// Posts `body` to `http://host:port/path`.
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Response> {
    send("POST", url, headers, body)
}

/// Any method; the answer to a HEAD has no body.
pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Response> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, format!("wanted http://host:port/path, got {url:?}"));
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    )?;
    for (name, value) in headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    // A server may refuse a large body before it has read all of it; its answer is what counts.
    let _ = stream.write_all(body);
    let (first, headers, body) = read_message(&mut BufReader::new(stream), true)?;
    let status = first.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(wrong)?;
    let content_type = headers.iter().find(|(n, _)| n == "content-type").map(|(_, v)| v.clone()).unwrap_or_default();
    Ok(Response { status, content_type, body })
}

/// First line, headers, body.
pub(crate) type Message = (String, Vec<(String, String)>, Vec<u8>);

pub(crate) fn read_message(reader: &mut impl BufRead, until_closed: bool) -> io::Result<Message> {
    let first = read_line(reader)?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let mut body = Vec::new();
    if header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        read_chunks(reader, &mut body)?;
    } else if let Some(length) = header("content-length").and_then(|v| v.parse::<u64>().ok()) {
        reader.take(length.min(BODY_CAP)).read_to_end(&mut body)?;
    } else if until_closed {
        reader.take(BODY_CAP).read_to_end(&mut body)?;
    }
    Ok((first, headers, body))
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(reader)?;
        let size = u64::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        if size == 0 || body.len() as u64 + size > BODY_CAP {
            return Ok(());
        }
        reader.take(size).read_to_end(body)?;
        read_line(reader)?;
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.take(LINE_CAP).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_back() {
        let server = TinyServer::start(|request| {
            assert_eq!(request.header("x-test"), Some("yes"));
            Response::text(format!("{} {}", request.method, String::from_utf8_lossy(&request.body)))
        })
        .unwrap();
        let response = post(&server.url("/"), &[("X-Test", "yes")], b"hello").unwrap();
        assert_eq!((response.status, response.body_text().as_str()), (200, "POST hello"));
    }
}

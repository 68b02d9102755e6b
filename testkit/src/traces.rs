//! Where OTLP traces go (`opentelemetry.proto.collector.trace.v1` over HTTP), as far as tests look at them.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;

use crate::http::{Response, TinyServer};
use crate::otlp::{KeyValue, Resource};

#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

/// One span as it came.
#[derive(Clone, PartialEq, Message)]
pub struct Span {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    /// Empty: a root.
    #[prost(bytes = "vec", tag = "4")]
    pub parent_span_id: Vec<u8>,
    /// Such as `GET /metrics`.
    #[prost(string, tag = "5")]
    pub name: String,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "7")]
    pub start: u64,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "8")]
    pub end: u64,
    /// What is known of it.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
}

/// A receiver of traces on a spare loopback port; stops when dropped.
#[derive(Debug)]
pub struct TraceReceiver {
    server: TinyServer,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl TraceReceiver {
    /// Takes what comes to `/v1/traces` and refuses the rest.
    pub fn start() -> io::Result<Self> {
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&spans);
        let server = TinyServer::start(move |request| {
            let Some(export) = Export::decode(&request.body[..]).ok().filter(|_| request.target == "/v1/traces") else {
                return Response::status(400);
            };
            let scopes = export.resource_spans.into_iter().flat_map(|r| r.scope_spans);
            kept.lock().unwrap_or_else(PoisonError::into_inner).extend(scopes.flat_map(|s| s.spans));
            Response::status(200)
        })?;
        Ok(Self { server, spans })
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        self.server.url("")
    }

    /// What came so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

//! Metrics in protobuf on the wire (Prometheus' remote write, OTLP), decoded under caps: bytes from strangers in, series out.
//!
//! A crate of its own because it is what the network reaches first: light enough to be fuzzed by itself.
//! Not here: HTTP, and what becomes of the samples.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails to set up should panic"))]

mod fields;
pub mod otlp;
pub mod remote_write;

//! For tests and the demo: a small shop's metrics from a seed, with the key of what goes wrong in it,
//! and real servers on loopback. Not for production data, and nothing here knows our own server.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may stop at the first surprise"))]

pub mod certificates;
pub mod exporter;
pub mod fault_proxy;
pub mod gate;
pub mod http;
pub mod latency;
pub mod native_histograms;
pub mod noise;
pub mod otlp;
pub mod postgres;
pub mod remote_write;
pub mod servers;
pub mod shop;
pub mod traces;
pub mod tsdb;
pub mod webhook;

pub use latency::LatencyService;
pub use shop::{Fault, FaultPlan, ServiceSpec, Shop, ShopParams};

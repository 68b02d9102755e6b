//! The evaluator against a real Prometheus: the same samples, the same expressions, the same times, equal
//! answers. Skipped, with a printed reason, where Prometheus or the data is absent.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that fails to set up should panic, and says what it skips"
)]

mod native;
mod odd;
mod shop;
mod support;

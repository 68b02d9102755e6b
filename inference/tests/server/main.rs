//! The server from the outside: over HTTP, on a port of its own, with the real parts behind it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test panics to fail and says why it skips"
)]

mod alerting;
mod asking;
mod autonomy;
#[path = "../../../models/tests/common/mod.rs"]
mod bundles;
mod contract;
mod dead_letters;
mod delivering;
mod door;
mod faults;
mod fleet;
mod guarding;
mod hostile;
mod labelling;
mod learning;
mod memory;
mod operating;
mod otlp;
mod replicas;
mod restarting;
mod rig;
mod settling;
mod shadow_replicas;
mod shadowing;
mod writing;

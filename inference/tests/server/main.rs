//! The server from the outside: over HTTP, on a port of its own, with the real parts behind it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test panics to fail and says why it skips"
)]

mod asking;
#[path = "../../../models/tests/common/mod.rs"]
mod bundles;
mod delivering;
mod faults;
mod hostile;
mod operating;
mod replicas;
mod rig;
mod writing;

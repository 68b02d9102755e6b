//! The server from the outside: over HTTP, on a port of its own, with the real parts behind it.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test panics to fail and says why it skips")]

mod asking;
#[path = "../../../models/tests/common/mod.rs"]
mod bundles;
mod contract;
mod delivering;
mod hostile;
mod operating;
mod rig;
mod writing;

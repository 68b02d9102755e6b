//! What missing data mean: one small claim a case, from samples through features and the scorer to requests. The table of the cases is
//! `docs/missing-data.md`; each row names its test here.
#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

#[path = "../../../models/tests/common/mod.rs"]
mod bundles;
mod features;
mod learnt;
mod requests;
mod rig;
mod scoring;
mod server;
mod table;

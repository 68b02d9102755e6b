//! The `forewarn` binary: reads the command line and the configuration, sets telemetry up, runs one
//! command, prints what came of it and exits with the code that says so. Everything else is a library's.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may stop at the first surprise"))]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the binary: it prints")]

mod cli;
mod commands;
mod config;
mod cpu;
mod errors;
mod lineage;
mod outcome;
mod progress;
mod schedule;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

/// A server frees in one thread what another took, step by step; the system's allocator keeps half as much again as is in use for
/// it. What is not in use goes back within a second, see `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    telemetry::init(matches!(cli.command, cli::Command::Serve(_) | cli::Command::Schedule(_)));
    let json = cli.json;
    match commands::run(cli) {
        Ok(outcome) => outcome.print(json),
        Err(error) => errors::report(&error, json),
    }
}

//! One file a command, each one story: what it opens, what it asks of the libraries, what it says.

mod attempt;
mod backtest;
mod backtest_learning;
mod bench;
mod check;
mod csv;
mod demo;
mod evaluate;
mod feed;
mod known;
mod label;
mod labels;
mod logs;
mod models;
mod open;
mod outbox;
mod promote;
mod pull;
mod report;
mod rollback;
mod run;
mod runs;
mod schedule;
mod score;
mod serve;
mod state;
mod train;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use forewarn_schema::Timestamp;

use crate::cli::{Cli, Command};
use crate::config::{Config, environment};
use crate::outcome::Outcome;

/// Runs one command to its end.
pub(crate) fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let config = || Config::load(&cli.config, &environment());
    // These need neither a configuration nor a runtime.
    match &cli.command {
        Command::Score(arguments) => return score::score(arguments),
        Command::Bench(arguments) => return bench::bench(arguments),
        _ => {}
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let outcome = runtime.block_on(async {
        match &cli.command {
            Command::Demo(arguments) => demo::demo(arguments).await,
            Command::Check => check::check(&config()?).await,
            Command::Pull(arguments) => pull::pull(&config()?, arguments).await,
            Command::Train(arguments) => train::train(&config()?, arguments).await,
            Command::Evaluate(arguments) => evaluate::evaluate(&config()?, arguments).await,
            Command::Promote(arguments) => promote::promote(&config()?, arguments).await,
            Command::Rollback(arguments) => rollback::rollback(&config()?, arguments).await,
            Command::Models(arguments) => models::models(&config()?, arguments).await,
            Command::Run(arguments) => run::run(&config()?, arguments).await,
            Command::Schedule(arguments) => schedule::schedule(&config()?, arguments).await,
            Command::Runs(arguments) => runs::runs(&config()?, arguments).await,
            Command::Backtest(arguments) => backtest::backtest(&config()?, arguments).await,
            Command::Report(arguments) => report::report(&config()?, arguments).await,
            Command::Serve(arguments) => serve::serve(&config()?, arguments).await,
            Command::Label(arguments) => label::label(arguments, config).await,
            Command::Labels(command) => labels::labels(&config()?, command).await,
            Command::Outbox(arguments) => outbox::outbox(&config()?, arguments).await,
            Command::State(command) => state::state(&config()?, command).await,
            Command::Score(arguments) => score::score(arguments),
            Command::Bench(arguments) => bench::bench(arguments),
        }
    });
    if matches!(cli.command, Command::Schedule(_)) {
        // Told to stop, it does not wait for hours of arithmetic: the next runner goes on.
        runtime.shutdown_background();
    }
    outcome
}

/// The machine's clock, read here and handed on.
fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}

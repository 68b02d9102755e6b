//! `forewarn bench`: how fast this machine fits, scores, trains and forecasts. One JSON line, with or
//! without `--json`, since it is read by scripts.

use forewarn_models::bench::{bench_isolation_forest, bench_lstm};
use serde_json::json;

use super::csv::NumberRows;
use crate::cli::{Bench, BenchForest, BenchLstm};
use crate::config::ConfigError;
use crate::outcome::Outcome;

pub(super) fn bench(arguments: &Bench) -> anyhow::Result<Outcome> {
    match arguments {
        Bench::IsolationForest(arguments) => forest(arguments),
        Bench::Lstm(arguments) => lstm(arguments),
    }
}

fn forest(arguments: &BenchForest) -> anyhow::Result<Outcome> {
    at_least_one(&[("trees", arguments.trees), ("sample", arguments.sample), ("threads", arguments.threads)])?;
    let mut rows = NumberRows::open(&arguments.input, 0)?;
    let columns = rows.header().len();
    let mut data: Vec<f32> = Vec::new();
    while let Some(row) = rows.next_row()? {
        data.extend(row.numbers.iter().map(|v| *v as f32));
    }
    let bench =
        bench_isolation_forest(&data, columns, arguments.trees, arguments.sample, arguments.threads, arguments.seed)?;
    let json = json!({
        "forewarn": env!("CARGO_PKG_VERSION"),
        "rows": data.len() / columns,
        "columns": columns,
        "fit_s": bench.fit_s,
        "score_s": bench.score_s,
        "rows_per_second": bench.rows_per_second,
    });
    Ok(Outcome::new(json.to_string(), json))
}

fn lstm(arguments: &BenchLstm) -> anyhow::Result<Outcome> {
    let BenchLstm { batch, lookback, features, hidden, outputs, threads, .. } = *arguments;
    at_least_one(&[
        ("batch", batch),
        ("lookback", lookback),
        ("features", features),
        ("hidden", hidden),
        ("outputs", outputs),
        ("threads", threads),
    ])?;
    let bench = bench_lstm(batch, lookback, features, hidden, outputs, threads, arguments.device)?;
    let json = json!({
        "forewarn": env!("CARGO_PKG_VERSION"),
        "batch": batch,
        "lookback": lookback,
        "features": features,
        "hidden": hidden,
        "outputs": outputs,
        "threads": threads,
        "device": arguments.device,
        "train_step_ms": bench.train_step_ms,
        "forward_ms": bench.forward_ms,
    });
    Ok(Outcome::new(json.to_string(), json))
}

fn at_least_one(flags: &[(&str, usize)]) -> Result<(), ConfigError> {
    match flags.iter().find(|(_, value)| *value == 0) {
        Some((flag, _)) => Err(ConfigError::new(format!("--{flag} must be at least 1, got 0"))),
        None => Ok(()),
    }
}

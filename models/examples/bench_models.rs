//! `forewarn bench` without the rest of the binary: built with its release profile in a fraction of the time, read by the
//! same scripts.
//!
//! `bench_models bench isolation-forest --input x.csv --trees 100 --sample 256 --threads 1`
//! `bench_models bench lstm --batch 64 --lookback 60 --features 8 --hidden 32 --outputs 12 --threads 1`
//! `bench_models bench services --services 8 --steps 150 --threads 2`: LSTMs of so many services, trained side by side

#![allow(clippy::print_stdout, reason = "it is a program")]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

use forewarn_models::bench::{bench_isolation_forest, bench_lstm};
use forewarn_models::lstm::{Device, LstmParams, LstmTrainingSet};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bench, what, flags @ ..] = arguments.as_slice() else {
        return Err("wanted bench WHAT --FLAG VALUE …".into());
    };
    let flags: BTreeMap<&str, &str> =
        flags.as_chunks::<2>().0.iter().map(|[name, value]| (name.trim_start_matches('-'), value.as_str())).collect();
    let number = |name: &str| -> Result<usize, Box<dyn Error>> {
        Ok(flags.get(name).ok_or_else(|| format!("wanted --{name}"))?.parse()?)
    };
    let json = match (bench.as_str(), what.as_str()) {
        ("bench", "isolation-forest") => {
            let text = std::fs::read_to_string(flags.get("input").ok_or("wanted --input")?)?;
            let columns = text.lines().next().map_or(0, |header| header.split(',').count());
            let rows: Result<Vec<f32>, _> =
                text.lines().skip(1).flat_map(|line| line.split(',')).map(str::parse).collect();
            let (trees, sample, threads) = (number("trees")?, number("sample")?, number("threads")?);
            serde_json::to_value(bench_isolation_forest(&rows?, columns, trees, sample, threads, 1)?)?
        }
        ("bench", "lstm") => serde_json::to_value(bench_lstm(
            number("batch")?,
            number("lookback")?,
            number("features")?,
            number("hidden")?,
            number("outputs")?,
            number("threads")?,
            Device::Flex,
        )?)?,
        ("bench", "services") => {
            let seconds = train_services(number("services")?, number("steps")?, number("threads")?)?;
            serde_json::json!({ "train_s": seconds })
        }
        _ => return Err(format!("wanted bench isolation-forest, lstm or services, got {bench} {what}").into()),
    };
    println!("{json}");
    Ok(())
}

/// Seconds to train an LSTM for each of so many services on random windows of the usual shape.
fn train_services(services: usize, steps: usize, threads: usize) -> Result<f64, Box<dyn Error>> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let windows = 2_000;
    let set = LstmTrainingSet {
        inputs: (0..windows * 60 * 8).map(|_| rng.random()).collect(),
        targets: (0..windows * 4).map(|_| rng.random()).collect(),
    };
    let params = LstmParams { features: 8, steps, ..LstmParams::default() }.check()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let start = Instant::now();
    pool.install(|| (0..services).into_par_iter().try_for_each(|_| params.fit(&set, &|_, _| {}).map(drop)))?;
    Ok(start.elapsed().as_secs_f64())
}

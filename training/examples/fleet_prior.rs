//! Whether the prior that the fleet teaches is worth it: held-out loss of each service's LSTM with and without it.
//!
//! `fleet_prior STORE FROM UNTIL [PRIOR_STEPS:STEPS ...]` fits every service of the store's dataset (default signals,
//! steps of its manifest) and prints a row for each pair of step counts: the mean, over services, of the logarithm of
//! the pinball loss on the last fifth of the window, which the LSTM has not seen, relative to that of the first pair
//! (as a ratio), and relative to the better of the two baselines; services on which the LSTM beats both; processor
//! seconds. A service whose LSTM cannot be judged is left out.

#![allow(clippy::print_stdout, reason = "it is a program")]

use std::error::Error;

use forewarn_datasets::Dataset;
use forewarn_features::{SignalSet, presets};
use forewarn_models::{ForecastModel, ModelBundle};
use forewarn_schema::TimeRange;
use forewarn_training::{FitOptions, FitQuality, FleetPrior, Known, Quiet, fit_all, fleet};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, from, until, variants @ ..] = arguments.as_slice() else {
        return Err("wanted STORE FROM UNTIL [PRIOR_STEPS:STEPS ...]".into());
    };
    let store = format!("file://{}", std::path::absolute(store)?.display());
    let range: TimeRange = serde_json::from_value(serde_json::json!({"start": from, "end": until}))?;
    let names: Vec<String> = presets::NAMES.iter().map(|name| (*name).to_owned()).collect();
    let signals = SignalSet::new(&names, vec![])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (step, histories) = runtime.block_on(async {
        let dataset = Dataset::open(&store).await?;
        let step = dataset.manifest().await?.ok_or("there is no dataset")?.step;
        Ok::<_, Box<dyn Error>>((step, dataset.read(&signals, range).await?))
    })?;
    let mut reference: Option<Vec<Option<f64>>> = None;
    println!("| prior steps | steps | loss | beside the baselines | better than both | of | processor |");
    println!("|---|---|---|---|---|---|---|");
    for variant in variants {
        let (prior_steps, lstm_steps) = variant.split_once(':').ok_or("wanted PRIOR_STEPS:STEPS")?;
        let (prior_steps, lstm_steps) = (prior_steps.parse()?, lstm_steps.parse()?);
        let options = FitOptions { prior_steps, lstm_steps, threads: 2, ..FitOptions::new(range.end, step) };
        let before = processor_seconds();
        let lessons = fleet::lessons(&histories, &signals, histories.len(), range, &options, &Known::default());
        let prior = FleetPrior::learn(lessons, &options, &|_, _| {})?;
        let fitted = fit_all(&histories, &signals, "", &options, &prior, &Known::default(), &Quiet);
        let took = processor_seconds() - before;
        let losses: Vec<Option<(f64, f64)>> =
            fitted.iter().map(|(_, bundle)| losses_of(bundle.as_ref().ok()?)).collect();
        let lstm: Vec<Option<f64>> = losses.iter().map(|l| l.map(|l| l.0)).collect();
        let beside = |other: Vec<Option<f64>>| {
            let logs = lstm.iter().zip(other).filter_map(|(a, b)| Some((*a)?.ln() - b?.ln()));
            let logs: Vec<f64> = logs.collect();
            (logs.iter().sum::<f64>() / logs.len() as f64).exp()
        };
        let baselines = losses.iter().map(|l| l.map(|l| l.1)).collect();
        let better = losses.iter().flatten().filter(|(lstm, baseline)| lstm < baseline).count();
        let loss = beside(reference.get_or_insert_with(|| lstm.clone()).clone());
        println!(
            "| {prior_steps} | {lstm_steps} | {loss:.3} | {:.3} | {better} | {} | {took:.1} s |",
            beside(baselines),
            losses.iter().flatten().count(),
        );
    }
    Ok(())
}

/// Of the LSTM and of the better baseline.
fn losses_of(bundle: &ModelBundle) -> Option<(f64, f64)> {
    let quality: FitQuality = serde_json::from_value(bundle.manifest.quality.clone()?).ok()?;
    let forecast = quality.forecast?;
    let loss = |model| forecast.score(model).map(|score| score.pinball_loss).filter(|loss| *loss > 0.0);
    Some((loss(ForecastModel::Lstm)?, loss(ForecastModel::Trend)?.min(loss(ForecastModel::SeasonalNaive)?)))
}

/// Of this process so far, all threads.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(f64::NAN);
    // Hundredths of a second on every Linux.
    (ticks(11) + ticks(12)) / 100.0
}

//! A dataset of many services out of blocks with few: what `scripts/bench-growth.py` measures training and backtests on.
//!
//! `replicate BLOCKS STORE COPIES STEP FROM TO` evaluates the default signals over the blocks in a folder and writes what
//! they give `COPIES` times into the store's dataset: service, pod, node and instance of each copy but the first have
//! its number.
//! `STEP` and the times are as on Forewarn's command line. Copies are alike, so the figures say what services cost, and
//! nothing of how good a model of a large fleet is.

#![allow(clippy::print_stdout, reason = "it is a program")]

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use forewarn_datasets::{
    BlocksOptions, BlocksSource, Dataset, HistorySource, NoProgress, SampledHistory, SourceError, SourceInfo,
    selectors_of,
};
use forewarn_features::{SignalSet, presets};
use forewarn_schema::{LabelSet, Series, Step, TimeRange, Timestamp};

/// The labels that tell copies apart; whatever names a service, or a target of one.
const NAMING: [&str; 4] = ["service", "pod", "node", "instance"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [blocks, store, copies, step, from, to] = arguments.as_slice() else {
        return Err("wanted BLOCKS STORE COPIES STEP FROM TO".into());
    };
    let absolute = |path: &String| std::path::absolute(path).map(|path| format!("file://{}", path.display()));
    let step: Step = serde_json::from_value(step.as_str().into())?;
    let range: TimeRange = serde_json::from_value(serde_json::json!({"start": from, "end": to}))?;
    let names: Vec<String> = presets::NAMES.iter().map(|name| (*name).to_owned()).collect();
    let signals = SignalSet::new(&names, vec![])?;

    let source = BlocksSource::new(BlocksOptions { url: absolute(blocks)?, ..BlocksOptions::default() })?;
    let temporary = tempfile::tempdir()?;
    let samples = Dataset::open(&format!("file://{}", temporary.path().display())).await?;
    let (selectors, look_back) = selectors_of(&signals);
    samples.pull_samples(&source, &selectors, step, range, look_back, &NoProgress).await?;
    let copies = Copies { history: SampledHistory::new(&source, &samples).await?, copies: copies.parse()? };
    let dataset = Dataset::open(&absolute(store)?).await?;
    // A day after the other: what a window gives is in memory, and that many times.
    let mut rows = 0;
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start + Duration::from_secs(86_400));
        rows += dataset.pull(&copies, &signals, step, TimeRange { start, end }, &NoProgress).await?.rows;
        start = end;
    }
    let services = dataset.services(&signals, range).await?.len();
    println!("{rows} rows of {services} services");
    Ok(())
}

struct Copies<'a> {
    history: SampledHistory<'a>,
    copies: usize,
}

#[async_trait]
impl HistorySource for Copies<'_> {
    fn name(&self) -> &str {
        "copies"
    }

    async fn probe(&self) -> Result<SourceInfo, SourceError> {
        Ok(SourceInfo { kind: "copies".to_owned(), url: "none".to_owned(), version: None })
    }

    async fn fetch(&self, promql: &str, range: TimeRange, step: Step) -> Result<Vec<Series>, SourceError> {
        let series = self.history.fetch(promql, range, step).await?;
        let copy = |number: usize| {
            let of_copy = move |series: &Series| {
                // The first keeps its names, so that what is said of it can be judged.
                let named = |(name, value): (&str, &str)| match number > 0 && NAMING.contains(&name) {
                    true => (name.to_owned(), format!("{value}-{number:03}")),
                    false => (name.to_owned(), value.to_owned()),
                };
                Series { labels: series.labels.iter().map(named).collect(), samples: series.samples.clone() }
            };
            series.iter().map(of_copy)
        };
        let mut all: Vec<Series> = (0..self.copies).flat_map(copy).collect();
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(all)
    }

    async fn count(&self, promql: &str, at: Timestamp) -> Result<Vec<LabelSet>, SourceError> {
        self.history.count(promql, at).await
    }

    async fn extent(&self) -> Result<Option<TimeRange>, SourceError> {
        self.history.extent().await
    }
}

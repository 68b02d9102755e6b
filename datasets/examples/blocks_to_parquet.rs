//! How fast blocks become Parquet, and how far that is from the limit: `scripts/bench-history.sh` calls it.
//!
//! `blocks_to_parquet FOLDER [DATASET]` pulls every sample of the blocks in the folder into a dataset, a temporary one where
//! none is named, and prints one JSON object: samples a second, bytes a sample, the most memory the process had, and what decoding alone and zstd alone do on
//! one core.

#![allow(clippy::print_stdout, reason = "it is a program")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forewarn_datasets::{BlocksOptions, BlocksSource, Dataset, NoProgress, SampleSource};
use forewarn_schema::{LabelMatcher, METRIC_NAME, MatchOp, Step};
use forewarn_tsdb::{Block, Samples};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("wanted the folder that the blocks are in")?;
    let folder = PathBuf::from(folder).canonicalize()?;
    let dataset = std::env::args().nth(2).map(std::path::absolute).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (rows, bytes, pull) = runtime.block_on(pull(&folder, dataset.as_deref()))?;
    let cpu = cpu_seconds();
    let memory = peak_memory();
    let (decoded, decode) = decode(&folder)?;
    let (compressed, zstd) = compress(&decoded)?;
    let rate = |samples: u64, took: Duration| samples as f64 / took.as_secs_f64();
    let samples = decoded.len() as u64;
    println!(
        "{}",
        serde_json::json!({
            "samples": rows,
            "pull_s": pull.as_secs_f64(),
            "pull_cpu_s": cpu,
            "samples_per_second": rate(rows, pull),
            "bytes_per_sample": bytes as f64 / rows as f64,
            "peak_memory_bytes": memory,
            "decode_alone_samples_per_second_one_core": rate(samples, decode),
            "zstd_alone_samples_per_second_one_core": rate(samples, zstd),
            "zstd_alone_bytes_per_sample": compressed as f64 / samples as f64,
        })
    );
    Ok(())
}

async fn pull(folder: &Path, dataset: Option<&Path>) -> Result<(u64, u64, Duration), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let out = dataset.unwrap_or(temporary.path());
    let url = format!("file://{}", folder.display());
    let source = BlocksSource::new(BlocksOptions { url, ..BlocksOptions::default() })?;
    let dataset = Dataset::open(&format!("file://{}", out.display())).await?;
    let all = LabelMatcher { name: METRIC_NAME.to_owned(), op: MatchOp::Regex, value: ".+".to_owned() };
    let before = Instant::now();
    let extent = source.extent().await?.ok_or("there are no blocks")?;
    let summary =
        dataset.pull_samples(&source, &[vec![all]], Step::MINUTE, extent, Duration::ZERO, &NoProgress).await?;
    Ok((summary.rows, summary.bytes, before.elapsed()))
}

/// Every value of every block, and how long it took to decode them, indexes included.
fn decode(folder: &Path) -> Result<(Vec<f64>, Duration), Box<dyn Error>> {
    let mut values = Vec::new();
    let mut took = Duration::ZERO;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.join("meta.json").is_file() {
            continue;
        }
        let before = Instant::now();
        let block = Block::open_folder(&path)?;
        let mut chunks = block.chunk_reader();
        let mut samples = Samples::default();
        let mut decoded = Vec::new();
        for series in block.index.series(block.index.all()?) {
            let series = series?;
            chunks.prefetch(&series.chunks)?;
            for meta in &series.chunks {
                samples.clear();
                chunks.read(meta.at)?.decode(&mut samples)?;
                decoded.extend_from_slice(&samples.values);
            }
        }
        took += before.elapsed();
        values.append(&mut decoded);
    }
    Ok((values, took))
}

/// The values' bytes, a page of Parquet at a time, at the level that the files have.
fn compress(values: &[f64]) -> Result<(usize, Duration), Box<dyn Error>> {
    const PAGE_ROWS: usize = 20_000;
    let mut compressor = zstd::bulk::Compressor::new(1)?;
    let (mut bytes, mut took) = (0, Duration::ZERO);
    for page in values.chunks(PAGE_ROWS) {
        let plain: Vec<u8> = page.iter().flat_map(|v| v.to_le_bytes()).collect();
        let before = Instant::now();
        bytes += compressor.compress(&plain)?.len();
        took += before.elapsed();
    }
    Ok((bytes, took))
}

/// Processor time of all threads so far; 0 where the system does not tell. Unlike the clock, it does not mind what else runs.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// The most resident memory so far; 0 where the system does not tell.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

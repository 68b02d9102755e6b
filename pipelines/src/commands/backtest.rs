//! `forewarn backtest`: history replayed through the code that serves, one prediction a line.

mod parts;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use forewarn_datasets::Dataset;
use forewarn_schema::{Prediction, Step, TimeRange, Timestamp};
use serde_json::json;

use super::open::{self, Histories};
use crate::cli::{Backtest, Shard};
use crate::config::{Config, ConfigError};
use crate::outcome::Outcome;
use crate::progress;

pub(super) async fn backtest(config: &Config, arguments: &Backtest) -> anyhow::Result<Outcome> {
    let shard = arguments.part.shard()?;
    let learning = &arguments.learning;
    let learns = learning.learn || learning.min_probability.is_some() || learning.passes > 1;
    match (&arguments.run, shard, &arguments.out) {
        (Some(run), _, Some(out)) if arguments.merge => parts::merge(config, run, out).await,
        (None, None, Some(out)) if learns => super::backtest_learning::backtest(config, arguments, out).await,
        _ if learns => Err(ConfigError::new("--learn needs --out FILE and the whole fleet: labels are shared").into()),
        (Some(run), Some(shard), None) => {
            parts::store(config, run, shard, async |file| replay(config, arguments, Some(shard), file).await).await
        }
        (None, None, Some(out)) => replay(config, arguments, None, out).await,
        _ => {
            let what =
                "wanted --out FILE, or --run ID with a part of the services, or --merge with --run ID and --out FILE";
            Err(ConfigError::new(what).into())
        }
    }
}

/// From when until when.
pub(super) fn range_of(arguments: &Backtest) -> Result<TimeRange, ConfigError> {
    let (Some(from), Some(to)) = (arguments.from, arguments.to) else {
        return Err(ConfigError::new("wanted --from TIME and --to TIME"));
    };
    TimeRange::new(from, to).map_err(|e| ConfigError::new(e.to_string()))
}

/// Replays into the file `out`, all of the fleet or a part of it.
async fn replay(config: &Config, arguments: &Backtest, shard: Option<Shard>, out: &Path) -> anyhow::Result<Outcome> {
    let (dataset, manifest) = open::dataset(config).await?;
    let covered = open::covered(&manifest)?;
    let range = range_of(arguments)?;
    let Some(range) = range.intersect(&covered) else {
        return Err(ConfigError::new(format!("the dataset holds {covered}, nothing of {range}")).into());
    };
    let registry = open::registry(config).await?;
    let bundles = open::current_bundles(&registry).await?;
    let has_seen: Vec<String> = bundles
        .iter()
        .filter(|(_, bundle)| bundle.manifest.created_from.end > range.start)
        .map(|(service, _)| service.clone())
        .collect();
    // All of the bundles, also in a part of the fleet: services without one go by what the others have in common.
    let mut engine = open::engine(config, &registry).await?;
    let needed = TimeRange::new((range.start - engine.memory_horizon()).max(covered.start), range.end)?;
    let all = dataset.services(&config.signals, needed).await?;
    let part: Option<BTreeSet<String>> = shard.map(|shard| shard.of(all.iter()));
    let services = part.as_ref().map_or(all.len(), BTreeSet::len);
    let out_path = out.display().to_string();
    let file = File::create(out).with_context(|| format!("cannot write {out_path}"))?;
    let (every, step) = (arguments.every, config.step);
    let origins = range.duration().as_secs() / every.as_secs().max(1);
    // One piece of history is replayed while the next is read.
    let (pieces, mut received) = tokio::sync::mpsc::channel::<Piece>(1);
    let replay = tokio::task::spawn_blocking(move || {
        let bar = progress::bar("backtest", origins);
        let mut out = Lines::new(BufWriter::new(file));
        let mut last = None;
        let mut replaying = forewarn_training::RollingOriginBacktest { range, every, step }.begin();
        let mut say = |prediction: &Prediction| {
            if last != Some(prediction.at) {
                last = Some(prediction.at);
                bar.inc(1);
            }
            out.write(prediction);
        };
        while let Some(piece) = received.blocking_recv() {
            match piece {
                Piece::Of(histories) => replaying.feed(&histories, &mut engine, &mut say),
                Piece::Rest(last) => replaying.rest(last, &mut engine, &mut say),
            }
        }
        bar.finish_and_clear();
        out.finish().map(|()| replaying.finish())
    });
    for piece in pieces_of(needed, step, services) {
        let read = match &part {
            None => dataset.read(&config.signals, piece).await?,
            Some(part) => dataset.read_services(&config.signals, piece, part).await?,
        };
        // The replay ends early only by a panic, which is told below.
        if pieces.send(Piece::Of(read)).await.is_err() {
            break;
        }
    }
    if part.is_some()
        && let Some(last) = last_step(config, &dataset, needed, all.len()).await?
    {
        let _ = pieces.send(Piece::Rest(last)).await;
    }
    drop(pieces);
    let summary = replay.await?.with_context(|| format!("cannot write {out_path}"))?;
    let mut text = format!(
        "{} predictions at {} times of {range} into {out_path}; {} requests\n",
        summary.predictions,
        summary.origins,
        summary.requests.len()
    );
    if !has_seen.is_empty() {
        text.push_str(&format!(
            "note: the current models of {} were trained on part of this range\n",
            has_seen.join(", ")
        ));
    }
    Ok(Outcome::new(
        text,
        json!({
            "range": range,
            "origins": summary.origins,
            "predictions": summary.predictions,
            "requests": summary.requests.len(),
            "models": bundles.iter().map(|(s, b)| (s.clone(), b.manifest.version.to_string())).collect::<std::collections::BTreeMap<_, _>>(),
            "trained_on_part_of_the_range": has_seen,
            "out": out_path,
        }),
    ))
}

/// What the replay is fed.
enum Piece {
    Of(Histories),
    /// Nothing more of this part; the history of the whole fleet ends at this step.
    Rest(Timestamp),
}

/// The last step of any service.
async fn last_step(
    config: &Config,
    dataset: &Dataset,
    range: TimeRange,
    services: usize,
) -> anyhow::Result<Option<Timestamp>> {
    for piece in pieces_of(range, config.step, services).into_iter().rev() {
        let histories = dataset.read(&config.signals, piece).await?;
        if let Some(last) = histories.values().filter_map(|steps| steps.last()).map(|step| step.at).max() {
            return Ok(Some(last));
        }
    }
    Ok(None)
}

/// So many steps of services are read at a time, about a kilobyte each; up to three such pieces are in memory.
const STEPS_AT_A_TIME: usize = 150_000;

/// `range`, cut so that memory does not grow with the number of services, nor with the length of the range.
fn pieces_of(range: TimeRange, step: Step, services: usize) -> Vec<TimeRange> {
    let steps = u32::try_from(STEPS_AT_A_TIME / services.max(1)).unwrap_or(u32::MAX);
    // An hour at least: a day's file is opened for each piece of it.
    let length = step.duration().saturating_mul(steps).max(Duration::from_secs(3600));
    let mut pieces = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start + length);
        pieces.push(TimeRange { start, end });
        start = end;
    }
    pieces
}

/// Writes until the first error, and keeps that.
pub(super) struct Lines<W: Write> {
    out: W,
    error: Option<std::io::Error>,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, error: None }
    }

    pub(super) fn write(&mut self, prediction: &Prediction) {
        if self.error.is_none() {
            let written = serde_json::to_writer(&mut self.out, prediction).map_err(std::io::Error::from);
            self.error = written.and_then(|()| self.out.write_all(b"\n")).err();
        }
    }

    pub(super) fn finish(mut self) -> std::io::Result<()> {
        match self.error {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }
}

//! History from the blocks that Prometheus and Thanos keep, in a folder or in a bucket, without asking a server.
//!
//! `discover` says which blocks there are, `plan` which of them are read for which times, `merge` makes one sorted stream
//! of their series, `decode` and `replicas` settle what two blocks say of the same series. Over S3, `remote` fetches only
//! what is asked for.

mod decode;
mod discover;
mod merge;
mod open;
mod options;
mod plan;
mod prefetch;
mod remote;
mod replicas;
mod series;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use forewarn_schema::{LabelSet, Step, TimeRange};
use forewarn_storage::{Store, StoreError};
use forewarn_tsdb::{BlockError, ReadError};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

pub use options::BlocksOptions;

use crate::PullProgress;
use crate::gaps::union;
use crate::manifest::sha256;
use crate::sample_source::{Provenance, RawSeries, SampleQuery, SampleSource};
use crate::source::{SourceError, SourceInfo};
use decode::PartError;
use discover::{Discovery, FoundBlock};
use merge::{Merge, OpenPart, Record};
use open::OpenBlock;
use plan::{BlockPlan, plan};

/// What the symbols and postings tables of all blocks of a query may take together.
const INDEX_MEMORY: u64 = 64 << 20;
/// Samples of a series that are sent at a time.
const PIECE_SAMPLES: usize = 16_384;

/// See the module. Cheap to clone; clones share what they have found and opened.
#[derive(Clone)]
pub struct BlocksSource {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    options: BlocksOptions,
    /// What was found; looked for once, and again when a block has gone.
    found: tokio::sync::Mutex<Option<Arc<Found>>>,
    state: Mutex<State>,
}

struct Found {
    blocks: Vec<Arc<FoundBlock>>,
    discovery: Discovery,
}

#[derive(Default)]
struct State {
    open: BTreeMap<String, Arc<OpenBlock>>,
    /// Blocks that turned out to be damaged → why.
    refused: BTreeMap<String, String>,
    /// Blocks that were gone when they were read. A second time it is an error.
    vanished: BTreeMap<String, String>,
}

/// What is in a folder or a bucket of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlocksSummary {
    /// Blocks that may be read.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Samples of the blocks that touch the range asked for, as they say themselves, cut down to the range.
    pub samples: u64,
    /// Bytes of these blocks, cut down to the range.
    pub bytes_in_range: u64,
    /// Blocks whose own description cannot be read, with the reason.
    pub unreadable: Vec<(String, String)>,
    /// Blocks left out by rule: why, how many.
    pub left_out: Vec<(String, u64)>,
}

impl BlocksSource {
    /// Opens the folder, which must be there, or the bucket, which is not asked for anything yet.
    pub fn new(options: BlocksOptions) -> Result<Self, SourceError> {
        let wrong = |reason: String| SourceError::Options { source_name: options.name.clone(), reason };
        if let Some(folder) = url::Url::parse(&options.url).ok().filter(|u| u.scheme() == "file")
            && !folder.to_file_path().is_ok_and(|path| path.is_dir())
        {
            return Err(wrong(format!("url must be an existing folder, got {:?}", options.url)));
        }
        let s3: Vec<(&str, &str)> = options.s3_options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let store = Store::open_with(&options.url, &s3).map_err(|e| wrong(e.to_string()))?;
        let (found, state) = (tokio::sync::Mutex::new(None), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { store, options, found, state }) })
    }

    /// What is there, for a plan.
    pub async fn summary(&self, range: TimeRange) -> Result<BlocksSummary, SourceError> {
        let found = self.inner.found().await?;
        let part = |b: &FoundBlock, of: u64| {
            let whole = b.range().duration().as_secs_f64().max(0.001);
            let within = b.range().intersect(&range).map_or(0.0, |r| r.duration().as_secs_f64());
            (of as f64 * (within / whole).min(1.0)) as u64
        };
        let parts = plan(&found.blocks, &self.inner.refused(), range).parts;
        Ok(BlocksSummary {
            blocks: found.blocks.len() as u64,
            bytes: found.blocks.iter().map(|b| b.bytes()).sum(),
            samples: parts.iter().map(|p| part(&p.block, p.block.meta.stats.num_samples)).sum(),
            bytes_in_range: parts.iter().map(|p| part(&p.block, p.block.bytes())).sum(),
            unreadable: found.discovery.unreadable.clone(),
            left_out: found.discovery.left_out.iter().map(|(why, n)| ((*why).to_owned(), *n)).collect(),
        })
    }
}

impl Inner {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> BTreeMap<String, String> {
        self.state().refused.clone()
    }

    async fn found(&self) -> Result<Arc<Found>, SourceError> {
        let mut known = self.found.lock().await;
        if let Some(found) = known.as_ref() {
            return Ok(Arc::clone(found));
        }
        let discovery = discover::discover(&self.store, &self.options).await.map_err(|e| self.store_error(&e))?;
        let blocks = discovery.blocks.iter().cloned().map(Arc::new).collect();
        let found = Arc::new(Found { blocks, discovery });
        *known = Some(Arc::clone(&found));
        Ok(found)
    }

    fn store_error(&self, error: &StoreError) -> SourceError {
        let (source_name, url) = (self.options.name.clone(), self.options.url.clone());
        if error.is_unreachable() {
            // The store itself has tried several times.
            return SourceError::Unreachable { source_name, url, attempts: 1, reason: error.to_string() };
        }
        SourceError::Malformed { source_name, reason: error.to_string() }
    }

    /// Opens what a plan reads. Blocking.
    fn open(&self, handle: &Handle, plan: &BlockPlan, range: TimeRange) -> Result<Vec<OpenPart>, PartError> {
        let share = INDEX_MEMORY / (2 * plan.parts.len().max(1) as u64);
        let mut parts = Vec::with_capacity(plan.parts.len());
        for (i, part) in plan.parts.iter().enumerate() {
            let known = self.state().open.get(&part.block.id).cloned();
            let block = match known {
                Some(open) => open,
                None => {
                    let open = OpenBlock::open(&self.store, handle, &part.block, share).map_err(|e| (i, e))?;
                    let open = Arc::new(open);
                    self.state().open.insert(part.block.id.clone(), Arc::clone(&open));
                    open
                }
            };
            parts.push(OpenPart { block, ranges: part.ranges.clone() });
        }
        // Days are read in order, a few at a time: what ends two days before is not needed any more.
        let old = range.start - std::time::Duration::from_secs(2 * 86_400);
        self.state().open.retain(|_, open| open.found.range().end > old);
        Ok(parts)
    }

    /// What an error in one of the parts means: the block is not read again, and the question has to be asked again.
    async fn failed(&self, plan: &BlockPlan, (part, error): PartError) -> SourceError {
        let source_name = self.options.name.clone();
        let Some(block) = plan.parts.get(part).map(|p| p.block.id.clone()) else {
            return SourceError::Malformed { source_name, reason: chain(&error) };
        };
        let reason = chain(&error);
        match error {
            BlockError::Read(ReadError::NotFound { .. }) => {
                let again = self.state().vanished.insert(block.clone(), reason.clone()).is_some();
                if again {
                    return SourceError::Malformed { source_name, reason: format!("block {block}: {reason}, twice") };
                }
                self.state().open.remove(&block);
                *self.found.lock().await = None;
                SourceError::Again { source_name, reason: format!("block {block} has gone ({reason})") }
            }
            BlockError::Read(ReadError::Failed { source, .. }) => match source.downcast_ref::<StoreError>() {
                Some(error) => self.store_error(error),
                None => SourceError::Malformed { source_name, reason: format!("block {block}: {reason}") },
            },
            BlockError::Pattern { .. } => SourceError::Options { source_name, reason },
            _ => {
                tracing::warn!(block, reason, "block refused");
                let mut state = self.state();
                state.open.remove(&block);
                state.refused.insert(block.clone(), reason.clone());
                SourceError::Again { source_name, reason: format!("block {block} is damaged ({reason})") }
            }
        }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[async_trait]
impl SampleSource for BlocksSource {
    fn name(&self) -> &str {
        &self.inner.options.name
    }

    async fn probe(&self) -> Result<SourceInfo, SourceError> {
        self.inner.found().await?;
        Ok(SourceInfo { kind: "blocks".to_owned(), url: self.inner.options.url.clone(), version: None })
    }

    async fn extent(&self) -> Result<Option<TimeRange>, SourceError> {
        let found = self.inner.found().await?;
        let ranges = found.blocks.iter().map(|b| b.range());
        let all = ranges.reduce(|a, b| TimeRange { start: a.start.min(b.start), end: a.end.max(b.end) });
        // To the minute, as other sources, and outwards: the first and the last sample are part of it.
        Ok(all.map(|all| TimeRange { start: all.start.align_down(Step::MINUTE), end: all.end.align_up(Step::MINUTE) }))
    }

    async fn state(&self, query: &SampleQuery) -> Result<Option<String>, SourceError> {
        let found = self.inner.found().await?;
        let mut text = format!("{:?}\n", self.inner.options.replica_labels);
        // Not what turned out to be damaged: a day with a hole is asked for again anyway.
        for part in plan(&found.blocks, &BTreeMap::new(), query.range).parts {
            text.push_str(&format!("{} {} {:?}\n", part.block.id, part.block.digest, part.ranges));
        }
        Ok(Some(sha256(text.as_bytes())))
    }

    async fn series(&self, query: &SampleQuery) -> Result<Vec<LabelSet>, SourceError> {
        loop {
            let found = self.inner.found().await?;
            let plan = plan(&found.blocks, &self.inner.refused(), query.range);
            let (inner, query, handle) = (Arc::clone(&self.inner), query.clone(), Handle::current());
            let work = plan.clone();
            let result = tokio::task::spawn_blocking(move || {
                let parts = inner.open(&handle, &work, query.range)?;
                let mut merge = Merge::new(parts, &query.selectors)?;
                let mut labels = Vec::new();
                while let Some(one) = merge.next_labels()? {
                    labels.push(one);
                }
                Ok(labels)
            });
            match result.await.map_err(|e| self.broken(&e))? {
                Ok(labels) => return Ok(labels),
                Err(error) => match self.inner.failed(&plan, error).await {
                    SourceError::Again { .. } => {}
                    error => return Err(error),
                },
            }
        }
    }

    async fn samples(
        &self,
        query: &SampleQuery,
        sink: mpsc::Sender<RawSeries>,
        _progress: &dyn PullProgress,
    ) -> Result<Provenance, SourceError> {
        let found = self.inner.found().await?;
        let plan = plan(&found.blocks, &self.inner.refused(), query.range);
        let (inner, work, handle) = (Arc::clone(&self.inner), plan.clone(), Handle::current());
        let of_task = query.clone();
        let result = tokio::task::spawn_blocking(move || {
            let parts = inner.open(&handle, &work, of_task.range)?;
            prefetch::chunks(&parts, &of_task.selectors)?;
            let mut merge = Merge::new(parts, &of_task.selectors)?;
            while let Some(series) = merge.next_series()? {
                if series.into_iter().flat_map(pieces).any(|piece| sink.blocking_send(piece).is_err()) {
                    break;
                }
            }
            Ok(merge.finish())
        });
        match result.await.map_err(|e| self.broken(&e))? {
            Ok(record) => Ok(provenance(&found, &plan, &record, query.range)),
            Err(error) => Err(self.inner.failed(&plan, error).await),
        }
    }
}

impl BlocksSource {
    fn broken(&self, error: &tokio::task::JoinError) -> SourceError {
        SourceError::Malformed { source_name: self.inner.options.name.clone(), reason: error.to_string() }
    }
}

/// A series cut into pieces of a size that a channel may hold many of.
fn pieces(series: RawSeries) -> Vec<RawSeries> {
    if series.samples.len() + series.histograms.len() <= PIECE_SAMPLES {
        return vec![series];
    }
    let RawSeries { labels, aggregate, samples, histograms } = series;
    let mut histograms = histograms.into_iter().peekable();
    let mut out = Vec::new();
    let piece = |samples: &[_], histograms| RawSeries {
        labels: labels.clone(),
        aggregate,
        samples: samples.to_vec(),
        histograms,
    };
    for samples in samples.chunks(PIECE_SAMPLES) {
        let end = samples.last().map(|s| s.at);
        let mut before = Vec::new();
        while let Some(one) = histograms.next_if(|h| end.is_some_and(|end| h.at < end)) {
            before.push(one);
        }
        out.push(piece(samples, before));
    }
    let rest: Vec<_> = histograms.collect();
    out.extend(rest.chunks(PIECE_SAMPLES / 16).map(|rest| piece(&[], rest.to_vec())));
    out
}

fn provenance(found: &Found, plan: &BlockPlan, record: &Record, range: TimeRange) -> Provenance {
    let mut from: Vec<String> = plan.parts.iter().map(|p| p.block.id.clone()).collect();
    from.sort();
    from.dedup();
    let mut missing = plan.missing.clone();
    let reason = |(id, why): &(String, String)| (range, format!("block {id}, whose times are not known: {why}"));
    missing.extend(found.discovery.unreadable.iter().map(reason));
    let mut skipped: Vec<(String, u64)> = record.counts.skipped.clone().into_iter().collect();
    let mut count = |what: &str, n: u64| {
        if n > 0 {
            skipped.push((what.to_owned(), n));
        }
    };
    count("times at which two blocks differ: the first was taken", record.counts.conflicts);
    count("series of which external labels overwrite a label", record.clashes);
    skipped.sort();
    let mut resolutions: BTreeMap<i64, Vec<TimeRange>> = BTreeMap::new();
    for (range, resolution) in &plan.downsampled {
        resolutions.entry(*resolution).or_default().push(*range);
    }
    let downsampled: Vec<(TimeRange, i64)> = resolutions
        .into_iter()
        .flat_map(|(resolution, ranges)| union(ranges).into_iter().map(move |range| (range, resolution)))
        .collect();
    Provenance {
        from,
        replicas: record.choices.majority(range),
        missing,
        skipped,
        resolution_ms: downsampled.iter().map(|(_, ms)| *ms).max().unwrap_or(0),
        downsampled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Aggregate;
    use forewarn_schema::{HistogramSample, Sample, Timestamp};

    #[test]
    fn a_series_in_pieces_is_the_same_series() {
        let sample = |i: i64| Sample { at: Timestamp::from_millis(2 * i), value: i as f64 };
        let histogram = |i: i64| HistogramSample { at: Timestamp::from_millis(40 * i + 1), histogram: Arc::default() };
        let series = RawSeries {
            labels: LabelSet::from([("a", "b")]),
            aggregate: Aggregate::Raw,
            samples: (0..40_000).map(sample).collect(),
            histograms: (0..3000).map(histogram).collect(),
        };
        let pieces = pieces(series.clone());
        assert!(pieces.len() > 2);
        let mut whole = RawSeries { samples: vec![], histograms: vec![], ..series.clone() };
        let mut last = Timestamp::from_millis(-1);
        for piece in pieces {
            let times = piece.samples.iter().map(|s| s.at).chain(piece.histograms.iter().map(|h| h.at));
            let (first, end) = (times.clone().min().unwrap(), times.max().unwrap());
            assert!(first > last);
            last = end;
            whole.samples.extend(piece.samples);
            whole.histograms.extend(piece.histograms);
        }
        assert_eq!(whole, series);
    }
}

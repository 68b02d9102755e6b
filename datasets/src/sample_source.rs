//! Where raw samples come from: what blocks, logs and servers that give them away have in common.
//!
//! A [`HistorySource`](crate::HistorySource) evaluates expressions itself; a `SampleSource` gives what they read, and
//! we evaluate.

use async_trait::async_trait;
use forewarn_schema::{HistogramSample, LabelMatcher, LabelSet, Sample, TimeRange};
use tokio::sync::mpsc;

use crate::PullProgress;
use crate::source::{SourceError, SourceInfo};

/// What of a series a sample is: raw, or an aggregate of a downsampled window (Thanos).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aggregate {
    /// As it was scraped.
    #[default]
    Raw,
    /// How many samples the window had.
    Count,
    /// Their sum.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The counter's running total, resets added.
    Counter,
}

/// Samples of one label set. Each list is sorted by time, no time twice; a time is in one of them only. Values keep
/// their bits, staleness markers included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawSeries {
    /// Metric name included.
    pub labels: LabelSet,
    /// What the samples are.
    pub aggregate: Aggregate,
    /// Floats.
    pub samples: Vec<Sample>,
    /// Native histograms.
    pub histograms: Vec<HistogramSample>,
}

/// Which samples are wanted: those in `range` of series that any of the selectors selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleQuery {
    /// Each a list of conditions that must all hold. Never empty.
    pub selectors: Vec<Vec<LabelMatcher>>,
    /// Half-open.
    pub range: TimeRange,
}

/// Where the samples of one query came from, for the manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// What was read: block ULIDs, object keys, or the request made; sorted.
    pub from: Vec<String>,
    /// The replica chosen, per window, where there were several: `(window, its labels)`.
    pub replicas: Vec<(TimeRange, String)>,
    /// Ranges that the source should have and could not give, with the reason in one line.
    pub missing: Vec<(TimeRange, String)>,
    /// What was left out on purpose, by name, with how often: unknown chunk encodings, wrong lines.
    pub skipped: Vec<(String, u64)>,
    /// Milliseconds between the samples of a downsampled source, the coarsest of them; 0 for raw ones.
    pub resolution_ms: i64,
    /// Where not all of it is raw: the downsampled ranges, with the milliseconds between their samples; sorted.
    pub downsampled: Vec<(TimeRange, i64)>,
}

/// History as raw samples.
#[async_trait]
pub trait SampleSource: Send + Sync {
    /// Its name in the configuration, in the dataset's paths and in errors.
    fn name(&self) -> &str;

    /// Asks whether it is there.
    async fn probe(&self) -> Result<SourceInfo, SourceError>;

    /// From the earliest to the latest data, outwards to the minute; `None` where the source is empty or cannot tell.
    async fn extent(&self) -> Result<Option<TimeRange>, SourceError>;

    /// A digest of all that an answer depends on besides the query, such as which blocks there are: while it stays the
    /// same, so does the answer. `None` where the source cannot tell; then what was pulled once is taken to stay.
    async fn state(&self, _query: &SampleQuery) -> Result<Option<String>, SourceError> {
        Ok(None)
    }

    /// The label sets that any of the selectors selects within the range, sorted: a cheap question, for a plan.
    async fn series(&self, query: &SampleQuery) -> Result<Vec<LabelSet>, SourceError>;

    /// Sends every sample of `query`, series sorted by labels (aggregates of one label set after each other); a
    /// series may come in several pieces, in order of time. Never more in memory than a few series and what the
    /// channel holds. A receiver that is dropped ends it early without an error. After [`SourceError::Again`], what was
    /// sent is void.
    async fn samples(
        &self,
        query: &SampleQuery,
        sink: mpsc::Sender<RawSeries>,
        progress: &dyn PullProgress,
    ) -> Result<Provenance, SourceError>;
}

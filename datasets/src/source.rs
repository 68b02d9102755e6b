//! Where history comes from: anything that can answer PromQL over a range.

use std::time::Duration;

use async_trait::async_trait;
use forewarn_schema::{LabelSet, Series, Step, TimeRange, Timestamp};

use crate::PullProgress;

/// What a source says of itself; written into the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceInfo {
    /// Such as `prometheus`.
    pub kind: String,
    /// Where it is, without credentials.
    pub url: String,
    /// The server's version, where it tells.
    pub version: Option<String>,
}

/// History by PromQL. An answer is whole or an error: a source never leaves out part of what it was asked for.
#[async_trait]
pub trait HistorySource: Send + Sync {
    /// Its name in the configuration, in the dataset's paths and in errors.
    fn name(&self) -> &str;

    /// Asks whether it is there.
    async fn probe(&self) -> Result<SourceInfo, SourceError>;

    /// Evaluates `promql` at every multiple of `step` in `range` (its start rounded up, its end left out). Series are
    /// sorted by labels, none twice; samples are sorted by time, exactly on those multiples, and absent where the
    /// expression gave nothing. A value may be NaN or infinite. An empty range gives nothing.
    async fn fetch(&self, promql: &str, range: TimeRange, step: Step) -> Result<Vec<Series>, SourceError>;

    /// As [`fetch`](Self::fetch), and tells `progress` of requests that are made again.
    async fn fetch_with_progress(
        &self,
        promql: &str,
        range: TimeRange,
        step: Step,
        _progress: &dyn PullProgress,
    ) -> Result<Vec<Series>, SourceError> {
        self.fetch(promql, range, step).await
    }

    /// The label sets that `promql` gives at `at`, sorted.
    async fn count(&self, promql: &str, at: Timestamp) -> Result<Vec<LabelSet>, SourceError>;

    /// From the earliest to the latest data, to the minute; `None` where the source is empty or cannot tell.
    async fn extent(&self) -> Result<Option<TimeRange>, SourceError>;

    /// Windows fetched so far from downsampled samples, because there was nothing finer, with the time between those;
    /// sorted. Empty for a source that has no such thing.
    fn downsampled(&self) -> Vec<(TimeRange, Duration)> {
        Vec::new()
    }
}

/// A source did not give what it was asked for. No text here holds a credential.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SourceError {
    /// It cannot be asked: an option is wrong.
    #[error("source {source_name:?}: {reason}")]
    Options {
        /// The source.
        source_name: String,
        /// Which option, and what is wrong with it.
        reason: String,
    },
    /// It did not answer, or was not able to, as often as it was asked: try later.
    #[error("source {source_name:?} at {url} is unreachable after {attempts} attempts: {reason}")]
    Unreachable {
        /// The source.
        source_name: String,
        /// Its URL, without credentials.
        url: String,
        /// How often it was asked.
        attempts: u32,
        /// What the last attempt met.
        reason: String,
    },
    /// It answered that it will not: fix the expression, the credentials or the URL.
    #[error("source {source_name:?} at {url} refused {what} with status {status}: {reason}")]
    Refused {
        /// The source.
        source_name: String,
        /// Its URL, without credentials.
        url: String,
        /// What it was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// Its own words, in one line, cut short.
        reason: String,
    },
    /// It answered with a part of the data. History with holes that nobody sees is not learnt from.
    #[error("source {source_name:?} gave a partial answer to {what}: {}", warnings.join("; "))]
    Partial {
        /// The source.
        source_name: String,
        /// What it was asked for.
        what: String,
        /// Its warnings, cut short.
        warnings: Vec<String>,
    },
    /// Something went away or turned out to be damaged while it was read. What came so far is void; asked again, the source
    /// answers without it.
    #[error("source {source_name:?} has to be asked again: {reason}")]
    Again {
        /// The source.
        source_name: String,
        /// What happened.
        reason: String,
    },
    /// It answered something else than the query API's JSON, or times that were not asked for.
    #[error("source {source_name:?} gave an answer that cannot be used: {reason}")]
    Malformed {
        /// The source.
        source_name: String,
        /// What, and where.
        reason: String,
    },
    /// No space is left for what it gives: free some, then try again.
    #[error("no space is left for what source {source_name:?} gives: {reason}")]
    StorageFull {
        /// The source.
        source_name: String,
        /// Where, and what the system says.
        reason: String,
    },
    /// What it gave cannot be kept here until it is in order.
    #[error("samples of source {source_name:?} cannot be kept in a temporary file: {reason}")]
    Temporary {
        /// The source.
        source_name: String,
        /// What the system says.
        reason: String,
    },
}

impl SourceError {
    /// Whether trying later may help.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether no space is left: free some, then try again.
    pub fn is_storage_full(&self) -> bool {
        matches!(self, Self::StorageFull { .. })
    }
}

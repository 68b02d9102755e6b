//! History in, Parquet out.
//!
//! A [`HistorySource`] answers PromQL over a range ([`PrometheusSource`] over the query API); a [`Dataset`] keeps the
//! answers as one Parquet file a source and UTC day, with a manifest that says what is covered, so that a pull fetches
//! only what is missing and a kill loses at most the day being fetched. [`Dataset::read`] gives the rows back as
//! [`ServiceStep`](forewarn_features::ServiceStep)s, equal to what a live evaluation of the same expressions gives.
//!
//! The files are described in `docs/formats/dataset.md`.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails to set up should panic"))]

mod blocks;
mod dataset;
mod day;
mod error;
mod estimate;
#[doc(hidden)]
pub mod fuzzing;
mod gaps;
mod labels_file;
mod logs;
mod manifest;
mod page_headers;
mod parquet_file;
mod plan;
mod progress;
mod prometheus;
mod pull;
mod pull_sampled;
mod pull_samples;
mod read;
mod read_parts;
mod sample_source;
mod sampled_history;
mod samples;
mod samples_file;
mod source;
mod table;

pub use blocks::{BlocksOptions, BlocksSource, BlocksSummary};
pub use dataset::Dataset;
pub use day::Day;
pub use error::DatasetError;
pub use estimate::PullEstimate;
pub use labels_file::{LABELS_FORMAT_VERSION, LabelRow, labels_parquet};
pub use logs::{LogsOptions, LogsSource, LogsSummary, LogsSurvey};
pub use manifest::{DatasetManifest, DayFile, FORMAT_VERSION, Footer, QueryCoverage, SourceRecord};
pub use plan::{PlannedWindow, PullPlan};
pub use progress::{NoProgress, PullProgress};
pub use prometheus::{BearerToken, Fetch, PrometheusOptions, PrometheusSource, SourceResolution, TlsOptions, promql};
pub use pull::PullSummary;
pub use pull_sampled::SampledSummary;
pub use pull_samples::SamplesSummary;
pub use sample_source::{Aggregate, Provenance, RawSeries, SampleQuery, SampleSource};
pub use sampled_history::{SampledHistory, count, selectors_of};
pub use samples::{SampleFileError, SampleFileStats, SampleFilter, SampleReader, SampleWriter};
pub use samples_file::{DownsampledRange, MissingRange, ReplicaChoice, SamplesFile};
pub use source::{HistorySource, SourceError, SourceInfo};

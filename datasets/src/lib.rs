//! History in, Parquet out.
//!
//! A [`HistorySource`] answers PromQL over a range ([`PrometheusSource`] over the query API); a [`Dataset`] keeps the
//! answers as one Parquet file a source and UTC day, with a manifest that says what is covered, so that a pull fetches
//! only what is missing and a kill loses at most the day being fetched. [`Dataset::read`] gives the rows back as
//! [`ServiceStep`](forewarn_features::ServiceStep)s, equal to what a live evaluation of the same expressions gives.
//!
//! The files are described in `docs/formats/dataset.md`.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails to set up should panic"))]

mod dataset;
mod day;
mod error;
mod gaps;
mod manifest;
mod parquet_file;
mod plan;
mod progress;
mod prometheus;
mod pull;
mod read;
mod sample_source;
mod source;
mod table;

pub use dataset::Dataset;
pub use day::Day;
pub use error::DatasetError;
pub use manifest::{DatasetManifest, DayFile, FORMAT_VERSION, QueryCoverage, SourceRecord};
pub use plan::{PlannedWindow, PullPlan};
pub use progress::{NoProgress, PullProgress};
#[doc(hidden)]
pub use prometheus::fuzzing;
pub use prometheus::{BearerToken, Fetch, PrometheusOptions, PrometheusSource, SourceResolution, TlsOptions};
pub use pull::PullSummary;
pub use sample_source::{Aggregate, Provenance, RawSeries, SampleQuery, SampleSource};
pub use source::{HistorySource, SourceError, SourceInfo};

//! From a source of raw samples to the step dataset: the samples first, then every signal evaluated over them, a day at
//! a time, into the same files that a query API's answers go to.

use std::time::Duration;

use forewarn_features::SignalSet;
use forewarn_schema::{LabelMatcher, Step, TimeRange};
use serde::Serialize;

use crate::dataset::Dataset;
use crate::error::DatasetError;
use crate::gaps::{missing, union};
use crate::pull_samples::SamplesSummary;
use crate::sample_source::SampleSource;
use crate::sampled_history::{SampledHistory, selectors_of};
use crate::{PullProgress, PullSummary};

/// What a pull from a source of raw samples did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SampledSummary {
    /// The raw samples.
    pub samples: SamplesSummary,
    /// What was evaluated from them.
    pub steps: PullSummary,
    /// Times at which the signals were not evaluated, because only downsampled samples are left of what they read.
    pub not_evaluated: Vec<TimeRange>,
}

impl Dataset {
    /// Brings the raw samples of `range` into the dataset, of the series that the signals read and of those that `series`
    /// selects besides, and evaluates the signals over them at every step. Take the [`lock`](Dataset::lock) first.
    ///
    /// The samples start earlier than the range by as much as the expressions look back.
    pub async fn pull_sampled(
        &self,
        source: &dyn SampleSource,
        signals: &SignalSet,
        series: &[Vec<LabelMatcher>],
        step: Step,
        range: TimeRange,
        progress: &dyn PullProgress,
    ) -> Result<SampledSummary, DatasetError> {
        let (mut selectors, look_back) = selectors_of(signals);
        selectors.extend(series.iter().cloned());
        let from = TimeRange { start: range.start - look_back, end: range.end };
        let mut summary = SampledSummary::default();
        if selectors.is_empty() {
            return Ok(summary);
        }
        summary.samples = self.pull_samples(source, &selectors, step, from, look_back, progress).await?;
        let history = SampledHistory::new(source, self).await?;
        summary.not_evaluated = self.downsampled(source.name(), look_back, range).await?;
        for part in missing(range, &summary.not_evaluated) {
            let steps = self.pull(&history, signals, step, part, progress).await?;
            summary.steps.windows += steps.windows;
            summary.steps.rows += steps.rows;
            summary.steps.bytes += steps.bytes;
            summary.steps.days += steps.days;
            summary.steps.repaired_days += steps.repaired_days;
        }
        Ok(summary)
    }

    /// The times of which some expression would read downsampled samples.
    async fn downsampled(
        &self,
        source: &str,
        look_back: Duration,
        range: TimeRange,
    ) -> Result<Vec<TimeRange>, DatasetError> {
        let manifest = self.manifest().await?;
        let days = manifest.as_ref().and_then(|m| m.samples.get(source)).into_iter().flatten();
        let coarse = days.flat_map(|(_, file)| &file.downsampled);
        let reached = coarse.map(|c| TimeRange { start: c.range.start, end: c.range.end + look_back });
        Ok(union(reached.filter_map(|r| r.intersect(&range))))
    }
}

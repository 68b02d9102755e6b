//! Values at steps, by `query_range`: a range is cut into windows that every server allows, and a window that is too much
//! is halved.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use forewarn_schema::{LabelSet, Sample, Series, Step, TimeRange, Timestamp};

use super::client::Failure;
use super::fetch::SourceResolution;
use super::{PrometheusSource, answer, extent, seconds};
use crate::gaps::aligned;
use crate::source::{HistorySource, SourceError, SourceInfo};
use crate::table::{Point, merge};
use crate::{NoProgress, PullProgress};

/// Halving a window more often than this will not help: the query itself is too much.
const MAX_HALVINGS: u32 = 6;

impl PrometheusSource {
    /// One window: the finest resolution that has anything.
    async fn window(
        &self,
        promql: &str,
        window: TimeRange,
        step: Step,
        progress: &dyn PullProgress,
    ) -> Result<Vec<Series>, Failure> {
        for resolution in self.client.options.max_source_resolution.ladder() {
            let series = self.window_at(promql, window, step, resolution, progress).await?;
            if !series.is_empty() {
                if resolution > SourceResolution::Raw {
                    self.coarse.lock().unwrap_or_else(PoisonError::into_inner).push((window, resolution));
                }
                return Ok(series);
            }
        }
        Ok(Vec::new())
    }

    /// One request's worth of history, or the reason why not.
    async fn window_at(
        &self,
        promql: &str,
        window: TimeRange,
        step: Step,
        resolution: SourceResolution,
        progress: &dyn PullProgress,
    ) -> Result<Vec<Series>, Failure> {
        let last = window.end - step.duration();
        let mut form = vec![
            ("query", promql.to_owned()),
            ("start", seconds(window.start)),
            ("end", seconds(last)),
            ("step", seconds(Timestamp::from_millis(step.millis()))),
        ];
        form.extend(self.parameters(resolution));
        let what = format!("{promql:?} over {window}");
        let body = self.client.post("/api/v1/query_range", &form, &what, self.client.options.retries, progress).await?;
        answer::matrix(&body, window, step).map_err(|e| Failure::Final(self.client.answer_error(e, &what)))
    }

    async fn instant(&self, promql: &str, at: Timestamp) -> Result<Vec<LabelSet>, SourceError> {
        let mut form = vec![("query", promql.to_owned()), ("time", seconds(at))];
        form.extend(self.parameters(self.client.options.max_source_resolution));
        let what = format!("{promql:?} at {at}");
        let retries = self.client.options.retries;
        let body = self.client.post("/api/v1/query", &form, &what, retries, &NoProgress).await;
        let body = body.map_err(Failure::into_error)?;
        answer::label_sets(&body).map_err(|e| self.client.answer_error(e, &what))
    }
}

#[async_trait]
impl HistorySource for PrometheusSource {
    fn name(&self) -> &str {
        &self.client.options.name
    }

    async fn probe(&self) -> Result<SourceInfo, SourceError> {
        self.info().await
    }

    async fn fetch(&self, promql: &str, range: TimeRange, step: Step) -> Result<Vec<Series>, SourceError> {
        self.fetch_with_progress(promql, range, step, &NoProgress).await
    }

    async fn fetch_with_progress(
        &self,
        promql: &str,
        range: TimeRange,
        step: Step,
        progress: &dyn PullProgress,
    ) -> Result<Vec<Series>, SourceError> {
        let mut series: BTreeMap<LabelSet, Vec<Point>> = BTreeMap::new();
        // A stack of windows still to fetch, the earliest on top, each with how often it may still be halved.
        let mut windows: Vec<(TimeRange, u32)> =
            split(range, step, self.client.options.max_points).into_iter().rev().map(|w| (w, MAX_HALVINGS)).collect();
        while let Some((window, halvings)) = windows.pop() {
            match self.window(promql, window, step, progress).await {
                Ok(answer) => {
                    for one in answer {
                        let points = one.samples.iter().map(|s| (s.at.millis(), s.value)).collect();
                        let known = series.entry(one.labels).or_default();
                        *known = merge(std::mem::take(known), points);
                    }
                }
                Err(Failure::TooMuch(error)) => {
                    let Some((first, second)) = halves(window, step).filter(|_| halvings > 0) else {
                        return Err(error);
                    };
                    let reason = error.to_string();
                    tracing::debug!(source = self.client.options.name, promql, %window, reason, "window halved");
                    windows.extend([(second, halvings - 1), (first, halvings - 1)]);
                }
                Err(Failure::Final(error)) => return Err(error),
            }
        }
        let samples = |points: Vec<Point>| {
            points.into_iter().map(|(at, value)| Sample { at: Timestamp::from_millis(at), value }).collect()
        };
        let series = series.into_iter().map(|(labels, points)| Series { labels, samples: samples(points) });
        Ok(series.filter(|s| !s.samples.is_empty()).collect())
    }

    async fn count(&self, promql: &str, at: Timestamp) -> Result<Vec<LabelSet>, SourceError> {
        self.instant(promql, at).await
    }

    async fn extent(&self) -> Result<Option<TimeRange>, SourceError> {
        extent::extent(&self.client).await
    }

    fn downsampled(&self) -> Vec<(TimeRange, Duration)> {
        let windows = self.coarse.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let apart = |resolution: SourceResolution| Duration::from_millis(resolution.millis().unsigned_abs());
        let mut windows: Vec<_> = windows.into_iter().map(|(window, resolution)| (window, apart(resolution))).collect();
        windows.sort_by_key(|(window, apart)| (window.start, window.end, *apart));
        windows.dedup();
        windows
    }
}

/// Windows of at most `max_points` multiples of `step`, first to last, that hold each multiple in `range` once.
fn split(range: TimeRange, step: Step, max_points: u64) -> Vec<TimeRange> {
    let Some(range) = aligned(range, step) else { return Vec::new() };
    let span = step.duration().saturating_mul(u32::try_from(max_points.max(1)).unwrap_or(u32::MAX));
    let mut windows = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let end = (start + span).min(range.end);
        windows.push(TimeRange { start, end });
        start = end;
    }
    windows
}

/// Both halves of an aligned window; `None` where it has one step.
fn halves(window: TimeRange, step: Step) -> Option<(TimeRange, TimeRange)> {
    let steps = crate::gaps::steps(window, step);
    let middle = window.start + step.duration().saturating_mul(u32::try_from(steps / 2).unwrap_or(u32::MAX));
    let halves = (TimeRange { end: middle, ..window }, TimeRange { start: middle, ..window });
    (!halves.0.is_empty() && !halves.1.is_empty()).then_some(halves)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn windows_hold_each_step_once_and_none_is_too_long(
            start in -100_000_i64..100_000, span in 0_i64..1_000_000, step in 1_i64..5000, max in 1_u64..50,
        ) {
            let step = Step::new(std::time::Duration::from_millis(step.unsigned_abs())).unwrap();
            let range = TimeRange { start: Timestamp::from_millis(start), end: Timestamp::from_millis(start + span) };
            let range = TimeRange { end: range.end.min(range.start + step.duration() * 500), ..range };
            let windows = split(range, step, max);
            let times = |w: &TimeRange| {
                let (first, end) = (w.start, w.end);
                std::iter::successors(Some(first), move |t| Some(*t + step.duration())).take_while(move |t| *t < end)
            };
            let all: Vec<Timestamp> = windows.iter().flat_map(times).collect();
            let wanted: Vec<Timestamp> = times(&TimeRange { start: range.start.align_up(step), ..range }).collect();
            prop_assert_eq!(all, wanted);
            for window in windows {
                prop_assert!(crate::gaps::steps(window, step) <= max);
                if let Some((a, b)) = halves(window, step) {
                    prop_assert_eq!((a.start, a.end, b.end), (window.start, b.start, window.end));
                    prop_assert_eq!(a.end.align_down(step), a.end);
                } else {
                    prop_assert_eq!(crate::gaps::steps(window, step), 1);
                }
            }
        }
    }
}

//! `v[range:step]`: a vector evaluated at every multiple of the step, as samples of a window.
//!
//! What has been evaluated is kept while it is in the window, so that a step evaluates what is new, and
//! is taken back where a sample comes that it should have seen.

use std::sync::Arc;

use forewarn_schema::{LabelSet, Sample, Timestamp};

use super::eval::{EvalError, Evaluation};
use super::memo::LabelNumbers;
use super::node::{RangeFunction, SubqueryNode};
use super::series::StoredSeries;
use super::value::{Element, Value};
use super::window::{SeriesWindow, WindowView};

/// What a subquery has given so far.
#[derive(Debug, Default)]
pub(super) struct SubqueryState {
    /// The first and the last multiple of the step for which there are results; all between are there.
    evaluated: Option<(i64, i64)>,
    step_ms: i64,
    /// Where the window started last. What is older has left it, and may be forgotten.
    started_ms: Option<i64>,
    series: Vec<(StoredSeries, SeriesWindow)>,
    numbers: LabelNumbers,
    /// Indices into `series`, sorted by labels.
    order: Vec<usize>,
}

impl SubqueryState {
    /// Evaluates what the window from `start_ms` to `end_ms` lacks, and lets go of what is older.
    pub(super) fn refresh(
        &mut self,
        evaluation: &mut Evaluation<'_>,
        node: &SubqueryNode,
        function: Option<RangeFunction>,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<(), EvalError> {
        let step = node.step_ms;
        self.step_ms = step;
        let first = first_multiple(step, start_ms);
        // Going back, or leaving a gap, starts anew.
        if self.evaluated.is_some_and(|(from, to)| first < from || first > to.saturating_add(step)) {
            *self = Self { step_ms: step, ..Self::default() };
        }
        // Not yet what leaves only now: the windows must see it leave.
        self.forget(self.started_ms.unwrap_or(first).min(first));
        self.started_ms = Some(first);
        let mut next = self.evaluated.map_or(Some(first), |(_, last)| last.checked_add(step));
        while let Some(at_ms) = next.filter(|at_ms| *at_ms <= end_ms) {
            let elements = evaluation.at(at_ms).vector(&node.of)?;
            for element in elements {
                self.take(at_ms, element, function);
            }
            let from = self.evaluated.map_or(first, |(from, _)| from);
            self.evaluated = Some((from, at_ms));
            next = at_ms.checked_add(step);
        }
        Ok(())
    }

    /// Calls `visit` with each series and its window, sorted by labels.
    pub(super) fn each(&mut self, start_ms: i64, end_ms: i64, mut visit: impl FnMut(&StoredSeries, WindowView<'_>)) {
        for index in &self.order {
            let (series, window) = &mut self.series[*index];
            let view = window.slide(series, start_ms, end_ms);
            visit(series, view);
        }
    }

    /// Results at `from` and later must be evaluated again.
    pub(super) fn take_back(&mut self, from: Timestamp) {
        let Some((first, _)) = self.evaluated.filter(|(_, last)| from.millis() <= *last) else { return };
        if from.millis() <= first {
            *self = Self::default();
            return;
        }
        self.series.iter_mut().for_each(|(series, _)| series.take_back(from));
        // The last multiple of the step before `from`; `first` is one of them.
        let steps = (from.millis() - 1 - first).div_euclid(self.step_ms.max(1));
        self.evaluated = Some((first, first + steps * self.step_ms));
    }

    fn take(&mut self, at_ms: i64, element: Element, function: Option<RangeFunction>) {
        let index = self.numbers.number(&element.labels);
        if index == self.series.len() {
            let series = StoredSeries::new(index as u64, Arc::clone(&element.labels));
            self.series.push((series, SeriesWindow::new(function)));
            let place = self.order.partition_point(|i| self.series[*i].0.labels < element.labels);
            self.order.insert(place, index);
        }
        let series = &mut self.series[index].0;
        let at = Timestamp::from_millis(at_ms);
        match element.value {
            Value::Float(value) => {
                series.floats.insert(Sample { at, value });
            }
            Value::Histogram(histogram) => series.insert_histogram(at, histogram),
        }
    }

    fn forget(&mut self, before_ms: i64) {
        let before = Timestamp::from_millis(before_ms);
        self.series.iter_mut().for_each(|(series, _)| series.forget(before));
        self.evaluated = self.evaluated.map(|(from, to)| (from.max(before_ms), to)).filter(|(from, to)| from <= to);
        let empty = self.series.iter().filter(|(series, _)| series.len() == 0).count();
        // Numbers only grow; they are given anew once most of them mean nothing.
        if empty > 64 && empty * 2 > self.series.len() {
            let kept = std::mem::take(&mut self.series).into_iter().filter(|(series, _)| series.len() > 0);
            self.series = kept.collect();
            self.numbers = LabelNumbers::default();
            self.series.iter().for_each(|(series, _)| {
                self.numbers.number(&series.labels);
            });
            self.order = (0..self.series.len()).collect();
            let labels = |i: &usize| -> &LabelSet { &self.series[*i].0.labels };
            self.order.sort_by(|a, b| labels(a).cmp(labels(b)));
        }
    }
}

/// The first multiple of `step` at or after `ms`.
fn first_multiple(step: i64, ms: i64) -> i64 {
    let before = ms.div_euclid(step).saturating_mul(step);
    if before == ms { ms } else { before.saturating_add(step) }
}

//! Evaluation at many times: what one step has found, the next one starts from.

use std::sync::Arc;

use forewarn_schema::{LabelSet, Sample, Series, Step, TimeRange, Timestamp};

use super::eval::{EvalError, Evaluation};
use super::expression::Expression;
use super::lower::Lowered;
use super::memo::LabelNumbers;
use super::state::State;
use super::store::SampleStore;
use super::value::Element;
use crate::observation::VectorSample;

/// The state of one expression over one store. Times may go in any order; forwards is cheap.
#[derive(Debug)]
pub(crate) struct Evaluator {
    state: State,
}

impl Evaluator {
    /// One that has seen nothing yet.
    pub(crate) fn new(expression: &Expression) -> Self {
        Self { state: State::new(expression.slots) }
    }

    /// A sample at `at` came to the store, or any number of them at `at` and later. Must be told before the
    /// next evaluation.
    pub(crate) fn sample_came(&mut self, at: Timestamp) {
        self.state.sample_came(at);
    }

    /// [`Expression::eval`], and the same bits. `expression` and `store` must be those of all calls.
    pub(crate) fn eval(
        &mut self,
        expression: &Expression,
        store: &SampleStore,
        at: Timestamp,
    ) -> Result<Vec<VectorSample>, EvalError> {
        let elements = self.elements(expression, store, at)?;
        let numbers = elements.into_iter().filter_map(|e| Some(((*e.labels).clone(), e.value.float()?)));
        let mut numbers: Vec<VectorSample> = numbers.collect();
        numbers.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(numbers)
    }

    fn elements(
        &mut self,
        expression: &Expression,
        store: &SampleStore,
        at: Timestamp,
    ) -> Result<Vec<Element>, EvalError> {
        let mut evaluation = Evaluation { store, state: &mut self.state, at_ms: at.millis() };
        match &expression.root {
            Lowered::Scalar(node) => Ok(vec![Element::float(Arc::default(), evaluation.scalar(node)?)]),
            Lowered::Vector(node) => evaluation.vector(node),
        }
    }
}

impl Expression {
    /// Its value at every multiple of `step` in `range`: one series for each label set that
    /// [`Self::eval`] gives at any of these times, sorted by labels, and the same bits. The first time at
    /// which the data does not fit the expression ends it with an error.
    ///
    /// The series are selected once and each window only moves forwards, so a long range costs its samples,
    /// not its steps times the samples of a window. The store must hold samples from
    /// [`window`](Self::window) before the range on.
    pub fn eval_range(&self, store: &SampleStore, range: TimeRange, step: Step) -> Result<Vec<Series>, EvalError> {
        let mut evaluator = Evaluator::new(self);
        let mut numbers = LabelNumbers::default();
        let mut all: Vec<(Arc<LabelSet>, Vec<Sample>)> = Vec::new();
        let mut at = range.start.align_up(step);
        while range.contains(at) {
            for element in evaluator.elements(self, store, at)? {
                let Some(value) = element.value.float() else { continue };
                let number = numbers.number(&element.labels);
                if number == all.len() {
                    all.push((element.labels, Vec::new()));
                }
                all[number].1.push(Sample { at, value });
            }
            at = at + step.duration();
        }
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        let series = all.into_iter().map(|(labels, samples)| Series { labels: (*labels).clone(), samples });
        Ok(series.collect())
    }
}

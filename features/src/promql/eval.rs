//! Walks the checked tree at one time. Each kind of node has its file; here they meet.

use std::collections::HashSet;
use std::sync::Arc;

use forewarn_schema::{LabelSet, METRIC_NAME, is_stale};

use super::node::{ScalarNode, VectorNode};
use super::selector::Selector;
use super::store::{SampleStore, StoredSeries};
use super::{LOOKBACK_MS, aggregate, binary, functions, histogram, over_range};

/// The data does not fit the expression at this time; at another time it may.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// Several elements share the labels that should tell one from another.
    #[error("matching labels must be unique on the {side} side, got {first} and {second} for {group}")]
    ManyToMany {
        /// `"left"` or `"right"`.
        side: &'static str,
        /// The shared labels.
        group: LabelSet,
        /// One element.
        first: LabelSet,
        /// Another.
        second: LabelSet,
    },
    /// Several elements on the left match one on the right, without `group_left`.
    #[error("many-to-one matching must be asked for (group_left, group_right), got more than one match for {0}")]
    MultipleMatches(LabelSet),
    /// A function or an operator made two elements with the same labels.
    #[error("a vector must not hold the same labels twice, got {0} twice")]
    SameLabels(LabelSet),
    /// `topk` or `bottomk` of a number that counts nothing.
    #[error("topk and bottomk need a number that fits 64 bits, got {0}")]
    NotACount(f64),
}

/// One evaluation: where the samples are, and when.
pub(super) struct Evaluation<'s> {
    pub(super) store: &'s SampleStore,
    pub(super) at_ms: i64,
}

/// One element of an instant vector while it is computed. Labels are shared, never changed in place.
#[derive(Clone, Debug)]
pub(super) struct Element {
    pub(super) labels: Arc<LabelSet>,
    pub(super) value: f64,
}

impl Evaluation<'_> {
    pub(super) fn scalar(&self, node: &ScalarNode) -> Result<f64, EvalError> {
        Ok(match node {
            ScalarNode::Number(value) => *value,
            ScalarNode::Time => self.at_ms as f64 / 1000.0,
            ScalarNode::OfVector(of) => match self.vector(of)?.as_slice() {
                [only] => only.value,
                _ => f64::NAN,
            },
            ScalarNode::Negate(of) => -self.scalar(of)?,
            ScalarNode::Binary { op, lhs, rhs } => binary::of_scalars(*op, self.scalar(lhs)?, self.scalar(rhs)?),
        })
    }

    pub(super) fn vector(&self, node: &VectorNode) -> Result<Vec<Element>, EvalError> {
        match node {
            VectorNode::Select(selector) => Ok(self.newest(selector, |series| &series.labels, |_, value| value)),
            VectorNode::SampleTime(selector) => {
                let times = self.newest(selector, |series| &series.nameless, |at_ms, _| at_ms as f64 / 1000.0);
                unless_named(selector, times)
            }
            VectorNode::OverRange { function, selector, range_ms, parameter } => {
                let parameter = parameter.as_ref().map_or(Ok(f64::NAN), |p| self.scalar(p))?;
                unless_named(selector, over_range::apply(self, *function, selector, *range_ms, parameter))
            }
            VectorNode::Map { function, of, parameters } => {
                let of = self.vector(of)?;
                let parameters = parameters.iter().map(|p| self.scalar(p)).collect::<Result<Vec<_>, _>>()?;
                distinct(functions::map(*function, of, &parameters, self.at_ms))
            }
            VectorNode::LabelReplace { of, target, replacement, source, pattern } => {
                distinct(functions::label_replace(self.vector(of)?, target, replacement, source, pattern))
            }
            VectorNode::Absent { of, labels } => {
                let nothing = self.vector(of)?.is_empty();
                Ok(nothing.then(|| Element { labels: Arc::new(labels.clone()), value: 1.0 }).into_iter().collect())
            }
            VectorNode::HistogramQuantile { quantile, of } => {
                let quantile = self.scalar(quantile)?;
                distinct(histogram::quantiles(quantile, &self.vector(of)?))
            }
            VectorNode::OfScalar(scalar) => Ok(vec![Element { labels: Arc::default(), value: self.scalar(scalar)? }]),
            VectorNode::Aggregate { op, parameter, grouping, of } => {
                let parameter = parameter.as_ref().map_or(Ok(f64::NAN), |p| self.scalar(p))?;
                aggregate::apply(*op, parameter, grouping, &self.vector(of)?)
            }
            VectorNode::WithScalar { op, vector, scalar, scalar_first, return_bool } => {
                let (vector, scalar) = (self.vector(vector)?, self.scalar(scalar)?);
                distinct(binary::with_scalar(*op, vector, scalar, *scalar_first, *return_bool))
            }
            VectorNode::Join { op, lhs, rhs, matching, return_bool } => {
                let (lhs, rhs) = (self.vector(lhs)?, self.vector(rhs)?);
                distinct(binary::join(*op, &lhs, &rhs, matching, *return_bool)?)
            }
            VectorNode::Set { op, lhs, rhs, labels } => {
                distinct(binary::set(*op, self.vector(lhs)?, self.vector(rhs)?, labels))
            }
        }
    }

    /// The newest sample of each series within the look-back, unless it says that the series has ended.
    fn newest(
        &self,
        selector: &Selector,
        labels: impl Fn(&StoredSeries) -> &Arc<LabelSet>,
        value: impl Fn(i64, f64) -> f64,
    ) -> Vec<Element> {
        let to = self.at_ms.saturating_sub(selector.offset_ms);
        let from = to.saturating_sub(LOOKBACK_MS);
        let mut elements = Vec::new();
        for series in self.store.select(selector) {
            if let Some(sample) = series.newest(from, to).filter(|s| !is_stale(s.value)) {
                let value = value(sample.at.millis(), sample.value);
                elements.push(Element { labels: Arc::clone(labels(series)), value });
            }
        }
        elements
    }
}

/// The same labels without the metric name; shared where there is none.
pub(super) fn without_name(labels: Arc<LabelSet>) -> Arc<LabelSet> {
    if labels.get(METRIC_NAME).is_none() { labels } else { Arc::new(labels.without(&[METRIC_NAME])) }
}

/// Refuses elements with the same labels.
fn distinct(elements: Vec<Element>) -> Result<Vec<Element>, EvalError> {
    let mut seen = HashSet::with_capacity(elements.len());
    for element in &elements {
        if !seen.insert(&element.labels) {
            return Err(EvalError::SameLabels((*element.labels).clone()));
        }
    }
    Ok(elements)
}

/// [`distinct`] where the metric name was dropped: series of one name cannot become the same.
fn unless_named(selector: &Selector, elements: Vec<Element>) -> Result<Vec<Element>, EvalError> {
    if selector.metric_name().is_some() { Ok(elements) } else { distinct(elements) }
}

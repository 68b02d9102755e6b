//! Walks the checked tree at one time. Each kind of node has its file; here they meet.

use std::sync::Arc;

use forewarn_schema::{LabelSet, METRIC_NAME};

use super::memo::{LabelMemo, distinct};
use super::node::{RangeFunction, RangeNode, RangeSource, ScalarNode, SelectNode, VectorNode};
use super::series::{Point, StoredSeries};
use super::state::State;
use super::store::SampleStore;
use super::value::{Element, Value};
use super::window::WindowView;
use super::{LOOKBACK_MS, aggregate, binary, classic, functions, over_range};

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
    /// `holt_winters` with a factor that smooths nothing or everything.
    #[error("a smoothing factor must be between 0 and 1, got {0}")]
    NotAFactor(f64),
}

/// One evaluation: where the samples are, when, and what is remembered of earlier times.
pub(super) struct Evaluation<'s> {
    pub(super) store: &'s SampleStore,
    pub(super) state: &'s mut State,
    pub(super) at_ms: i64,
}

impl Evaluation<'_> {
    /// The same at another time, for a subquery.
    pub(super) fn at(&mut self, at_ms: i64) -> Evaluation<'_> {
        Evaluation { store: self.store, state: self.state, at_ms }
    }

    pub(super) fn scalar(&mut self, node: &ScalarNode) -> Result<f64, EvalError> {
        Ok(match node {
            ScalarNode::Number(value) => *value,
            ScalarNode::Time => self.at_ms as f64 / 1000.0,
            ScalarNode::OfVector(of) => match self.vector(of)?.as_slice() {
                [only] => only.value.float().unwrap_or(f64::NAN),
                _ => f64::NAN,
            },
            ScalarNode::Negate(of) => -self.scalar(of)?,
            ScalarNode::Binary { op, lhs, rhs } => binary::of_scalars(*op, self.scalar(lhs)?, self.scalar(rhs)?),
        })
    }

    pub(super) fn vector(&mut self, node: &VectorNode) -> Result<Vec<Element>, EvalError> {
        match node {
            VectorNode::Select(select) => {
                Ok(self.newest(select, |series, _, value| Element { labels: Arc::clone(&series.labels), value }))
            }
            VectorNode::SampleTime { select, labels } => {
                let times = self.newest(select, |series, at_ms, _| {
                    Element::float(Arc::clone(series.nameless()), at_ms as f64 / 1000.0)
                });
                if select.selector.metric_name().is_some() {
                    return Ok(times);
                }
                nameless(times, self.state.labels(*labels, 0))
            }
            VectorNode::OverRange { function, range, parameters, labels } => {
                let parameters = self.scalars(parameters)?;
                over_range::check(*function, &parameters)?;
                let at_ms = self.at_ms;
                let mut elements = Vec::new();
                self.windows(range, Some(*function), |series, window| {
                    // It acts like an offset, so the name stays.
                    let keeps_name = *function == RangeFunction::Last;
                    let labels = if keeps_name { &series.labels } else { series.nameless() };
                    if let Some(value) = over_range::value(*function, &parameters, window, at_ms) {
                        elements.push(Element { labels: Arc::clone(labels), value });
                    }
                })?;
                match &range.of {
                    // Series of one name cannot become the same without it.
                    RangeSource::Select(select) if select.selector.metric_name().is_some() => Ok(elements),
                    _ => same(elements, self.state.labels(*labels, 0)),
                }
            }
            VectorNode::AbsentOverTime { range, fixed } => {
                let mut nothing = true;
                self.windows(range, Some(RangeFunction::Present), |_, window| {
                    nothing &= window.tally.count == 0 && window.histograms.iter().all(Point::is_stale);
                })?;
                Ok(absent(nothing, fixed))
            }
            VectorNode::Map { function, of, parameters, labels } => {
                let of = self.vector(of)?;
                let parameters = self.scalars(parameters)?;
                let memo = self.state.labels(*labels, of.len());
                functions::map(*function, of, &parameters, self.at_ms, memo)
            }
            VectorNode::Relabel { of, rule, labels } => {
                let of = self.vector(of)?;
                let memo = self.state.labels(*labels, of.len());
                functions::relabel(of, rule, memo)
            }
            VectorNode::Absent { of, fixed } => Ok(absent(self.vector(of)?.is_empty(), fixed)),
            VectorNode::HistogramQuantile { quantile, of, labels } => {
                let (quantile, of) = (self.scalar(quantile)?, self.vector(of)?);
                let memo = self.state.labels(*labels, of.len());
                classic::quantiles(quantile, &of, memo)
            }
            VectorNode::OfScalar(scalar) => Ok(vec![Element::float(Arc::default(), self.scalar(scalar)?)]),
            VectorNode::Aggregate { op, parameter, grouping, of, labels } => {
                let parameter = parameter.as_ref().map_or(Ok(f64::NAN), |p| self.scalar(p))?;
                let of = self.vector(of)?;
                let memo = self.state.labels(*labels, of.len());
                aggregate::apply(*op, parameter, grouping, &of, memo)
            }
            VectorNode::CountValues { label, grouping, of } => {
                Ok(aggregate::count_values(label, grouping, &self.vector(of)?))
            }
            VectorNode::WithScalar { op, vector, scalar, scalar_first, return_bool, labels } => {
                let (vector, scalar) = (self.vector(vector)?, self.scalar(scalar)?);
                let memo = self.state.labels(*labels, vector.len());
                binary::with_scalar(*op, vector, scalar, *scalar_first, *return_bool, memo)
            }
            VectorNode::Join { op, lhs, rhs, matching, return_bool, signatures, labels } => {
                let (lhs, rhs) = (self.vector(lhs)?, self.vector(rhs)?);
                let signed =
                    binary::sign(&lhs, &rhs, &matching.labels, self.state.labels(*signatures, lhs.len() + rhs.len()));
                let memo = self.state.labels(*labels, lhs.len() + rhs.len());
                binary::join(*op, &signed, matching, *return_bool, memo)
            }
            VectorNode::Set { op, lhs, rhs, on, signatures } => {
                let (lhs, rhs) = (self.vector(lhs)?, self.vector(rhs)?);
                let memo = self.state.labels(*signatures, lhs.len() + rhs.len());
                Ok(binary::set(*op, &binary::sign(&lhs, &rhs, on, memo)))
            }
        }
    }

    fn scalars(&mut self, nodes: &[ScalarNode]) -> Result<Vec<f64>, EvalError> {
        nodes.iter().map(|node| self.scalar(node)).collect()
    }

    /// The newest point of each series within the look-back, unless it says that the series has ended.
    fn newest(&mut self, node: &SelectNode, element: impl Fn(&StoredSeries, i64, Value) -> Element) -> Vec<Element> {
        let to = self.at_ms.saturating_sub(node.selector.offset_ms);
        let from = to.saturating_sub(LOOKBACK_MS);
        let selected = &mut self.state.selects[node.slot];
        selected.refresh(self.store, &node.selector);
        let newest = |series: &StoredSeries| {
            let (at_ms, value) = series.newest(from, to)?;
            Some(element(series, at_ms, value))
        };
        selected.series(self.store).filter_map(newest).collect()
    }

    /// Calls `visit` with each series of a range and what its window holds.
    fn windows(
        &mut self,
        range: &RangeNode,
        function: Option<RangeFunction>,
        visit: impl FnMut(&StoredSeries, WindowView<'_>),
    ) -> Result<(), EvalError> {
        let end_ms = self.at_ms.saturating_sub(range.offset_ms());
        let start_ms = end_ms.saturating_sub(range.width_ms);
        match &range.of {
            RangeSource::Select(node) => {
                let selected = &mut self.state.selects[node.slot];
                selected.refresh(self.store, &node.selector);
                selected.windows(self.store, function, (start_ms, end_ms), visit);
            }
            RangeSource::Subquery(node) => {
                // Out of its place while its own inner nodes are evaluated.
                let mut subquery = std::mem::take(&mut self.state.subqueries[node.slot]);
                let refreshed = subquery.refresh(self, node, function, start_ms, end_ms);
                if refreshed.is_ok() {
                    subquery.each(start_ms, end_ms, visit);
                }
                self.state.subqueries[node.slot] = subquery;
                refreshed?;
            }
        }
        Ok(())
    }
}

fn absent(nothing: bool, fixed: &LabelSet) -> Vec<Element> {
    if nothing { vec![Element::float(Arc::new(fixed.clone()), 1.0)] } else { vec![] }
}

/// The elements without metric names; an error where that makes two of them the same.
pub(super) fn nameless(mut elements: Vec<Element>, memo: &mut LabelMemo) -> Result<Vec<Element>, EvalError> {
    for element in &mut elements {
        element.labels = memo.make(&element.labels, |labels| labels.without(&[METRIC_NAME]));
    }
    distinct(elements)
}

/// The elements as they are; an error where two of them are the same.
fn same(mut elements: Vec<Element>, memo: &mut LabelMemo) -> Result<Vec<Element>, EvalError> {
    for element in &mut elements {
        element.labels = memo.make(&element.labels, LabelSet::clone);
    }
    distinct(elements)
}

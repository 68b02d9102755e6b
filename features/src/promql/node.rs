//! The checked form of an expression: a tree in which a scalar cannot stand where a vector must, so
//! that evaluation has no impossible case. `lower` makes it, `eval` walks it.

use forewarn_schema::LabelSet;
use regex::Regex;

use super::selector::Selector;

/// Evaluates to one number.
#[derive(Clone, Debug)]
pub(super) enum ScalarNode {
    /// A literal.
    Number(f64),
    /// `time()`: the evaluation time in Unix seconds.
    Time,
    /// `scalar(v)`: the only element's value; NaN where there is none or more than one.
    OfVector(Box<VectorNode>),
    /// Unary minus.
    Negate(Box<ScalarNode>),
    /// Arithmetic, or a comparison with `bool`.
    Binary { op: BinaryOp, lhs: Box<ScalarNode>, rhs: Box<ScalarNode> },
}

/// Evaluates to an instant vector.
#[derive(Clone, Debug)]
pub(super) enum VectorNode {
    /// The newest sample of each series within the look-back.
    Select(Selector),
    /// `timestamp(selector)`: when those samples were taken.
    SampleTime(Selector),
    /// A function over the samples of a window.
    OverRange { function: RangeFunction, selector: Selector, range_ms: i64, parameter: Option<Box<ScalarNode>> },
    /// A function of each element by itself.
    Map { function: MapFunction, of: Box<VectorNode>, parameters: Vec<ScalarNode> },
    /// `label_replace`.
    LabelReplace { of: Box<VectorNode>, target: String, replacement: String, source: String, pattern: Regex },
    /// `absent(v)`, with the labels its selector fixes.
    Absent { of: Box<VectorNode>, labels: LabelSet },
    /// `histogram_quantile` over classic buckets.
    HistogramQuantile { quantile: Box<ScalarNode>, of: Box<VectorNode> },
    /// `vector(s)`.
    OfScalar(Box<ScalarNode>),
    /// An aggregation.
    Aggregate { op: AggregateOp, parameter: Option<Box<ScalarNode>>, grouping: Grouping, of: Box<VectorNode> },
    /// A vector with a scalar on its right, or on its left where `scalar_first`.
    WithScalar { op: BinaryOp, vector: Box<VectorNode>, scalar: Box<ScalarNode>, scalar_first: bool, return_bool: bool },
    /// Two vectors, matched by labels.
    Join { op: BinaryOp, lhs: Box<VectorNode>, rhs: Box<VectorNode>, matching: Matching, return_bool: bool },
    /// `and`, `or`, `unless`.
    Set { op: SetOp, lhs: Box<VectorNode>, rhs: Box<VectorNode>, labels: MatchLabels },
}

/// A function over a window of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RangeFunction {
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
    Deriv,
    PredictLinear,
    Changes,
    Resets,
    Avg,
    Min,
    Max,
    Sum,
    Count,
    Last,
    Stddev,
    Stdvar,
    Quantile,
    Present,
}

/// A function of one element's value, its parameters scalars. All drop the metric name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapFunction {
    Negate,
    Abs,
    Ceil,
    Floor,
    Exp,
    Ln,
    Log2,
    Log10,
    Sgn,
    Sqrt,
    Round,
    Clamp,
    ClampMin,
    ClampMax,
    /// `timestamp` of anything but a selector: the evaluation time.
    EvaluationTime,
}

/// An aggregation over the elements of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Quantile,
    TopK,
    BottomK,
}

/// Which labels make a group. Names are sorted.
#[derive(Clone, Debug)]
pub(super) enum Grouping {
    By(Vec<String>),
    Without(Vec<String>),
}

/// An operator that computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// An operator on sets of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetOp {
    And,
    Or,
    Unless,
}

/// Which labels two elements must share. `Ignoring` always ignores the metric name too.
#[derive(Clone, Debug)]
pub(super) enum MatchLabels {
    On(Vec<String>),
    Ignoring(Vec<String>),
}

/// How two vectors are matched.
#[derive(Clone, Debug)]
pub(super) struct Matching {
    pub(super) labels: MatchLabels,
    pub(super) cardinality: Cardinality,
}

/// Which side may have several elements for one of the other, and the labels that come from the one.
#[derive(Clone, Debug)]
pub(super) enum Cardinality {
    OneToOne,
    /// `group_left`.
    ManyToOne(Vec<String>),
    /// `group_right`.
    OneToMany(Vec<String>),
}

impl ScalarNode {
    /// Calls `visit` with every selector below, and the width of its range (0: an instant).
    pub(super) fn selectors<'n>(&'n self, visit: &mut dyn FnMut(&'n Selector, i64)) {
        match self {
            Self::Number(_) | Self::Time => {}
            Self::OfVector(of) => of.selectors(visit),
            Self::Negate(of) => of.selectors(visit),
            Self::Binary { lhs, rhs, .. } => {
                lhs.selectors(visit);
                rhs.selectors(visit);
            }
        }
    }
}

impl VectorNode {
    /// Calls `visit` with every selector below, and the width of its range (0: an instant).
    pub(super) fn selectors<'n>(&'n self, visit: &mut dyn FnMut(&'n Selector, i64)) {
        match self {
            Self::Select(selector) | Self::SampleTime(selector) => visit(selector, 0),
            Self::OverRange { selector, range_ms, parameter, .. } => {
                visit(selector, *range_ms);
                if let Some(parameter) = parameter {
                    parameter.selectors(visit);
                }
            }
            Self::Map { of, parameters, .. } => {
                of.selectors(visit);
                for parameter in parameters {
                    parameter.selectors(visit);
                }
            }
            Self::LabelReplace { of, .. } | Self::Absent { of, .. } => of.selectors(visit),
            Self::HistogramQuantile { quantile, of } => {
                quantile.selectors(visit);
                of.selectors(visit);
            }
            Self::OfScalar(scalar) => scalar.selectors(visit),
            Self::Aggregate { parameter, of, .. } => {
                if let Some(parameter) = parameter {
                    parameter.selectors(visit);
                }
                of.selectors(visit);
            }
            Self::WithScalar { vector, scalar, .. } => {
                vector.selectors(visit);
                scalar.selectors(visit);
            }
            Self::Join { lhs, rhs, .. } | Self::Set { lhs, rhs, .. } => {
                lhs.selectors(visit);
                rhs.selectors(visit);
            }
        }
    }
}

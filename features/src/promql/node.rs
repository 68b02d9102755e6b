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

/// Evaluates to an instant vector. Where a node has a `slot` or `labels`, that is its place in the
/// [`State`](super::state::State) of an evaluation.
#[derive(Clone, Debug)]
pub(super) enum VectorNode {
    /// The newest sample of each series within the look-back.
    Select(SelectNode),
    /// `timestamp(selector)`: when those samples were taken.
    SampleTime { select: SelectNode, labels: LabelsSlot },
    /// A function over the samples of a window.
    OverRange { function: RangeFunction, range: RangeNode, parameters: Vec<ScalarNode>, labels: LabelsSlot },
    /// `absent_over_time(v[range])`, with the labels its selector fixes.
    AbsentOverTime { range: RangeNode, fixed: LabelSet },
    /// A function of each element by itself.
    Map { function: MapFunction, of: Box<VectorNode>, parameters: Vec<ScalarNode>, labels: LabelsSlot },
    /// `label_replace` and `label_join`.
    Relabel { of: Box<VectorNode>, rule: RelabelRule, labels: LabelsSlot },
    /// `absent(v)`, with the labels its selector fixes.
    Absent { of: Box<VectorNode>, fixed: LabelSet },
    /// `histogram_quantile` over classic buckets and native histograms.
    HistogramQuantile { quantile: Box<ScalarNode>, of: Box<VectorNode>, labels: LabelsSlot },
    /// `vector(s)`.
    OfScalar(Box<ScalarNode>),
    /// An aggregation.
    Aggregate {
        op: AggregateOp,
        parameter: Option<Box<ScalarNode>>,
        grouping: Grouping,
        of: Box<VectorNode>,
        labels: LabelsSlot,
    },
    /// `count_values`.
    CountValues { label: String, grouping: Grouping, of: Box<VectorNode> },
    /// A vector with a scalar on its right, or on its left where `scalar_first`.
    WithScalar {
        op: BinaryOp,
        vector: Box<VectorNode>,
        scalar: Box<ScalarNode>,
        scalar_first: bool,
        return_bool: bool,
        labels: LabelsSlot,
    },
    /// Two vectors, matched by labels.
    Join {
        op: BinaryOp,
        lhs: Box<VectorNode>,
        rhs: Box<VectorNode>,
        matching: Matching,
        return_bool: bool,
        signatures: LabelsSlot,
        labels: LabelsSlot,
    },
    /// `and`, `or`, `unless`.
    Set { op: SetOp, lhs: Box<VectorNode>, rhs: Box<VectorNode>, on: MatchLabels, signatures: LabelsSlot },
}

/// The place of a [`LabelMemo`](super::memo::LabelMemo).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LabelsSlot(pub(super) usize);

/// A selector and the place of the windows over its series.
#[derive(Clone, Debug)]
pub(super) struct SelectNode {
    pub(super) selector: Selector,
    pub(super) slot: usize,
}

/// The samples of a window.
#[derive(Clone, Debug)]
pub(super) struct RangeNode {
    pub(super) of: RangeSource,
    /// Positive.
    pub(super) width_ms: i64,
}

/// Whose samples.
#[derive(Clone, Debug)]
pub(super) enum RangeSource {
    /// Of series in the store.
    Select(SelectNode),
    /// Of a vector that is evaluated at every multiple of a step.
    Subquery(Box<SubqueryNode>),
}

/// `v[range:step] offset o`, but for the range.
#[derive(Clone, Debug)]
pub(super) struct SubqueryNode {
    pub(super) of: VectorNode,
    /// Positive.
    pub(super) step_ms: i64,
    /// Not negative.
    pub(super) offset_ms: i64,
    pub(super) slot: usize,
}

/// How labels are changed.
#[derive(Clone, Debug)]
pub(super) enum RelabelRule {
    /// `label_replace`.
    Replace { target: String, replacement: String, source: String, pattern: Regex },
    /// `label_join`.
    Join { target: String, separator: String, sources: Vec<String> },
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
    HoltWinters,
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

/// A function of one element's value, its parameters scalars. All but `Same` drop the metric name.
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
    /// `sort` and `sort_desc`: a vector has no order here.
    Same,
    Minute,
    Hour,
    DayOfWeek,
    DayOfMonth,
    DayOfYear,
    DaysInMonth,
    Month,
    Year,
    HistogramCount,
    HistogramSum,
    HistogramFraction,
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

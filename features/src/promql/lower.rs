//! From text to the checked tree: the parser is `promql-parser`, and what it accepts outside our
//! subset is refused here, with its place and what to write instead. Calls have a file of their own.

use std::cell::Cell;
use std::panic::catch_unwind;
use std::sync::Once;
use std::time::Duration;

use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    self, AggregateExpr, BinaryExpr, Expr, Function, LabelModifier, Offset, VectorMatchCardinality, VectorSelector,
    register_extra_functions, token,
};

use super::LOOKBACK_MS;
use super::expression::ExpressionError;
use super::names::{aggregate_op, binary_op, set_op};
use super::node::{
    Cardinality, Grouping, LabelsSlot, MapFunction, MatchLabels, Matching, ScalarNode, SelectNode, VectorNode,
};
use super::place::{Places, shorten};
use super::selector::Selector;
use super::state::Slots;

const MAX_CHARACTERS: usize = 16_384;
/// Parentheses and operators together: the parser's tree is as deep as there are of them.
const MAX_OPERATORS: usize = 1_000;
const MAX_DEPTH: usize = 200;
const MAX_WINDOW_MS: i64 = 31 * 86_400_000;
/// How often a vector inside subqueries may be evaluated for one result.
const MAX_INNER_STEPS: i64 = 100_000;

pub(super) const RECORD_IT: &str = "make a recording rule of it and name the recorded series here";

/// The checked form: a scalar or a vector.
#[derive(Clone, Debug)]
pub(super) enum Lowered {
    Scalar(ScalarNode),
    Vector(VectorNode),
}

/// Parses `text` and checks it.
pub(super) fn parse(text: &str) -> Result<(Lowered, Slots), ExpressionError> {
    let characters = text.chars().count();
    if characters > MAX_CHARACTERS {
        return Err(too_much("an expression's length in characters", MAX_CHARACTERS, characters));
    }
    let places = Places::new(text);
    let operators = places.count(|c| "()+-*/%^<>=!".contains(c));
    if operators > MAX_OPERATORS {
        return Err(too_much("an expression's count of parentheses and operators", MAX_OPERATORS, operators));
    }
    if let Some(column) = places.duration_without_unit() {
        let (construct, excerpt) = ("a duration without a unit".to_owned(), shorten(text));
        return Err(ExpressionError::Unsupported { construct, column, excerpt, instead: "write it as in 300s or 5m" });
    }
    know_holt_winters();
    // Upstream has panicked on durations out of range; a reload of the configuration must survive that.
    let parsed = catch_unwind(|| parser::parse(text)).unwrap_or_else(|_| Err("the parser gave up".to_owned()));
    let expr = parsed.map_err(|reason| {
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        ExpressionError::Syntax { reason: shorten(&reason), expression: shorten(text) }
    })?;
    let lowering = Lowering { places, slots: Cell::default(), inner_steps: Cell::new(1) };
    let lowered = lowering.any(&expr, 0)?;
    Ok((lowered, lowering.slots.get()))
}

/// The parser knows it by its name in Prometheus 3 only.
fn know_holt_winters() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let arguments = vec![ValueType::Matrix, ValueType::Scalar, ValueType::Scalar];
        let function = Function::new("holt_winters", arguments, 0, ValueType::Vector, false);
        // Refused only where the parser has learnt the name by itself.
        let _ = register_extra_functions(vec![function]);
    });
}

fn too_much(what: &'static str, most: impl ToString, got: impl ToString) -> ExpressionError {
    ExpressionError::TooMuch { what, most: most.to_string(), got: got.to_string() }
}

/// A check under way.
pub(super) struct Lowering {
    places: Places,
    /// Given out so far.
    slots: Cell<Slots>,
    /// How often what is checked now is evaluated for one result: the steps of the subqueries around it.
    inner_steps: Cell<i64>,
}

pub(super) type Lower<T> = Result<T, ExpressionError>;

impl Lowering {
    pub(super) fn any(&self, expr: &Expr, depth: usize) -> Lower<Lowered> {
        if depth > MAX_DEPTH {
            let (most, got) = (MAX_DEPTH.to_string(), "more".to_owned());
            return Err(ExpressionError::TooMuch { what: "an expression's depth", most, got });
        }
        let depth = depth + 1;
        match expr {
            Expr::NumberLiteral(number) => Ok(Lowered::Scalar(ScalarNode::Number(number.val))),
            Expr::Paren(paren) => self.any(&paren.expr, depth),
            Expr::Unary(unary) => Ok(match self.any(&unary.expr, depth)? {
                Lowered::Scalar(of) => Lowered::Scalar(ScalarNode::Negate(Box::new(of))),
                Lowered::Vector(of) => Lowered::Vector(self.map(MapFunction::Negate, of, vec![])),
            }),
            Expr::VectorSelector(selector) => {
                Ok(Lowered::Vector(VectorNode::Select(self.select(selector, LOOKBACK_MS, expr)?)))
            }
            Expr::Binary(binary) => self.binary(binary, expr, depth),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, expr, depth).map(Lowered::Vector),
            Expr::Call(call) => self.call(call, expr, depth),
            Expr::MatrixSelector(_) => {
                let instead = "put a function such as rate() or avg_over_time() around it";
                Err(self.refuse("a range of samples as a value", "[", expr, instead))
            }
            Expr::Subquery(_) => {
                let instead = "put a function such as max_over_time() around it";
                Err(self.refuse("a subquery as a value", "[", expr, instead))
            }
            Expr::StringLiteral(_) => {
                let instead = "write an expression with a number or an instant vector";
                Err(self.refuse("a string as a value", "\"", expr, instead))
            }
            Expr::Extension(_) => Err(self.refuse("an extension", "", expr, RECORD_IT)),
        }
    }

    pub(super) fn vector(&self, expr: &Expr, depth: usize) -> Lower<VectorNode> {
        match self.any(expr, depth)? {
            Lowered::Vector(node) => Ok(node),
            Lowered::Scalar(_) => {
                let instead = "put vector() around it";
                Err(self.refuse("a scalar where a vector is needed", "", expr, instead))
            }
        }
    }

    pub(super) fn scalar(&self, expr: &Expr, depth: usize) -> Lower<ScalarNode> {
        match self.any(expr, depth)? {
            Lowered::Scalar(node) => Ok(node),
            Lowered::Vector(_) => {
                let instead = "put scalar() around it";
                Err(self.refuse("a vector where a scalar is needed", "", expr, instead))
            }
        }
    }

    /// A selector whose samples are looked for in the `back_ms` before its time.
    pub(super) fn select(&self, selector: &VectorSelector, back_ms: i64, expr: &Expr) -> Lower<SelectNode> {
        self.refuse_at(selector.at.is_some(), expr)?;
        if !selector.matchers.or_matchers.is_empty() {
            let instead = "write two selectors with `or` between them";
            return Err(self.refuse("`or` between matchers", "or", expr, instead));
        }
        let offset_ms = self.offset(selector.offset.as_ref(), back_ms, expr)?;
        let selector = Selector::new(selector.name.clone(), selector.matchers.matchers.clone(), offset_ms);
        Ok(SelectNode { selector, slot: self.slot(|slots| &mut slots.selects) })
    }

    pub(super) fn refuse_at(&self, at: bool, expr: &Expr) -> Lower<()> {
        let instead = "use offset, which moves with the evaluation time";
        if at { Err(self.refuse("the @ modifier", "@", expr, instead)) } else { Ok(()) }
    }

    /// The offset of something that looks `back_ms` back; capped together.
    pub(super) fn offset(&self, offset: Option<&Offset>, back_ms: i64, expr: &Expr) -> Lower<i64> {
        let offset_ms = match offset {
            None => 0,
            Some(Offset::Pos(offset)) => milliseconds(*offset),
            Some(Offset::Neg(_)) => {
                let instead = "a prediction may only use samples up to its own time";
                return Err(self.refuse("a negative offset", "offset", expr, instead));
            }
        };
        check_window(offset_ms.saturating_add(back_ms))?;
        Ok(offset_ms)
    }

    /// Runs `inner` as something that is evaluated `steps` times as often as what is around it.
    pub(super) fn repeated<T>(&self, steps: i64, inner: impl FnOnce() -> Lower<T>) -> Lower<T> {
        let around = self.inner_steps.get();
        let all = around.saturating_mul(steps);
        if all > MAX_INNER_STEPS {
            return Err(too_much("the steps of subqueries, multiplied", MAX_INNER_STEPS, all));
        }
        self.inner_steps.set(all);
        let result = inner();
        self.inner_steps.set(around);
        result
    }

    /// A place in the state of an evaluation.
    pub(super) fn slot(&self, of: impl FnOnce(&mut Slots) -> &mut usize) -> usize {
        let mut slots = self.slots.get();
        let count = of(&mut slots);
        let slot = *count;
        *count += 1;
        self.slots.set(slots);
        slot
    }

    pub(super) fn labels(&self) -> LabelsSlot {
        LabelsSlot(self.slot(|slots| &mut slots.labels))
    }

    pub(super) fn map(&self, function: MapFunction, of: VectorNode, parameters: Vec<ScalarNode>) -> VectorNode {
        VectorNode::Map { function, of: Box::new(of), parameters, labels: self.labels() }
    }

    fn binary(&self, binary: &BinaryExpr, expr: &Expr, depth: usize) -> Lower<Lowered> {
        let (lhs, rhs) = (self.any(&binary.lhs, depth)?, self.any(&binary.rhs, depth)?);
        let modifier = binary.modifier.clone().unwrap_or_default();
        if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
            let instead = "write `or` with a default, as in (a or b * 0)";
            return Err(self.refuse("a fill modifier", "fill", expr, instead));
        }
        let labels = match modifier.matching {
            None => MatchLabels::Ignoring(vec![]),
            Some(LabelModifier::Include(labels)) => MatchLabels::On(sorted(labels.labels)),
            Some(LabelModifier::Exclude(labels)) => MatchLabels::Ignoring(sorted(labels.labels)),
        };
        if let Some(op) = set_op(binary.op) {
            let (Lowered::Vector(lhs), Lowered::Vector(rhs)) = (lhs, rhs) else {
                let instead = "put vector() around the scalar";
                return Err(self.refuse("a set operator on a scalar", &binary.op.to_string(), expr, instead));
            };
            return Ok(Lowered::Vector(VectorNode::Set {
                op,
                lhs: Box::new(lhs),
                rhs: Box::new(rhs),
                on: labels,
                signatures: self.labels(),
            }));
        }
        let Some(op) = binary_op(binary.op) else {
            let name = binary.op.to_string();
            return Err(self.refuse(&format!("the operator {name}"), &name, expr, RECORD_IT));
        };
        let return_bool = modifier.return_bool;
        let with_scalar = |vector, scalar, scalar_first| {
            let (vector, scalar) = (Box::new(vector), Box::new(scalar));
            Lowered::Vector(VectorNode::WithScalar {
                op,
                vector,
                scalar,
                scalar_first,
                return_bool,
                labels: self.labels(),
            })
        };
        Ok(match (lhs, rhs) {
            (Lowered::Scalar(lhs), Lowered::Scalar(rhs)) => {
                Lowered::Scalar(ScalarNode::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs) })
            }
            (Lowered::Vector(vector), Lowered::Scalar(scalar)) => with_scalar(vector, scalar, false),
            (Lowered::Scalar(scalar), Lowered::Vector(vector)) => with_scalar(vector, scalar, true),
            (Lowered::Vector(lhs), Lowered::Vector(rhs)) => {
                let cardinality = match modifier.card {
                    VectorMatchCardinality::ManyToOne(labels) => Cardinality::ManyToOne(labels.labels),
                    VectorMatchCardinality::OneToMany(labels) => Cardinality::OneToMany(labels.labels),
                    VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => Cardinality::OneToOne,
                };
                let matching = Matching { labels, cardinality };
                Lowered::Vector(VectorNode::Join {
                    op,
                    lhs: Box::new(lhs),
                    rhs: Box::new(rhs),
                    matching,
                    return_bool,
                    signatures: self.labels(),
                    labels: self.labels(),
                })
            }
        })
    }

    fn aggregate(&self, aggregate: &AggregateExpr, expr: &Expr, depth: usize) -> Lower<VectorNode> {
        let name = aggregate.op.to_string();
        let grouping = match &aggregate.modifier {
            None => Grouping::By(vec![]),
            Some(LabelModifier::Include(labels)) => Grouping::By(sorted(labels.labels.clone())),
            Some(LabelModifier::Exclude(labels)) => Grouping::Without(sorted(labels.labels.clone())),
        };
        if aggregate.op.id() == token::T_COUNT_VALUES {
            let Some(Expr::StringLiteral(label)) = aggregate.param.as_deref() else {
                return Err(self.refuse_arguments("count_values", expr));
            };
            let label = self.label_name(&label.val, "count_values", expr)?;
            let of = Box::new(self.vector(&aggregate.expr, depth)?);
            return Ok(VectorNode::CountValues { label, grouping, of });
        }
        let Some(op) = aggregate_op(aggregate.op) else {
            return Err(self.refuse(&format!("{name}()"), &name, expr, RECORD_IT));
        };
        let parameter = match &aggregate.param {
            Some(parameter) => Some(Box::new(self.scalar(parameter, depth)?)),
            None => None,
        };
        let of = Box::new(self.vector(&aggregate.expr, depth)?);
        Ok(VectorNode::Aggregate { op, parameter, grouping, of, labels: self.labels() })
    }

    /// A label name that an expression makes, as a string in a call of `function`.
    pub(super) fn label_name(&self, name: &str, function: &str, expr: &Expr) -> Lower<String> {
        let mut letters = name.chars();
        let well_named = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !well_named {
            let construct = format!("the label name {:?}", shorten(name));
            return Err(self.refuse(&construct, function, expr, "use letters, digits and underscores"));
        }
        Ok(name.to_owned())
    }

    pub(super) fn refuse_arguments(&self, name: &str, expr: &Expr) -> ExpressionError {
        let instead = "give the arguments that Prometheus documents";
        self.refuse(&format!("{name} with these arguments"), "", expr, instead)
    }

    /// The refusal of `construct`, whose place is that of `mark` in the text; an empty mark stands for the
    /// start of the text.
    pub(super) fn refuse(&self, construct: &str, mark: &str, expr: &Expr, instead: &'static str) -> ExpressionError {
        let column = self.places.find(mark).unwrap_or(0) + 1;
        let excerpt = shorten(&expr.to_string());
        ExpressionError::Unsupported { construct: construct.to_owned(), column, excerpt, instead }
    }
}

/// Refuses to look further back than is kept anywhere.
pub(super) fn check_window(back_ms: i64) -> Lower<()> {
    if back_ms > MAX_WINDOW_MS {
        let most = format!("{} s (31d)", MAX_WINDOW_MS / 1000);
        return Err(too_much("range and offset together", most, format!("{} s", back_ms / 1000)));
    }
    Ok(())
}

/// Saturates.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names
}

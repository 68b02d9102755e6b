//! From text to the checked tree: the parser is `promql-parser`, and what it accepts outside our
//! subset is refused here, with its place and what to write instead.

use std::panic::catch_unwind;

use promql_parser::parser::token::{self, TokenType};
use promql_parser::parser::{
    self, AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, Offset, VectorMatchCardinality,
};
use promql_parser::parser::{MatrixSelector, VectorSelector};
use regex::Regex;

use super::expression::ExpressionError;
use super::node::{
    AggregateOp, BinaryOp, Cardinality, Grouping, MapFunction, MatchLabels, Matching, RangeFunction, ScalarNode, SetOp,
    VectorNode,
};
use super::selector::Selector;

const MAX_CHARACTERS: usize = 16_384;
/// Parentheses and operators together: the parser's tree is as deep as there are of them.
const MAX_OPERATORS: usize = 1_000;
const MAX_DEPTH: usize = 200;
const MAX_WINDOW_MS: i64 = 31 * 86_400_000;

const RECORD_IT: &str = "make a recording rule of it and name the recorded series here";

/// The checked form: a scalar or a vector.
#[derive(Clone, Debug)]
pub(super) enum Lowered {
    Scalar(ScalarNode),
    Vector(VectorNode),
}

/// Parses `text` and checks it.
pub(super) fn parse(text: &str) -> Result<Lowered, ExpressionError> {
    let too_much =
        |what, most: usize, got: usize| ExpressionError::TooMuch { what, most: most.to_string(), got: got.to_string() };
    let characters = text.chars().count();
    if characters > MAX_CHARACTERS {
        return Err(too_much("an expression's length in characters", MAX_CHARACTERS, characters));
    }
    let bare = without_strings(text);
    let operators = bare.iter().filter(|c| "()+-*/%^<>=!".contains(**c)).count();
    if operators > MAX_OPERATORS {
        return Err(too_much("an expression's count of parentheses and operators", MAX_OPERATORS, operators));
    }
    let lowering = Lowering { bare };
    if let Some(column) = lowering.duration_without_unit() {
        let (construct, excerpt) = ("a duration without a unit".to_owned(), shorten(text));
        return Err(ExpressionError::Unsupported { construct, column, excerpt, instead: "write it as in 300s or 5m" });
    }
    // Upstream has panicked on durations out of range; a reload of the configuration must survive that.
    let parsed = catch_unwind(|| parser::parse(text)).unwrap_or_else(|_| Err("the parser gave up".to_owned()));
    let expr = parsed.map_err(|reason| {
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        ExpressionError::Syntax { reason: shorten(&reason), expression: shorten(text) }
    })?;
    lowering.any(&expr, 0)
}

struct Lowering {
    /// The text, strings and comments blanked, to find the place of a construct in.
    bare: Vec<char>,
}

type Lower<T> = Result<T, ExpressionError>;

impl Lowering {
    fn any(&self, expr: &Expr, depth: usize) -> Lower<Lowered> {
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
                Lowered::Vector(of) => Lowered::Vector(map(MapFunction::Negate, of, vec![])),
            }),
            Expr::VectorSelector(selector) => {
                Ok(Lowered::Vector(VectorNode::Select(self.selector(selector, 0, expr)?)))
            }
            Expr::Binary(binary) => self.binary(binary, expr, depth),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, expr, depth).map(Lowered::Vector),
            Expr::Call(call) => self.call(call, expr, depth),
            Expr::MatrixSelector(_) => {
                let instead = "put a function such as rate() or avg_over_time() around it";
                Err(self.refuse("a range of samples as a value", "[", expr, instead))
            }
            Expr::Subquery(_) => Err(self.refuse("a subquery", "[:", expr, RECORD_IT)),
            Expr::StringLiteral(_) => {
                let instead = "write an expression with a number or an instant vector";
                Err(self.refuse("a string as a value", "\"", expr, instead))
            }
            Expr::Extension(_) => Err(self.refuse("an extension", "", expr, RECORD_IT)),
        }
    }

    fn vector(&self, expr: &Expr, depth: usize) -> Lower<VectorNode> {
        match self.any(expr, depth)? {
            Lowered::Vector(node) => Ok(node),
            Lowered::Scalar(_) => {
                let instead = "put vector() around it";
                Err(self.refuse("a scalar where a vector is needed", "", expr, instead))
            }
        }
    }

    fn scalar(&self, expr: &Expr, depth: usize) -> Lower<ScalarNode> {
        match self.any(expr, depth)? {
            Lowered::Scalar(node) => Ok(node),
            Lowered::Vector(_) => {
                let instead = "put scalar() around it";
                Err(self.refuse("a vector where a scalar is needed", "", expr, instead))
            }
        }
    }

    fn selector(&self, selector: &VectorSelector, range_ms: i64, expr: &Expr) -> Lower<Selector> {
        if selector.at.is_some() {
            return Err(self.refuse("the @ modifier", "@", expr, "use offset, which moves with the evaluation time"));
        }
        if !selector.matchers.or_matchers.is_empty() {
            let instead = "write two selectors with `or` between them";
            return Err(self.refuse("`or` between matchers", "or", expr, instead));
        }
        let offset_ms = match &selector.offset {
            None => 0,
            Some(Offset::Pos(offset)) => i64::try_from(offset.as_millis()).unwrap_or(i64::MAX),
            Some(Offset::Neg(_)) => {
                let instead = "a prediction may only use samples up to its own time";
                return Err(self.refuse("a negative offset", "offset", expr, instead));
            }
        };
        if offset_ms.saturating_add(range_ms) > MAX_WINDOW_MS {
            let got = format!("{} s", offset_ms.saturating_add(range_ms) / 1000);
            let most = format!("{} s (31d)", MAX_WINDOW_MS / 1000);
            return Err(ExpressionError::TooMuch { what: "range and offset together", most, got });
        }
        Ok(Selector::new(selector.name.clone(), selector.matchers.matchers.clone(), offset_ms))
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
            return Ok(Lowered::Vector(VectorNode::Set { op, lhs: Box::new(lhs), rhs: Box::new(rhs), labels }));
        }
        let Some(op) = binary_op(binary.op) else {
            let name = binary.op.to_string();
            return Err(self.refuse(&format!("the operator {name}"), &name, expr, RECORD_IT));
        };
        let return_bool = modifier.return_bool;
        let with_scalar = |vector, scalar, scalar_first| {
            let (vector, scalar) = (Box::new(vector), Box::new(scalar));
            Lowered::Vector(VectorNode::WithScalar { op, vector, scalar, scalar_first, return_bool })
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
                Lowered::Vector(VectorNode::Join { op, lhs: Box::new(lhs), rhs: Box::new(rhs), matching, return_bool })
            }
        })
    }

    fn aggregate(&self, aggregate: &AggregateExpr, expr: &Expr, depth: usize) -> Lower<VectorNode> {
        let name = aggregate.op.to_string();
        let Some(op) = aggregate_op(aggregate.op) else {
            return Err(self.refuse(&format!("{name}()"), &name, expr, RECORD_IT));
        };
        let parameter = match &aggregate.param {
            Some(parameter) => Some(Box::new(self.scalar(parameter, depth)?)),
            None => None,
        };
        let grouping = match &aggregate.modifier {
            None => Grouping::By(vec![]),
            Some(LabelModifier::Include(labels)) => Grouping::By(sorted(labels.labels.clone())),
            Some(LabelModifier::Exclude(labels)) => Grouping::Without(sorted(labels.labels.clone())),
        };
        Ok(VectorNode::Aggregate { op, parameter, grouping, of: Box::new(self.vector(&aggregate.expr, depth)?) })
    }

    fn call(&self, call: &Call, expr: &Expr, depth: usize) -> Lower<Lowered> {
        let name = call.func.name;
        let arguments: Vec<&Expr> = call.args.args.iter().map(|a| unwrap_parens(a)).collect();
        if let Some(function) = range_function(name) {
            return self.over_range(function, &arguments, expr, depth).map(Lowered::Vector);
        }
        if let Some(function) = map_function(name) {
            let (of, parameters) = arguments.split_first().ok_or_else(|| self.refuse_arguments(name, expr))?;
            let of = self.vector(of, depth)?;
            let parameters = parameters.iter().map(|p| self.scalar(p, depth)).collect::<Lower<Vec<_>>>()?;
            return Ok(Lowered::Vector(map(function, of, parameters)));
        }
        let boxed = Box::new;
        Ok(match (name, arguments.as_slice()) {
            ("time", []) => Lowered::Scalar(ScalarNode::Time),
            ("scalar", [of]) => Lowered::Scalar(ScalarNode::OfVector(boxed(self.vector(of, depth)?))),
            ("vector", [of]) => Lowered::Vector(VectorNode::OfScalar(Box::new(self.scalar(of, depth)?))),
            ("timestamp", [of]) => Lowered::Vector(match self.vector(of, depth)? {
                VectorNode::Select(selector) => VectorNode::SampleTime(selector),
                other => map(MapFunction::EvaluationTime, other, vec![]),
            }),
            ("absent", [of]) => {
                let of = self.vector(of, depth)?;
                let labels = if let VectorNode::Select(s) = &of { s.fixed_labels() } else { Default::default() };
                Lowered::Vector(VectorNode::Absent { of: Box::new(of), labels })
            }
            ("histogram_quantile", [quantile, of]) => {
                let (quantile, of) = (Box::new(self.scalar(quantile, depth)?), Box::new(self.vector(of, depth)?));
                Lowered::Vector(VectorNode::HistogramQuantile { quantile, of })
            }
            ("label_replace", [of, rest @ ..]) => Lowered::Vector(self.label_replace(of, rest, expr, depth)?),
            _ => return Err(self.refuse(&format!("{name}()"), name, expr, RECORD_IT)),
        })
    }

    fn over_range(&self, function: RangeFunction, arguments: &[&Expr], expr: &Expr, depth: usize) -> Lower<VectorNode> {
        let (range, parameter) = match (function, arguments) {
            (RangeFunction::Quantile, [parameter, range]) => (range, Some(parameter)),
            (RangeFunction::PredictLinear, [range, parameter]) => (range, Some(parameter)),
            (_, [range]) => (range, None),
            _ => return Err(self.refuse_arguments("a function over a range", expr)),
        };
        let Expr::MatrixSelector(MatrixSelector { vs, range }) = range else {
            return self.any(range, depth).and_then(|_| Err(self.refuse_arguments("a function over a range", expr)));
        };
        let range_ms = i64::try_from(range.as_millis()).unwrap_or(i64::MAX);
        let parameter = match parameter {
            Some(parameter) => Some(Box::new(self.scalar(parameter, depth)?)),
            None => None,
        };
        Ok(VectorNode::OverRange { function, selector: self.selector(vs, range_ms, expr)?, range_ms, parameter })
    }

    fn label_replace(&self, of: &Expr, rest: &[&Expr], expr: &Expr, depth: usize) -> Lower<VectorNode> {
        let of = Box::new(self.vector(of, depth)?);
        let [
            Expr::StringLiteral(target),
            Expr::StringLiteral(replacement),
            Expr::StringLiteral(source),
            Expr::StringLiteral(pattern),
        ] = rest
        else {
            return Err(self.refuse_arguments("label_replace", expr));
        };
        let target = target.val.clone();
        let mut letters = target.chars();
        let well_named = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !well_named {
            let construct = format!("the label name {target:?}");
            return Err(self.refuse(&construct, "label_replace", expr, "use letters, digits and underscores"));
        }
        let pattern = Regex::new(&format!("^(?:{})$", pattern.val)).map_err(|_| {
            let construct = format!("the regular expression {:?}", shorten(&pattern.val));
            self.refuse(&construct, "label_replace", expr, "write it in RE2 syntax")
        })?;
        let (replacement, source) = (replacement.val.clone(), source.val.clone());
        Ok(VectorNode::LabelReplace { of, target, replacement, source, pattern })
    }

    fn refuse_arguments(&self, name: &str, expr: &Expr) -> ExpressionError {
        let instead = "give the arguments that Prometheus documents";
        self.refuse(&format!("{name} with these arguments"), "", expr, instead)
    }

    /// The refusal of `construct`, whose place is that of `mark` in the text. `"[:"` stands for the
    /// bracket of a subquery; an empty mark for the start of the text.
    fn refuse(&self, construct: &str, mark: &str, expr: &Expr, instead: &'static str) -> ExpressionError {
        let column = if mark == "[:" { self.subquery() } else { self.find(mark) }.unwrap_or(0) + 1;
        let excerpt = shorten(&expr.to_string());
        ExpressionError::Unsupported { construct: construct.to_owned(), column, excerpt, instead }
    }

    /// Where `mark` stands first outside strings, and where it is a word, as a whole word.
    fn find(&self, mark: &str) -> Option<usize> {
        let mark: Vec<char> = mark.chars().collect();
        let is_word = |c: Option<&char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == ':');
        let whole = mark.iter().all(|c| is_word(Some(c)));
        (0..self.bare.len().saturating_sub(mark.len())).find(|&at| {
            let apart =
                !is_word(at.checked_sub(1).and_then(|i| self.bare.get(i))) && !is_word(self.bare.get(at + mark.len()));
            self.bare[at..].starts_with(&mark) && (apart || !whole)
        })
    }

    /// The column of a bare number as a range or an offset. Prometheus 2 does not know it, and the parser
    /// panics on a large one.
    fn duration_without_unit(&self) -> Option<usize> {
        let is_token = |c: &char| c.is_ascii_alphanumeric() || *c == '.' || *c == '_';
        let mut bracket = false;
        let mut after_offset = false;
        let mut at = 0;
        while let Some(c) = self.bare.get(at) {
            let length = self.bare[at..].iter().take_while(|c| is_token(c)).count();
            if length == 0 {
                bracket = *c == '[' || (bracket && *c != ']');
                after_offset &= c.is_whitespace() || matches!(c, '+' | '-');
                at += 1;
                continue;
            }
            let token: String = self.bare[at..at + length].iter().collect::<String>().to_ascii_lowercase();
            let number = token.parse::<f64>().is_ok() || token.starts_with("0x");
            if number && (bracket || after_offset) {
                return Some(at + 1);
            }
            after_offset = token == "offset";
            at += length;
        }
        None
    }

    fn subquery(&self) -> Option<usize> {
        let mut open = None;
        for (at, c) in self.bare.iter().enumerate() {
            match c {
                '[' => open = Some(at),
                ']' => open = None,
                ':' if open.is_some() => return open,
                _ => {}
            }
        }
        None
    }
}

fn map(function: MapFunction, of: VectorNode, parameters: Vec<ScalarNode>) -> VectorNode {
    VectorNode::Map { function, of: Box::new(of), parameters }
}

fn unwrap_parens(expr: &Expr) -> &Expr {
    let mut expr = expr;
    while let Expr::Paren(paren) = expr {
        expr = &paren.expr;
    }
    expr
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names
}

/// One line of at most 120 characters.
fn shorten(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(121).collect();
    if line.chars().count() <= 120 { line } else { format!("{}…", line.chars().take(119).collect::<String>()) }
}

/// The characters of `text`, those inside strings and comments replaced by spaces.
fn without_strings(text: &str) -> Vec<char> {
    let mut bare = Vec::with_capacity(text.len());
    let mut inside: Option<char> = None;
    let mut escaped = false;
    for c in text.chars() {
        match inside {
            None => {
                inside = matches!(c, '"' | '\'' | '`' | '#').then_some(c);
                bare.push(if c == '#' { ' ' } else { c });
            }
            Some(quote) => {
                let ends = if quote == '#' { c == '\n' } else { c == quote && !escaped };
                escaped = c == '\\' && !escaped && quote != '`';
                bare.push(if ends { c } else { ' ' });
                if ends {
                    inside = None;
                }
            }
        }
    }
    bare
}

fn range_function(name: &str) -> Option<RangeFunction> {
    Some(match name {
        "rate" => RangeFunction::Rate,
        "increase" => RangeFunction::Increase,
        "delta" => RangeFunction::Delta,
        "irate" => RangeFunction::Irate,
        "idelta" => RangeFunction::Idelta,
        "deriv" => RangeFunction::Deriv,
        "predict_linear" => RangeFunction::PredictLinear,
        "changes" => RangeFunction::Changes,
        "resets" => RangeFunction::Resets,
        "avg_over_time" => RangeFunction::Avg,
        "min_over_time" => RangeFunction::Min,
        "max_over_time" => RangeFunction::Max,
        "sum_over_time" => RangeFunction::Sum,
        "count_over_time" => RangeFunction::Count,
        "last_over_time" => RangeFunction::Last,
        "stddev_over_time" => RangeFunction::Stddev,
        "stdvar_over_time" => RangeFunction::Stdvar,
        "quantile_over_time" => RangeFunction::Quantile,
        "present_over_time" => RangeFunction::Present,
        _ => return None,
    })
}

fn map_function(name: &str) -> Option<MapFunction> {
    Some(match name {
        "abs" => MapFunction::Abs,
        "ceil" => MapFunction::Ceil,
        "floor" => MapFunction::Floor,
        "exp" => MapFunction::Exp,
        "ln" => MapFunction::Ln,
        "log2" => MapFunction::Log2,
        "log10" => MapFunction::Log10,
        "sgn" => MapFunction::Sgn,
        "sqrt" => MapFunction::Sqrt,
        "round" => MapFunction::Round,
        "clamp" => MapFunction::Clamp,
        "clamp_min" => MapFunction::ClampMin,
        "clamp_max" => MapFunction::ClampMax,
        _ => return None,
    })
}

fn aggregate_op(op: TokenType) -> Option<AggregateOp> {
    Some(match op.id() {
        token::T_SUM => AggregateOp::Sum,
        token::T_AVG => AggregateOp::Avg,
        token::T_MIN => AggregateOp::Min,
        token::T_MAX => AggregateOp::Max,
        token::T_COUNT => AggregateOp::Count,
        token::T_GROUP => AggregateOp::Group,
        token::T_STDDEV => AggregateOp::Stddev,
        token::T_STDVAR => AggregateOp::Stdvar,
        token::T_QUANTILE => AggregateOp::Quantile,
        token::T_TOPK => AggregateOp::TopK,
        token::T_BOTTOMK => AggregateOp::BottomK,
        _ => return None,
    })
}

fn set_op(op: TokenType) -> Option<SetOp> {
    match op.id() {
        token::T_LAND => Some(SetOp::And),
        token::T_LOR => Some(SetOp::Or),
        token::T_LUNLESS => Some(SetOp::Unless),
        _ => None,
    }
}

fn binary_op(op: TokenType) -> Option<BinaryOp> {
    Some(match op.id() {
        token::T_ADD => BinaryOp::Add,
        token::T_SUB => BinaryOp::Sub,
        token::T_MUL => BinaryOp::Mul,
        token::T_DIV => BinaryOp::Div,
        token::T_MOD => BinaryOp::Mod,
        token::T_POW => BinaryOp::Pow,
        token::T_EQLC => BinaryOp::Equal,
        token::T_NEQ => BinaryOp::NotEqual,
        token::T_LSS => BinaryOp::Less,
        token::T_LTE => BinaryOp::LessEqual,
        token::T_GTR => BinaryOp::Greater,
        token::T_GTE => BinaryOp::GreaterEqual,
        _ => return None,
    })
}

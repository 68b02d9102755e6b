//! Calls of functions: which arguments they take, and what they become.

use promql_parser::parser::{Call, Expr, MatrixSelector, SubqueryExpr};
use regex::Regex;

use super::lower::{Lower, Lowered, Lowering, RECORD_IT, check_window, milliseconds};
use super::names::{map_function, range_function};
use super::node::{
    MapFunction, RangeFunction, RangeNode, RangeSource, RelabelRule, ScalarNode, SubqueryNode, VectorNode,
};
use super::place::shorten;

/// The step of a subquery that names none: Prometheus takes its `global.evaluation_interval`, and this is
/// what that is unless someone has changed it.
const DEFAULT_SUBQUERY_STEP_MS: i64 = 60_000;

impl Lowering {
    pub(super) fn call(&self, call: &Call, expr: &Expr, depth: usize) -> Lower<Lowered> {
        let name = call.func.name;
        let arguments: Vec<&Expr> = call.args.args.iter().map(|a| unwrap_parens(a)).collect();
        if let Some(function) = range_function(name) {
            return self.over_range(function, &arguments, expr, depth).map(Lowered::Vector);
        }
        if let Some(function) = map_function(name) {
            let vector = match arguments.split_first() {
                None if is_of_date(function) => {
                    self.map(function, VectorNode::OfScalar(Box::new(ScalarNode::Time)), vec![])
                }
                None => return Err(self.refuse_arguments(name, expr)),
                Some((of, parameters)) => {
                    let of = self.vector(of, depth)?;
                    let parameters = parameters.iter().map(|p| self.scalar(p, depth)).collect::<Lower<Vec<_>>>()?;
                    self.map(function, of, parameters)
                }
            };
            return Ok(Lowered::Vector(vector));
        }
        let vector = match (name, arguments.as_slice()) {
            ("time", []) => return Ok(Lowered::Scalar(ScalarNode::Time)),
            ("scalar", [of]) => return Ok(Lowered::Scalar(ScalarNode::OfVector(Box::new(self.vector(of, depth)?)))),
            ("vector", [of]) => VectorNode::OfScalar(Box::new(self.scalar(of, depth)?)),
            ("timestamp", [of]) => match self.vector(of, depth)? {
                VectorNode::Select(select) => VectorNode::SampleTime { select, labels: self.labels() },
                other => self.map(MapFunction::EvaluationTime, other, vec![]),
            },
            ("absent", [of]) => {
                let of = self.vector(of, depth)?;
                let fixed =
                    if let VectorNode::Select(s) = &of { s.selector.fixed_labels() } else { Default::default() };
                VectorNode::Absent { of: Box::new(of), fixed }
            }
            ("absent_over_time", [range]) => {
                let range = self.range(range, expr, depth)?;
                let fixed = match &range.of {
                    RangeSource::Select(select) => select.selector.fixed_labels(),
                    RangeSource::Subquery(_) => Default::default(),
                };
                VectorNode::AbsentOverTime { range, fixed }
            }
            ("histogram_quantile", [quantile, of]) => {
                let (quantile, of) = (Box::new(self.scalar(quantile, depth)?), Box::new(self.vector(of, depth)?));
                VectorNode::HistogramQuantile { quantile, of, labels: self.labels() }
            }
            ("histogram_fraction", [lower, upper, of]) => {
                let bounds = vec![self.scalar(lower, depth)?, self.scalar(upper, depth)?];
                self.map(MapFunction::HistogramFraction, self.vector(of, depth)?, bounds)
            }
            ("label_replace", [of, rest @ ..]) => self.relabel(of, self.replace_rule(rest, expr)?, depth)?,
            ("label_join", [of, rest @ ..]) => self.relabel(of, self.join_rule(rest, expr)?, depth)?,
            _ => return Err(self.refuse(&format!("{name}()"), name, expr, RECORD_IT)),
        };
        Ok(Lowered::Vector(vector))
    }

    fn over_range(&self, function: RangeFunction, arguments: &[&Expr], expr: &Expr, depth: usize) -> Lower<VectorNode> {
        let (range, parameters) = match (function, arguments) {
            (RangeFunction::Quantile, [parameter, range]) => (range, vec![*parameter]),
            (_, [range, parameters @ ..]) => (range, parameters.to_vec()),
            _ => return Err(self.refuse_arguments("a function over a range", expr)),
        };
        let range = self.range(range, expr, depth)?;
        let parameters = parameters.iter().map(|p| self.scalar(p, depth)).collect::<Lower<Vec<_>>>()?;
        Ok(VectorNode::OverRange { function, range, parameters, labels: self.labels() })
    }

    fn range(&self, range: &Expr, expr: &Expr, depth: usize) -> Lower<RangeNode> {
        match range {
            Expr::MatrixSelector(MatrixSelector { vs, range }) => {
                let width_ms = milliseconds(*range);
                Ok(RangeNode { of: RangeSource::Select(self.select(vs, width_ms, expr)?), width_ms })
            }
            Expr::Subquery(subquery) => self.subquery(subquery, expr, depth),
            _ => self.any(range, depth).and_then(|_| Err(self.refuse_arguments("a function over a range", expr))),
        }
    }

    fn subquery(&self, subquery: &SubqueryExpr, expr: &Expr, depth: usize) -> Lower<RangeNode> {
        self.refuse_at(subquery.at.is_some(), expr)?;
        let width_ms = milliseconds(subquery.range);
        let offset_ms = self.offset(subquery.offset.as_ref(), width_ms, expr)?;
        let step_ms = subquery.step.map_or(DEFAULT_SUBQUERY_STEP_MS, milliseconds);
        if step_ms <= 0 {
            return Err(self.refuse("a subquery without a step", "[", expr, "write a step, as in [1h:1m]"));
        }
        check_window(step_ms)?;
        let of = self.repeated(width_ms / step_ms + 1, || self.vector(&subquery.expr, depth))?;
        let slot = self.slot(|slots| &mut slots.subqueries);
        Ok(RangeNode { of: RangeSource::Subquery(Box::new(SubqueryNode { of, step_ms, offset_ms, slot })), width_ms })
    }

    fn relabel(&self, of: &Expr, rule: RelabelRule, depth: usize) -> Lower<VectorNode> {
        Ok(VectorNode::Relabel { of: Box::new(self.vector(of, depth)?), rule, labels: self.labels() })
    }

    fn replace_rule(&self, arguments: &[&Expr], expr: &Expr) -> Lower<RelabelRule> {
        let [target, replacement, source, pattern] = self.strings("label_replace", arguments, expr)?[..] else {
            return Err(self.refuse_arguments("label_replace", expr));
        };
        let target = self.label_name(target, "label_replace", expr)?;
        let pattern = Regex::new(&format!("^(?:{pattern})$")).map_err(|_| {
            let construct = format!("the regular expression {:?}", shorten(pattern));
            self.refuse(&construct, "label_replace", expr, "write it in RE2 syntax")
        })?;
        let (replacement, source) = (replacement.to_owned(), source.to_owned());
        Ok(RelabelRule::Replace { target, replacement, source, pattern })
    }

    fn join_rule(&self, arguments: &[&Expr], expr: &Expr) -> Lower<RelabelRule> {
        let arguments = self.strings("label_join", arguments, expr)?;
        let [target, separator, sources @ ..] = &arguments[..] else {
            return Err(self.refuse_arguments("label_join", expr));
        };
        let target = self.label_name(target, "label_join", expr)?;
        for source in sources {
            self.label_name(source, "label_join", expr)?;
        }
        let (separator, sources) = ((*separator).to_owned(), sources.iter().map(|s| (*s).to_owned()).collect());
        Ok(RelabelRule::Join { target, separator, sources })
    }

    fn strings<'e>(&self, function: &str, arguments: &[&'e Expr], expr: &Expr) -> Lower<Vec<&'e str>> {
        let strings = arguments.iter().map(|argument| match argument {
            Expr::StringLiteral(literal) => Ok(literal.val.as_str()),
            _ => Err(self.refuse_arguments(function, expr)),
        });
        strings.collect()
    }
}

/// Whether it stands for a function that takes the evaluation time where it is given nothing.
fn is_of_date(function: MapFunction) -> bool {
    matches!(
        function,
        MapFunction::Minute
            | MapFunction::Hour
            | MapFunction::DayOfWeek
            | MapFunction::DayOfMonth
            | MapFunction::DayOfYear
            | MapFunction::DaysInMonth
            | MapFunction::Month
            | MapFunction::Year
    )
}

fn unwrap_parens(expr: &Expr) -> &Expr {
    let mut expr = expr;
    while let Expr::Paren(paren) = expr {
        expr = &paren.expr;
    }
    expr
}

//! Functions of an instant vector's elements, one by one.

use std::sync::Arc;

use forewarn_schema::LabelSet;

use super::calendar::Calendar;
use super::eval::{EvalError, nameless};
use super::memo::{LabelMemo, distinct};
use super::native::FloatHistogram;
use super::node::{MapFunction, RelabelRule};
use super::value::{Element, Value};

/// Applies `function` to each value; the metric name goes. Nothing is left where a clamp's lower bound is
/// above its upper one, nor of elements whose kind of value the function does not know.
pub(super) fn map(
    function: MapFunction,
    of: Vec<Element>,
    parameters: &[f64],
    at_ms: i64,
    memo: &mut LabelMemo,
) -> Result<Vec<Element>, EvalError> {
    let parameter = |i: usize| parameters.get(i).copied();
    let (first, second) = (parameter(0).unwrap_or(f64::NAN), parameter(1).unwrap_or(f64::NAN));
    match function {
        MapFunction::Same => return Ok(of),
        MapFunction::Clamp if second < first => return Ok(vec![]),
        _ => {}
    }
    let value = |value: Value| match (function, value) {
        (MapFunction::EvaluationTime, _) => Some(Value::Float(at_ms as f64 / 1000.0)),
        (_, Value::Float(value)) => of_float(function, value, parameter(0), first, second).map(Value::Float),
        (MapFunction::Negate, Value::Histogram(histogram)) => {
            let mut histogram = FloatHistogram::clone(&histogram);
            histogram.scale(-1.0);
            Some(Value::Histogram(Arc::new(histogram)))
        }
        (MapFunction::HistogramCount, Value::Histogram(histogram)) => Some(Value::Float(histogram.count)),
        (MapFunction::HistogramSum, Value::Histogram(histogram)) => Some(Value::Float(histogram.sum)),
        (MapFunction::HistogramFraction, Value::Histogram(histogram)) => {
            Some(Value::Float(histogram.fraction(first, second)))
        }
        _ => None,
    };
    let mapped = of.into_iter().filter_map(|e| Some(Element { value: value(e.value)?, labels: e.labels }));
    nameless(mapped.collect(), memo)
}

fn of_float(function: MapFunction, v: f64, nearest: Option<f64>, first: f64, second: f64) -> Option<f64> {
    Some(match function {
        MapFunction::Negate => -v,
        MapFunction::Abs => v.abs(),
        MapFunction::Ceil => v.ceil(),
        MapFunction::Floor => v.floor(),
        MapFunction::Exp => v.exp(),
        MapFunction::Ln => v.ln(),
        MapFunction::Log2 => v.log2(),
        MapFunction::Log10 => v.log10(),
        MapFunction::Sgn if v > 0.0 => 1.0,
        MapFunction::Sgn if v < 0.0 => -1.0,
        MapFunction::Sgn | MapFunction::Same | MapFunction::EvaluationTime => v,
        MapFunction::Sqrt => v.sqrt(),
        // By the inverse, as Prometheus does: 1 / 0.1 is exact where 0.1 is not. Ties go up.
        MapFunction::Round => {
            let inverse = 1.0 / nearest.unwrap_or(1.0);
            (v * inverse + 0.5).floor() / inverse
        }
        MapFunction::Clamp => larger(first, smaller(second, v)),
        MapFunction::ClampMin => larger(first, v),
        MapFunction::ClampMax => smaller(first, v),
        MapFunction::Minute => Calendar::at(v).map_or(f64::NAN, |c| c.minute),
        MapFunction::Hour => Calendar::at(v).map_or(f64::NAN, |c| c.hour),
        MapFunction::DayOfWeek => Calendar::at(v).map_or(f64::NAN, |c| c.day_of_week),
        MapFunction::DayOfMonth => Calendar::at(v).map_or(f64::NAN, |c| c.day_of_month),
        MapFunction::DayOfYear => Calendar::at(v).map_or(f64::NAN, |c| c.day_of_year),
        MapFunction::DaysInMonth => Calendar::at(v).map_or(f64::NAN, |c| c.days_in_month),
        MapFunction::Month => Calendar::at(v).map_or(f64::NAN, |c| c.month),
        MapFunction::Year => Calendar::at(v).map_or(f64::NAN, |c| c.year),
        MapFunction::HistogramCount | MapFunction::HistogramSum | MapFunction::HistogramFraction => return None,
    })
}

/// The larger one; NaN where either is (`f64::max` would hide it).
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The smaller one; NaN where either is.
fn smaller(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// `label_replace`: where the whole value of the source matches, the target becomes the replacement with its
/// groups filled in. `label_join`: the target becomes the sources' values with the separator between. An
/// empty result removes the label. The metric name stays.
pub(super) fn relabel(
    mut of: Vec<Element>,
    rule: &RelabelRule,
    memo: &mut LabelMemo,
) -> Result<Vec<Element>, EvalError> {
    for element in &mut of {
        element.labels = memo.make(&element.labels, |labels| relabelled(labels, rule));
    }
    distinct(of)
}

fn relabelled(labels: &LabelSet, rule: &RelabelRule) -> LabelSet {
    let mut result = labels.clone();
    match rule {
        RelabelRule::Replace { target, replacement, source, pattern } => {
            if let Some(groups) = pattern.captures(labels.get(source).unwrap_or("")) {
                let mut value = String::new();
                groups.expand(replacement, &mut value);
                result.insert(target, value);
            }
        }
        RelabelRule::Join { target, separator, sources } => {
            let values: Vec<&str> = sources.iter().map(|source| labels.get(source).unwrap_or("")).collect();
            result.insert(target, values.join(separator));
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    fn one(value: f64) -> Vec<Element> {
        vec![Element::float(Arc::new(LabelSet::from([("__name__", "a"), ("pod", "cart-7d9")])), value)]
    }

    #[test]
    fn rounding_ties_go_up_and_nan_survives_a_clamp() {
        let map = |f, v: Vec<Element>, p: &[f64]| map(f, v, p, 0, &mut LabelMemo::default()).unwrap();
        let map_one = |f, v, p: &[f64]| map(f, one(v), p)[0].value.float().unwrap();
        assert_eq!(map_one(MapFunction::Round, -2.5, &[]), -2.0);
        assert_eq!(map_one(MapFunction::Round, 0.35, &[0.1]), 0.4);
        assert_eq!(map_one(MapFunction::Clamp, 7.0, &[0.0, 5.0]), 5.0);
        assert!(map_one(MapFunction::ClampMin, f64::NAN, &[0.0]).is_nan());
        assert!(map(MapFunction::Clamp, one(1.0), &[5.0, 0.0]).is_empty());
    }

    fn changed(rule: RelabelRule) -> String {
        relabel(one(1.0), &rule, &mut LabelMemo::default()).unwrap()[0].labels.to_string()
    }

    #[test]
    fn label_join_puts_values_together_and_nothing_removes() {
        let join = |separator: &str, sources: &[&str]| {
            let sources = sources.iter().map(|s| (*s).to_owned()).collect();
            changed(RelabelRule::Join { target: "pod".to_owned(), separator: separator.to_owned(), sources })
        };
        assert_eq!(join("/", &["pod", "missing", "pod"]), r#"a{pod="cart-7d9//cart-7d9"}"#);
        assert_eq!(join("", &["missing"]), "a");
    }

    #[test]
    fn label_replace_needs_a_whole_match_and_fills_groups() {
        let replace = |replacement, pattern| {
            let pattern = Regex::new(&format!("^(?:{pattern})$")).unwrap();
            let (target, source) = ("service".to_owned(), "pod".to_owned());
            changed(RelabelRule::Replace { target, replacement: String::from(replacement), source, pattern })
        };
        assert_eq!(replace("$1", "(.*)-.*"), r#"a{pod="cart-7d9",service="cart"}"#);
        assert_eq!(replace("x", "cart"), r#"a{pod="cart-7d9"}"#);
        assert_eq!(replace("", ".*"), r#"a{pod="cart-7d9"}"#);
    }
}

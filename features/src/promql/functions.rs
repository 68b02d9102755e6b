//! Functions of an instant vector's elements, one by one.

use std::sync::Arc;

use regex::Regex;

use super::eval::{Element, without_name};
use super::node::MapFunction;

/// Applies `function` to each value; the metric name goes. Nothing is left where a clamp's lower bound
/// is above its upper one.
pub(super) fn map(function: MapFunction, of: Vec<Element>, parameters: &[f64], at_ms: i64) -> Vec<Element> {
    let parameter = |i: usize, default: f64| parameters.get(i).copied().unwrap_or(default);
    let (first, second) = (parameter(0, f64::NAN), parameter(1, f64::NAN));
    if function == MapFunction::Clamp && second < first {
        return vec![];
    }
    let apply = |v: f64| match function {
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
        MapFunction::Sgn => v,
        MapFunction::Sqrt => v.sqrt(),
        // By the inverse, as Prometheus does: 1 / 0.1 is exact where 0.1 is not. Ties go up.
        MapFunction::Round => {
            let inverse = 1.0 / parameter(0, 1.0);
            (v * inverse + 0.5).floor() / inverse
        }
        MapFunction::Clamp => larger(first, smaller(second, v)),
        MapFunction::ClampMin => larger(first, v),
        MapFunction::ClampMax => smaller(first, v),
        MapFunction::EvaluationTime => at_ms as f64 / 1000.0,
    };
    of.into_iter().map(|e| Element { labels: without_name(e.labels), value: apply(e.value) }).collect()
}

/// The larger one; NaN where either is (`f64::max` would hide it).
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The smaller one; NaN where either is.
fn smaller(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// Where the whole value of `source` matches, sets `target` to `replacement` with its groups filled
/// in; an empty result removes the label. The metric name stays.
pub(super) fn label_replace(
    mut of: Vec<Element>,
    target: &str,
    replacement: &str,
    source: &str,
    pattern: &Regex,
) -> Vec<Element> {
    for element in &mut of {
        let Some(groups) = pattern.captures(element.labels.get(source).unwrap_or("")) else { continue };
        let mut value = String::new();
        groups.expand(replacement, &mut value);
        let mut labels = (*element.labels).clone();
        labels.insert(target, value);
        element.labels = Arc::new(labels);
    }
    of
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::LabelSet;

    fn one(value: f64) -> Vec<Element> {
        vec![Element { labels: Arc::new(LabelSet::from([("__name__", "a"), ("pod", "cart-7d9")])), value }]
    }

    #[test]
    fn rounding_ties_go_up_and_nan_survives_a_clamp() {
        let map_one = |f, v, p: &[f64]| map(f, one(v), p, 0)[0].value;
        assert_eq!(map_one(MapFunction::Round, -2.5, &[]), -2.0);
        assert_eq!(map_one(MapFunction::Round, 0.35, &[0.1]), 0.4);
        assert_eq!(map_one(MapFunction::Clamp, 7.0, &[0.0, 5.0]), 5.0);
        assert!(map_one(MapFunction::ClampMin, f64::NAN, &[0.0]).is_nan());
        assert!(map(MapFunction::Clamp, one(1.0), &[5.0, 0.0], 0).is_empty());
    }

    #[test]
    fn label_replace_needs_a_whole_match_and_fills_groups() {
        let replace = |replacement, pattern| {
            let pattern = Regex::new(&format!("^(?:{pattern})$")).unwrap();
            label_replace(one(1.0), "service", replacement, "pod", &pattern)[0].labels.to_string()
        };
        assert_eq!(replace("$1", "(.*)-.*"), r#"a{pod="cart-7d9",service="cart"}"#);
        assert_eq!(replace("x", "cart"), r#"a{pod="cart-7d9"}"#);
        assert_eq!(replace("", ".*"), r#"a{pod="cart-7d9"}"#);
    }
}

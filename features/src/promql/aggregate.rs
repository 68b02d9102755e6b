//! Aggregation: many elements into one a group, or the k largest of each group.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use forewarn_schema::{LabelSet, METRIC_NAME};

use super::eval::{Element, EvalError};
use super::node::{AggregateOp, Grouping};
use super::over_range::{mean_absorbs, quantile};

/// Aggregates by groups; groups come out sorted. Values are added in the order of `elements`, which
/// selectors sort by labels, so that a sum has the same bits every time.
pub(super) fn apply(
    op: AggregateOp,
    parameter: f64,
    grouping: &Grouping,
    elements: &[Element],
) -> Result<Vec<Element>, EvalError> {
    if matches!(op, AggregateOp::TopK | AggregateOp::BottomK) {
        // Prometheus asks for what converts to an int64.
        if !(i64::MIN as f64..=i64::MAX as f64).contains(&parameter) {
            return Err(EvalError::NotACount(parameter));
        }
        if parameter < 1.0 {
            return Ok(vec![]);
        }
    }
    // A BTreeMap of borrowed labels: no label set is built but one a group.
    let mut groups: BTreeMap<Vec<(&str, &str)>, Vec<&Element>> = BTreeMap::new();
    for element in elements {
        groups.entry(key(grouping, &element.labels)).or_default().push(element);
    }
    let mut result = Vec::with_capacity(groups.len());
    for (labels, members) in groups {
        match op {
            AggregateOp::TopK | AggregateOp::BottomK => {
                let k = usize::try_from(parameter as i64).unwrap_or(usize::MAX);
                result.extend(extremes(op, k, members));
            }
            _ => {
                let labels: LabelSet = labels.into_iter().collect();
                result.push(Element { labels: Arc::new(labels), value: reduce(op, parameter, &members) });
            }
        }
    }
    Ok(result)
}

/// The labels of `labels` that make its group.
fn key<'l>(grouping: &Grouping, labels: &'l LabelSet) -> Vec<(&'l str, &'l str)> {
    let named = |names: &[String], name: &str| names.binary_search_by(|n| n.as_str().cmp(name)).is_ok();
    match grouping {
        Grouping::By(names) if names.is_empty() => vec![],
        Grouping::By(names) => labels.iter().filter(|(name, _)| named(names, name)).collect(),
        Grouping::Without(names) => {
            labels.iter().filter(|(name, _)| *name != METRIC_NAME && !named(names, name)).collect()
        }
    }
}

fn reduce(op: AggregateOp, parameter: f64, members: &[&Element]) -> f64 {
    let count = members.len() as f64;
    let values = || members.iter().map(|e| e.value);
    match op {
        AggregateOp::Sum => values().reduce(|sum, v| sum + v).unwrap_or(0.0),
        AggregateOp::Avg => mean(values()),
        AggregateOp::Min => values().reduce(|min, v| if min > v || min.is_nan() { v } else { min }).unwrap_or(f64::NAN),
        AggregateOp::Max => values().reduce(|max, v| if max < v || max.is_nan() { v } else { max }).unwrap_or(f64::NAN),
        AggregateOp::Count => count,
        AggregateOp::Group => 1.0,
        AggregateOp::Stddev => (squared_deviations(values()) / count).sqrt(),
        AggregateOp::Stdvar => squared_deviations(values()) / count,
        AggregateOp::Quantile => quantile(parameter, &mut values().collect::<Vec<_>>()),
        AggregateOp::TopK | AggregateOp::BottomK => f64::NAN,
    }
}

/// The running mean, as upstream computes it over elements: not compensated.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let mut mean = 0.0;
    for (i, value) in values.enumerate() {
        let count = (i + 1) as f64;
        if i == 0 {
            mean = value;
        } else if !(f64::is_infinite(mean) && mean_absorbs(mean, value)) {
            mean += value / count - mean / count;
        }
    }
    mean
}

/// The sum of squared deviations from the mean (Welford 1962); 0 for one value, whatever it is.
fn squared_deviations(mut values: impl Iterator<Item = f64>) -> f64 {
    let mut mean = values.next().unwrap_or(f64::NAN);
    let mut squares = 0.0;
    for (i, value) in values.enumerate() {
        let delta = value - mean;
        mean += delta / (i + 2) as f64;
        squares += delta * (value - mean);
    }
    squares
}

/// The `k` largest (or smallest) members, best first, NaN last; of equals those that come first. They
/// keep all their labels.
fn extremes(op: AggregateOp, k: usize, mut members: Vec<&Element>) -> Vec<Element> {
    members.sort_by(|a, b| match (a.value.is_nan(), b.value.is_nan()) {
        (false, false) if op == AggregateOp::TopK => b.value.partial_cmp(&a.value).unwrap_or(Ordering::Equal),
        (false, false) => a.value.partial_cmp(&b.value).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    });
    members.into_iter().take(k).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(values: &[f64]) -> Vec<Element> {
        let labels = |i: usize| LabelSet::from([("__name__", "m"), ("pod", &*format!("p{i}")), ("service", "cart")]);
        values.iter().enumerate().map(|(i, v)| Element { labels: Arc::new(labels(i)), value: *v }).collect()
    }

    fn one(op: AggregateOp, parameter: f64, values: &[f64]) -> f64 {
        apply(op, parameter, &Grouping::By(vec![]), &pods(values)).unwrap()[0].value
    }

    #[test]
    fn groups_keep_only_their_labels() {
        let labels = |grouping| apply(AggregateOp::Sum, f64::NAN, &grouping, &pods(&[1.0, 2.0])).unwrap();
        let by = labels(Grouping::By(vec!["absent".into(), "service".into()]));
        assert_eq!((by[0].labels.to_string(), by[0].value), (r#"{service="cart"}"#.to_owned(), 3.0));
        let without = labels(Grouping::Without(vec!["pod".into()]));
        assert_eq!(without[0].labels.to_string(), r#"{service="cart"}"#);
    }

    #[test]
    fn a_nan_gives_way_to_a_number_in_min_max_and_topk() {
        let nan = f64::NAN;
        assert_eq!(one(AggregateOp::Max, nan, &[nan, 1.0, 2.0]), 2.0);
        assert_eq!(one(AggregateOp::Min, nan, &[nan, 1.0, 2.0]), 1.0);
        let top = apply(AggregateOp::TopK, 2.0, &Grouping::By(vec![]), &pods(&[nan, 1.0, 2.0])).unwrap();
        assert_eq!(top.iter().map(|e| e.value).collect::<Vec<_>>(), [2.0, 1.0]);
        assert!(top[0].labels.get("__name__").is_some());
    }

    #[test]
    fn spread_and_quantile_by_hand() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(one(AggregateOp::Stddev, f64::NAN, &values), 2.0);
        assert_eq!(one(AggregateOp::Quantile, 0.5, &values), 4.5);
        assert_eq!(one(AggregateOp::Avg, f64::NAN, &values), 5.0);
    }

    #[test]
    fn k_must_count_something() {
        let top = |k| apply(AggregateOp::TopK, k, &Grouping::By(vec![]), &pods(&[1.0]));
        assert!(top(0.5).unwrap().is_empty());
        assert!(matches!(top(f64::NAN), Err(EvalError::NotACount(_))));
    }
}

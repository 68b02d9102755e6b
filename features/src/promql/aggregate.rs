//! Aggregation: many elements into one a group, or the k largest of each group.
//!
//! Native histograms are added up and averaged, counted and grouped; for all else they are no elements, and
//! a group that mixes them with numbers has no sum.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use forewarn_schema::{LabelSet, METRIC_NAME};

use super::eval::EvalError;
use super::memo::{LabelMemo, address};
use super::native::FloatHistogram;
use super::node::{AggregateOp, Grouping};
use super::over_range::{mean_absorbs, quantile};
use super::value::{Element, Value};

/// Aggregates by groups, which come in the order of their first element. Values are added in the order of
/// `elements`, which selectors sort by labels, so that a sum has the same bits every time.
pub(super) fn apply(
    op: AggregateOp,
    parameter: f64,
    grouping: &Grouping,
    elements: &[Element],
    memo: &mut LabelMemo,
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
    let mut groups: Vec<(Arc<LabelSet>, Vec<&Element>)> = Vec::new();
    let mut places: HashMap<usize, usize> = HashMap::new();
    for element in elements {
        let labels = memo.make(&element.labels, |labels| group_of(grouping, labels));
        let place = *places.entry(address(&labels)).or_insert(groups.len());
        if place == groups.len() {
            groups.push((labels, Vec::new()));
        }
        groups[place].1.push(element);
    }
    let mut result = Vec::with_capacity(groups.len());
    for (labels, members) in groups {
        match op {
            AggregateOp::TopK | AggregateOp::BottomK => {
                let k = usize::try_from(parameter as i64).unwrap_or(usize::MAX);
                result.extend(extremes(op, k, &members));
            }
            _ => result.extend(reduce(op, parameter, &members).map(|value| Element { labels, value })),
        }
    }
    Ok(result)
}

/// `count_values`: how often each value is there, the value as a label.
pub(super) fn count_values(label: &str, grouping: &Grouping, elements: &[Element]) -> Vec<Element> {
    let mut counts: BTreeMap<LabelSet, f64> = BTreeMap::new();
    for element in elements {
        let Value::Float(value) = element.value else { continue };
        let mut labels = group_of(grouping, &element.labels);
        labels.insert(label, shown(value));
        *counts.entry(labels).or_default() += 1.0;
    }
    counts.into_iter().map(|(labels, count)| Element::float(Arc::new(labels), count)).collect()
}

/// All digits and no exponent, as Prometheus writes a value into a label.
fn shown(value: f64) -> String {
    if value.is_infinite() { if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned() } else { value.to_string() }
}

/// The labels of `labels` that make its group.
fn group_of(grouping: &Grouping, labels: &LabelSet) -> LabelSet {
    let named = |names: &[String], name: &str| names.binary_search_by(|n| n.as_str().cmp(name)).is_ok();
    match grouping {
        Grouping::By(names) => labels.iter().filter(|(name, _)| named(names, name)).collect(),
        Grouping::Without(names) => {
            labels.iter().filter(|(name, _)| *name != METRIC_NAME && !named(names, name)).collect()
        }
    }
}

fn reduce(op: AggregateOp, parameter: f64, members: &[&Element]) -> Option<Value> {
    match op {
        AggregateOp::Count => return Some(Value::Float(members.len() as f64)),
        AggregateOp::Group => return Some(Value::Float(1.0)),
        _ => {}
    }
    let floats: Vec<f64> = members.iter().filter_map(|e| e.value.float()).collect();
    if floats.len() < members.len() && matches!(op, AggregateOp::Sum | AggregateOp::Avg) {
        return total(members, op == AggregateOp::Avg);
    }
    if floats.is_empty() {
        return None;
    }
    Some(Value::Float(reduce_floats(op, parameter, floats)))
}

/// The sum or mean of native histograms; `None` where there is a number among them or they cannot meet.
fn total(members: &[&Element], mean: bool) -> Option<Value> {
    let mut histograms = members.iter().map(|e| match &e.value {
        Value::Histogram(histogram) => Some(histogram),
        Value::Float(_) => None,
    });
    let mut total = FloatHistogram::clone(histograms.next()??);
    for histogram in histograms {
        if !total.add(histogram?) {
            return None;
        }
    }
    if mean {
        total.scale(1.0 / members.len() as f64);
    }
    total.compact();
    Some(Value::Histogram(Arc::new(total)))
}

fn reduce_floats(op: AggregateOp, parameter: f64, mut floats: Vec<f64>) -> f64 {
    let count = floats.len() as f64;
    let values = || floats.iter().copied();
    match op {
        AggregateOp::Sum => values().reduce(|sum, v| sum + v).unwrap_or(0.0),
        AggregateOp::Avg => mean(values()),
        AggregateOp::Min => values().reduce(|min, v| if min > v || min.is_nan() { v } else { min }).unwrap_or(f64::NAN),
        AggregateOp::Max => values().reduce(|max, v| if max < v || max.is_nan() { v } else { max }).unwrap_or(f64::NAN),
        AggregateOp::Stddev => (squared_deviations(values()) / count).sqrt(),
        AggregateOp::Stdvar => squared_deviations(values()) / count,
        AggregateOp::Quantile => quantile(parameter, &mut floats),
        AggregateOp::Count | AggregateOp::Group | AggregateOp::TopK | AggregateOp::BottomK => f64::NAN,
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
fn extremes(op: AggregateOp, k: usize, members: &[&Element]) -> Vec<Element> {
    let mut floats: Vec<(f64, &Element)> = members.iter().filter_map(|e| Some((e.value.float()?, *e))).collect();
    floats.sort_by(|(a, _), (b, _)| match (a.is_nan(), b.is_nan()) {
        (false, false) if op == AggregateOp::TopK => b.partial_cmp(a).unwrap_or(Ordering::Equal),
        (false, false) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    });
    floats.into_iter().take(k).map(|(_, element)| element.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(values: &[f64]) -> Vec<Element> {
        let labels = |i: usize| LabelSet::from([("__name__", "m"), ("pod", &*format!("p{i}")), ("service", "cart")]);
        values.iter().enumerate().map(|(i, v)| Element::float(Arc::new(labels(i)), *v)).collect()
    }

    fn over(op: AggregateOp, parameter: f64, grouping: &Grouping, values: &[f64]) -> Result<Vec<Element>, EvalError> {
        apply(op, parameter, grouping, &pods(values), &mut LabelMemo::default())
    }

    fn floats(elements: &[Element]) -> Vec<f64> {
        elements.iter().filter_map(|e| e.value.float()).collect()
    }

    fn one(op: AggregateOp, parameter: f64, values: &[f64]) -> f64 {
        floats(&over(op, parameter, &Grouping::By(vec![]), values).unwrap())[0]
    }

    #[test]
    fn groups_keep_only_their_labels() {
        let labels = |grouping| over(AggregateOp::Sum, f64::NAN, &grouping, &[1.0, 2.0]).unwrap();
        let by = labels(Grouping::By(vec!["absent".into(), "service".into()]));
        assert_eq!((by[0].labels.to_string(), floats(&by)), (r#"{service="cart"}"#.to_owned(), vec![3.0]));
        let without = labels(Grouping::Without(vec!["pod".into()]));
        assert_eq!(without[0].labels.to_string(), r#"{service="cart"}"#);
    }

    #[test]
    fn a_nan_gives_way_to_a_number_in_min_max_and_topk() {
        let nan = f64::NAN;
        assert_eq!(one(AggregateOp::Max, nan, &[nan, 1.0, 2.0]), 2.0);
        assert_eq!(one(AggregateOp::Min, nan, &[nan, 1.0, 2.0]), 1.0);
        let top = over(AggregateOp::TopK, 2.0, &Grouping::By(vec![]), &[nan, 1.0, 2.0]).unwrap();
        assert_eq!(floats(&top), [2.0, 1.0]);
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
        let top = |k| over(AggregateOp::TopK, k, &Grouping::By(vec![]), &[1.0]);
        assert!(top(0.5).unwrap().is_empty());
        assert!(matches!(top(f64::NAN), Err(EvalError::NotACount(_))));
    }

    #[test]
    fn values_are_counted_by_what_they_look_like() {
        let counted = count_values("v", &Grouping::By(vec![]), &pods(&[0.25, 1e21, 0.25, f64::NEG_INFINITY]));
        let shown: Vec<_> = counted.iter().map(|e| (e.labels.get("v").unwrap(), e.value.float().unwrap())).collect();
        assert_eq!(shown, [("-Inf", 1.0), ("0.25", 2.0), ("1000000000000000000000", 1.0)]);
    }

    #[test]
    fn histograms_add_up_and_do_not_mix_with_numbers() {
        let histogram = |count| Value::Histogram(Arc::new(FloatHistogram { count, ..FloatHistogram::default() }));
        let element = |value| Element { labels: Arc::default(), value };
        let of = |op, values: &[Value]| {
            let elements: Vec<Element> = values.iter().cloned().map(element).collect();
            apply(op, f64::NAN, &Grouping::By(vec![]), &elements, &mut LabelMemo::default()).unwrap()
        };
        let two = [histogram(2.0), histogram(4.0)];
        assert_eq!(of(AggregateOp::Avg, &two)[0].value, histogram(3.0));
        assert_eq!(floats(&of(AggregateOp::Count, &two)), [2.0]);
        assert!(of(AggregateOp::Max, &two).is_empty());
        assert!(of(AggregateOp::Sum, &[histogram(2.0), Value::Float(1.0)]).is_empty());
    }
}

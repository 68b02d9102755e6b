//! Operators between scalars, between a vector and a scalar, and between two vectors: a hash join by
//! label signature.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use forewarn_schema::{LabelSet, METRIC_NAME};

use super::eval::{EvalError, nameless};
use super::memo::{LabelMemo, address, distinct};
use super::native::FloatHistogram;
use super::node::{BinaryOp, Cardinality, MatchLabels, Matching, SetOp};
use super::value::{Element, Value};

impl BinaryOp {
    fn compares(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual | Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual)
    }

    /// The value, and whether the element stays: a comparison keeps the left value where it holds.
    fn apply(self, left: f64, right: f64) -> (f64, bool) {
        match self {
            Self::Add => (left + right, true),
            Self::Sub => (left - right, true),
            Self::Mul => (left * right, true),
            Self::Div => (left / right, true),
            Self::Mod => (left % right, true),
            Self::Pow => (left.powf(right), true),
            Self::Equal => (left, left == right),
            Self::NotEqual => (left, left != right),
            Self::Less => (left, left < right),
            Self::LessEqual => (left, left <= right),
            Self::Greater => (left, left > right),
            Self::GreaterEqual => (left, left >= right),
        }
    }

    /// The same for values of any kind; `None` where they do not go together. Native histograms are added
    /// and subtracted, multiplied and divided by a number.
    fn apply_values(self, left: &Value, right: &Value) -> Option<(Value, bool)> {
        let scaled = |histogram: &FloatHistogram, factor: f64| {
            let mut histogram = histogram.clone();
            histogram.scale(factor);
            histogram
        };
        let result = match (self, left, right) {
            (_, Value::Float(left), Value::Float(right)) => {
                let (value, keep) = self.apply(*left, *right);
                return Some((Value::Float(value), keep));
            }
            (Self::Add | Self::Sub, Value::Histogram(left), Value::Histogram(right)) => {
                let mut result = FloatHistogram::clone(left);
                let met = if self == Self::Add { result.add(right) } else { result.subtract(right) };
                if !met {
                    return None;
                }
                result.compact();
                result
            }
            (Self::Mul, Value::Histogram(histogram), Value::Float(factor))
            | (Self::Mul, Value::Float(factor), Value::Histogram(histogram)) => scaled(histogram, *factor),
            (Self::Div, Value::Histogram(histogram), Value::Float(divisor)) => scaled(histogram, 1.0 / divisor),
            _ => return None,
        };
        Some((Value::Histogram(Arc::new(result)), true))
    }
}

/// Between two scalars; a comparison is 1 or 0.
pub(super) fn of_scalars(op: BinaryOp, left: f64, right: f64) -> f64 {
    let (value, holds) = op.apply(left, right);
    if op.compares() { f64::from(u8::from(holds)) } else { value }
}

/// Between each element and a scalar. A comparison keeps the element's own value on either side.
pub(super) fn with_scalar(
    op: BinaryOp,
    vector: Vec<Element>,
    scalar: f64,
    scalar_first: bool,
    return_bool: bool,
    memo: &mut LabelMemo,
) -> Result<Vec<Element>, EvalError> {
    let scalar = Value::Float(scalar);
    let mut result = Vec::with_capacity(vector.len());
    for element in vector {
        let (left, right) = if scalar_first { (&scalar, &element.value) } else { (&element.value, &scalar) };
        let Some((mut value, keep)) = op.apply_values(left, right) else { continue };
        if op.compares() {
            value = if return_bool { as_flag(keep) } else { element.value };
        }
        if keep || return_bool {
            result.push(Element { labels: element.labels, value });
        }
    }
    if op.compares() && !return_bool { Ok(result) } else { nameless(result, memo) }
}

fn as_flag(holds: bool) -> Value {
    Value::Float(f64::from(u8::from(holds)))
}

/// Two vectors, each element with what it must share with a partner; equal signatures are one object.
pub(super) struct Signed<'e> {
    lhs: Vec<(Arc<LabelSet>, &'e Element)>,
    rhs: Vec<(Arc<LabelSet>, &'e Element)>,
}

/// Takes the labels to be matched out of both sides.
pub(super) fn sign<'e>(lhs: &'e [Element], rhs: &'e [Element], by: &MatchLabels, memo: &mut LabelMemo) -> Signed<'e> {
    let mut side = |elements: &'e [Element]| {
        elements.iter().map(|e| (memo.make(&e.labels, |labels| signature(by, labels)), e)).collect()
    };
    Signed { lhs: side(lhs), rhs: side(rhs) }
}

/// Between two vectors, matched one to one, or many to one where the expression asks for it.
pub(super) fn join(
    op: BinaryOp,
    signed: &Signed<'_>,
    matching: &Matching,
    return_bool: bool,
    memo: &mut LabelMemo,
) -> Result<Vec<Element>, EvalError> {
    let one_to_many = matches!(matching.cardinality, Cardinality::OneToMany(_));
    // From here the "one" side is on the right; values swap back when they meet.
    let (many, one) = if one_to_many { (&signed.rhs, &signed.lhs) } else { (&signed.lhs, &signed.rhs) };
    if many.is_empty() || one.is_empty() {
        return Ok(vec![]);
    }
    let mut partners: HashMap<usize, &Element> = HashMap::with_capacity(one.len());
    for (signature, element) in one {
        if let Some(other) = partners.insert(address(signature), element) {
            let side = if one_to_many { "left" } else { "right" };
            let (first, second) = ((*other.labels).clone(), (*element.labels).clone());
            return Err(EvalError::ManyToMany { side, group: (**signature).clone(), first, second });
        }
    }
    let drops_name = !op.compares() || return_bool;
    let mut matched: HashSet<usize> = HashSet::new();
    let mut result = Vec::with_capacity(many.len());
    for (signature, element) in many {
        let Some(partner) = partners.get(&address(signature)) else { continue };
        let (left, right) =
            if one_to_many { (&partner.value, &element.value) } else { (&element.value, &partner.value) };
        let Some((mut value, keep)) = op.apply_values(left, right) else { continue };
        if return_bool {
            value = as_flag(keep);
        } else if !keep {
            continue;
        }
        if matches!(matching.cardinality, Cardinality::OneToOne) && !matched.insert(address(signature)) {
            return Err(EvalError::MultipleMatches((**signature).clone()));
        }
        let labels = memo.make_from_two(&element.labels, &partner.labels, |many, one| {
            result_labels(many, one, matching, drops_name)
        });
        result.push(Element { labels, value });
    }
    distinct(result)
}

/// `and` keeps the left elements that have a partner, `unless` those that have none, `or` adds the
/// right elements that have none on the left.
pub(super) fn set(op: SetOp, signed: &Signed<'_>) -> Vec<Element> {
    let (lhs, rhs) = (&signed.lhs, &signed.rhs);
    let partners = if op == SetOp::Or { lhs } else { rhs };
    let partners: HashSet<usize> = partners.iter().map(|(signature, _)| address(signature)).collect();
    let has_partner = |(signature, _): &&(Arc<LabelSet>, &Element)| partners.contains(&address(signature));
    let cloned = |(_, element): &(Arc<LabelSet>, &Element)| (*element).clone();
    match op {
        SetOp::And => lhs.iter().filter(has_partner).map(cloned).collect(),
        SetOp::Unless => lhs.iter().filter(|e| !has_partner(e)).map(cloned).collect(),
        SetOp::Or => lhs.iter().chain(rhs.iter().filter(|e| !has_partner(e))).map(cloned).collect(),
    }
}

fn signature(by: &MatchLabels, labels: &LabelSet) -> LabelSet {
    let named = |names: &[String], name: &str| names.binary_search_by(|n| n.as_str().cmp(name)).is_ok();
    match by {
        MatchLabels::On(names) => labels.iter().filter(|(name, _)| named(names, name)).collect(),
        MatchLabels::Ignoring(names) => {
            labels.iter().filter(|(name, _)| *name != METRIC_NAME && !named(names, name)).collect()
        }
    }
}

/// The "many" side's labels, in a one-to-one match only those matched on; and from the "one" side those
/// that the group modifier names.
fn result_labels(many: &LabelSet, one: &LabelSet, matching: &Matching, drops_name: bool) -> LabelSet {
    let (includes, one_to_one) = match &matching.cardinality {
        Cardinality::OneToOne => (&[][..], true),
        Cardinality::ManyToOne(labels) | Cardinality::OneToMany(labels) => (labels.as_slice(), false),
    };
    let mut labels = match &matching.labels {
        MatchLabels::On(on) if one_to_one => many.only(&borrowed(on)),
        MatchLabels::Ignoring(ignored) if one_to_one => many.without(&borrowed(ignored)),
        _ => many.clone(),
    };
    if drops_name {
        labels.remove(METRIC_NAME);
    }
    for name in includes {
        // An absent label has the empty value, which removes it here too.
        labels.insert(name, one.get(name).unwrap_or(""));
    }
    labels
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(text: &[(&str, &str)], value: f64) -> Element {
        Element::float(Arc::new(text.iter().copied().collect()), value)
    }

    fn matching(labels: MatchLabels, cardinality: Cardinality) -> Matching {
        Matching { labels, cardinality }
    }

    fn on(names: &[&str]) -> MatchLabels {
        MatchLabels::On(names.iter().map(|n| (*n).to_owned()).collect())
    }

    fn shown(elements: &[Element]) -> Vec<(String, f64)> {
        elements.iter().map(|e| (e.labels.to_string(), e.value.float().unwrap())).collect()
    }

    fn join(op: BinaryOp, lhs: &[Element], rhs: &[Element], matching: &Matching) -> Result<Vec<Element>, EvalError> {
        let mut signatures = LabelMemo::default();
        let signed = sign(lhs, rhs, &matching.labels, &mut signatures);
        super::join(op, &signed, matching, false, &mut LabelMemo::default())
    }

    fn with_half(vector: Vec<Element>, scalar_first: bool, return_bool: bool) -> Vec<Element> {
        with_scalar(BinaryOp::Greater, vector, 0.5, scalar_first, return_bool, &mut LabelMemo::default()).unwrap()
    }

    #[test]
    fn group_left_takes_the_named_labels_from_the_one_side() {
        let used = [
            element(&[("__name__", "used"), ("node", "n1"), ("pod", "a")], 6.0),
            element(&[("__name__", "used"), ("node", "n1"), ("pod", "b")], 3.0),
            element(&[("__name__", "used"), ("node", "n2"), ("pod", "c")], 1.0),
        ];
        let limit = [element(&[("__name__", "limit"), ("node", "n1"), ("zone", "eu")], 12.0)];
        let many = matching(on(&["node"]), Cardinality::ManyToOne(vec!["zone".into()]));
        let share = join(BinaryOp::Div, &used, &limit, &many).unwrap();
        let expected = [(r#"{node="n1",pod="a",zone="eu"}"#, 0.5), (r#"{node="n1",pod="b",zone="eu"}"#, 0.25)];
        assert_eq!(shown(&share), expected.map(|(l, v)| (l.to_owned(), v)));
        let one = matching(on(&["node"]), Cardinality::OneToMany(vec![]));
        let above = join(BinaryOp::Greater, &limit, &used, &one).unwrap();
        assert_eq!(shown(&above)[0], (r#"used{node="n1",pod="a"}"#.to_owned(), 12.0));
    }

    #[test]
    fn an_ambiguous_match_is_an_error_that_names_it() {
        let pods = [element(&[("node", "n1"), ("pod", "a")], 1.0), element(&[("node", "n1"), ("pod", "b")], 2.0)];
        let node = [element(&[("node", "n1")], 1.0)];
        let one_to_one = matching(on(&["node"]), Cardinality::OneToOne);
        let many_left = join(BinaryOp::Add, &pods, &node, &one_to_one).unwrap_err();
        assert!(matches!(many_left, EvalError::MultipleMatches(_)), "{many_left}");
        let many_right = join(BinaryOp::Add, &node, &pods, &one_to_one).unwrap_err();
        assert!(many_right.to_string().contains(r#"right side, got {node="n1",pod="a"}"#), "{many_right}");
    }

    #[test]
    fn a_comparison_filters_or_with_bool_says_so() {
        let pods = || vec![element(&[("__name__", "up"), ("pod", "a")], 1.0), element(&[("__name__", "up")], 0.0)];
        assert_eq!(shown(&with_half(pods(), false, false)), [(r#"up{pod="a"}"#.to_owned(), 1.0)]);
        let flags = with_half(pods(), true, true);
        assert_eq!(shown(&flags), [(r#"{pod="a"}"#.to_owned(), 0.0), ("{}".to_owned(), 1.0)]);
        assert_eq!(of_scalars(BinaryOp::LessEqual, 1.0, 1.0), 1.0);
    }

    #[test]
    fn set_operators_keep_names_and_match_without_them() {
        let a =
            || vec![element(&[("__name__", "a"), ("pod", "x")], 1.0), element(&[("__name__", "a"), ("pod", "y")], 2.0)];
        let b =
            || vec![element(&[("__name__", "b"), ("pod", "y")], 3.0), element(&[("__name__", "b"), ("pod", "z")], 4.0)];
        let all = MatchLabels::Ignoring(vec![]);
        let names = |op| {
            let (a, b, mut memo) = (a(), b(), LabelMemo::default());
            shown(&set(op, &sign(&a, &b, &all, &mut memo))).into_iter().map(|(l, _)| l).collect::<Vec<_>>()
        };
        assert_eq!(names(SetOp::And), [r#"a{pod="y"}"#]);
        assert_eq!(names(SetOp::Unless), [r#"a{pod="x"}"#]);
        assert_eq!(names(SetOp::Or), [r#"a{pod="x"}"#, r#"a{pod="y"}"#, r#"b{pod="z"}"#]);
    }
}

//! Operators between scalars, between a vector and a scalar, and between two vectors: a hash join by
//! label signature.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use forewarn_schema::{LabelSet, METRIC_NAME};

use super::eval::{Element, EvalError, without_name};
use super::node::{BinaryOp, Cardinality, MatchLabels, Matching, SetOp};

/// The labels that two elements must share, borrowed from one of them.
type Signature<'l> = Vec<(&'l str, &'l str)>;

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
) -> Vec<Element> {
    let drops_name = !op.compares() || return_bool;
    let mut result = Vec::with_capacity(vector.len());
    for element in vector {
        let (left, right) = if scalar_first { (scalar, element.value) } else { (element.value, scalar) };
        let (mut value, keep) = op.apply(left, right);
        if op.compares() {
            value = if return_bool { f64::from(u8::from(keep)) } else { element.value };
        }
        if keep || return_bool {
            let labels = if drops_name { without_name(element.labels) } else { element.labels };
            result.push(Element { labels, value });
        }
    }
    result
}

/// Between two vectors, matched one to one, or many to one where the expression asks for it.
pub(super) fn join(
    op: BinaryOp,
    lhs: &[Element],
    rhs: &[Element],
    matching: &Matching,
    return_bool: bool,
) -> Result<Vec<Element>, EvalError> {
    let one_to_many = matches!(matching.cardinality, Cardinality::OneToMany(_));
    // From here the "one" side is on the right; values swap back when they meet.
    let (many, one) = if one_to_many { (rhs, lhs) } else { (lhs, rhs) };
    if many.is_empty() || one.is_empty() {
        return Ok(vec![]);
    }
    let mut by_signature: HashMap<Signature<'_>, &Element> = HashMap::with_capacity(one.len());
    for element in one {
        let signature = signature(&matching.labels, &element.labels);
        if let Some(other) = by_signature.insert(signature.clone(), element) {
            let side = if one_to_many { "left" } else { "right" };
            let group = signature.into_iter().collect();
            let (first, second) = ((*other.labels).clone(), (*element.labels).clone());
            return Err(EvalError::ManyToMany { side, group, first, second });
        }
    }
    let mut matched: HashSet<Signature<'_>> = HashSet::new();
    let mut result = Vec::with_capacity(many.len());
    for element in many {
        let signature = signature(&matching.labels, &element.labels);
        let Some(partner) = by_signature.get(&signature) else { continue };
        let (left, right) = if one_to_many { (partner.value, element.value) } else { (element.value, partner.value) };
        let (mut value, keep) = op.apply(left, right);
        if return_bool {
            value = f64::from(u8::from(keep));
        } else if !keep {
            continue;
        }
        if matches!(matching.cardinality, Cardinality::OneToOne) && !matched.insert(signature.clone()) {
            return Err(EvalError::MultipleMatches(signature.into_iter().collect()));
        }
        let drops_name = !op.compares() || return_bool;
        let labels = result_labels(&element.labels, &partner.labels, matching, drops_name);
        result.push(Element { labels, value });
    }
    Ok(result)
}

/// `and` keeps the left elements that have a partner, `unless` those that have none, `or` adds the
/// right elements that have none on the left.
pub(super) fn set(op: SetOp, lhs: Vec<Element>, rhs: Vec<Element>, labels: &MatchLabels) -> Vec<Element> {
    let signatures = |side: &[Element]| -> HashSet<Vec<(String, String)>> {
        side.iter().map(|e| owned(signature(labels, &e.labels))).collect()
    };
    let (kept, mut result) = match op {
        SetOp::Or => (signatures(&lhs), lhs),
        SetOp::And | SetOp::Unless => (signatures(&rhs), lhs),
    };
    let has_partner = |e: &Element| kept.contains(&owned(signature(labels, &e.labels)));
    match op {
        SetOp::And => result.retain(|e| has_partner(e)),
        SetOp::Unless => result.retain(|e| !has_partner(e)),
        SetOp::Or => result.extend(rhs.into_iter().filter(|e| !has_partner(e))),
    }
    result
}

fn owned(signature: Signature<'_>) -> Vec<(String, String)> {
    signature.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn signature<'l>(by: &MatchLabels, labels: &'l LabelSet) -> Signature<'l> {
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
fn result_labels(many: &Arc<LabelSet>, one: &LabelSet, matching: &Matching, drops_name: bool) -> Arc<LabelSet> {
    let (includes, one_to_one) = match &matching.cardinality {
        Cardinality::OneToOne => (&[][..], true),
        Cardinality::ManyToOne(labels) | Cardinality::OneToMany(labels) => (labels.as_slice(), false),
    };
    let mut labels = match &matching.labels {
        MatchLabels::On(on) if one_to_one => many.only(&borrowed(on)),
        MatchLabels::Ignoring(ignored) if one_to_one && !ignored.is_empty() => many.without(&borrowed(ignored)),
        _ if includes.is_empty() && !drops_name => return Arc::clone(many),
        _ if includes.is_empty() => return without_name(Arc::clone(many)),
        _ => (**many).clone(),
    };
    if drops_name {
        labels.remove(METRIC_NAME);
    }
    for name in includes {
        // An absent label has the empty value, which removes it here too.
        labels.insert(name.clone(), one.get(name).unwrap_or("").to_owned());
    }
    Arc::new(labels)
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(text: &[(&str, &str)], value: f64) -> Element {
        Element { labels: Arc::new(text.iter().copied().collect()), value }
    }

    fn matching(labels: MatchLabels, cardinality: Cardinality) -> Matching {
        Matching { labels, cardinality }
    }

    fn on(names: &[&str]) -> MatchLabels {
        MatchLabels::On(names.iter().map(|n| (*n).to_owned()).collect())
    }

    fn shown(elements: &[Element]) -> Vec<(String, f64)> {
        elements.iter().map(|e| (e.labels.to_string(), e.value)).collect()
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
        let share = join(BinaryOp::Div, &used, &limit, &many, false).unwrap();
        let expected = [(r#"{node="n1",pod="a",zone="eu"}"#, 0.5), (r#"{node="n1",pod="b",zone="eu"}"#, 0.25)];
        assert_eq!(shown(&share), expected.map(|(l, v)| (l.to_owned(), v)));
        let one = matching(on(&["node"]), Cardinality::OneToMany(vec![]));
        let above = join(BinaryOp::Greater, &limit, &used, &one, false).unwrap();
        assert_eq!(shown(&above)[0], (r#"used{node="n1",pod="a"}"#.to_owned(), 12.0));
    }

    #[test]
    fn an_ambiguous_match_is_an_error_that_names_it() {
        let pods = [element(&[("node", "n1"), ("pod", "a")], 1.0), element(&[("node", "n1"), ("pod", "b")], 2.0)];
        let node = [element(&[("node", "n1")], 1.0)];
        let one_to_one = matching(on(&["node"]), Cardinality::OneToOne);
        let many_left = join(BinaryOp::Add, &pods, &node, &one_to_one, false).unwrap_err();
        assert!(matches!(many_left, EvalError::MultipleMatches(_)), "{many_left}");
        let many_right = join(BinaryOp::Add, &node, &pods, &one_to_one, false).unwrap_err();
        assert!(many_right.to_string().contains(r#"right side, got {node="n1",pod="a"}"#), "{many_right}");
    }

    #[test]
    fn a_comparison_filters_or_with_bool_says_so() {
        let pods = || vec![element(&[("__name__", "up"), ("pod", "a")], 1.0), element(&[("__name__", "up")], 0.0)];
        assert_eq!(
            shown(&with_scalar(BinaryOp::Greater, pods(), 0.5, false, false)),
            [(r#"up{pod="a"}"#.to_owned(), 1.0)]
        );
        let flags = with_scalar(BinaryOp::Greater, pods(), 0.5, true, true);
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
        let names = |op| shown(&set(op, a(), b(), &all)).into_iter().map(|(l, _)| l).collect::<Vec<_>>();
        assert_eq!(names(SetOp::And), [r#"a{pod="y"}"#]);
        assert_eq!(names(SetOp::Unless), [r#"a{pod="x"}"#]);
        assert_eq!(names(SetOp::Or), [r#"a{pod="x"}"#, r#"a{pod="y"}"#, r#"b{pod="z"}"#]);
    }
}

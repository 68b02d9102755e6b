//! A selector: which series an expression reads. The metric name comes first, because almost every
//! series that arrives is ruled out by it alone.

use forewarn_schema::{LabelMatcher, LabelSet, METRIC_NAME};
use promql_parser::label::{MatchOp, Matcher};

/// Matchers over labels, and how far in the past the samples are taken.
///
/// An absent label has the empty value. Regular expressions are anchored at both ends; they are
/// Rust's, which differ from Prometheus' RE2 only in that `\d`, `\s` and `\w` know all of Unicode.
#[derive(Clone, Debug)]
pub struct Selector {
    /// The one metric name it can match; `None` where it must be tested.
    name: Option<String>,
    /// All matchers but that one.
    matchers: Vec<Matcher>,
    /// `offset`, never negative.
    pub(super) offset_ms: i64,
}

impl Selector {
    /// From the parts of a parsed selector.
    pub(super) fn new(name: Option<String>, mut matchers: Vec<Matcher>, offset_ms: i64) -> Self {
        let exact = |m: &Matcher| m.name == METRIC_NAME && matches!(m.op, MatchOp::Equal);
        let name = name.or_else(|| {
            let at = matchers.iter().position(exact)?;
            Some(matchers.remove(at).value)
        });
        Self { name, matchers, offset_ms }
    }

    /// The one metric name that it can match, where there is one.
    pub fn metric_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Its conditions, that on the metric name first where there is one metric name.
    pub fn label_matchers(&self) -> Vec<LabelMatcher> {
        let equal = forewarn_schema::MatchOp::Equal;
        let name = self.name.iter().map(|value| (METRIC_NAME, equal, value));
        let others = self.matchers.iter().map(|m| {
            let op = match &m.op {
                MatchOp::Equal => equal,
                MatchOp::NotEqual => forewarn_schema::MatchOp::NotEqual,
                MatchOp::Re(_) => forewarn_schema::MatchOp::Regex,
                MatchOp::NotRe(_) => forewarn_schema::MatchOp::NotRegex,
            };
            (m.name.as_str(), op, &m.value)
        });
        let matcher =
            |(name, op, value): (&str, _, &String)| LabelMatcher { name: name.to_owned(), op, value: value.clone() };
        name.chain(others).map(matcher).collect()
    }

    /// Whether it selects a series with these labels.
    pub fn matches(&self, labels: &LabelSet) -> bool {
        self.matches_name(labels.get(METRIC_NAME).unwrap_or("")) && self.matches_rest(labels)
    }

    /// Whether a metric of that name can match at all.
    pub(super) fn matches_name(&self, name: &str) -> bool {
        match &self.name {
            Some(wanted) => wanted == name,
            None => self.matchers.iter().all(|m| m.name != METRIC_NAME || m.is_match(name)),
        }
    }

    /// The matchers apart from the exact name.
    pub(super) fn matches_rest(&self, labels: &LabelSet) -> bool {
        self.matchers.iter().all(|m| m.is_match(labels.get(&m.name).unwrap_or("")))
    }

    /// What `absent` says of it: the labels fixed by one `=` matcher each, the metric name left out.
    pub(super) fn fixed_labels(&self) -> LabelSet {
        let mut labels = LabelSet::new();
        let mut seen: Vec<&str> = Vec::new();
        for matcher in self.matchers.iter().filter(|m| m.name != METRIC_NAME) {
            if matches!(matcher.op, MatchOp::Equal) && !seen.contains(&matcher.name.as_str()) {
                labels.insert(matcher.name.clone(), matcher.value.clone());
                seen.push(&matcher.name);
            } else {
                labels.remove(&matcher.name);
            }
        }
        labels
    }
}

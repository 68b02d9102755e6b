//! Label matchers, compiled. An absent label has the empty value, as in PromQL.

use forewarn_schema::{LabelMatcher, LabelSet, MatchOp};
use regex::{Regex, RegexBuilder};

use crate::BlockError;

/// What a compiled pattern may take.
const MAX_PATTERN: usize = 4 << 20;

/// A label matcher that can be asked.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    negated: bool,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    /// One of these, sorted.
    OneOf(Vec<String>),
    Regex(Regex),
}

impl Matcher {
    /// Compiles it. A pattern is anchored at both ends; one that only lists alternatives needs no regular expression.
    pub fn new(matcher: &LabelMatcher) -> Result<Self, BlockError> {
        let negated = matches!(matcher.op, MatchOp::NotEqual | MatchOp::NotRegex);
        let test = match matcher.op {
            MatchOp::Equal | MatchOp::NotEqual => Test::OneOf(vec![matcher.value.clone()]),
            MatchOp::Regex | MatchOp::NotRegex => match alternatives(&matcher.value) {
                Some(values) => Test::OneOf(values),
                None => Test::Regex(compile(matcher)?),
            },
        };
        Ok(Self { name: matcher.name.clone(), negated, test })
    }

    /// The label it looks at.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a label with this value passes.
    pub fn accepts(&self, value: &str) -> bool {
        self.is_meant(value) != self.negated
    }

    /// Whether a series with these labels passes.
    pub fn selects(&self, labels: &LabelSet) -> bool {
        self.accepts(labels.get(&self.name).unwrap_or_default())
    }

    /// Whether the value is one that the text of the matcher describes, negated or not.
    pub(super) fn is_meant(&self, value: &str) -> bool {
        match &self.test {
            Test::OneOf(values) => values.binary_search_by(|each| each.as_str().cmp(value)).is_ok(),
            Test::Regex(regex) => regex.is_match(value),
        }
    }

    /// The values that the text describes, where they can be listed.
    pub(super) fn listed(&self) -> Option<&[String]> {
        match &self.test {
            Test::OneOf(values) => Some(values),
            Test::Regex(_) => None,
        }
    }

    pub(super) fn is_negated(&self) -> bool {
        self.negated
    }
}

fn compile(matcher: &LabelMatcher) -> Result<Regex, BlockError> {
    let pattern = format!("^(?:{})$", matcher.value);
    RegexBuilder::new(&pattern).size_limit(MAX_PATTERN).build().map_err(|source| BlockError::Pattern {
        matcher: matcher.to_string(),
        cap: MAX_PATTERN,
        source: Box::new(source),
    })
}

/// `a|b|c`, sorted, where no character of the pattern means anything but itself.
fn alternatives(pattern: &str) -> Option<Vec<String>> {
    let plain = |c: char| c.is_alphanumeric() || "_-/:=,;@%&~!<>\"' ".contains(c);
    let mut values = Vec::new();
    for value in pattern.split('|') {
        if !value.chars().all(plain) {
            return None;
        }
        values.push(value.to_owned());
    }
    values.sort_unstable();
    values.dedup();
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(op: MatchOp, value: &str) -> Matcher {
        Matcher::new(&LabelMatcher { name: "x".into(), op, value: value.into() }).unwrap()
    }

    #[test]
    fn patterns_are_anchored() {
        let regex = matcher(MatchOp::Regex, "a.|b");
        assert!(regex.accepts("ax") && regex.accepts("b"));
        assert!(!regex.accepts("axx") && !regex.accepts("xb") && !regex.accepts(""));
        assert!(!matcher(MatchOp::NotRegex, "a.").accepts("ab"));
    }

    #[test]
    fn alternatives_are_the_same_listed_and_as_a_pattern() {
        for pattern in ["a|b", "", "|a", "a||c d", "5xx|4xx"] {
            let listed = matcher(MatchOp::Regex, pattern);
            assert!(listed.listed().is_some());
            let regex = matcher(MatchOp::Regex, &format!("(?:{pattern})"));
            assert!(regex.listed().is_none());
            for value in ["", "a", "b", "c d", "ab", "4xx", "|"] {
                assert_eq!(listed.accepts(value), regex.accepts(value), "{value:?} =~ {pattern:?}");
            }
        }
        assert!(alternatives("a.b").is_none());
    }

    #[test]
    fn an_absent_label_is_empty() {
        let labels = LabelSet::from([("y", "1")]);
        assert!(matcher(MatchOp::Equal, "").selects(&labels));
        assert!(matcher(MatchOp::NotEqual, "1").selects(&labels));
        assert!(matcher(MatchOp::Regex, ".*").selects(&labels));
        assert!(!matcher(MatchOp::Regex, ".+").selects(&labels));
    }

    #[test]
    fn a_broken_or_huge_pattern_is_an_error() {
        for value in ["(", "(a{1000}){1000}"] {
            let matcher = LabelMatcher { name: "x".into(), op: MatchOp::Regex, value: value.into() };
            assert!(matches!(Matcher::new(&matcher), Err(BlockError::Pattern { .. })));
        }
    }
}

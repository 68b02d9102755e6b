//! Which series a query wants: its selectors, compiled.

use forewarn_schema::{LabelMatcher, LabelSet, MatchOp};
use regex::Regex;

/// Selectors, each a list of conditions that must all hold. A series is wanted if any of them selects it.
#[derive(Debug)]
pub(crate) struct Matching(Vec<Vec<Condition>>);

#[derive(Debug)]
struct Condition {
    name: String,
    test: Test,
    /// What the test must say.
    wanted: bool,
}

#[derive(Debug)]
enum Test {
    Equal(String),
    Regex(Regex),
}

impl Matching {
    /// Regular expressions are anchored at both ends; says which one is none.
    pub(crate) fn new(selectors: &[Vec<LabelMatcher>]) -> Result<Self, String> {
        let condition = |matcher: &LabelMatcher| {
            let is_regex = matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex);
            let test = if is_regex {
                let anchored = format!("^(?s:{})$", matcher.value);
                Test::Regex(Regex::new(&anchored).map_err(|_| format!("{matcher} is not a regular expression"))?)
            } else {
                Test::Equal(matcher.value.clone())
            };
            let wanted = matches!(matcher.op, MatchOp::Equal | MatchOp::Regex);
            Ok(Condition { name: matcher.name.clone(), test, wanted })
        };
        let compiled = selectors.iter().map(|selector| selector.iter().map(condition).collect());
        compiled.collect::<Result<_, String>>().map(Self)
    }

    /// Whether the series is wanted. A label that it does not have is empty.
    pub(crate) fn wants(&self, labels: &LabelSet) -> bool {
        let holds = |condition: &Condition| {
            let value = labels.get(&condition.name).unwrap_or_default();
            let says = match &condition.test {
                Test::Equal(wanted) => value == wanted,
                Test::Regex(regex) => regex.is_match(value),
            };
            says == condition.wanted
        };
        self.0.iter().any(|selector| selector.iter().all(holds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_anchored_and_an_absent_label_is_empty() {
        let matcher = |name: &str, op, value: &str| LabelMatcher { name: name.to_owned(), op, value: value.to_owned() };
        let cart = LabelSet::from([("service", "cart"), ("level", "error")]);
        for (op, name, value, wanted) in [
            (MatchOp::Equal, "service", "cart", true),
            (MatchOp::NotEqual, "service", "cart", false),
            (MatchOp::Regex, "service", "c|art", false),
            (MatchOp::Regex, "service", "ca.*|x", true),
            (MatchOp::NotRegex, "level", "error|fatal", false),
            (MatchOp::Equal, "namespace", "", true),
            (MatchOp::Regex, "namespace", ".+", false),
        ] {
            let matching = Matching::new(&[vec![matcher(name, op, value)]]).unwrap();
            assert_eq!(matching.wants(&cart), wanted, "{name} {op:?} {value}");
        }
        assert!(Matching::new(&[vec![matcher("a", MatchOp::Regex, "(")]]).is_err());
    }
}

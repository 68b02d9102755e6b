//! Matchers as PromQL writes them.

use std::fmt::Write as _;

use forewarn_schema::{LabelMatcher, MatchOp};

/// `{__name__="up",job=~"a|b"}`.
pub fn promql(selector: &[LabelMatcher]) -> String {
    let mut text = "{".to_owned();
    for (i, matcher) in selector.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        // Names beyond the classic ones are quoted (Prometheus 3).
        match is_classic(&matcher.name) {
            true => text.push_str(&matcher.name),
            false => quote(&matcher.name, &mut text),
        }
        text.push_str(match matcher.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        });
        quote(&matcher.value, &mut text);
    }
    text.push('}');
    text
}

/// The selectors without those that select nothing more than another does: one with more conditions.
pub(super) fn without_parts_of_others(selectors: &[Vec<LabelMatcher>]) -> Vec<Vec<LabelMatcher>> {
    let mut sorted: Vec<Vec<LabelMatcher>> = selectors.to_vec();
    sorted.iter_mut().for_each(|s| {
        s.sort();
        s.dedup();
    });
    sorted.sort_by_key(|s| s.len());
    let mut kept: Vec<Vec<LabelMatcher>> = Vec::new();
    for selector in sorted {
        let within_another = kept.iter().any(|wider| wider.iter().all(|m| selector.binary_search(m).is_ok()));
        if !within_another {
            kept.push(selector);
        }
    }
    kept.sort();
    kept
}

fn is_classic(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// As Go reads a string: control characters by number, everything else as it is.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_ascii_control() => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(name: &str, op: MatchOp, value: &str) -> LabelMatcher {
        LabelMatcher { name: name.to_owned(), op, value: value.to_owned() }
    }

    #[test]
    fn whatever_a_value_holds_is_quoted() {
        let selector = [matcher("__name__", MatchOp::Equal, "up"), matcher("a.b", MatchOp::NotRegex, "é\"\\\n.*")];
        assert_eq!(promql(&selector), r#"{__name__="up","a.b"!~"é\"\\\x0a.*"}"#);
    }

    #[test]
    fn what_another_selector_selects_is_not_asked_for_twice() {
        let up = || matcher("__name__", MatchOp::Equal, "up");
        let job = || matcher("job", MatchOp::Equal, "a");
        let other = vec![matcher("__name__", MatchOp::Equal, "down")];
        let selectors = [vec![job(), up()], vec![up()], other.clone(), vec![up(), up()]];
        assert_eq!(without_parts_of_others(&selectors), [other, vec![up()]]);
    }
}

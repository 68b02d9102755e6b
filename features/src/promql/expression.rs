//! An expression: text in, checked once, evaluated many times.

use std::time::Duration;

use forewarn_schema::{LabelSet, Timestamp};

use super::eval::EvalError;
use super::evaluator::Evaluator;
use super::lower::{self, Lowered};
use super::node::{ScalarNode, VectorNode};
use super::selector::Selector;
use super::state::Slots;
use super::store::SampleStore;
use crate::observation::VectorSample;

/// A PromQL expression inside the subset.
#[derive(Clone, Debug)]
pub struct Expression {
    pub(super) root: Lowered,
    pub(super) slots: Slots,
    window_ms: i64,
}

/// An expression cannot be used. One line, whatever the expression looked like.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ExpressionError {
    /// Not PromQL.
    #[error("not PromQL: {reason} (expression {expression})")]
    Syntax {
        /// What the parser says.
        reason: String,
        /// The expression, shortened.
        expression: String,
    },
    /// PromQL, but outside the subset.
    #[error("{construct} is not supported, at column {column} (in {excerpt}); {instead}")]
    Unsupported {
        /// What is refused.
        construct: String,
        /// Where it starts, in characters from 1.
        column: usize,
        /// What it stands in, shortened.
        excerpt: String,
        /// What to write instead.
        instead: &'static str,
    },
    /// Longer, deeper or wider than what is accepted.
    #[error("{what} must be at most {most}, got {got}")]
    TooMuch {
        /// Which measure.
        what: &'static str,
        /// The cap.
        most: String,
        /// What it was.
        got: String,
    },
}

impl Expression {
    /// Parses and checks against the subset; nothing that parses is refused later for what it is.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let (root, slots) = lower::parse(text)?;
        let mut window_ms = 0;
        root.selectors(&mut |_, back_ms| window_ms = window_ms.max(back_ms));
        // Each range is within the cap; those of nested subqueries add up.
        lower::check_window(window_ms)?;
        Ok(Self { root, slots, window_ms })
    }

    /// How far back it looks: ranges, offsets, subqueries and the 5-minute look-back of an instant
    /// selector included. Zero where it reads no series.
    pub fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms.unsigned_abs())
    }

    /// Whether any of its selectors selects a series with these labels.
    pub fn matches(&self, labels: &LabelSet) -> bool {
        self.selectors().iter().any(|selector| selector.matches(labels))
    }

    /// The selector that it is, where it is nothing else: `up{job="api"}`, without offset.
    pub fn as_selector(&self) -> Option<&Selector> {
        match &self.root {
            Lowered::Vector(VectorNode::Select(node)) => Some(&node.selector).filter(|s| s.offset_ms == 0),
            _ => None,
        }
    }

    /// Its selectors, in the order in which they are written, and how far back from an evaluation each of them looks.
    pub fn selectors_with_reach(&self) -> Vec<(&Selector, Duration)> {
        let mut selectors = Vec::new();
        self.root.selectors(&mut |selector, back_ms| {
            selectors.push((selector, Duration::from_millis(back_ms.max(0).unsigned_abs())));
        });
        selectors
    }

    /// Its selectors, in the order in which they are written.
    pub fn selectors(&self) -> Vec<&Selector> {
        let mut selectors = Vec::new();
        self.root.selectors(&mut |selector, _| selectors.push(selector));
        selectors
    }

    /// Its value at `at` from samples up to `at` only, sorted by labels, no label set twice. A scalar is
    /// one sample without labels. A value may be NaN or infinite. An element that is a native histogram is no
    /// number and is left out: ask for its `histogram_count`, `histogram_quantile` and so on.
    pub fn eval(&self, store: &SampleStore, at: Timestamp) -> Result<Vec<VectorSample>, EvalError> {
        Evaluator::new(self).eval(self, store, at)
    }
}

impl Lowered {
    fn selectors<'n>(&'n self, visit: &mut dyn FnMut(&'n Selector, i64)) {
        match self {
            Self::Scalar(node) => ScalarNode::selectors(node, 0, visit),
            Self::Vector(node) => VectorNode::selectors(node, 0, visit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::Sample;
    use proptest::prelude::*;

    fn refusal(text: &str) -> String {
        let error = Expression::parse(text).unwrap_err().to_string();
        assert!(!error.contains('\n'), "one line, got {error:?}");
        error
    }

    #[test]
    fn what_is_outside_the_subset_is_refused_with_place_and_advice() {
        let error = refusal("rate(a[5m]) + (a + b)[1h:1m]");
        assert!(error.contains("not PromQL"), "{error}");
        let error = refusal("(a + b)[1h:1m]");
        assert!(error.starts_with("a subquery as a value is not supported, at column 8"), "{error}");
        let error = refusal(r#"a{b="@ 5"} + c @ 1700000000"#);
        assert!(error.starts_with("the @ modifier is not supported, at column 16"), "{error}");
        let error = refusal("sum(a) + limitk(2, b)");
        assert!(error.starts_with("limitk() is not supported, at column 10"), "{error}");
        assert!(error.contains("recording rule"), "{error}");
        let error = refusal("rate(up[5m] offset -1m)");
        assert!(error.starts_with("a negative offset is not supported, at column 13"), "{error}");
        for text in [
            "count_values(\"a-b\", up)",
            "label_join(up, \"a\", \"-\", \"b c\")",
            "up atan2 up",
            "double_exponential_smoothing(up[5m], 0.5, 0.5)",
            "max_over_time(up[1h:1m] @ 1700000000)",
            "max_over_time(up[1h:1m] offset -5m)",
            "max_over_time(up[1h:0s])",
            "max_over_time(max_over_time(up[1d:1m])[1d:1m])",
            "max_over_time(max_over_time(up[1s:1d])[31d:1d])",
            "up[5m]",
            "\"text\"",
            "a * on(b) fill(0) c",
            "{a=\"b\" or c=\"d\"}",
            "mad_over_time(up[5m])",
            "sort_by_label(up, \"a\")",
            "ln(-1)",
            "limitk(2, up)",
        ] {
            refusal(text);
        }
    }

    #[test]
    fn hostile_text_is_refused_not_a_panic() {
        for text in [
            "".to_owned(),
            "sum(up".to_owned(),
            "up offset Inf".to_owned(),
            "up offset - 1e300".to_owned(),
            "up offset 300".to_owned(),
            "rate(up[1e300])".to_owned(),
            "rate(up[9999w])".to_owned(),
            "-".repeat(5000),
            "(".repeat(5000),
            format!("{}up{}", "abs(".repeat(400), ")".repeat(400)),
            vec!["up"; 4000].join("+"),
            "up{a=~\"(\"}".to_owned(),
            "label_replace(up, \"a\", \"$1\", \"b\", \"(\")".to_owned(),
            "label_replace(up, \"a-b\", \"$1\", \"b\", \"(.*)\")".to_owned(),
            "up\0\u{7f}☃".to_owned(),
        ] {
            refusal(&text);
        }
    }

    proptest! {
        #[test]
        fn any_soup_of_tokens_is_evaluated_or_refused_in_one_line(
            tokens in prop::collection::vec(prop::sample::select(TOKENS), 1..20),
        ) {
            let text = tokens.concat();
            let error = match Expression::parse(&text) {
                Ok(expression) => {
                    let mut store = SampleStore::new(1);
                    let sample = Sample { at: Timestamp::from_seconds(60), value: 1.0 };
                    store.push(&LabelSet::from([("__name__", "up"), ("a", "b")]), sample).unwrap();
                    expression.eval(&store, Timestamp::from_seconds(90)).map_or_else(|e| e.to_string(), |_| String::new())
                }
                Err(error) => error.to_string(),
            };
            prop_assert!(!error.contains('\n') && !error.contains("gave up"), "{text}: {error}");
        }
    }

    const TOKENS: &[&str] = &[
        "up",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ":",
        "5m",
        "1",
        "1e99",
        "Inf",
        "0x1f",
        " offset ",
        "-",
        "+",
        "*",
        "/",
        "^",
        " and ",
        " or ",
        "=",
        "=~",
        "\"a\"",
        "\"(\"",
        "'\\x'",
        "`",
        ",",
        "sum",
        "rate",
        " by ",
        " on ",
        "group_left",
        "bool",
        "@",
        "end()",
        "topk",
        "label_replace",
        "time()",
        "#",
        "\n",
        "é",
        "\\",
        "9999999999y",
        "a1",
        "quantile_over_time",
        "[1h:1m]",
        "[5m:]",
        "up[5m]",
        "(up)",
        "up or up",
        "(up[5m], 0.5, 0.5)",
        "holt_winters",
        "deriv",
        "hour()",
        "count_values(\"a\", up)",
        "label_join(up, \"c\", \"-\", \"a\")",
    ];

    #[test]
    fn the_window_holds_range_offset_and_look_back() {
        let window = |text| Expression::parse(text).unwrap().window().as_secs();
        assert_eq!(window("up"), 300);
        assert_eq!(window("up offset 1h"), 3900);
        assert_eq!(window("rate(up[1h] offset 10m) / up"), 4200);
        assert_eq!(window("max_over_time(rate(up[5m] offset 1m)[1h:1m] offset 2h) or up"), 360 + 3600 + 7200);
        assert_eq!(window("time() - 5"), 0);
    }

    #[test]
    fn matchers_are_anchored_and_an_absent_label_is_empty() {
        let matches = |text: &str, labels: &[(&str, &str)]| {
            Expression::parse(text).unwrap().matches(&labels.iter().copied().collect())
        };
        let up = [("__name__", "up"), ("job", "api"), ("pod", "a-1")];
        for text in [
            "up",
            "up{pod=~\"a.*\"}",
            "up{x=\"\"}",
            "up{x!~\".+\"}",
            "{__name__=~\"u.\", job!=\"web\"}",
            "sum(a) / sum(up)",
            "{__name__=\"up\"}",
            "vector(scalar(up))",
        ] {
            assert!(matches(text, &up), "{text}");
        }
        for text in ["down", "up{pod=~\"a\"}", "up{x!=\"\"}", "{__name__=~\"u\"}", "up{job=\"\"}", "time()"] {
            assert!(!matches(text, &up), "{text}");
        }
    }
}

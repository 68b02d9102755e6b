//! Where in an expression something stands. The parser's tree does not say, so a construct that is refused
//! is looked for in the text.

/// The characters of an expression, those inside strings and comments replaced by spaces.
pub(super) struct Places(Vec<char>);

impl Places {
    /// See the type.
    pub(super) fn new(text: &str) -> Self {
        Self(without_strings(text))
    }

    /// How many characters there are that `counts` counts.
    pub(super) fn count(&self, counts: impl Fn(char) -> bool) -> usize {
        self.0.iter().filter(|c| counts(**c)).count()
    }

    /// Where `mark` stands first outside strings, and where it is a word, as a whole word.
    pub(super) fn find(&self, mark: &str) -> Option<usize> {
        let mark: Vec<char> = mark.chars().collect();
        let is_word = |c: Option<&char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == ':');
        let whole = mark.iter().all(|c| is_word(Some(c)));
        (0..=self.0.len().checked_sub(mark.len())?).find(|&at| {
            let apart =
                !is_word(at.checked_sub(1).and_then(|i| self.0.get(i))) && !is_word(self.0.get(at + mark.len()));
            self.0[at..].starts_with(&mark) && (apart || !whole)
        })
    }

    /// The column of a bare number as a range or an offset. Prometheus 2 does not know it, and the parser
    /// panics on a large one.
    pub(super) fn duration_without_unit(&self) -> Option<usize> {
        let is_token = |c: &char| c.is_ascii_alphanumeric() || *c == '.' || *c == '_';
        let mut bracket = false;
        let mut after_offset = false;
        let mut at = 0;
        while let Some(c) = self.0.get(at) {
            let length = self.0[at..].iter().take_while(|c| is_token(c)).count();
            if length == 0 {
                bracket = *c == '[' || (bracket && *c != ']');
                after_offset &= c.is_whitespace() || matches!(c, '+' | '-');
                at += 1;
                continue;
            }
            let token: String = self.0[at..at + length].iter().collect::<String>().to_ascii_lowercase();
            let number = token.parse::<f64>().is_ok() || token.starts_with("0x");
            if number && (bracket || after_offset) {
                return Some(at + 1);
            }
            after_offset = token == "offset";
            at += length;
        }
        None
    }
}

/// One line of at most 120 characters.
pub(super) fn shorten(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(121).collect();
    if line.chars().count() <= 120 { line } else { format!("{}…", line.chars().take(119).collect::<String>()) }
}

/// The characters of `text`, those inside strings and comments replaced by spaces.
fn without_strings(text: &str) -> Vec<char> {
    let mut bare = Vec::with_capacity(text.len());
    let mut inside: Option<char> = None;
    let mut escaped = false;
    for c in text.chars() {
        match inside {
            None => {
                inside = matches!(c, '"' | '\'' | '`' | '#').then_some(c);
                bare.push(if c == '#' { ' ' } else { c });
            }
            Some(quote) => {
                let ends = if quote == '#' { c == '\n' } else { c == quote && !escaped };
                escaped = c == '\\' && !escaped && quote != '`';
                bare.push(if ends { c } else { ' ' });
                if ends {
                    inside = None;
                }
            }
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whole_and_outside_strings() {
        let places = Places::new(r#"a{b="offset"} + my_offset offset 5m # offset"#);
        assert_eq!(places.find("offset"), Some(26));
        assert_eq!(places.find("{"), Some(1));
        assert_eq!(places.find("topk"), None);
    }

    #[test]
    fn a_bare_number_is_no_duration() {
        assert_eq!(Places::new("rate(a[300])").duration_without_unit(), Some(8));
        assert_eq!(Places::new("a offset -1e9").duration_without_unit(), Some(11));
        assert_eq!(Places::new("max_over_time(rate(a[5m])[1h:1m]) * 300").duration_without_unit(), None);
    }
}

//! A message with its variable parts masked, as tokens: what is left is what the programmer wrote.
//!
//! | mask | for |
//! |---|---|
//! | `<num>` | numbers, times, dates; the number of `12ms`, `worker-3`, `http2` |
//! | `<hex>` | `0x…`, and eight or more hexadecimal digits with a letter and a digit among them |
//! | `<uuid>` | 8-4-4-4-12 hexadecimal digits |
//! | `<ip>` | IPv4 and IPv6 addresses |
//! | `<path>`, `<url>` | what begins with `/`, what begins with `scheme://` |
//! | `<str>` | a quoted text, unless `msg=` or `message=` stands before it: that is the message of a logfmt line |
//! | `<id>` | other words of letters and digits mixed |
//! | `<long>` | tokens of more than 64 bytes |
//! | `<+>` | all tokens after the 48th |
//!
//! Only the first line of a message counts, and of that the first 2,048 bytes: below a stack trace's first line is where
//! it happened, not what.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

const MAX_BYTES: usize = 2048;
const MAX_TOKENS: usize = 48;
const MAX_TOKEN_BYTES: usize = 64;

/// A masked message. Kept by the caller and used again, so that a line costs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Masked {
    text: String,
    tokens: Vec<Range<usize>>,
}

impl Masked {
    /// Masks `message` into this.
    pub(crate) fn set(&mut self, message: &str) {
        self.text.clear();
        self.tokens.clear();
        let line = message.trim_start().split(['\n', '\r']).next().unwrap_or_default();
        let line = line.get(..floor_boundary(line, MAX_BYTES)).unwrap_or_default();
        let mut scanner = Scanner { line, at: 0, message_quote: None, out: &mut self.text };
        let mut start = 0;
        loop {
            let goes_on = scanner.token();
            let end = scanner.out.len();
            if end > start {
                if self.tokens.len() == MAX_TOKENS {
                    scanner.out.truncate(start);
                    scanner.out.push_str("<+>");
                    self.tokens.push(start..scanner.out.len());
                    return;
                }
                if end - start > MAX_TOKEN_BYTES {
                    scanner.out.truncate(start);
                    scanner.out.push_str("<long>");
                }
                self.tokens.push(start..scanner.out.len());
                scanner.out.push(' ');
                start = scanner.out.len();
            }
            if !goes_on {
                self.text.truncate(self.tokens.last().map_or(0, |last| last.end));
                return;
            }
        }
    }

    /// The tokens, with one space between them.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// In order.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(|range| self.text.get(range.clone()).unwrap_or_default())
    }
}

/// The last boundary between letters at or before `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

struct Scanner<'a> {
    line: &'a str,
    at: usize,
    /// What will end the message of a logfmt line.
    message_quote: Option<u8>,
    out: &'a mut String,
}

/// Words hold these besides letters, digits and everything that is not ASCII.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b':' | b'+') || !byte.is_ascii()
}

/// What ends a path or a URL.
fn ends_path(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || matches!(
            byte,
            b'"' | b'\'' | b'`' | b'<' | b'>' | b'|' | b',' | b';' | b'(' | b')' | b'[' | b']' | b'{' | b'}'
        )
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        self.line.get(self.at..).unwrap_or_default()
    }

    /// Takes `length` bytes.
    fn take(&mut self, length: usize) -> &'a str {
        let taken = self.rest().get(..length).unwrap_or_default();
        self.at += length;
        taken
    }

    /// Writes the next token, or nothing for a space. Whether there may be another.
    fn token(&mut self) -> bool {
        let mut before = b' ';
        loop {
            let rest = self.rest().as_bytes();
            let Some(&byte) = rest.first() else { return false };
            if byte.is_ascii_whitespace() {
                self.at += 1;
                return true;
            }
            match byte {
                b'"' | b'`' | b'\'' => self.quoted(byte, before),
                b'/' if !before.is_ascii_alphanumeric() && rest.get(1).is_some_and(|b| is_word(*b)) => self.path(),
                byte if is_word(byte) => self.word(),
                // Punctuation stands for itself.
                _ => {
                    let taken = self.take(1);
                    self.out.push_str(taken);
                }
            }
            before = self.at.checked_sub(1).and_then(|i| self.line.as_bytes().get(i)).copied().unwrap_or(b' ');
        }
    }

    fn quoted(&mut self, quote: u8, before: u8) {
        let is_message = self.out.ends_with("msg=") || self.out.ends_with("message=");
        // An apostrophe is not a quote.
        let is_apostrophe = quote == b'\'' && before.is_ascii_alphanumeric();
        let ends_message = self.message_quote == Some(quote);
        if is_message || is_apostrophe || ends_message {
            self.message_quote = is_message.then_some(quote);
            self.at += 1;
            self.out.push(char::from(quote));
            return;
        }
        let mut escaped = false;
        let end = self.rest().bytes().skip(1).position(|b| {
            let ends = b == quote && !escaped;
            escaped = b == b'\\' && !escaped;
            ends
        });
        match end {
            Some(end) => {
                self.at += end + 2;
                self.out.push_str("<str>");
            }
            None => {
                self.at += 1;
                self.out.push(char::from(quote));
            }
        }
    }

    fn path(&mut self) {
        let length = self.rest().bytes().position(ends_path).unwrap_or(self.rest().len());
        let path = self.take(length);
        let bare = path.trim_end_matches(['.', ':']);
        self.out.push_str("<path>");
        self.out.push_str(path.get(bare.len()..).unwrap_or_default());
    }

    fn word(&mut self) {
        let length = self.rest().bytes().position(|b| !is_word(b)).unwrap_or(self.rest().len());
        let after = self.rest().get(length..).unwrap_or_default();
        let word = self.rest().get(..length).unwrap_or_default();
        if after.starts_with("//") && word.ends_with(':') && word.len() > 1 {
            let length = self.rest().bytes().position(ends_path).unwrap_or(self.rest().len());
            self.take(length);
            self.out.push_str("<url>");
            return;
        }
        self.take(length);
        let core = word.trim_end_matches(['.', ':', '-', '+']);
        mask_word(core, self.out);
        self.out.push_str(word.get(core.len()..).unwrap_or_default());
    }
}

fn mask_word(word: &str, out: &mut String) {
    let bytes = word.as_bytes();
    if !bytes.iter().any(u8::is_ascii_digit) {
        let is_address = word.starts_with("::") && word.parse::<Ipv6Addr>().is_ok();
        out.push_str(if is_address { "<ip>" } else { word });
        return;
    }
    if is_uuid(bytes) {
        return out.push_str("<uuid>");
    }
    if bytes.first().is_some_and(u8::is_ascii_digit) {
        let (address, port) = word.split_once(':').unwrap_or((word, ""));
        if address.parse::<Ipv4Addr>().is_ok() && port.bytes().all(|b| b.is_ascii_digit()) {
            return out.push_str(if port.is_empty() { "<ip>" } else { "<ip>:<num>" });
        }
    }
    if bytes.iter().filter(|b| **b == b':').count() >= 2 && word.parse::<Ipv6Addr>().is_ok() {
        return out.push_str("<ip>");
    }
    let number = word.trim_start_matches(['-', '+']);
    let is_numeric =
        |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b':' | b'-' | b'+' | b'T' | b'Z' | b'e' | b'E' | b'_');
    if number.starts_with(|c: char| c.is_ascii_digit()) && number.bytes().all(is_numeric) {
        return out.push_str("<num>");
    }
    if let Some(unit) = unit_of(number) {
        out.push_str("<num>");
        return out.push_str(unit);
    }
    for part in word.split_inclusive(['-', '_', '.', ':', '+']) {
        let core = part.trim_end_matches(['-', '_', '.', ':', '+']);
        mask_part(core, out);
        out.push_str(part.get(core.len()..).unwrap_or_default());
    }
}

/// The unit of a number such as `1.5ms`: at most three letters.
fn unit_of(number: &str) -> Option<&str> {
    let unit = number.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let has_number = unit.len() < number.len() && !number.starts_with('.');
    let is_unit = (1..=3).contains(&unit.len()) && unit.bytes().all(|b| b.is_ascii_alphabetic() || !b.is_ascii());
    (has_number && is_unit).then_some(unit)
}

fn mask_part(part: &str, out: &mut String) {
    let bytes = part.as_bytes();
    let has_digit = bytes.iter().any(u8::is_ascii_digit);
    let is_hex = part.len() >= 8 && bytes.iter().all(u8::is_ascii_hexdigit);
    let stem = part.trim_end_matches(|c: char| c.is_ascii_digit());
    if !has_digit {
        out.push_str(part);
    } else if stem.is_empty() {
        out.push_str("<num>");
    } else if is_hex || part.strip_prefix("0x").is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit())) {
        out.push_str("<hex>");
    } else if !stem.bytes().any(|b| b.is_ascii_digit()) {
        out.push_str(stem);
        out.push_str("<num>");
    } else if let Some(unit) = unit_of(part) {
        out.push_str("<num>");
        out.push_str(unit);
    } else {
        out.push_str("<id>");
    }
}

fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn masked(message: &str) -> String {
        let mut masked = Masked::default();
        masked.set(message);
        masked.text().to_owned()
    }

    #[test]
    fn what_varies_is_masked_and_what_was_written_stays() {
        let messages = [
            ("order 4711 took 12ms", "order <num> took <num>ms"),
            ("at 2026-01-02T10:20:30.123Z, ratio -0.5%", "at <num>, ratio <num>%"),
            ("peer 10.0.0.1:8080 gone, now fe80::1 and ::1", "peer <ip>:<num> gone, now <ip> and <ip>"),
            ("id=6f1ed002-ab5b-4b4e-8c4f-0123456789ab ok", "id=<uuid> ok"),
            ("commit 3f9c01ab77de at 0xDEADBEEF0", "commit <hex> at <hex>"),
            ("open /var/lib/x.db: no such file", "open <path>: no such file"),
            ("GET http://cart:80/a?b=1, done", "GET <url>, done"),
            ("user \"Ann \\\"A\\\" B\" isn't 'here'", "user <str> isn't <str>"),
            ("level=info msg=\"started in 3s\" by=\"me\"", "level=info msg=\"started in <num>s\" by=<str>"),
            ("pod cart-7d9f8b6c5-x2k4p on worker12", "pod cart-<hex>-<id> on worker<num>"),
            ("type application/json; 3/4 ended.", "type application/json; <num>/<num> ended."),
            ("unclosed \"quote of 5", "unclosed \"quote of <num>"),
            ("panic: x\n\tat y:1", "panic: x"),
            ("  \t ", ""),
            ("größe 5µs", "größe <num>µs"),
        ];
        for (message, wanted) in messages {
            assert_eq!(masked(message), wanted, "{message:?}");
        }
    }

    #[test]
    fn length_is_bounded() {
        let many = "word ".repeat(1000);
        let mut of_many = Masked::default();
        of_many.set(&many);
        assert_eq!((of_many.len(), of_many.tokens().last()), (MAX_TOKENS + 1, Some("<+>")));
        assert_eq!(masked(&format!("a {} b", "x".repeat(100))), "a <long> b");
    }

    proptest! {
        #[test]
        fn any_text_is_masked_into_its_tokens(message in "(\\PC|[-/:.'\"0-9a-f= \\n\\\\]){0,120}") {
            let mut of_it = Masked::default();
            of_it.set(&message);
            prop_assert_eq!(of_it.tokens().collect::<Vec<_>>().join(" "), of_it.text());
            prop_assert!(of_it.tokens().all(|t| !t.is_empty() && !t.contains(char::is_whitespace) || !t.is_ascii()));
            prop_assert!(of_it.text().len() <= (MAX_TOKENS + 1) * (MAX_TOKEN_BYTES + 1));
        }

        #[test]
        fn digits_do_not_matter(a: u32, b in "[0-9]{1,9}") {
            prop_assert_eq!(masked(&format!("got {a} of x{a} in {a}ms")), masked(&format!("got {b} of x{b} in {b}ms")));
        }
    }
}

//! Attributes: pairs of a key and any value, which become labels.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use forewarn_schema::{LabelSet, METRIC_NAME};

use super::names;
use crate::fields::{Field, Fields, Value};
use crate::remote_write::labels::{MAX_LABELS, MAX_NAME_BYTES, MAX_VALUE_BYTES, shorten};

/// Lists within lists.
const MAX_DEPTH: usize = 8;

/// Key and value as text, sorted by key; of a key given twice the last counts.
pub(super) type Attributes = BTreeMap<String, String>;

/// Adds one `KeyValue`.
pub(super) fn add(message: &[u8], into: &mut Attributes) -> Result<(), String> {
    let (mut key, mut value) = ("", String::new());
    for field in Fields::of(message) {
        match field? {
            Field { tag: 1, value: Value::Bytes(bytes), .. } => key = text(bytes)?,
            Field { tag: 2, value: Value::Bytes(bytes), .. } => value = any_value(bytes, 0)?,
            Field { tag: 1 | 2, .. } => return Err("an attribute must have a key and a value".to_owned()),
            _ => {}
        }
    }
    if into.len() >= MAX_LABELS && !into.contains_key(key) {
        return Err(format!("at most {MAX_LABELS} attributes, got more"));
    }
    if key.len() > MAX_NAME_BYTES {
        return Err(format!("a key must be at most {MAX_NAME_BYTES} bytes, got {}: {:?}", key.len(), shorten(key)));
    }
    if value.len() > MAX_VALUE_BYTES {
        return Err(format!("the value of {key} must be at most {MAX_VALUE_BYTES} bytes, got {}", value.len()));
    }
    into.insert(key.to_owned(), value);
    Ok(())
}

/// Labels of those attributes; two whose names become the same share one, as `first;second` in the order of their keys.
pub(super) fn labels<'a>(attributes: impl Iterator<Item = (&'a String, &'a String)>) -> LabelSet {
    let mut set = LabelSet::new();
    for (key, value) in attributes {
        let name = names::label(key);
        if name.is_empty() || name == METRIC_NAME {
            continue;
        }
        let joined = set.get(&name).map(|before| format!("{before};{value}"));
        set.insert(name, joined.unwrap_or_else(|| value.clone()));
    }
    set
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|e| format!("text must be UTF-8: {e}"))
}

/// Text as it is; everything else as JSON has it.
fn any_value(message: &[u8], depth: usize) -> Result<String, String> {
    if depth > MAX_DEPTH {
        return Err(format!("at most {MAX_DEPTH} lists within lists, got more"));
    }
    let mut written = String::new();
    for field in Fields::of(message) {
        written = match field? {
            Field { tag: 1, value: Value::Bytes(bytes), .. } if depth == 0 => text(bytes)?.to_owned(),
            Field { tag: 1, value: Value::Bytes(bytes), .. } => quoted(text(bytes)?),
            Field { tag: 2, value: Value::Number(number), .. } => (number != 0).to_string(),
            Field { tag: 3, value: Value::Number(number), .. } => number.cast_signed().to_string(),
            Field { tag: 4, value: Value::Fixed64(bits), .. } => f64::from_bits(bits).to_string(),
            Field { tag: 5, value: Value::Bytes(bytes), .. } => list(bytes, depth)?,
            Field { tag: 6, value: Value::Bytes(bytes), .. } => map(bytes, depth)?,
            Field { tag: 7, value: Value::Bytes(bytes), .. } if depth == 0 => BASE64_STANDARD.encode(bytes),
            Field { tag: 7, value: Value::Bytes(bytes), .. } => format!("\"{}\"", BASE64_STANDARD.encode(bytes)),
            Field { tag: 1..=7, .. } => return Err("a value has another type than its field says".to_owned()),
            _ => continue,
        };
    }
    Ok(written)
}

fn list(message: &[u8], depth: usize) -> Result<String, String> {
    let mut items = Vec::new();
    for field in Fields::of(message) {
        if let Field { tag: 1, value: Value::Bytes(bytes), .. } = field? {
            items.push(any_value(bytes, depth + 1)?);
        }
    }
    Ok(format!("[{}]", items.join(",")))
}

fn map(message: &[u8], depth: usize) -> Result<String, String> {
    let mut items = BTreeMap::new();
    for field in Fields::of(message) {
        let Field { tag: 1, value: Value::Bytes(pair), .. } = field? else { continue };
        let (mut key, mut value) = (String::new(), "null".to_owned());
        for field in Fields::of(pair) {
            match field? {
                Field { tag: 1, value: Value::Bytes(bytes), .. } => key = quoted(text(bytes)?),
                Field { tag: 2, value: Value::Bytes(bytes), .. } => value = any_value(bytes, depth + 1)?,
                _ => {}
            }
        }
        items.insert(key, value);
    }
    let items: Vec<String> = items.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    Ok(format!("{{{}}}", items.join(",")))
}

fn quoted(text: &str) -> String {
    let mut written = String::with_capacity(text.len() + 2);
    written.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => written.extend(['\\', c]),
            c if c.is_control() => written.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => written.push(c),
        }
    }
    written.push('"');
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_lists_is_quoted() {
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c\u000a""#);
    }
}

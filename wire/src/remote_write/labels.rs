//! Label fields, unfolded and checked.

use forewarn_schema::{LabelSet, METRIC_NAME};

use crate::fields::{Fields, Value};

/// Labels of one series.
pub(crate) const MAX_LABELS: usize = 128;
pub(crate) const MAX_NAME_BYTES: usize = 1024;
pub(crate) const MAX_VALUE_BYTES: usize = 2048;

/// Unfolds the `labels` fields of one series (`prometheus.Label`, tag 1). In any order (some senders do not sort); an empty value is an
/// absent label, as in Prometheus.
pub(super) fn unfold(fields: &[u8]) -> Result<LabelSet, String> {
    let mut set = LabelSet::new();
    let mut count = 0;
    for field in Fields::of(fields) {
        let Value::Bytes(label) = field?.value else { return Err("a label must be a message".to_owned()) };
        count += 1;
        if count > MAX_LABELS {
            return Err(format!("a series must have at most {MAX_LABELS} labels, got more"));
        }
        let (name, value) = name_and_value(label)?;
        if !is_label_name(name) {
            return Err(format!("a label name must match [a-zA-Z_][a-zA-Z0-9_]*, got {:?}", shorten(name)));
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(format!(
                "the value of label {name} must be at most {MAX_VALUE_BYTES} bytes, got {}",
                value.len()
            ));
        }
        if set.get(name).is_some() {
            return Err(format!("label {name} is given twice"));
        }
        set.insert(name, value);
    }
    match set.get(METRIC_NAME) {
        Some(name) if is_metric_name(name) => Ok(set),
        Some(name) => Err(format!("a metric name must match [a-zA-Z_:][a-zA-Z0-9_:]*, got {:?}", shorten(name))),
        None => Err(format!("a series must have a metric name, got {}", shorten(&set.to_string()))),
    }
}

fn name_and_value(label: &[u8]) -> Result<(&str, &str), String> {
    let (mut name, mut value) = ("", "");
    for field in Fields::of(label) {
        let field = field?;
        let into = match field.tag {
            1 => &mut name,
            2 => &mut value,
            _ => continue,
        };
        let Value::Bytes(bytes) = field.value else { return Err("a label's name and value must be text".to_owned()) };
        *into = std::str::from_utf8(bytes).map_err(|e| format!("a label must be UTF-8: {e}"))?;
    }
    Ok((name, value))
}

fn is_label_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_metric_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

/// At most 80 characters, for a message that is logged elsewhere.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

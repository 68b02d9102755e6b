//! From bytes to series, hostile bytes included: every length is checked before it is believed.

use std::collections::BTreeMap;

use forewarn_schema::{LabelSet, METRIC_NAME, Sample, Timestamp};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::message::{Label, TimeSeries};

/// Caps on one request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Decompressed, bytes.
    pub max_decoded_bytes: usize,
}

/// One series may take this many bytes of the message. Its labels unfold to 25 times that at worst.
const MAX_SERIES_BYTES: usize = 1 << 20;
const MAX_LABELS: usize = 128;
const MAX_NAME_BYTES: usize = 1024;
const MAX_VALUE_BYTES: usize = 2048;

/// The message cannot be read; nothing of it was kept.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The body says that it becomes larger than allowed.
    #[error("the decompressed body must be at most {limit} bytes, got {got}")]
    TooLarge {
        /// Declared, bytes.
        got: usize,
        /// The cap, bytes.
        limit: usize,
    },
    /// It is not snappy's block format.
    #[error("the body is not snappy block format: {0}")]
    Snappy(String),
    /// It is not the message.
    #[error("the message is malformed at byte {at} of {of}, series {series}: {reason}")]
    Malformed {
        /// The byte of the decompressed message at which it goes wrong.
        at: usize,
        /// Its length, bytes.
        of: usize,
        /// Series read before.
        series: usize,
        /// What is wrong.
        reason: String,
    },
    /// It is the message of version 2.0 under the name of 1.0: reading on would lose all of it.
    #[error("the message is of remote write 2.0, this receiver takes 1.0 (prometheus.WriteRequest)")]
    Version2,
}

/// What a message holds.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    /// Series that are wanted, in the order of the message.
    pub wanted: Vec<(LabelSet, Vec<Sample>)>,
    /// Samples of series that nobody wants, and native histograms.
    pub unwanted: usize,
    /// Samples of series whose labels break the rules, by reason.
    pub refused: BTreeMap<&'static str, usize>,
    /// The first of those.
    pub example: Option<String>,
}

/// Decompresses and reads `body`. Only series of which `wants` is true are kept in memory.
pub fn decode(body: &[u8], limits: Limits, wants: impl Fn(&LabelSet) -> bool) -> Result<Decoded, DecodeError> {
    let declared = snap::raw::decompress_len(body).map_err(|e| DecodeError::Snappy(e.to_string()))?;
    if declared > limits.max_decoded_bytes {
        return Err(DecodeError::TooLarge { got: declared, limit: limits.max_decoded_bytes });
    }
    let message = snap::raw::Decoder::new().decompress_vec(body).map_err(|e| DecodeError::Snappy(e.to_string()))?;
    let mut decoded = Decoded::default();
    let mut rest = message.as_slice();
    let (mut series, mut foreign) = (0, false);
    while !rest.is_empty() {
        let at = message.len() - rest.len();
        let malformed = |reason: String| DecodeError::Malformed { at, of: message.len(), series, reason };
        let (tag, wire_type) = decode_key(&mut rest).map_err(|e| malformed(e.to_string()))?;
        if tag != 1 || wire_type != WireType::LengthDelimited {
            // 3 is metadata; 4 and 5 are where version 2.0 has its symbols and series.
            foreign |= tag == 4 || tag == 5;
            skip_field(wire_type, tag, &mut rest, DecodeContext::default()).map_err(|e| malformed(e.to_string()))?;
            continue;
        }
        let length = decode_varint(&mut rest).map_err(|e| malformed(e.to_string()))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > rest.len() {
            return Err(malformed(format!("a series of {length} bytes, with {} left", rest.len())));
        }
        if length > MAX_SERIES_BYTES {
            return Err(malformed(format!("a series must be at most {MAX_SERIES_BYTES} bytes, got {length}")));
        }
        let (bytes, after) = rest.split_at(length);
        rest = after;
        let wire = TimeSeries::decode(bytes).map_err(|e| malformed(e.to_string()))?;
        decoded.take(wire, &wants);
        series += 1;
    }
    if foreign && series == 0 {
        return Err(DecodeError::Version2);
    }
    Ok(decoded)
}

impl Decoded {
    fn take(&mut self, wire: TimeSeries, wants: &impl Fn(&LabelSet) -> bool) {
        let samples = wire.samples.len();
        self.unwanted += wire.histograms.len();
        match label_set(wire.labels) {
            Ok(labels) if wants(&labels) => {
                let samples =
                    wire.samples.iter().map(|s| Sample { at: Timestamp::from_millis(s.timestamp), value: s.value });
                self.wanted.push((labels, samples.collect()));
            }
            Ok(_) => self.unwanted += samples,
            Err(reason) => {
                *self.refused.entry("invalid_labels").or_insert(0) += samples;
                self.example.get_or_insert(reason);
            }
        }
    }
}

/// Labels in any order (some senders do not sort); an empty value is an absent label, as in Prometheus.
fn label_set(labels: Vec<Label>) -> Result<LabelSet, String> {
    if labels.len() > MAX_LABELS {
        return Err(format!("a series must have at most {MAX_LABELS} labels, got {}", labels.len()));
    }
    let mut set = LabelSet::new();
    for Label { name, value } in labels {
        if !is_label_name(&name) {
            return Err(format!("a label name must match [a-zA-Z_][a-zA-Z0-9_]*, got {:?}", shorten(&name)));
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(format!(
                "the value of label {name} must be at most {MAX_VALUE_BYTES} bytes, got {}",
                value.len()
            ));
        }
        if set.get(&name).is_some() {
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
fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;

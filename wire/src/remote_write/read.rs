//! From bytes to series, hostile bytes included.

use std::collections::BTreeMap;
use std::ops::Range;

use forewarn_schema::{HistogramSample, LabelSet, Sample, Timestamp};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::symbols::Symbols;
use super::{histogram, labels};
use crate::fields::{Field, Fields, Value, varints};

/// Caps on one request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Decompressed, bytes.
    pub max_decoded_bytes: usize,
    /// Of the fingerprints: a secret of this process, so that no sender can make two label sets look the same.
    pub seed: u64,
}

/// Which message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `prometheus.WriteRequest` (<https://prometheus.io/docs/specs/prw/remote_write_spec/>).
    V1,
    /// `io.prometheus.write.v2.Request` (<https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>, rc.4).
    V2,
}

/// One series may take this many bytes of the message; its labels unfold to 25 times that at worst.
const MAX_SERIES_BYTES: usize = 1 << 20;
/// A message has at most so many series with samples, and so many samples.
const MAX_SERIES: usize = 1 << 20;
const MAX_SAMPLES: usize = 1 << 22;

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
    /// It is the message of the other version: reading on would lose all of it.
    #[error("the message is of remote write {is}, and its content-type says {says}")]
    OtherVersion {
        /// What it looks like.
        is: &'static str,
        /// What was said.
        says: &'static str,
    },
}

/// A message, ready to be taken series by series.
#[derive(Debug, Default)]
pub struct Incoming {
    series: Vec<IncomingSeries>,
    samples: Vec<Sample>,
    /// The label fields of each series.
    labels: Vec<u8>,
    /// The histogram fields of each series.
    histogram_fields: Vec<u8>,
    /// How many native histograms there are.
    pub histograms: usize,
    /// Exemplars, which nobody reads.
    pub exemplars: usize,
    /// Samples of series that break the rules, by reason.
    pub refused: BTreeMap<&'static str, usize>,
    /// The first of those.
    pub example: Option<String>,
}

/// The samples of one label set.
#[derive(Clone, Debug)]
pub struct IncomingSeries {
    /// Of its labels: 128 bits with a secret seed, so that two label sets do not share one.
    pub fingerprint: u128,
    labels: Range<u32>,
    samples: Range<u32>,
    histogram_fields: Range<u32>,
    /// How many native histograms it has.
    pub histograms: u32,
}

/// Decompresses and reads `body`. A series that breaks the rules costs itself alone.
pub fn read(body: &[u8], version: Version, limits: Limits) -> Result<Incoming, DecodeError> {
    let declared = snap::raw::decompress_len(body).map_err(|e| DecodeError::Snappy(e.to_string()))?;
    // Places are kept in 32 bits.
    let limit = limits.max_decoded_bytes.min(u32::MAX as usize / 2);
    if declared > limit {
        return Err(DecodeError::TooLarge { got: declared, limit });
    }
    let message = snap::raw::Decoder::new().decompress_vec(body).map_err(|e| DecodeError::Snappy(e.to_string()))?;
    let broken = |at, series, reason| DecodeError::Malformed { at, of: message.len(), series, reason };
    let symbols = match version {
        Version::V1 => None,
        Version::V2 => Some(Symbols::of(&message).map_err(|reason| broken(0, 0, reason))?),
    };
    let (ours, theirs) = if version == Version::V1 { (1, [4, 5]) } else { (5, [1, 1]) };
    let mut incoming = Incoming::default();
    let (mut series, mut foreign, mut at) = (0, false, 0);
    for field in Fields::of(&message) {
        let field = field.map_err(|reason| broken(at, series, reason))?;
        at = field.end;
        foreign |= theirs.contains(&field.tag);
        let (true, Value::Bytes(bytes)) = (field.tag == ours, field.value) else { continue };
        if bytes.len() > MAX_SERIES_BYTES {
            let reason = format!("a series must be at most {MAX_SERIES_BYTES} bytes, got {}", bytes.len());
            return Err(broken(field.start, series, reason));
        }
        incoming.take(bytes, symbols.as_ref(), limits).map_err(|reason| broken(field.start, series, reason))?;
        series += 1;
    }
    match (foreign && series == 0, version) {
        (true, Version::V1) => Err(DecodeError::OtherVersion { is: "2.0", says: "1.0" }),
        (true, Version::V2) => Err(DecodeError::OtherVersion { is: "1.0", says: "2.0" }),
        (false, _) => Ok(incoming),
    }
}

impl Incoming {
    /// Every series with at least one sample or histogram, in the order of the message.
    pub fn series(&self) -> &[IncomingSeries] {
        &self.series
    }

    /// The samples of one of [`Self::series`], in the order of the message.
    pub fn samples(&self, series: &IncomingSeries) -> &[Sample] {
        &self.samples[series.samples.start as usize..series.samples.end as usize]
    }

    /// The native histograms of one of [`Self::series`], unfolded one by one; or what is wrong with one.
    pub fn histograms(&self, series: &IncomingSeries) -> impl Iterator<Item = Result<HistogramSample, String>> {
        let fields =
            &self.histogram_fields[series.histogram_fields.start as usize..series.histogram_fields.end as usize];
        Fields::of(fields).map(|field| match field?.value {
            Value::Bytes(message) => histogram::read(message),
            _ => Err("a histogram must be a message".to_owned()),
        })
    }

    /// Unfolds the labels of one of [`Self::series`]; says what is wrong where they break the rules.
    pub fn labels(&self, series: &IncomingSeries) -> Result<LabelSet, String> {
        labels::unfold(&self.labels[series.labels.start as usize..series.labels.end as usize])
    }

    /// Notes that `samples` samples are refused.
    pub fn refuse(&mut self, reason: &'static str, samples: usize, example: impl FnOnce() -> String) {
        *self.refused.entry(reason).or_insert(0) += samples;
        self.example.get_or_insert_with(example);
    }

    /// One `TimeSeries` of either version.
    fn take(&mut self, series: &[u8], symbols: Option<&Symbols<'_>>, limits: Limits) -> Result<(), String> {
        let (labels_start, samples_start) = (self.labels.len(), self.samples.len());
        let histograms_start = self.histogram_fields.len();
        let mut references = Vec::new();
        let mut histograms = 0;
        for field in Fields::of(series) {
            let field = field?;
            match (field.tag, symbols.is_some()) {
                // What is copied are bytes of the message, so that they are no more than it has.
                (1, false) => self.labels.extend_from_slice(&series[field.start..field.end]),
                (1, true) => varints(&field.value, &mut references).map_err(|e| format!("labels_refs: {e}"))?,
                (2, _) => self.take_sample(&field)?,
                (4, false) | (3, true) => {
                    self.histogram_fields.extend_from_slice(&series[field.start..field.end]);
                    histograms += 1;
                }
                (3, false) | (4, true) => self.exemplars += 1,
                _ => {}
            }
        }
        let samples = self.samples.len() - samples_start;
        if self.samples.len() > MAX_SAMPLES || self.series.len() >= MAX_SERIES {
            return Err(format!("a message must have at most {MAX_SERIES} series and {MAX_SAMPLES} samples, got more"));
        }
        let unfolded = match symbols {
            None => Ok(()),
            Some(_) if samples > 0 && histograms > 0 => Err("a series must not have samples and histograms".to_owned()),
            Some(symbols) => {
                let room = MAX_SERIES_BYTES.min(limits.max_decoded_bytes.saturating_sub(self.labels.len()));
                symbols.unfold(&references, &mut self.labels, room)
            }
        };
        if samples + histograms == 0 || unfolded.is_err() {
            self.labels.truncate(labels_start);
            self.samples.truncate(samples_start);
            self.histogram_fields.truncate(histograms_start);
            if let Err(reason) = unfolded {
                self.refuse("invalid_labels", samples + histograms, || reason);
            }
            return Ok(());
        }
        self.histograms += histograms;
        let place = |range: Range<usize>| range.start as u32..range.end as u32;
        self.series.push(IncomingSeries {
            fingerprint: xxh3_128_with_seed(&self.labels[labels_start..], limits.seed),
            labels: place(labels_start..self.labels.len()),
            samples: place(samples_start..self.samples.len()),
            histogram_fields: place(histograms_start..self.histogram_fields.len()),
            histograms: u32::try_from(histograms).unwrap_or(u32::MAX),
        });
        Ok(())
    }

    /// `prometheus.Sample`, the same in both versions but for a start time, which nobody reads.
    fn take_sample(&mut self, field: &Field<'_>) -> Result<(), String> {
        let Value::Bytes(bytes) = field.value else { return Err("a sample must be a message".to_owned()) };
        let (mut value, mut at) = (0.0, 0);
        for field in Fields::of(bytes) {
            match field? {
                Field { tag: 1, value: Value::Fixed64(bits), .. } => value = f64::from_bits(bits),
                Field { tag: 2, value: Value::Number(millis), .. } => at = millis.cast_signed(),
                Field { tag: 1 | 2, .. } => return Err("a sample must be a double and a time".to_owned()),
                _ => {}
            }
        }
        self.samples.push(Sample { at: Timestamp::from_millis(at), value });
        Ok(())
    }
}

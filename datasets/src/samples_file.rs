//! What the manifest says of a file of raw samples: which one, how much of the day, and where it came from.

use std::collections::BTreeMap;

use forewarn_schema::{LabelMatcher, TimeRange};
use serde::{Deserialize, Serialize};

use crate::Day;
use crate::manifest::{is_source_name, sha256};
use crate::sample_source::Provenance;

/// One day of one source as raw samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplesFile {
    /// Within the dataset's folder: `<source>/samples/<day>-<first 8 digits of the digest>.parquet`.
    pub path: String,
    /// Rows in the file: samples of both kinds.
    pub rows: u64,
    /// How many of them are native histograms.
    pub histograms: u64,
    /// Label sets in the file.
    pub series: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// The times that were asked for.
    pub covered: TimeRange,
    /// Which series were asked for: a key of the manifest's `selections`.
    pub selection: String,
    /// The source's own digest of what the answer depended on; `null` where it has none.
    pub state: Option<String>,
    /// What was read: block ULIDs, object keys or the request, sorted.
    pub from: Vec<String>,
    /// Times for which only downsampled samples were left.
    pub downsampled: Vec<DownsampledRange>,
    /// Which replica was taken, where there were several.
    pub replicas: Vec<ReplicaChoice>,
    /// Times that the source should have and could not give. A day with any is asked for again.
    pub missing: Vec<MissingRange>,
    /// What was left out or settled, by name: how often.
    pub skipped: BTreeMap<String, u64>,
    /// Covered times of five whole minutes and more without a sample of any series.
    pub gaps: Vec<TimeRange>,
}

/// Times of which only downsampled samples were left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownsampledRange {
    /// Which times.
    pub range: TimeRange,
    /// Milliseconds between samples.
    pub resolution_ms: i64,
}

/// The replica that most series of some hours were taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaChoice {
    /// Which times.
    pub range: TimeRange,
    /// Its labels.
    pub replica: String,
}

/// Times that are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissingRange {
    /// Which times.
    pub range: TimeRange,
    /// Why, in one line.
    pub reason: String,
}

impl SamplesFile {
    /// Takes over where the samples came from.
    pub(crate) fn set_provenance(&mut self, provenance: Provenance) {
        self.from = provenance.from;
        self.downsampled = provenance
            .downsampled
            .into_iter()
            .map(|(range, resolution_ms)| DownsampledRange { range, resolution_ms })
            .collect();
        self.replicas =
            provenance.replicas.into_iter().map(|(range, replica)| ReplicaChoice { range, replica }).collect();
        self.missing = provenance.missing.into_iter().map(|(range, reason)| MissingRange { range, reason }).collect();
        self.skipped = BTreeMap::new();
        for (what, times) in provenance.skipped {
            *self.skipped.entry(what).or_default() += times;
        }
    }

    /// Whether it need not be asked for again.
    pub(crate) fn answers(&self, wanted: TimeRange, selection: &str, state: Option<&str>) -> bool {
        let same_state = state.is_none() || self.state.as_deref() == state;
        let covers = self.covered.intersect(&wanted) == Some(wanted);
        covers && same_state && self.selection == selection && self.missing.is_empty()
    }

    /// Where a file with these bytes belongs; see `DayFile::path_of`.
    pub(crate) fn path_of(source: &str, day: Day, sha256: &str) -> String {
        format!("{source}/samples/{day}-{}.parquet", sha256.get(..8).unwrap_or(sha256))
    }

    pub(crate) fn check(&self, source: &str, day: Day) -> Result<(), String> {
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("a digest must be 64 hexadecimal digits, got {:?}", self.sha256));
        }
        let path = Self::path_of(source, day, &self.sha256);
        if !is_source_name(source) || self.path != path {
            return Err(format!("the path must be {path:?}, got {:?}", self.path));
        }
        if self.covered.is_empty() || day.range().intersect(&self.covered) != Some(self.covered) {
            return Err(format!("what is covered must be within the day, got {}", self.covered));
        }
        Ok(())
    }
}

/// A selection as the manifest writes it, and the digest it goes by: one text a selector, sorted.
pub(crate) fn selection(selectors: &[Vec<LabelMatcher>]) -> (String, Vec<String>) {
    let text = |selector: &Vec<LabelMatcher>| {
        let conditions: Vec<String> = selector.iter().map(ToString::to_string).collect();
        format!("{{{}}}", conditions.join(","))
    };
    let mut texts: Vec<String> = selectors.iter().map(text).collect();
    texts.sort();
    texts.dedup();
    (sha256(texts.join("\n").as_bytes()), texts)
}

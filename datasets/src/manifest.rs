//! The manifest: what the dataset covers, from where, in which files. Nothing in it depends on when or how often it was
//! pulled, so that the same history gives the same bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use forewarn_features::{Role, SignalQuery};
use forewarn_schema::{Step, TimeRange};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Day;
use crate::dataset::in_store;
use crate::error::DatasetError;
use crate::gaps;
use crate::samples_file::SamplesFile;

/// The version of the manifest and of the files that are written.
pub const FORMAT_VERSION: u32 = 2;
/// The oldest that is still read. Its files have no services; they get them when their day changes.
const OLDEST_VERSION: u32 = 1;

/// Where it lies within the dataset's folder.
pub(crate) const PATH: &str = "manifest.json";
/// A century of days of one source is about 20 MiB.
pub(crate) const MAX_BYTES: u64 = 64 << 20;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetManifest {
    /// [`FORMAT_VERSION`], or an older one that is still read.
    pub format_version: u32,
    /// The distance between rows; one for the whole dataset.
    pub step: Step,
    /// The sources, by name, as they were when last pulled.
    pub sources: BTreeMap<String, SourceRecord>,
    /// PromQL by its SHA-256: what the files' queries were.
    pub queries: BTreeMap<String, String>,
    /// Source → day → its file.
    pub files: BTreeMap<String, BTreeMap<Day, DayFile>>,
    /// Selections of series by their SHA-256: what the files of raw samples were asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selections: BTreeMap<String, Vec<String>>,
    /// Source → day → its file of raw samples.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub samples: BTreeMap<String, BTreeMap<Day, SamplesFile>>,
}

/// What a source said of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecord {
    /// Such as `prometheus`.
    pub kind: String,
    /// Where it is, without credentials.
    pub url: String,
    /// The server's version, where it tells.
    pub version: Option<String>,
}

/// One day of one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DayFile {
    /// Within the dataset's folder: `<source>/<day>-<first 8 digits of the digest>.parquet`.
    pub path: String,
    /// Rows in the file.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// The distance between the source's evaluations. Between two of them a value repeats for up to the look-back (5
    /// minutes by default), so a gap shorter than that is not seen.
    pub resolution: Step,
    /// Signal → value or limit → what was asked.
    pub coverage: BTreeMap<String, BTreeMap<Role, QueryCoverage>>,
    /// What is covered and where no query gave anything.
    pub gaps: Vec<TimeRange>,
    /// The end of the file, from which one service's rows can be found; `None` for a file of format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footer: Option<Footer>,
}

/// The end of a Parquet file: everything after its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Footer {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// What was asked of a source for one expression on one day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryCoverage {
    /// SHA-256 of the PromQL; see [`DatasetManifest::queries`].
    pub query: String,
    /// The ranges that were asked for, sorted and apart, whether or not they gave anything.
    pub covered: Vec<TimeRange>,
    /// Series that it gave.
    pub series: u64,
    /// Rows that it gave.
    pub rows: u64,
    /// The label that names the service, by which its rows are sorted; `None` where they are not (format 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

impl QueryCoverage {
    /// Whether its rows answer the PromQL of this digest for services that are in the label `service`.
    pub(crate) fn answers(&self, query: &str, service: &str) -> bool {
        self.query == query && self.service.as_ref().is_none_or(|sorted_by| sorted_by == service)
    }
}

impl DatasetManifest {
    pub(crate) fn new(step: Step) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            step,
            sources: BTreeMap::new(),
            queries: BTreeMap::new(),
            files: BTreeMap::new(),
            selections: BTreeMap::new(),
            samples: BTreeMap::new(),
        }
    }

    /// From the earliest to the latest covered step; `None` where nothing is.
    pub fn range(&self) -> Option<TimeRange> {
        let covered = self.day_files().flat_map(|(_, _, file)| file.covered());
        covered.reduce(|a, b| TimeRange { start: a.start.min(b.start), end: a.end.max(b.end) })
    }

    /// Rows in all files.
    pub fn rows(&self) -> u64 {
        self.day_files().fold(0, |sum, (_, _, file)| sum.saturating_add(file.rows))
    }

    /// Size of all files.
    pub fn bytes(&self) -> u64 {
        self.day_files().fold(0, |sum, (_, _, file)| sum.saturating_add(file.bytes))
    }

    /// SHA-256 of the manifest as it is written: it names the files by theirs, so it stands for all of the dataset.
    pub fn digest(&self) -> String {
        sha256(&self.to_bytes())
    }

    /// Every file, by source, then day.
    pub fn day_files(&self) -> impl Iterator<Item = (&str, Day, &DayFile)> {
        self.files.iter().flat_map(|(source, days)| days.iter().map(|(day, file)| (source.as_str(), *day, file)))
    }

    /// Every file of raw samples, by source, then day.
    pub fn sample_files(&self) -> impl Iterator<Item = (&str, Day, &SamplesFile)> {
        self.samples.iter().flat_map(|(source, days)| days.iter().map(|(day, file)| (source.as_str(), *day, file)))
    }

    pub(crate) fn file(&self, source: &str, day: Day) -> Option<&DayFile> {
        self.files.get(source)?.get(&day)
    }

    /// Forgets the PromQL that no file names any more.
    pub(crate) fn tidy(&mut self) {
        let mut queries = std::mem::take(&mut self.queries);
        let used: std::collections::BTreeSet<String> = self
            .day_files()
            .flat_map(|(_, _, file)| file.coverage.values().flat_map(BTreeMap::values))
            .map(|c| c.query.clone())
            .collect();
        queries.retain(|digest, _| used.contains(digest));
        self.queries = queries;
        let mut selections = std::mem::take(&mut self.selections);
        selections.retain(|digest, _| self.sample_files().any(|(_, _, file)| file.selection == *digest));
        self.selections = selections;
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("strings, numbers and maps with text keys are JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote, now or in an older version; everything else is refused.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, DatasetError> {
        #[derive(Deserialize)]
        struct VersionOnly {
            format_version: u32,
        }
        let wrong = |reason: String| DatasetError::Manifest { path: in_store(PATH), reason };
        let VersionOnly { format_version } =
            serde_json::from_slice(bytes).map_err(|e| wrong(format!("it is not a manifest ({e})")))?;
        if !(OLDEST_VERSION..=FORMAT_VERSION).contains(&format_version) {
            let wanted = format!("{OLDEST_VERSION} to {FORMAT_VERSION}");
            return Err(wrong(format!("format_version must be {wanted}, got {format_version}")));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
        for (source, day, file) in manifest.day_files() {
            if let Err(reason) = file.check(source, day) {
                return Err(wrong(format!("{source}, {day}: {reason}")));
            }
        }
        for (source, day, file) in manifest.sample_files() {
            if let Err(reason) = file.check(source, day) {
                return Err(wrong(format!("samples of {source}, {day}: {reason}")));
            }
        }
        Ok(manifest)
    }
}

impl DayFile {
    /// What was asked for, by any query.
    pub(crate) fn covered(&self) -> Vec<TimeRange> {
        let queries = self.coverage.values().flat_map(BTreeMap::values);
        gaps::union(queries.flat_map(|q| q.covered.iter().copied()))
    }

    pub(crate) fn query(&self, signal: &str, role: Role) -> Option<&QueryCoverage> {
        self.coverage.get(signal)?.get(&role)
    }

    /// Where a file with these bytes belongs. The digest in the name lets a new version lie beside the old one until
    /// the manifest names it: a kill in between damages neither.
    pub(crate) fn path_of(source: &str, day: Day, sha256: &str) -> String {
        format!("{source}/{day}-{}.parquet", sha256.get(..8).unwrap_or(sha256))
    }

    fn check(&self, source: &str, day: Day) -> Result<(), String> {
        let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        for digest in [&self.sha256].into_iter().chain(self.footer.as_ref().map(|footer| &footer.sha256)) {
            if !is_digest(digest) {
                return Err(format!("a digest must be 64 hexadecimal digits, got {digest:?}"));
            }
        }
        if self.footer.as_ref().is_some_and(|footer| footer.bytes > self.bytes) {
            return Err("the footer must not be larger than the file".to_owned());
        }
        let path = Self::path_of(source, day, &self.sha256);
        if !is_source_name(source) || self.path != path {
            return Err(format!("the path must be {path:?}, got {:?}", self.path));
        }
        for query in self.coverage.values().flat_map(BTreeMap::values) {
            let in_order = query.covered.windows(2).all(|w| w[0].end < w[1].start);
            if !in_order || query.covered.iter().any(|r| r.is_empty() || day.range().intersect(r) != Some(*r)) {
                return Err("covered ranges must be sorted, apart and within the day".to_owned());
            }
        }
        Ok(())
    }
}

/// Whether a source of that name can have a folder.
pub(crate) fn is_source_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 64 && !name.starts_with('.') && name.chars().all(plain)
}

/// SHA-256, lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The digest by which the manifest names a query's PromQL.
pub(crate) fn query_digest(query: &SignalQuery) -> String {
    sha256(query.promql.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifest() -> DatasetManifest {
        let day: Day = "2026-01-02".parse().unwrap();
        let sha256 = sha256(b"x");
        let covered = vec![day.range()];
        let service = Some("service".to_owned());
        let coverage = QueryCoverage { query: sha256.clone(), covered, series: 1, rows: 2, service };
        let footer = Some(Footer { bytes: 1, sha256: sha256.clone() });
        let file = DayFile {
            path: DayFile::path_of("thanos", day, &sha256),
            rows: 2,
            bytes: 1,
            sha256,
            resolution: Step::MINUTE,
            coverage: BTreeMap::from([("memory".to_owned(), BTreeMap::from([(Role::Value, coverage)]))]),
            gaps: vec![],
            footer,
        };
        let mut manifest = DatasetManifest::new(Step::MINUTE);
        manifest.files.insert("thanos".to_owned(), BTreeMap::from([(day, file)]));
        manifest
    }

    #[test]
    fn reads_back_and_says_what_it_covers() {
        let manifest = manifest();
        assert_eq!(DatasetManifest::from_bytes(&manifest.to_bytes()).unwrap(), manifest);
        assert_eq!(manifest.range().unwrap().to_string(), "2026-01-02T00:00:00Z to 2026-01-03T00:00:00Z");
        assert_eq!(DatasetManifest::new(Step::MINUTE).range(), None);
    }

    #[test]
    fn the_form_on_disk_stays_the_same() {
        let text = String::from_utf8(manifest().to_bytes()).unwrap();
        assert_eq!(text, include_str!("../tests/fixtures/manifest-v2.json"));
    }

    #[test]
    fn format_1_is_still_read_and_keeps_its_digest() {
        let text = include_str!("../tests/fixtures/manifest-v1.json");
        let manifest = DatasetManifest::from_bytes(text.as_bytes()).unwrap();
        assert_eq!(manifest.digest(), sha256(text.as_bytes()));
        assert!(manifest.day_files().all(|(_, _, file)| file.footer.is_none()));
    }

    #[test]
    #[ignore = "writes the fixture: for a new format version only"]
    fn write_the_fixture() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/manifest-v2.json");
        std::fs::write(path, manifest().to_bytes()).unwrap();
    }

    #[test]
    fn another_version_and_a_path_that_leaves_the_folder_are_refused() {
        let refused = |from: &str, to: &str, says: &str| {
            let text = String::from_utf8(manifest().to_bytes()).unwrap().replace(from, to);
            let error = DatasetManifest::from_bytes(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        };
        refused("\"format_version\": 2", "\"format_version\": 3", "format_version must be 1 to 2, got 3");
        refused("\"path\": \"thanos/", "\"path\": \"../", "the path must be");
        refused("\"thanos\": {", "\"../x\": {", "the path must be");
        refused("\"rows\": 2", "\"rows\": -2", "invalid");
        refused("\"bytes\": 1,\n          \"sha256\"", "\"bytes\": 2,\n          \"sha256\"", "footer");
        assert!(DatasetManifest::from_bytes(b"").is_err());
    }

    /// Lines of a manifest, so that parts meet where they should not.
    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let text = String::from_utf8(manifest().to_bytes()).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let n = lines.len();
        proptest::collection::vec((0..n, 0..n), 0..4).prop_map(move |swaps| {
            let mut lines = lines.clone();
            swaps.into_iter().for_each(|(a, b)| lines.swap(a, b));
            lines.join("\n").into_bytes()
        })
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_a_manifest_is_refused_or_reads_back(
            mut bytes in lines(),
            edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            number in any::<u64>(),
        ) {
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            crate::fuzzing::manifest(&bytes);
            // Numbers at the end of their range are where sums overflow.
            let text = String::from_utf8_lossy(&manifest().to_bytes()).replace(": 2,", &format!(": {number},"));
            crate::fuzzing::manifest(text.as_bytes());
        }
    }
}

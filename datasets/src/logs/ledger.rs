//! The ledger: which version of which object was read and what was found in it, and which files hold the counts. Whatever
//! it does not name does not count.

use std::collections::BTreeMap;

use forewarn_schema::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Day;
use crate::manifest::sha256;

/// The version of the ledger; another one is refused.
const FORMAT_VERSION: u32 = 1;
/// A larger ledger is not read: a million objects are about as much.
pub(crate) const MAX_BYTES: u64 = 512 << 20;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ledger {
    pub(crate) format_version: u32,
    /// By which keys lines were read; counts under others cannot be added up.
    pub(crate) rules: Vec<String>,
    /// The number of the next object that is read.
    pub(crate) next_object: u64,
    /// By key.
    pub(crate) objects: BTreeMap<String, ObjectRecord>,
    /// Days with lines.
    pub(crate) days: BTreeMap<Day, DayRecord>,
    /// What was learnt of messages; `None` before the first object.
    pub(crate) templates: Option<FileRef>,
    /// What was counted lately; `None` before the first object.
    pub(crate) seen: Option<FileRef>,
}

/// A version of an object that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ObjectRecord {
    /// By which the day files name it: numbers go up in the order of reading.
    pub(crate) number: u64,
    pub(crate) etag: String,
    /// In bytes, as stored.
    pub(crate) size: u64,
    /// When it was written.
    pub(crate) written: Timestamp,
    /// The days of its lines.
    pub(crate) days: Vec<Day>,
    pub(crate) found: Tally,
}

/// What was found in an object. Zeros are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tally {
    /// Lines that were counted.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) lines: u64,
    /// Lines that had been counted before.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) duplicates: u64,
    /// Lines that are not one JSON object.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) not_json: u64,
    /// Lines without a time, or with one that cannot be.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) no_time: u64,
    /// Lines longer than a line may be.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) too_long: u64,
    /// Lines of an object that has a million counts already.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) too_scattered: u64,
    /// Last lines that were cut off.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) cut_off: u64,
    /// Lines that were counted although they are not UTF-8.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) not_utf8: u64,
    /// How the object ended, where not as it should: `cut off`, `damaged`, `too large`, or the name of a format that is not
    /// read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The counts of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DayRecord {
    pub(crate) file: FileRef,
    pub(crate) lines: u64,
    /// Of the day, with lines.
    pub(crate) first_minute: u16,
    /// Of the day, with lines.
    pub(crate) last_minute: u16,
}

/// A file, by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileRef {
    /// Within the folder.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Lower-case hexadecimal.
    pub(crate) sha256: String,
}

impl FileRef {
    /// Of a file `<stem>-<first 8 digits of its digest>.<suffix>`.
    pub(crate) fn of(bytes: &[u8], stem: &str, suffix: &str) -> Self {
        let sha256 = sha256(bytes);
        let path = format!("{stem}-{}.{suffix}", sha256.get(..8).unwrap_or_default());
        Self { path, bytes: bytes.len() as u64, sha256 }
    }
}

impl Tally {
    /// Everything that was left out, by name, with how often.
    pub(crate) fn skipped(&self) -> impl Iterator<Item = (String, u64)> {
        let lines = [
            ("duplicate lines", self.duplicates),
            ("lines that are not JSON objects", self.not_json),
            ("lines without a usable time", self.no_time),
            ("lines that are too long", self.too_long),
            ("lines of too many minutes and kinds", self.too_scattered),
            ("lines that are cut off", self.cut_off),
        ];
        let objects = self.ended.iter().map(|how| (format!("objects that are {how}"), 1));
        lines.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), n)).chain(objects)
    }
}

impl Ledger {
    pub(crate) fn new(rules: Vec<String>) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            rules,
            next_object: 0,
            objects: BTreeMap::new(),
            days: BTreeMap::new(),
            templates: None,
            seen: None,
        }
    }

    /// The files that hold the counts.
    pub(crate) fn files(&self) -> impl Iterator<Item = &FileRef> {
        self.days.values().map(|day| &day.file).chain(&self.templates).chain(&self.seen)
    }

    /// The file's bytes.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|e| e.to_string())?;
        bytes.push(b'\n');
        if bytes.len() as u64 > MAX_BYTES {
            return Err(format!("a ledger must be at most {MAX_BYTES} bytes, got {}", bytes.len()));
        }
        Ok(bytes)
    }

    /// The ledger in a file's bytes, or what is wrong with it.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let version: Version = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if version.format_version != FORMAT_VERSION {
            return Err(format!("format_version must be {FORMAT_VERSION}, got {}", version.format_version));
        }
        let ledger: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        ledger.check()?;
        Ok(ledger)
    }

    fn check(&self) -> Result<(), String> {
        for file in self.files() {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
            if file.path.starts_with('.') || !file.path.chars().all(plain) {
                return Err(format!("the path of a file must stay in the folder, got {:?}", file.path));
            }
        }
        if self.objects.values().any(|object| object.number >= self.next_object) {
            return Err("an object's number must be below next_object".to_owned());
        }
        if self.days.values().any(|day| day.first_minute > day.last_minute || day.last_minute >= 1440) {
            return Err("minutes must be below 1440, the first not after the last".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ledger() -> Ledger {
        let day: Day = "2026-01-02".parse().unwrap();
        let file = FileRef::of(b"x", "2026-01-02", "json.zst");
        let found = Tally { lines: 3, not_json: 1, ended: Some("cut off".to_owned()), ..Tally::default() };
        let written = "2026-01-02T10:00:00Z".parse().unwrap();
        let object = ObjectRecord { number: 0, etag: "\"e\"".to_owned(), size: 9, written, days: vec![day], found };
        let mut ledger = Ledger::new(vec!["service_key=(default)".to_owned()]);
        ledger.next_object = 1;
        ledger.objects.insert("a/b.gz".to_owned(), object);
        ledger.days.insert(day, DayRecord { file, lines: 3, first_minute: 1, last_minute: 2 });
        ledger
    }

    #[test]
    fn reads_back_and_refuses_what_leaves_its_folder() {
        let ledger = ledger();
        let text = String::from_utf8(ledger.to_bytes().unwrap()).unwrap();
        assert_eq!(Ledger::from_bytes(text.as_bytes()).unwrap(), ledger);
        for (from, to) in [
            ("\"format_version\": 1", "\"format_version\": 2"),
            ("\"path\": \"2026", "\"path\": \"../2026"),
            ("\"path\": \"2026", "\"path\": \".2026"),
            ("\"next_object\": 1", "\"next_object\": 0"),
            ("\"last_minute\": 2", "\"last_minute\": 1440"),
            ("\"lines\": 3", "\"lines\": -3"),
        ] {
            assert!(text.contains(from), "{from}");
            assert!(Ledger::from_bytes(text.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }

    #[test]
    fn the_form_on_disk_stays_the_same() {
        let text = String::from_utf8(ledger().to_bytes().unwrap()).unwrap();
        assert_eq!(text, include_str!("../../tests/fixtures/logs-ledger-v1.json"));
    }

    #[test]
    #[ignore = "writes the fixture: for a new format version only"]
    fn write_the_fixture() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/logs-ledger-v1.json");
        std::fs::write(path, ledger().to_bytes().unwrap()).unwrap();
    }

    proptest! {
        #[test]
        fn damage_is_an_error_or_a_ledger(at: usize, byte: u8, cut: usize) {
            let mut bytes = ledger().to_bytes().unwrap();
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(cut % (length + 1));
            let _ = Ledger::from_bytes(&bytes);
        }
    }
}

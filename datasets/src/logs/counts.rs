//! The counts of one day: lines by workload, level, template, minute, and by the object they came from, so that an object
//! can be taken back. As a file: JSON in one zstd frame, the same counts always the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use serde::{Deserialize, Serialize};

use super::compression::text_of;
use super::level::Level;
use crate::Day;

/// The version of the file; another one is refused.
const FORMAT_VERSION: u32 = 1;
/// A larger file is not read, nor one with more text.
pub(crate) const MAX_BYTES: u64 = 256 << 20;
const MAX_TEXT: u64 = 2 << 30;
const ZSTD_LEVEL: i32 = 3;
/// More lines in a minute than any system writes; keeps sums far from overflow.
const MAX_COUNT: u64 = 1 << 40;

pub(crate) const MINUTES: u16 = 1440;

/// The template of lines without a message.
pub(crate) const NO_TEMPLATE: &str = "";
/// The template of lines that would have needed one too many.
pub(crate) const OTHER_TEMPLATE: &str = "other";

/// Who writes: a service in a namespace; the namespace may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Workload {
    pub(crate) namespace: String,
    pub(crate) service: String,
}

/// What is counted apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) workload: Workload,
    pub(crate) level: Level,
    /// An id, [`NO_TEMPLATE`] or [`OTHER_TEMPLATE`].
    pub(crate) template: String,
}

/// Lines by minute of the day, none zero.
pub(crate) type ByMinute = BTreeMap<u16, u64>;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DayCounts {
    rows: BTreeMap<Kind, BTreeMap<u64, ByMinute>>,
}

impl DayCounts {
    /// Adds lines that `object` has.
    pub(crate) fn add(&mut self, kind: Kind, object: u64, minute: u16, lines: u64) {
        if lines > 0 && minute < MINUTES {
            let counted = self.rows.entry(kind).or_default().entry(object).or_default().entry(minute).or_default();
            *counted = counted.saturating_add(lines).min(MAX_COUNT);
        }
    }

    /// Adds all of `other`.
    pub(crate) fn merge(&mut self, other: Self) {
        for (kind, by_object) in other.rows {
            let ours = self.rows.entry(kind).or_default();
            for (object, minutes) in by_object {
                let ours = ours.entry(object).or_default();
                for (minute, lines) in minutes {
                    let counted = ours.entry(minute).or_default();
                    *counted = counted.saturating_add(lines).min(MAX_COUNT);
                }
            }
        }
    }

    /// Takes back what these objects had.
    pub(crate) fn take_back(&mut self, objects: &BTreeSet<u64>) {
        for by_object in self.rows.values_mut() {
            by_object.retain(|object, _| !objects.contains(object));
        }
        self.rows.retain(|_, by_object| !by_object.is_empty());
    }

    /// How many numbers it holds.
    pub(crate) fn len(&self) -> usize {
        self.rows.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum()
    }

    /// Kinds, sorted, each with its lines of all objects together.
    pub(crate) fn by_kind(&self) -> impl Iterator<Item = (&Kind, ByMinute)> {
        self.rows.iter().map(|(kind, by_object)| {
            let mut sum = ByMinute::new();
            for (minute, lines) in by_object.values().flatten() {
                *sum.entry(*minute).or_default() += lines;
            }
            (kind, sum)
        })
    }

    /// The minutes in which there was any line.
    pub(crate) fn minutes(&self) -> BTreeSet<u16> {
        self.rows.values().flat_map(BTreeMap::values).flat_map(BTreeMap::keys).copied().collect()
    }

    /// All lines.
    pub(crate) fn lines(&self) -> u64 {
        self.rows.values().flat_map(BTreeMap::values).flat_map(BTreeMap::values).sum()
    }

    /// The file's bytes.
    pub(crate) fn to_bytes(&self, day: Day) -> Result<Vec<u8>, String> {
        let rows = self.rows.iter().flat_map(|(kind, by_object)| {
            by_object.iter().map(|(object, minutes)| Row {
                namespace: kind.workload.namespace.clone(),
                service: kind.workload.service.clone(),
                level: kind.level.as_str().to_owned(),
                template: kind.template.clone(),
                object: *object,
                minutes: minutes.iter().flat_map(|(minute, lines)| [u64::from(*minute), *lines]).collect(),
            })
        });
        let file = File { format_version: FORMAT_VERSION, day, rows: rows.collect() };
        let text = serde_json::to_vec(&file).map_err(|e| e.to_string())?;
        if text.len() as u64 > MAX_TEXT {
            return Err(format!("the counts of {day} must be at most {MAX_TEXT} bytes of JSON, got {}", text.len()));
        }
        zstd::bulk::compress(&text, ZSTD_LEVEL).map_err(|e| e.to_string())
    }

    /// The counts in a file's bytes, or what is wrong with them.
    pub(crate) fn from_bytes(bytes: &[u8], day: Day) -> Result<Self, String> {
        let mut text = Vec::new();
        // Counts repeat themselves; a thousandfold is still honest.
        let mut unpacked = text_of(bytes, MAX_TEXT, 10_000).map_err(|e| e.to_string())?;
        unpacked.read_to_end(&mut text).map_err(|e| e.to_string())?;
        let file: File = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        if file.format_version != FORMAT_VERSION {
            return Err(format!("format_version must be {FORMAT_VERSION}, got {}", file.format_version));
        }
        if file.day != day {
            return Err(format!("the day must be {day}, got {}", file.day));
        }
        let mut counts = Self::default();
        let mut last = None;
        for row in file.rows {
            let level = Level::of_label(&row.level).ok_or_else(|| format!("unknown level {:?}", row.level))?;
            let workload = Workload { namespace: row.namespace, service: row.service };
            let key = (Kind { workload, level, template: row.template }, row.object);
            if last.as_ref().is_some_and(|last| *last >= key) {
                return Err("rows must be sorted, none twice".to_owned());
            }
            let minutes = by_minute(&row.minutes)?;
            counts.rows.entry(key.0.clone()).or_default().insert(key.1, minutes);
            last = Some(key);
        }
        Ok(counts)
    }
}

fn by_minute(pairs: &[u64]) -> Result<ByMinute, String> {
    let mut minutes = ByMinute::new();
    let mut last = None;
    for pair in pairs.chunks(2) {
        let &[minute, lines] = pair else { return Err("minutes must be pairs".to_owned()) };
        let minute = u16::try_from(minute).ok().filter(|m| *m < MINUTES && last.is_none_or(|last| last < *m));
        let minute = minute.ok_or("minutes must go up and be below 1440")?;
        if !(1..=MAX_COUNT).contains(&lines) {
            return Err(format!("a count must be 1 to {MAX_COUNT}, got {lines}"));
        }
        minutes.insert(minute, lines);
        last = Some(minute);
    }
    if minutes.is_empty() { Err("a row must have minutes".to_owned()) } else { Ok(minutes) }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format_version: u32,
    day: Day,
    rows: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    namespace: String,
    service: String,
    level: String,
    template: String,
    object: u64,
    /// Minute of the day and lines, by turns.
    minutes: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day() -> Day {
        "2026-01-02".parse().unwrap()
    }

    fn kind(service: &str, level: Level, template: &str) -> Kind {
        let workload = Workload { namespace: "shop".to_owned(), service: service.to_owned() };
        Kind { workload, level, template: template.to_owned() }
    }

    fn counts(of: &[(u8, u64, u16, u64)]) -> DayCounts {
        let mut counts = DayCounts::default();
        for (service, object, minute, lines) in of {
            let level = Level::ALL[usize::from(*service) % Level::ALL.len()];
            counts.add(kind(&format!("s{}", service % 5), level, "t"), *object, *minute, *lines);
        }
        counts
    }

    #[test]
    fn what_is_taken_back_was_never_there() {
        let mut both = counts(&[(1, 7, 10, 3), (1, 8, 10, 4), (2, 7, 11, 1)]);
        assert_eq!((both.lines(), both.minutes().len()), (8, 2));
        both.take_back(&BTreeSet::from([7]));
        assert_eq!(both, counts(&[(1, 8, 10, 4)]));
    }

    #[test]
    fn the_form_on_disk_stays_the_same() {
        let bytes = counts(&[(1, 7, 10, 3), (1, 7, 1439, 1)]).to_bytes(day()).unwrap();
        let text = String::from_utf8(zstd::decode_all(&*bytes).unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{"format_version":1,"day":"2026-01-02","rows":[{"namespace":"shop","service":"s1","level":"error","template":"t","object":7,"minutes":[10,3,1439,1]}]}"#
        );
        for (from, to) in [
            ("version\":1", "version\":2"),
            ("-02", "-03"),
            ("error", "bad"),
            ("[10,3", "[10,0"),
            ("[10,3,", "[1439,3,"),
            ("1439,1", "1439"),
            ("1439", "1440"),
            ("[10,3,1439,1]", "[]"),
        ] {
            let wrong = zstd::encode_all(text.replace(from, to).as_bytes(), 3).unwrap();
            assert!(DayCounts::from_bytes(&wrong, day()).is_err(), "{from} as {to}");
        }
    }

    proptest! {
        #[test]
        fn counts_read_back(rows in proptest::collection::vec((0_u8..9, 0_u64..4, 0_u16..1440, 0_u64..1000), 0..50)) {
            let counts = counts(&rows);
            let bytes = counts.to_bytes(day()).unwrap();
            prop_assert_eq!(&DayCounts::from_bytes(&bytes, day()).unwrap(), &counts);
            prop_assert_eq!(counts.lines(), rows.iter().map(|r| r.3).sum::<u64>());
        }

        #[test]
        fn damage_is_an_error_or_counts(at: usize, byte: u8, cut: usize) {
            let mut bytes = counts(&[(1, 7, 10, 3), (2, 8, 10, 4)]).to_bytes(day()).unwrap();
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(cut % (length + 1));
            let _ = DayCounts::from_bytes(&bytes, day());
        }
    }
}

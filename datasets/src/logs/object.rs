//! One object, line by line: what counts, what had been counted before, and what cannot be.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::io::{self, Read};

use forewarn_schema::Timestamp;

use super::LogsOptions;
use super::compression::text_of;
use super::counts::{ByMinute, DayCounts, Kind};
use super::ledger::Tally;
use super::level::Level;
use super::lines::{Line, for_each_line};
use super::record::{NoRecord, RecordReader};
use super::seen::Seen;
use super::templates::{TemplateRef, Templates};
use crate::Day;

/// 2000-01-01T00:00:00Z: a time before it is a clock that was not set.
const EARLIEST_MS: i64 = 946_684_800_000;
/// A line cannot have happened after its object was written, but clocks go wrong, and a multipart upload is dated by its
/// beginning.
const CLOCK_SLACK_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;
/// Numbers that an object may have: minutes of kinds of lines. An honest one covers some minutes of some services.
const MAX_NUMBERS: usize = 1_000_000;

/// What lines of all objects share.
pub(crate) struct Counter<'a> {
    pub(crate) options: &'a LogsOptions,
    pub(crate) reader: &'a RecordReader,
    pub(crate) templates: &'a mut Templates,
    pub(crate) seen: &'a mut Seen,
}

/// What an object gave.
#[derive(Debug, Default)]
pub(crate) struct ObjectCounts {
    pub(crate) days: BTreeMap<Day, DayCounts>,
    pub(crate) found: Tally,
}

/// A day, a workload, a level, a template.
type Key = (Day, usize, Level, TemplateRef);

impl Counter<'_> {
    /// Counts the lines of `object`, which has this number and was written then. What could be read of a damaged object
    /// counts. A failure to read the object itself looks like damage here; who reads it knows better.
    pub(crate) fn count(&mut self, object: impl Read, number: u64, written: Timestamp) -> ObjectCounts {
        let mut found = Tally::default();
        let mut counted: HashMap<Key, ByMinute> = HashMap::new();
        let mut numbers = 0;
        self.seen.begin(number, written.millis());
        let ended = text_of(object, self.options.max_text, self.options.max_ratio).and_then(|mut text| {
            for_each_line(&mut text, self.options.max_line, |line| {
                let Some((key, minute)) = self.line(line, written, &mut found) else { return };
                let minutes = counted.entry(key).or_default();
                if !minutes.contains_key(&minute) {
                    if numbers == MAX_NUMBERS {
                        found.too_scattered += 1;
                        return;
                    }
                    numbers += 1;
                }
                *minutes.entry(minute).or_default() += 1;
                found.lines += 1;
            })
        });
        self.seen.end();
        found.ended = ended.err().map(|e| ending(&e));
        let mut days: BTreeMap<Day, DayCounts> = BTreeMap::new();
        for ((day, workload, level, template), minutes) in counted {
            let Some((workload, template)) = self.templates.names(workload, template) else { continue };
            let counts = days.entry(day).or_default();
            for (minute, lines) in minutes {
                let kind = Kind { workload: workload.clone(), level, template: template.to_owned() };
                counts.add(kind, number, minute, lines);
            }
        }
        for (day, counts) in &days {
            self.templates.saw(*day, counts);
        }
        ObjectCounts { days, found }
    }

    /// Where a line counts; `None` for one that does not, which `found` is told.
    fn line(&mut self, line: Line<'_>, written: Timestamp, found: &mut Tally) -> Option<(Key, u16)> {
        let (bytes, is_last) = match line {
            Line::Whole(bytes) => (bytes, false),
            Line::Last(bytes) => (bytes, true),
            Line::TooLong => {
                found.too_long += 1;
                return None;
            }
        };
        let text = String::from_utf8_lossy(bytes);
        let record = match self.reader.read(&text) {
            Ok(record) => record,
            Err(NoRecord::NotJson) if is_last => {
                found.cut_off += 1;
                return None;
            }
            Err(NoRecord::NotJson) => {
                found.not_json += 1;
                return None;
            }
            Err(NoRecord::NoTime) => {
                found.no_time += 1;
                return None;
            }
        };
        let at = record.at.millis();
        let latest = written.millis().saturating_add(CLOCK_SLACK_MS);
        let Some(day) = Day::of(record.at).filter(|_| (EARLIEST_MS..=latest).contains(&at)) else {
            found.no_time += 1;
            return None;
        };
        if !self.seen.is_new(bytes) {
            found.duplicates += 1;
            return None;
        }
        if matches!(text, std::borrow::Cow::Owned(_)) {
            found.not_utf8 += 1;
        }
        let (workload, template) = self.templates.learn(&record.namespace, &record.service, &record.message);
        // Below 1440, as the day holds the time.
        let minute = u16::try_from((at - day.range().start.millis()) / MINUTE_MS).unwrap_or(0);
        Some(((day, workload, record.level, template), minute))
    }
}

/// How an object ended that did not end well.
fn ending(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "cut off".to_owned(),
        io::ErrorKind::FileTooLarge => "too large".to_owned(),
        io::ErrorKind::Unsupported => format!("of the format {error}, which is not read"),
        _ => "damaged".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::compression::tests::{gzip, zstd};
    use proptest::prelude::*;

    fn count(object: &[u8]) -> ObjectCounts {
        let options = LogsOptions { max_line: 1000, ..LogsOptions::default() };
        let (mut templates, mut seen) = (Templates::default(), Seen::new(options.dedup_window, 1000));
        let reader = RecordReader::new(&options);
        let mut counter = Counter { options: &options, reader: &reader, templates: &mut templates, seen: &mut seen };
        counter.count(object, 3, "2026-01-02T11:00:00Z".parse().unwrap())
    }

    const GOOD: &str = r#"{"date":"2026-01-02T10:00:00.5Z","log":"ERROR order 1 lost","service":"cart"}"#;

    #[test]
    fn each_line_is_counted_once_or_its_reason_is() {
        let late = r#"{"date":"2026-01-09T10:00:00Z","log":"x"}"#;
        let early = r#"{"date":0,"log":"x"}"#;
        let long = format!(r#"{{"date":1,"log":"{}"}}"#, "x".repeat(2000));
        let next_day = GOOD.replace("-02T10", "-01T23");
        let text = [GOOD, "{", GOOD, late, early, &long, &next_day, &GOOD[..40]].join("\r\n");
        let mut not_utf8 = text.into_bytes();
        not_utf8.splice(
            0..0,
            GOOD.replace("order 1", "order ?").bytes().map(|b| if b == b'?' { 0xff } else { b }).chain([b'\n']),
        );
        for object in [not_utf8.clone(), gzip(&not_utf8), zstd(&not_utf8)] {
            let counts = count(&object);
            let wanted = Tally {
                lines: 3,
                duplicates: 1,
                not_json: 1,
                no_time: 2,
                too_long: 1,
                too_scattered: 0,
                cut_off: 1,
                not_utf8: 1,
                ended: None,
            };
            assert_eq!(counts.found, wanted);
            let days: Vec<_> = counts.days.iter().map(|(day, c)| (day.to_string(), c.lines(), c.minutes())).collect();
            assert_eq!(days[0], ("2026-01-01".to_owned(), 1, [23 * 60].into()));
            assert_eq!(days[1], ("2026-01-02".to_owned(), 2, [600].into()));
        }
    }

    #[test]
    fn what_came_before_the_damage_counts() {
        let lines: String =
            (0..20_000).map(|i| format!("{}\n", GOOD.replace("order 1", &format!("order {i}")))).collect();
        for whole in [gzip(lines.as_bytes()), zstd(lines.as_bytes())] {
            let counts = count(&whole[..whole.len() / 2]);
            assert_eq!(counts.found.ended.as_deref(), Some("cut off"));
            assert!((5_000..19_000).contains(&counts.found.lines), "{:?}", counts.found);
            let mut damaged = whole.clone();
            let middle = damaged.len() / 2;
            damaged[middle..middle + 64].fill(0);
            let counts = count(&damaged);
            assert!(counts.found.ended.is_some() && counts.found.lines > 0, "{:?}", counts.found);
        }
        assert_eq!(count(b"PAR1PAR1").found.ended.unwrap(), "of the format parquet, which is not read");
    }

    proptest! {
        #[test]
        fn any_object_ends(object in proptest::collection::vec(any::<u8>(), 0..200)) {
            let counts = count(&object);
            prop_assert_eq!(counts.days.values().map(DayCounts::lines).sum::<u64>(), counts.found.lines);
        }
    }
}

//! Logs as history: JSON lines of Fluent Bit, counted by service, level and message template, per minute.
//!
//! An object goes through [`compression`] → [`lines`] → [`record`] (with [`fields`], [`time`], [`level`]) → [`seen`] (each
//! record once) → [`templates`] ([`drain`]) → [`counts`] ([`object`] ties these together). [`ingest`] does so for every object
//! that the [`ledger`] does not have yet and keeps the result in a [`folder`] of the dataset. [`source`] gives the counts as
//! [`series`]. Not here: evaluating signals over them, or what they mean.

mod compression;
mod counts;
mod drain;
mod error;
mod fetch;
mod fields;
mod folder;
mod ingest;
mod ledger;
mod level;
mod lines;
mod matching;
mod object;
mod options;
mod record;
mod seen;
mod series;
mod source;
mod survey;
mod templates;
#[cfg(test)]
mod tests;
mod time;

use error::LogsError;
pub use ingest::LogsSummary;
pub use options::LogsOptions;
pub use source::LogsSource;
pub use survey::LogsSurvey;

/// See [`crate::fuzzing`].
pub(crate) mod fuzzing {
    use forewarn_schema::Timestamp;

    use super::ledger::Ledger;
    use super::object::Counter;
    use super::record::RecordReader;
    use super::seen::Seen;
    use super::templates::Templates;
    use super::{LogsOptions, counts::DayCounts};
    use crate::Day;

    /// Everything that a line goes through, without a store.
    pub struct LineCounter {
        options: LogsOptions,
        reader: RecordReader,
        templates: Templates,
        seen: Seen,
    }

    impl LineCounter {
        /// As a source with these options counts.
        pub fn new(options: LogsOptions) -> Self {
            let seen = Seen::new(options.dedup_window, options.dedup_records);
            Self { reader: RecordReader::new(&options), templates: Templates::default(), seen, options }
        }

        /// Lines that count of an object that was written in 2030.
        pub fn count(&mut self, object: &[u8]) -> u64 {
            let Self { options, reader, templates, seen } = self;
            let mut counter = Counter { options, reader, templates, seen };
            let counts = counter.count(object, 0, Timestamp::from_seconds(1_893_456_000));
            debug_assert_eq!(counts.days.values().map(DayCounts::lines).sum::<u64>(), counts.found.lines);
            counts.found.lines
        }
    }

    /// Decodes any bytes as each of the files that counts are kept in: for a fuzzer. Whether one of them could be read.
    pub fn decode_state(bytes: &[u8]) -> bool {
        let day = Day::of(Timestamp::from_seconds(1_767_312_000)).expect("a day of 2026");
        let options = LogsOptions::default();
        Ledger::from_bytes(bytes).is_ok()
            || DayCounts::from_bytes(bytes, day).is_ok()
            || Templates::from_bytes(bytes).is_ok()
            || Seen::from_bytes(bytes, options.dedup_window, options.dedup_records).is_ok()
    }

    /// Counts any bytes as an object, with small caps: for a fuzzer.
    pub fn count_lines(object: &[u8]) -> u64 {
        let options = LogsOptions { max_line: 64 << 10, max_text: 1 << 20, max_ratio: 100, ..LogsOptions::default() };
        LineCounter::new(options).count(object)
    }
}

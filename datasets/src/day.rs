//! UTC days: the unit of a file.

use std::fmt;
use std::str::FromStr;

use forewarn_schema::{TimeRange, Timestamp};
use serde::{Deserialize, Serialize};

const MILLIS: i64 = 86_400_000;

/// One UTC day; in JSON and in paths `2026-01-31`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(i32);

/// A text that is not a day of the years 1 to 9999.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("a day must be written like 2026-01-31, got {0:?}")]
pub struct DayError(String);

impl Day {
    /// The day that holds `at`; `None` outside the years 1 to 9999.
    pub fn of(at: Timestamp) -> Option<Self> {
        const FIRST: i64 = -719_162;
        const LAST: i64 = 2_932_896;
        let days = at.millis().div_euclid(MILLIS);
        (FIRST..=LAST).contains(&days).then_some(Self(days as i32))
    }

    /// From its midnight to the next.
    pub fn range(self) -> TimeRange {
        let start = i64::from(self.0) * MILLIS;
        TimeRange { start: Timestamp::from_millis(start), end: Timestamp::from_millis(start + MILLIS) }
    }

    /// Every day that `range` touches, first to last; `None` where the range leaves the calendar.
    pub fn touched_by(range: TimeRange) -> Option<impl Iterator<Item = Self> + Clone> {
        let (first, last) = if range.is_empty() {
            (1, 0)
        } else {
            (Self::of(range.start)?.0, Self::of(Timestamp::from_millis(range.end.millis() - 1))?.0)
        };
        Some((first..=last).map(Self))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let midnight = self.range().start.to_rfc3339();
        f.write_str(midnight.split('T').next().unwrap_or_default())
    }
}

impl FromStr for Day {
    type Err = DayError;
    fn from_str(text: &str) -> Result<Self, DayError> {
        let wrong = || DayError(text.to_owned());
        let midnight: Timestamp = format!("{text}T00:00:00Z").parse().map_err(|_| wrong())?;
        let day = Self::of(midnight).ok_or_else(wrong)?;
        // Only the one way to write it: it becomes part of a path.
        if day.to_string() == text { Ok(day) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for Day {
    type Error = DayError;
    fn try_from(text: String) -> Result<Self, DayError> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> String {
        day.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_reads_back_and_nothing_else_does() {
        let day: Day = "2026-01-31".parse().unwrap();
        assert_eq!(day.to_string(), "2026-01-31");
        assert_eq!(day.range().start, "2026-01-31T00:00:00Z".parse().unwrap());
        for text in ["2026-1-31", "2026-02-30", "../../x", "", "+12026-01-01"] {
            assert!(text.parse::<Day>().is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn midnight_belongs_to_the_day_it_starts() {
        let range = |a: &str, b: &str| TimeRange { start: a.parse().unwrap(), end: b.parse().unwrap() };
        let days = |r| Day::touched_by(r).unwrap().map(|d| d.to_string()).collect::<Vec<_>>();
        assert_eq!(days(range("2026-01-01T23:00:00Z", "2026-01-03T00:00:00Z")), ["2026-01-01", "2026-01-02"]);
        assert!(days(range("2026-01-01T23:00:00Z", "2026-01-01T23:00:00Z")).is_empty());
        assert!(Day::of(Timestamp::from_millis(i64::MAX)).is_none());
    }
}

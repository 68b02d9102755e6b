//! Time: an instant is not a float, a step is not zero, a range is half-open.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A time, a step or a range could not be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TimeError {
    /// The text is neither Unix seconds nor RFC 3339.
    #[error("a time must be Unix seconds or RFC 3339, got {0:?}")]
    Timestamp(String),
    /// The text is not a duration with a unit.
    #[error("a duration needs a number and a unit (ms, s, m, h, d, w), such as \"60s\", got {0:?}")]
    Duration(String),
    /// A step of no length.
    #[error("step must be positive and at most 1d, got {0:?}")]
    Step(Duration),
    /// A range that ends before it starts.
    #[error("a time range must not end before it starts, got {start} to {end}")]
    Range {
        /// Its start.
        start: Timestamp,
        /// Its end.
        end: Timestamp,
    },
}

/// An instant: whole milliseconds since the Unix epoch, without leap seconds, as Prometheus counts.
///
/// In JSON it is RFC 3339 (`"2026-01-01T00:00:00Z"`, milliseconds where they are not zero) and is read
/// back from that or from a number of Unix seconds. Arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From Unix milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole Unix seconds; saturates.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Unix milliseconds.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Unix seconds with their fraction.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Signed seconds from `earlier` to this.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1000.0
    }

    /// The last multiple of `step` at or before this.
    pub fn align_down(self, step: Step) -> Self {
        Self(self.0.div_euclid(step.millis()) * step.millis())
    }

    /// The first multiple of `step` at or after this; saturates.
    pub fn align_up(self, step: Step) -> Self {
        let down = self.align_down(step);
        if down == self { self } else { Self(down.0.saturating_add(step.millis())) }
    }

    /// `2026-01-01T00:00:00Z`, with milliseconds where they are not zero; the number of milliseconds
    /// where the year leaves the calendar.
    pub fn to_rfc3339(self) -> String {
        match chrono::DateTime::from_timestamp_millis(self.0) {
            Some(t) if self.0.rem_euclid(1000) == 0 => t.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            Some(t) => t.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            None => format!("{}ms", self.0),
        }
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Unix seconds (a fraction is kept to the millisecond) or RFC 3339.
impl FromStr for Timestamp {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<f64>() {
            let millis = (seconds * 1000.0).round();
            // Past 2^53 a float no longer holds whole milliseconds; such a time is a mistake.
            if millis.is_finite() && millis.abs() < 9e15 {
                return Ok(Self(millis as i64));
            }
            return Err(TimeError::Timestamp(text.to_owned()));
        }
        chrono::DateTime::parse_from_rfc3339(text)
            .map(|t| Self(t.timestamp_millis()))
            .map_err(|_| TimeError::Timestamp(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.serialize_str(&self.to_rfc3339()),
            false => serializer.serialize_i64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wire {
            Number(f64),
            Text(String),
        }
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Self);
        }
        let text = match Wire::deserialize(deserializer)? {
            Wire::Number(seconds) => seconds.to_string(),
            Wire::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The distance between two rows of the dataset: whole milliseconds, more than none, at most a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Step(i64);

impl Step {
    /// One minute, the default.
    pub const MINUTE: Self = Self(60_000);

    /// Refuses less than a millisecond and more than a day.
    pub fn new(step: Duration) -> Result<Self, TimeError> {
        let millis = i64::try_from(step.as_millis()).map_err(|_| TimeError::Step(step))?;
        if millis == 0 || millis > 86_400_000 { Err(TimeError::Step(step)) } else { Ok(Self(millis)) }
    }

    /// Its length in milliseconds, at least 1.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Its length in seconds.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Its length.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0.unsigned_abs())
    }

    /// How many whole steps fit into `span`, at least 1.
    pub fn count_in(self, span: Duration) -> usize {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        usize::try_from(millis / self.0).unwrap_or(usize::MAX).max(1)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_duration(self.duration()))
    }
}

impl FromStr for Step {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        Self::new(parse_duration(text)?)
    }
}

impl TryFrom<String> for Step {
    type Error = TimeError;
    fn try_from(text: String) -> Result<Self, TimeError> {
        text.parse()
    }
}

impl From<Step> for String {
    fn from(step: Step) -> String {
        step.to_string()
    }
}

/// From `start` up to and without `end`; may be empty, never backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimeRange {
    /// The first instant inside.
    pub start: Timestamp,
    /// The first instant past it.
    pub end: Timestamp,
}

impl TimeRange {
    /// Refuses a range that ends before it starts.
    pub fn new(start: Timestamp, end: Timestamp) -> Result<Self, TimeError> {
        if end < start { Err(TimeError::Range { start, end }) } else { Ok(Self { start, end }) }
    }

    /// Whether `at` is inside.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// Whether nothing is inside.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// How long it is.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.end.millis().saturating_sub(self.start.millis())).unwrap_or(0))
    }

    /// What both hold; `None` where that is nothing.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start < end).then_some(Self { start, end })
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.start, self.end)
    }
}

const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads `"90s"`, `"1h30m"`, `"14d"`, `"250ms"`: whole numbers with units, added up.
pub fn parse_duration(text: &str) -> Result<Duration, TimeError> {
    let wrong = || TimeError::Duration(text.to_owned());
    let mut rest = text.trim();
    let mut millis: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..letters]).ok_or_else(wrong)?;
        millis = number.checked_mul(*unit).and_then(|m| millis.checked_add(m)).ok_or_else(wrong)?;
        rest = &rest[letters..];
    }
    Ok(Duration::from_millis(millis))
}

/// Writes what [`parse_duration`] reads, largest unit first: `"1h30m"`; `"0s"` for nothing.
pub fn format_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut out = String::new();
    for (name, unit) in UNITS {
        if millis >= unit {
            out.push_str(&format!("{}{name}", millis / unit));
            millis %= unit;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back() {
        for text in ["1h30m", "60s", "14d", "250ms"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
        assert_eq!(format_duration(Duration::from_secs(5400)), "1h30m");
        for text in ["", "60", "s", "1y", "-5s", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn alignment_rounds_towards_its_name_also_before_1970() {
        let at = Timestamp::from_millis(-1);
        assert_eq!(at.align_down(Step::MINUTE).millis(), -60_000);
        assert_eq!(at.align_up(Step::MINUTE).millis(), 0);
    }

    #[test]
    fn times_are_read_from_seconds_and_rfc3339() {
        let expected = Timestamp::from_seconds(1_767_398_400);
        assert_eq!("1767398400".parse(), Ok(expected));
        assert_eq!("2026-01-03T00:00:00Z".parse(), Ok(expected));
        assert_eq!("2026-01-03T01:00:00+01:00".parse(), Ok(expected));
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert!("1e300".parse::<Timestamp>().is_err());
        assert_eq!(serde_json::to_string(&expected).unwrap(), "\"2026-01-03T00:00:00Z\"");
    }

    #[test]
    fn a_step_has_a_length() {
        assert!("0s".parse::<Step>().is_err());
        assert_eq!("60s".parse(), Ok(Step::MINUTE));
    }
}

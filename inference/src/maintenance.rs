//! Maintenance that is known beforehand: once, or every week at a time that the clock on the wall shows. Pure.

use std::str::FromStr;

use forewarn_features::Calendar;
use forewarn_schema::{TimeRange, Timestamp};
use serde::{Serialize, Serializer};

const MINUTES_PER_DAY: u32 = 1440;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A time in which nothing is asked of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MaintenanceWindow {
    /// Which service; `None`: every one.
    pub service: Option<String>,
    /// When.
    pub when: When,
}

/// When maintenance is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Once.
    Once(TimeRange),
    /// Every week.
    Weekly(Weekly),
}

/// A time of the week, such as `Sun 02:00-04:00`; past midnight where it ends earlier than it begins. In local time: an hour that
/// comes twice in autumn is in it twice, one that is left out in spring is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weekly {
    /// 0 is Monday.
    weekday: usize,
    /// Since midnight.
    from_minute: u32,
    /// 1 to 1440.
    minutes: u32,
}

/// The text is no time of the week.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wanted a weekday and two times such as \"Sun 02:00-04:00\", got {0:?}")]
pub struct NotWeekly(String);

impl FromStr for Weekly {
    type Err = NotWeekly;
    fn from_str(text: &str) -> Result<Self, NotWeekly> {
        let parse = || {
            let (day, times) = text.trim().split_once(' ')?;
            let (from, to) = times.trim().split_once('-')?;
            let weekday = DAYS.iter().position(|known| *known == day)?;
            let (from_minute, to) = (minute(from)?, minute(to)?);
            // 24:00 ends a day and begins none.
            if from_minute == MINUTES_PER_DAY {
                return None;
            }
            let minutes = if to > from_minute { to - from_minute } else { to + MINUTES_PER_DAY - from_minute };
            Some(Self { weekday, from_minute, minutes })
        };
        parse().ok_or_else(|| NotWeekly(text.to_owned()))
    }
}

/// `HH:MM`, 00:00 to 24:00.
fn minute(text: &str) -> Option<u32> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let two_digits =
        |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?;
    let (hours, minutes): (u32, u32) = (two_digits(hours)?, two_digits(minutes)?);
    let all = 60 * hours + minutes;
    (minutes < 60 && all <= MINUTES_PER_DAY).then_some(all)
}

impl std::fmt::Display for Weekly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let clock = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        let to = (self.from_minute + self.minutes) % MINUTES_PER_DAY;
        let to = if to == 0 { "24:00".to_owned() } else { clock(to) };
        write!(f, "{} {}-{to}", DAYS[self.weekday], clock(self.from_minute))
    }
}

impl Serialize for Weekly {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl MaintenanceWindow {
    /// Whether `at` lies in it, by the clock of `calendar`. A holiday is the day of the week that it is.
    pub fn contains(&self, at: Timestamp, calendar: &Calendar) -> bool {
        match &self.when {
            When::Once(range) => range.start <= at && at < range.end,
            When::Weekly(weekly) => {
                let local = calendar.local(at);
                // The first of January 1970 was a Thursday.
                let weekday = (local.day + 3).rem_euclid(7) as u32;
                let of_week = MINUTES_PER_DAY * weekday + (local.ms_of_day / 60_000) as u32;
                let from = MINUTES_PER_DAY * weekly.weekday as u32 + weekly.from_minute;
                let week = 7 * MINUTES_PER_DAY;
                (of_week + week - from) % week < weekly.minutes
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weekly(text: &str) -> MaintenanceWindow {
        MaintenanceWindow { service: None, when: When::Weekly(text.parse().unwrap()) }
    }

    fn is_in(text: &str, at: &str, calendar: &Calendar) -> bool {
        weekly(text).contains(at.parse().unwrap(), calendar)
    }

    #[test]
    fn a_window_of_the_week_begins_and_ends_with_its_minutes() {
        let utc = Calendar::default();
        // The first of February 2026 is a Sunday.
        for (at, inside) in [
            ("2026-02-01T01:59:59Z", false),
            ("2026-02-01T02:00:00Z", true),
            ("2026-02-01T03:59:59Z", true),
            ("2026-02-01T04:00:00Z", false),
            ("2026-02-02T03:00:00Z", false),
            ("2026-02-08T03:00:00Z", true),
        ] {
            assert_eq!(is_in("Sun 02:00-04:00", at, &utc), inside, "{at}");
        }
        assert!(is_in("Sun 23:00-01:00", "2026-02-02T00:30:00Z", &utc), "past midnight, and past the end of the week");
        assert!(!is_in("Sun 23:00-01:00", "2026-02-01T00:30:00Z", &utc));
        assert!(is_in("Sat 00:00-24:00", "2026-01-31T23:59:00Z", &utc));
    }

    #[test]
    fn the_clock_on_the_wall_counts_in_winter_and_in_summer() {
        let berlin = Calendar::new("Europe/Berlin", &["2026-01-30".to_owned()]).unwrap();
        assert!(is_in("Sun 02:00-04:00", "2026-02-01T01:30:00Z", &berlin));
        assert!(is_in("Sun 02:00-04:00", "2026-07-05T00:30:00Z", &berlin));
        assert!(!is_in("Sun 02:00-04:00", "2026-07-05T02:30:00Z", &berlin));
        assert!(!is_in("Sun 02:00-04:00", "2026-01-30T01:30:00Z", &berlin), "a Friday stays one on a holiday");
    }

    #[test]
    fn what_is_written_reads_back_and_anything_else_is_refused() {
        for text in ["Sun 02:00-04:00", "Sat 23:30-00:30", "Mon 00:00-24:00"] {
            assert_eq!(text.parse::<Weekly>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "Sunday 02:00-04:00",
            "Sun 2:00-4:00",
            "Sun 02:00",
            "Sun 24:00-01:00",
            "Sun 02:60-04:00",
            "sun 02:00-04:00",
        ] {
            assert_eq!(wrong.parse::<Weekly>(), Err(NotWeekly(wrong.to_owned())));
        }
    }
}

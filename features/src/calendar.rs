//! What a clock on the wall shows: the time of day and the day of the week in a time zone, through its changes between
//! winter and summer time, and which days are holidays. People go by it, and so does the load that they make.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Datelike, NaiveDate, Timelike};
use chrono_tz::Tz;
use forewarn_schema::Timestamp;
use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 86_400_000;
/// More holidays than these are a mistake: a century of them.
const MOST_HOLIDAYS: usize = 4096;

/// A time zone and its holidays; UTC without any by default. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Calendar(Option<Arc<Local>>);

#[derive(Debug, PartialEq, Eq)]
struct Local {
    zone: Tz,
    /// Days since 1970-01-01, local.
    holidays: BTreeSet<i64>,
}

/// As it is stored, and as it is configured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    time_zone: String,
    #[serde(default)]
    holidays: Vec<String>,
}

/// A calendar cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// Not a name of the IANA time zone database.
    #[error("wanted an IANA time zone such as \"Europe/Berlin\", got {got:?}{}", hint.as_ref().map_or_else(String::new, |h| format!("; did you mean {h:?}?")))]
    TimeZone {
        /// What was asked for.
        got: String,
        /// One that differs in case only, or ends alike.
        hint: Option<&'static str>,
    },
    /// Not a day.
    #[error("wanted a day such as \"2026-12-25\", got {0:?}")]
    Holiday(String),
    /// Too many.
    #[error("wanted at most {MOST_HOLIDAYS} holidays, got {0}")]
    TooMany(usize),
}

/// A time as the people who make the load see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Since midnight, in milliseconds, 0..86,400,000.
    pub ms_of_day: i64,
    /// 0 is Monday, 6 is Sunday; a holiday counts as Sunday.
    pub weekday: usize,
    /// Days since 1970-01-01.
    pub day: i64,
}

impl Calendar {
    /// `time_zone` is a name of the IANA database, `holidays` are local days, `YYYY-MM-DD`, in any order.
    pub fn new(time_zone: &str, holidays: &[String]) -> Result<Self, CalendarError> {
        let zone: Tz = time_zone
            .parse()
            .map_err(|_| CalendarError::TimeZone { got: time_zone.to_owned(), hint: alike(time_zone) })?;
        if holidays.len() > MOST_HOLIDAYS {
            return Err(CalendarError::TooMany(holidays.len()));
        }
        let day = |text: &String| {
            let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|date| date.to_string() == *text);
            date.map(day_of).ok_or_else(|| CalendarError::Holiday(text.clone()))
        };
        let holidays = holidays.iter().map(day).collect::<Result<BTreeSet<_>, _>>()?;
        // UTC has no summer: the arithmetic alone is several times as fast.
        Ok(Self((zone != Tz::UTC || !holidays.is_empty()).then(|| Arc::new(Local { zone, holidays }))))
    }

    /// What the clock shows at `at`. In the hour that comes twice in autumn it shows the same twice.
    pub fn local(&self, at: Timestamp) -> LocalTime {
        let (day, ms_of_day) = (at.millis().div_euclid(DAY_MS), at.millis().rem_euclid(DAY_MS));
        let utc = LocalTime { ms_of_day, weekday: weekday_of(day), day };
        let Some(local) = &self.0 else { return utc };
        let Some(time) = DateTime::from_timestamp_millis(at.millis()).map(|t| t.with_timezone(&local.zone)) else {
            return utc; // Beyond the years that a calendar has.
        };
        let since_midnight = time.time().num_seconds_from_midnight();
        let day = day_of(time.date_naive());
        let weekday = if local.holidays.contains(&day) { 6 } else { weekday_of(day) };
        LocalTime { ms_of_day: i64::from(since_midnight) * 1000 + at.millis().rem_euclid(1000), weekday, day }
    }

    /// Its name in the IANA database.
    pub fn time_zone(&self) -> &'static str {
        self.0.as_ref().map_or("UTC", |local| local.zone.name())
    }

    /// How many holidays it knows.
    pub fn holidays(&self) -> usize {
        self.0.as_ref().map_or(0, |local| local.holidays.len())
    }

    /// Whether it is the default.
    pub fn is_utc(&self) -> bool {
        self.0.is_none()
    }
}

/// The zone that was probably meant: in another case, or its city without the continent.
fn alike(got: &str) -> Option<&'static str> {
    let got = got.trim().replace(' ', "_");
    let names = || chrono_tz::TZ_VARIANTS.iter().copied().map(Tz::name);
    let city = |name: &str| name.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(&got));
    let same_city = |name: &str| {
        let of = |text: &str| text.rsplit('/').next().map(str::to_ascii_lowercase);
        got.contains('/') && of(name) == of(&got)
    };
    names()
        .find(|name| name.eq_ignore_ascii_case(&got))
        .or_else(|| names().find(|name| city(name)))
        .or_else(|| names().find(|name| same_city(name)))
}

fn day_of(date: NaiveDate) -> i64 {
    i64::from(date.num_days_from_ce()) - 719_163
}

/// The first of January 1970 was a Thursday.
fn weekday_of(day: i64) -> usize {
    (day + 3).rem_euclid(7) as usize
}

impl TryFrom<Written> for Calendar {
    type Error = CalendarError;
    fn try_from(written: Written) -> Result<Self, CalendarError> {
        Self::new(&written.time_zone, &written.holidays)
    }
}

impl From<Calendar> for Written {
    fn from(calendar: Calendar) -> Self {
        let text = |day: &i64| {
            let date = i32::try_from(day + 719_163).ok().and_then(NaiveDate::from_num_days_from_ce_opt);
            date.map(|date| date.to_string())
        };
        let holidays = calendar.0.iter().flat_map(|local| local.holidays.iter().filter_map(text)).collect();
        Self { time_zone: calendar.time_zone().to_owned(), holidays }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn berlin() -> Calendar {
        Calendar::new("Europe/Berlin", &["2026-12-25".to_owned()]).unwrap()
    }

    #[test]
    fn nine_o_clock_is_nine_o_clock_in_winter_and_in_summer() {
        let nine = 9 * 3_600_000;
        for (time, day) in [("2026-03-28T08:00:00Z", 5), ("2026-03-29T07:00:00Z", 6), ("2026-10-26T08:00:00Z", 0)] {
            let local = berlin().local(at(time));
            assert_eq!((local.ms_of_day, local.weekday), (nine, day), "{time}");
        }
        assert_eq!(berlin().local(at("2026-06-30T22:30:00Z")).weekday, 2, "past midnight there, it is Wednesday");
    }

    #[test]
    fn a_holiday_is_a_sunday_and_only_there() {
        assert_eq!(berlin().local(at("2026-12-25T12:00:00Z")).weekday, 6);
        assert_eq!(Calendar::default().local(at("2026-12-25T12:00:00Z")).weekday, 4);
        assert_eq!(berlin().local(at("2026-12-24T22:59:00Z")).weekday, 3);
        assert_eq!(berlin().local(at("2026-12-24T23:00:00Z")).weekday, 6, "it begins at midnight there");
    }

    #[test]
    fn mistakes_are_named_with_what_was_meant() {
        let error = |zone: &str, holidays: &[&str]| {
            let holidays: Vec<String> = holidays.iter().map(|h| (*h).to_owned()).collect();
            Calendar::new(zone, &holidays).unwrap_err().to_string()
        };
        let wanted = "wanted an IANA time zone such as \"Europe/Berlin\", got";
        assert_eq!(error("berlin", &[]), format!("{wanted} \"berlin\"; did you mean \"Europe/Berlin\"?"));
        assert_eq!(
            error("America/new york", &[]),
            format!("{wanted} \"America/new york\"; did you mean \"America/New_York\"?")
        );
        assert_eq!(error("Mars/Base", &[]), format!("{wanted} \"Mars/Base\""));
        for wrong in ["25.12.2026", "2026-02-30", "2026-1-1"] {
            assert_eq!(error("UTC", &[wrong]), format!("wanted a day such as \"2026-12-25\", got {wrong:?}"));
        }
    }

    #[test]
    fn it_is_stored_and_read() {
        for calendar in [berlin(), Calendar::default(), Calendar::new("UTC", &["2026-01-01".to_owned()]).unwrap()] {
            let json = serde_json::to_string(&calendar).unwrap();
            assert_eq!(serde_json::from_str::<Calendar>(&json).unwrap(), calendar, "{json}");
        }
        assert!(serde_json::from_str::<Calendar>(r#"{"time_zone":"Mars/Base"}"#).is_err());
    }
}

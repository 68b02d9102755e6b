//! When the weekly job is due: a time of the week, or of every day, by a clock on a wall. Pure; who waits for it is
//! `commands::schedule`.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone as _, Weekday};
use chrono_tz::Tz;
use forewarn_schema::{Timestamp, stable_id};

/// A clock is put forward by so much at most, minutes.
const LONGEST_GAP: i64 = 24 * 60;
const EVERY_DAY: &str = "daily";

/// Such as `Sun 03:00 UTC` or `daily 04:30 Europe/Berlin`. A time that comes twice in autumn counts when it comes first; one that
/// is left out in spring, when the clock has been put forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// `None`: every day.
    weekday: Option<Weekday>,
    time: NaiveTime,
    zone: Tz,
}

impl FromStr for Schedule {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("wanted a weekday and a time such as \"Sun 03:00 UTC\", got {text:?}");
        let words: Vec<&str> = text.split_whitespace().collect();
        let [day, time, zone] = words.as_slice() else { return Err(wrong()) };
        let weekday = if *day == EVERY_DAY { None } else { Some(day.parse().map_err(|_| wrong())?) };
        let time = NaiveTime::parse_from_str(time, "%H:%M").map_err(|_| wrong())?;
        let zone = zone.parse().map_err(|_| {
            format!("wanted an IANA time zone such as \"Europe/Berlin\" at the end, or UTC, got {zone:?}")
        })?;
        Ok(Self { weekday, time, zone })
    }
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.weekday {
            Some(day) => write!(f, "{day} {} {}", self.time.format("%H:%M"), self.zone),
            None => write!(f, "{EVERY_DAY} {} {}", self.time.format("%H:%M"), self.zone),
        }
    }
}

impl Schedule {
    /// The last time at or before `now`.
    pub(crate) fn at_or_before(&self, now: Timestamp) -> Timestamp {
        self.around(now).filter(|at| *at <= now).max().unwrap_or(now)
    }

    /// The first time after `now`.
    pub(crate) fn after(&self, now: Timestamp) -> Timestamp {
        self.around(now).filter(|at| *at > now).min().unwrap_or(now + Duration::from_secs(7 * 86_400))
    }

    /// The times of the days around `now`, more than a week each way.
    fn around(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        let today = DateTime::from_timestamp_millis(now.millis()).unwrap_or_default().with_timezone(&self.zone);
        let first = today.date_naive().checked_sub_days(Days::new(9)).unwrap_or(NaiveDate::MIN);
        first
            .iter_days()
            .take(19)
            .filter(|date| self.weekday.is_none_or(|weekday| weekday == date.weekday()))
            .filter_map(|date| self.instant(date.and_time(self.time)))
    }

    fn instant(&self, local: NaiveDateTime) -> Option<Timestamp> {
        let shown = |minutes: i64| self.zone.from_local_datetime(&(local + TimeDelta::minutes(minutes))).earliest();
        let at = (0..=LONGEST_GAP).find_map(shown)?;
        Some(Timestamp::from_millis(at.timestamp_millis()))
    }
}

/// How long after the scheduled time `who` begins, below `most`: always the same for one, another for another, so that many
/// do not ask one Prometheus at once.
pub(crate) fn jitter(who: &str, most: Duration) -> Duration {
    let id = stable_id("jitter", &[who]);
    let mut hash = id.rsplit('-').next().and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    // Names that differ in their last digit have the same high bits: MurmurHash3's finaliser spreads them.
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^= hash >> 33;
    most.mul_f64((hash >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_week_turns_at_the_scheduled_time_itself() {
        let sunday = schedule("Sun 03:00 UTC");
        // The eleventh of January 2026 is a Sunday.
        for (now, last, next) in [
            ("2026-01-11T02:59:59Z", "2026-01-04T03:00:00Z", "2026-01-11T03:00:00Z"),
            ("2026-01-11T03:00:00Z", "2026-01-11T03:00:00Z", "2026-01-18T03:00:00Z"),
            ("2026-01-14T12:00:00Z", "2026-01-11T03:00:00Z", "2026-01-18T03:00:00Z"),
        ] {
            assert_eq!((sunday.at_or_before(at(now)), sunday.after(at(now))), (at(last), at(next)), "at {now}");
        }
    }

    #[test]
    fn a_time_of_every_day_goes_by_the_clock_on_the_wall() {
        let daily = schedule("daily 04:30 Europe/Berlin");
        assert_eq!(daily.after(at("2026-01-11T04:00:00Z")), at("2026-01-12T03:30:00Z"), "winter");
        assert_eq!(daily.after(at("2026-07-11T04:00:00Z")), at("2026-07-12T02:30:00Z"), "summer");
    }

    #[test]
    fn an_hour_left_out_and_an_hour_that_comes_twice_have_one_time_each() {
        let half_past_two = schedule("daily 02:30 Europe/Berlin");
        // On 2026-03-29 the clock goes from 02:00 to 03:00, at 01:00 UTC.
        let spring = half_past_two.after(at("2026-03-28T12:00:00Z"));
        assert_eq!(spring, at("2026-03-29T01:00:00Z"));
        assert_eq!(half_past_two.after(spring), at("2026-03-30T00:30:00Z"));
        // On 2026-10-25 it shows 02:30 at 00:30 UTC and again at 01:30.
        let autumn = half_past_two.after(at("2026-10-24T12:00:00Z"));
        assert_eq!(autumn, at("2026-10-25T00:30:00Z"));
        assert_eq!(half_past_two.after(autumn), at("2026-10-26T01:30:00Z"));
        assert_eq!(half_past_two.at_or_before(at("2026-10-25T02:00:00Z")), autumn);
    }

    #[test]
    fn every_time_is_followed_by_one_a_week_on_whatever_the_clock_does() {
        for text in ["Sun 02:30 Europe/Berlin", "Sun 00:00 America/Santiago", "Sat 23:59 Pacific/Apia", "Mon 03:00 UTC"]
        {
            let schedule = schedule(text);
            let mut now = at("2025-12-30T00:00:00Z");
            for _ in 0..110 {
                let next = schedule.after(now);
                let hours = next.seconds_since(now) / 3600.0;
                assert!(now < next && hours <= 24.0 * 7.0 + 1.0, "{text}: {now} then {next}");
                assert_eq!(schedule.at_or_before(next), next);
                now = next;
            }
        }
    }

    #[test]
    fn what_is_written_reads_back_and_anything_else_is_refused() {
        for text in ["Sun 03:00 UTC", "daily 04:30 Europe/Berlin"] {
            assert_eq!(schedule(text).to_string(), text);
        }
        for wrong in ["", "weekly", "Sun 03:00", "Sun 24:00 UTC", "Sunny 03:00 UTC", "Sun 03:00 Mars/Base", "Sun 3 UTC"]
        {
            assert!(wrong.parse::<Schedule>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn jitter_is_each_ones_own_and_spread() {
        let most = Duration::from_secs(600);
        let all: Vec<Duration> = (0..50).map(|i| jitter(&format!("host-{i}"), most)).collect();
        assert!(all.iter().all(|j| *j < most));
        assert_eq!(all[7], jitter("host-7", most));
        let late = all.iter().filter(|j| **j > most / 2).count();
        assert!((10..40).contains(&late), "{late} of 50 in the second half");
        assert_eq!(jitter("x", Duration::ZERO), Duration::ZERO);
    }
}

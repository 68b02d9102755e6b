//! The parts of a date in UTC, for `hour()` and its kin. Proleptic Gregorian, without leap seconds.

/// A time taken apart; all parts are whole numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Calendar {
    /// 0..=59
    pub(super) minute: f64,
    /// 0..=23
    pub(super) hour: f64,
    /// 0..=6, Sunday first.
    pub(super) day_of_week: f64,
    /// 1..=31
    pub(super) day_of_month: f64,
    /// 1..=366
    pub(super) day_of_year: f64,
    /// 28..=31
    pub(super) days_in_month: f64,
    /// 1..=12
    pub(super) month: f64,
    pub(super) year: f64,
}

const SECONDS_PER_DAY: i64 = 86_400;
/// Past this nobody keeps a calendar, and the arithmetic below would overflow.
const MOST_SECONDS: f64 = 1e15;

impl Calendar {
    /// At `seconds` since 1970, rounded towards zero; `None` for NaN and for 30 million years away.
    pub(super) fn at(seconds: f64) -> Option<Self> {
        if seconds.is_nan() || seconds.abs() > MOST_SECONDS {
            return None;
        }
        let seconds = seconds as i64;
        let days = seconds.div_euclid(SECONDS_PER_DAY);
        let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
        let (year, day_of_year) = year_and_day(days);
        let mut day = day_of_year;
        let mut month = 0;
        while day >= days_in_month(year, month) {
            day -= days_in_month(year, month);
            month += 1;
        }
        Some(Self {
            minute: (of_day / 60 % 60) as f64,
            hour: (of_day / 3600) as f64,
            // 1 January 1970 was a Thursday.
            day_of_week: (days + 4).rem_euclid(7) as f64,
            day_of_month: (day + 1) as f64,
            day_of_year: (day_of_year + 1) as f64,
            days_in_month: days_in_month(year, month) as f64,
            month: (month + 1) as f64,
            year: year as f64,
        })
    }
}

/// The year that holds the day, and which of its days that is, from 0.
fn year_and_day(days_since_1970: i64) -> (i64, i64) {
    // Years of average length are at most one off.
    let mut year = 1970 + (days_since_1970 * 400).div_euclid(146_097);
    loop {
        let day = days_since_1970 - first_day(year);
        if day < 0 {
            year -= 1;
        } else if day >= 365 + i64::from(is_leap(year)) {
            year += 1;
        } else {
            return (year, day);
        }
    }
}

/// Days from 1 January 1970 to 1 January of `year`.
fn first_day(year: i64) -> i64 {
    let leap_days = |year: i64| (year - 1).div_euclid(4) - (year - 1).div_euclid(100) + (year - 1).div_euclid(400);
    (year - 1970) * 365 + leap_days(year) - leap_days(1970)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// `month` from 0.
fn days_in_month(year: i64, month: usize) -> i64 {
    match month {
        1 => 28 + i64::from(is_leap(year)),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_days() {
        let at = |seconds| Calendar::at(seconds).unwrap();
        let leap_day = at(1_709_210_099.9);
        assert_eq!((leap_day.year, leap_day.month, leap_day.day_of_month), (2024.0, 2.0, 29.0));
        assert_eq!((leap_day.hour, leap_day.minute, leap_day.day_of_week), (12.0, 34.0, 4.0));
        assert_eq!((leap_day.days_in_month, leap_day.day_of_year), (29.0, 60.0));
        let before = at(-1.0);
        assert_eq!((before.year, before.day_of_year, before.hour), (1969.0, 365.0, 23.0));
        assert_eq!(at(951_782_400.0).day_of_month, 29.0);
        assert_eq!(Calendar::at(f64::NAN), None);
    }

    proptest! {
        #[test]
        fn every_day_follows_the_one_before(day in -400_000_000_i64..400_000_000) {
            let (today, next) = (year_and_day(day), year_and_day(day + 1));
            prop_assert!(next == (today.0, today.1 + 1) || next == (today.0 + 1, 0), "{today:?} {next:?}");
        }
    }
}

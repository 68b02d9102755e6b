//! Whether a signal is there at all, by the hour of the day: only what usually is can be missed. Pure.
//!
//! A service that is scaled to nothing every night is not missed at night; one that never was silent is missed at once.

use forewarn_schema::{Step, TimeRange, Timestamp};
use serde::{Deserialize, Serialize};

use crate::calendar::Calendar;

const HOURS: usize = 24;
const HOUR_MS: i64 = 3_600_000;
/// What is there less often than this comes and goes.
const USUAL: f64 = 0.9;

/// In which share of the steps of each hour a signal was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    /// 0..=1 by hour of the day; 0 for an hour of which nothing is known.
    shares: Vec<f64>,
    #[serde(default, skip_serializing_if = "Calendar::is_utc")]
    calendar: Calendar,
}

impl Presence {
    /// Of a signal that was seen at `seen` (sorted), among all steps of `range` that are not in `excluded`. Steps without anything of the
    /// service count as steps without the signal: that is the point.
    pub fn fit(calendar: &Calendar, seen: &[Timestamp], range: TimeRange, step: Step, excluded: &[TimeRange]) -> Self {
        let (mut there, mut all) = ([0.0; HOURS], [0.0; HOURS]);
        let mut at = range.start;
        while at < range.end {
            if !excluded.iter().any(|range| range.contains(at)) {
                let hour = hour_of(calendar, at);
                all[hour] += 1.0;
                there[hour] += f64::from(u8::from(seen.binary_search(&at).is_ok()));
            }
            at = at + step.duration();
        }
        // One more than there were: that it was always there so far does not make it certain.
        let shares = there.iter().zip(all).map(|(there, all): (&f64, f64)| there / (all + 1.0)).collect();
        Self { shares, calendar: calendar.clone() }
    }

    /// The share of steps at this time of day in which it was there, where it usually is; `None` where it comes and goes.
    pub fn usual(&self, at: Timestamp) -> Option<f64> {
        self.shares.get(hour_of(&self.calendar, at)).copied().filter(|share| *share >= USUAL)
    }

    pub(crate) fn is_well_formed(&self) -> bool {
        self.shares.len() == HOURS && self.shares.iter().all(|share| (0.0..=1.0).contains(share))
    }
}

fn hour_of(calendar: &Calendar, at: Timestamp) -> usize {
    usize::try_from(calendar.local(at).ms_of_day / HOUR_MS).unwrap_or(0).min(HOURS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_seconds(minute * 60)
    }

    fn presence(days: i64, is_there: impl Fn(i64) -> bool, excluded: &[TimeRange]) -> Presence {
        let seen: Vec<Timestamp> = (0..days * 1440).filter(|m| is_there(*m)).map(at).collect();
        let range = TimeRange { start: at(0), end: at(days * 1440) };
        Presence::fit(&Calendar::default(), &seen, range, Step::MINUTE, excluded)
    }

    #[test]
    fn what_is_always_there_is_missed_and_what_sleeps_at_night_is_not_missed_then() {
        let always = presence(14, |_| true, &[]);
        assert_eq!(always.usual(at(30)), Some(840.0 / 841.0));
        let by_day = presence(14, |minute| minute % 1440 >= 360, &[]);
        assert_eq!((by_day.usual(at(180)), by_day.usual(at(720)).is_some()), (None, true));
    }

    #[test]
    fn a_lost_day_makes_less_certain_and_an_excluded_one_does_not_count() {
        let lost = |minute: i64| minute / 1440 != 3;
        let share = presence(14, lost, &[]).usual(at(30)).unwrap();
        assert!((0.92..0.93).contains(&share), "{share}");
        let excluded = [TimeRange { start: at(3 * 1440), end: at(4 * 1440) }];
        assert_eq!(presence(14, lost, &excluded).usual(at(30)), Some(780.0 / 781.0));
    }

    #[test]
    fn an_hour_of_which_nothing_is_known_misses_nothing() {
        let morning = presence(1, |_| true, &[TimeRange { start: at(600), end: at(1440) }]);
        assert_eq!(morning.usual(at(700)), None);
    }
}

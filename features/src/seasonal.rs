//! What is normal at a time of day and on a day of the week: a robust level and spread.
//!
//! Medians over days, so that one incident does not become the normal of its hour; neighbouring slots are averaged, so that
//! a slot seen on few days borrows from the hours around it. A day of the week differs only where every one of them did, and
//! by the least of them: an incident on one Monday says nothing of Mondays. Times are those of a [`Calendar`]'s clock.

use std::collections::BTreeMap;

use forewarn_schema::Timestamp;
use serde::{Deserialize, Serialize};

use crate::calendar::{Calendar, LocalTime};

/// Slots a day: half an hour each, short enough for a morning ramp and long enough for 30 samples a
/// day at the default step.
const SLOTS: usize = 48;
/// Parts of a day of the week: three hours each, as there are few of each day.
const PARTS: usize = 8;
/// A part of a day is judged by at least so many values.
const LEAST_VALUES: usize = 3;
/// A day of the week differs only by more than this share of the spread.
const LEAST_DIFFERENCE: f64 = 0.5;
const DAY_MS: i64 = 86_400_000;
/// A median absolute deviation times this is a standard deviation where the noise is normal.
const MAD_TO_SIGMA: f64 = 1.4826;

/// Level and spread per half hour of the day, and what days of the week add to it, in the unit of the series it was learnt from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeasonalProfile {
    /// Median per slot, smoothed over its neighbours.
    level: Vec<f64>,
    /// Robust standard deviation of a sample around the level, over the whole day.
    spread: f64,
    /// Robust standard deviation per slot, never under a fifth of `spread`.
    slot_spread: Vec<f64>,
    /// What is added on each day of the week, from Monday, by part of the day; empty where the days are alike.
    weekdays: Vec<[f64; PARTS]>,
    /// Whose clock it is.
    #[serde(default, skip_serializing_if = "Calendar::is_utc")]
    calendar: Calendar,
}

impl SeasonalProfile {
    /// Learns from `(time, value)` by UTC; see [`fit_in`](Self::fit_in).
    pub fn fit(values: impl Iterator<Item = (Timestamp, f64)>) -> Option<Self> {
        Self::fit_in(&Calendar::default(), values)
    }

    /// Learns from `(time, value)`; NaN and infinite values are left out.
    ///
    /// `None` where fewer than `SLOTS` usable values or less than 6 hours of the day are seen: an
    /// honest "not known yet". Slots that were never seen take the nearest seen ones, interpolated. A day of the week
    /// that was seen once only is like the others.
    pub fn fit_in(calendar: &Calendar, values: impl Iterator<Item = (Timestamp, f64)>) -> Option<Self> {
        Self::learn(calendar, values, true)
    }

    /// The same for the time of day alone.
    pub fn fit_daily(calendar: &Calendar, values: impl Iterator<Item = (Timestamp, f64)>) -> Option<Self> {
        Self::learn(calendar, values, false)
    }

    fn learn(calendar: &Calendar, values: impl Iterator<Item = (Timestamp, f64)>, weekly: bool) -> Option<Self> {
        let values: Vec<(LocalTime, f64)> =
            values.filter(|(_, v)| v.is_finite()).map(|(at, v)| (calendar.local(at), v)).collect();
        let mut by_slot: Vec<Vec<f64>> = vec![Vec::new(); SLOTS];
        for (at, value) in &values {
            by_slot[slot_of(*at)].push(*value);
        }
        let seen = by_slot.iter().filter(|s| !s.is_empty()).count();
        if values.len() < SLOTS || seen < SLOTS / 4 {
            return None;
        }
        let medians: Vec<f64> = by_slot.iter_mut().map(|s| median(s)).collect();
        let level = smooth_circular(&fill_circular(&medians));
        let mut profile =
            Self { level, spread: 0.0, slot_spread: Vec::new(), weekdays: Vec::new(), calendar: calendar.clone() };
        profile.measure_spread(&values);
        if weekly {
            profile.weekdays = profile.learn_weekdays(&values);
            if !profile.weekdays.is_empty() {
                profile.measure_spread(&values);
            }
        }
        Some(profile)
    }

    /// The spreads around what is expected.
    fn measure_spread(&mut self, values: &[(LocalTime, f64)]) {
        let mut by_slot: Vec<Vec<f64>> = vec![Vec::new(); SLOTS];
        for (at, value) in values {
            let slot = slot_of(*at);
            by_slot[slot].push((value - self.level[slot] - self.weekday_part(*at)).abs());
        }
        let mut all: Vec<f64> = by_slot.iter().flatten().copied().collect();
        let slot_spread: Vec<f64> = by_slot.iter_mut().map(|deviations| MAD_TO_SIGMA * median(deviations)).collect();
        // A constant series has no spread; a millionth of its level keeps every quotient finite.
        let floor = self.level.iter().fold(0.0_f64, |m, l| m.max(l.abs())) * 1e-6 + 1e-12;
        let spread = (MAD_TO_SIGMA * median(&mut all)).max(floor);
        self.spread = spread;
        self.slot_spread = smooth_circular(&fill_circular(&slot_spread)).iter().map(|s| s.max(spread / 5.0)).collect();
    }

    /// By how much every part of every day of the week differs; empty where none does.
    fn learn_weekdays(&self, values: &[(LocalTime, f64)]) -> Vec<[f64; PARTS]> {
        let mut of_parts: BTreeMap<(usize, usize, i64), Vec<f64>> = BTreeMap::new();
        for (at, value) in values {
            let part = (at.ms_of_day * PARTS as i64 / DAY_MS) as usize;
            of_parts.entry((at.weekday, part, at.day)).or_default().push(value - self.level[slot_of(*at)]);
        }
        let mut differences: Vec<[Vec<f64>; PARTS]> = vec![std::array::from_fn(|_| Vec::new()); 7];
        for ((weekday, part, _), mut values) in of_parts {
            if values.len() >= LEAST_VALUES {
                differences[weekday][part].push(median(&mut values));
            }
        }
        let common = |of_days: Vec<f64>| {
            let alike = of_days.iter().all(|d| *d > 0.0) || of_days.iter().all(|d| *d < 0.0);
            let least = of_days.iter().copied().reduce(|a, b| if b.abs() < a.abs() { b } else { a });
            let believed = of_days.len() > 1 && alike;
            least.filter(|d| believed && d.abs() > LEAST_DIFFERENCE * self.spread).unwrap_or(0.0)
        };
        let weekdays: Vec<[f64; PARTS]> = differences.into_iter().map(|of_parts| of_parts.map(common)).collect();
        if weekdays.iter().flatten().all(|d| *d == 0.0) { Vec::new() } else { weekdays }
    }

    /// What the day of the week adds, interpolated between the middles of its parts.
    fn weekday_part(&self, at: LocalTime) -> f64 {
        self.weekdays.get(at.weekday).map_or(0.0, |parts| {
            let position = (at.ms_of_day as f64 / DAY_MS as f64 * PARTS as f64 - 0.5).clamp(0.0, (PARTS - 1) as f64);
            let left = (position as usize).min(PARTS - 2);
            parts[left] + (position - left as f64) * (parts[left + 1] - parts[left])
        })
    }

    /// The level and the spread (one robust standard deviation) at that time, interpolated between slot centres.
    pub fn expected(&self, at: Timestamp) -> (f64, f64) {
        let local = self.calendar.local(at);
        let position = local.ms_of_day as f64 / DAY_MS as f64 * SLOTS as f64 - 0.5;
        let (left, weight) = (position.floor(), position - position.floor());
        let slot = |offset: f64| (left + offset).rem_euclid(SLOTS as f64) as usize;
        let blend = |of: &[f64]| of[slot(0.0)] * (1.0 - weight) + of[slot(1.0)] * weight;
        (blend(&self.level) + self.weekday_part(local), blend(&self.slot_spread))
    }

    /// The level alone.
    pub fn level(&self, at: Timestamp) -> f64 {
        self.expected(at).0
    }

    /// One robust standard deviation over the whole day; more than 0.
    pub fn spread(&self) -> f64 {
        self.spread
    }

    /// The mean level over the day.
    pub fn mean_level(&self) -> f64 {
        self.level.iter().sum::<f64>() / SLOTS as f64
    }

    /// The standard deviation of the level over the day.
    pub fn swing(&self) -> f64 {
        let mean = self.mean_level();
        (self.level.iter().map(|level| (level - mean).powi(2)).sum::<f64>() / SLOTS as f64).sqrt()
    }

    /// Whose clock it goes by.
    pub fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// Whether what was deserialised has the shape that [`Self::fit`] makes.
    pub fn is_well_formed(&self) -> bool {
        self.level.len() == SLOTS
            && self.slot_spread.len() == SLOTS
            && self.spread > 0.0
            && matches!(self.weekdays.len(), 0 | 7)
    }
}

fn slot_of(at: LocalTime) -> usize {
    (at.ms_of_day as usize * SLOTS / DAY_MS as usize).min(SLOTS - 1)
}

/// The median; the mean of the middle two where the count is even; NaN for none. Reorders `values`,
/// which must hold no NaN.
pub fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let (middle, odd) = (values.len() / 2, values.len() % 2 == 1);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if odd {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (lower + upper) / 2.0
}

/// NaN entries become the mean of the nearest entries on both sides, around the day.
fn fill_circular(slots: &[f64]) -> Vec<f64> {
    let n = slots.len();
    let nearest = |from: usize, back: bool| {
        (1..=n).map(|d| if back { slots[(from + n - d) % n] } else { slots[(from + d) % n] }).find(|v| !v.is_nan())
    };
    (0..n)
        .map(|i| match slots[i] {
            v if !v.is_nan() => v,
            _ => match (nearest(i, true), nearest(i, false)) {
                (Some(a), Some(b)) => (a + b) / 2.0,
                _ => 0.0,
            },
        })
        .collect()
}

fn smooth_circular(slots: &[f64]) -> Vec<f64> {
    let n = slots.len();
    (0..n).map(|i| 0.25 * slots[(i + n - 1) % n] + 0.5 * slots[i] + 0.25 * slots[(i + 1) % n]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(days: i64, value: impl Fn(i64) -> f64) -> Vec<(Timestamp, f64)> {
        (0..days * 1440).map(|m| (Timestamp::from_seconds(m * 60), value(m))).collect()
    }

    #[test]
    fn a_daily_wave_is_learnt_and_one_incident_is_not() {
        let wave = |m: i64| 100.0 + 50.0 * (m as f64 / 1440.0 * std::f64::consts::TAU).sin();
        let incident = |m: i64| if (4000..4200).contains(&m) { 1000.0 } else { wave(m) };
        let profile = SeasonalProfile::fit(minutes(7, incident).into_iter()).unwrap();
        for minute in (0..1440).step_by(37) {
            let level = profile.level(Timestamp::from_seconds(minute * 60));
            assert!((level - wave(minute)).abs() < 3.0, "minute {minute}: {level} is not {}", wave(minute));
        }
    }

    #[test]
    fn too_little_is_unknown_and_a_constant_has_a_finite_spread() {
        assert!(SeasonalProfile::fit(minutes(1, |_| f64::NAN).into_iter()).is_none());
        assert!(SeasonalProfile::fit(minutes(1, |_| 1.0).into_iter().take(200)).is_none());
        let constant = SeasonalProfile::fit(minutes(1, |_| 7.0).into_iter()).unwrap();
        assert_eq!(constant.level(Timestamp::from_seconds(5)), 7.0);
        assert!(constant.spread() > 0.0);
    }

    /// Weekends at half the load; the 5th of January 1970 was a Monday.
    fn weekly(m: i64) -> f64 {
        let weekend = (m / 1440 + 3) % 7 >= 5;
        let wave = 100.0 + 50.0 * (m as f64 / 1440.0 * std::f64::consts::TAU).sin() + ((m * 7919) % 13) as f64 - 6.0;
        if weekend { wave / 2.0 } else { wave }
    }

    #[test]
    fn weekends_are_told_from_workdays_after_two_of_them() {
        let profile = SeasonalProfile::fit(minutes(14, weekly).into_iter()).unwrap();
        for minute in (14 * 1440..21 * 1440).step_by(97) {
            let level = profile.level(Timestamp::from_seconds(minute * 60));
            assert!((level - weekly(minute)).abs() < 14.0, "minute {minute}: {level} is not {}", weekly(minute));
        }
    }

    #[test]
    fn one_monday_is_no_mondays() {
        let incident = |m: i64| if m / 1440 == 4 { 400.0 } else { 100.0 + ((m * 7919) % 13) as f64 };
        let profile = SeasonalProfile::fit(minutes(14, incident).into_iter()).unwrap();
        let monday = Timestamp::from_seconds(18 * 86_400 + 43_200);
        assert!((profile.level(monday) - 106.0).abs() < 2.0, "{}", profile.level(monday));
    }

    #[test]
    fn a_holiday_is_like_a_sunday() {
        // The 20th of January 1970 is a Tuesday.
        let calendar = Calendar::new("UTC", &["1970-01-20".to_owned()]).unwrap();
        let profile = SeasonalProfile::fit_in(&calendar, minutes(14, weekly).into_iter()).unwrap();
        let noon = |day: i64| profile.level(Timestamp::from_seconds(day * 86_400 + 43_200));
        assert_eq!(noon(19), noon(17), "the holiday and the Sunday before it");
        assert!(noon(18) > 1.5 * noon(19), "{} on Monday, {} on the holiday", noon(18), noon(19));
    }

    #[test]
    fn the_office_opens_at_eight_by_its_own_clock_through_summer_time() {
        // Two weeks of Berlin's winter; the clocks go forward on 2026-03-29.
        let start: Timestamp = "2026-03-14T00:00:00Z".parse().unwrap();
        let calendar = Calendar::new("Europe/Berlin", &[]).unwrap();
        let office =
            |at: Timestamp| if (8..18).contains(&(calendar.local(at).ms_of_day / 3_600_000)) { 90.0 } else { 10.0 };
        let at = |minute: i64| Timestamp::from_seconds(start.millis() / 1000 + minute * 60);
        let winter = (0..14 * 1440).map(|m| (at(m), office(at(m))));
        let (local, utc) =
            (SeasonalProfile::fit_in(&calendar, winter.clone()).unwrap(), SeasonalProfile::fit(winter).unwrap());
        // Half past eight on the Monday after: half past six by UTC, half past seven a week before.
        let after: Timestamp = "2026-03-30T06:30:00Z".parse().unwrap();
        assert!(local.level(after) > 70.0, "{}", local.level(after));
        assert!(utc.level(after) < 40.0, "{}", utc.level(after));
    }

    #[test]
    fn median_of_even_and_odd_counts() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }
}

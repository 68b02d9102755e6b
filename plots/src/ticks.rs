//! Where the ticks of an axis stand, and what the ticks of time say.

use forewarn_schema::Timestamp;

use crate::unit::{Unit, calendar};

const DAY: f64 = 86_400.0;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;

/// Ticks of a value axis within `low..=high`, about `wanted` of them and never more than 50. Steps are
/// powers of two for bytes, those of a clock for seconds, and 1, 2, 5 times a power of ten otherwise.
pub(crate) fn value_ticks(unit: Unit, low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 {
        return Vec::new();
    }
    let step = value_step(unit, span / wanted.max(1) as f64);
    let first = (low / step - 1e-9).ceil();
    let mut ticks = Vec::new();
    for i in 0..50 {
        let tick = (first + f64::from(i)) * step;
        if tick > high + step * 1e-9 {
            break;
        }
        ticks.push(if tick == 0.0 { 0.0 } else { tick });
    }
    ticks
}

fn value_step(unit: Unit, raw: f64) -> f64 {
    match unit {
        Unit::Bytes if raw >= 1.0 => 2f64.powf(raw.log2().round()),
        Unit::Seconds if raw >= 1.0 => {
            const CLOCK: [f64; 17] = [
                1.0,
                2.0,
                5.0,
                10.0,
                15.0,
                30.0,
                60.0,
                120.0,
                300.0,
                600.0,
                900.0,
                1800.0,
                3600.0,
                7200.0,
                3.0 * 3600.0,
                6.0 * 3600.0,
                12.0 * 3600.0,
            ];
            CLOCK.into_iter().find(|step| *step >= raw * 0.8).unwrap_or_else(|| DAY * decimal_step(raw / DAY).max(1.0))
        }
        _ => decimal_step(raw),
    }
}

/// The nearest of 1, 2, 5 times a power of ten.
fn decimal_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.log10().floor());
    let step = match raw / power {
        r if r < 1.5 => 1.0,
        r if r < 3.5 => 2.0,
        r if r < 7.5 => 5.0,
        _ => 10.0,
    };
    step * power
}

/// A tick of a time axis.
pub(crate) struct TimeTick {
    /// Where.
    pub(crate) at: Timestamp,
    /// `14:00`, or `8 Jan` where a tick is a day or more.
    pub(crate) label: String,
    /// The second line, where it changed since the tick before: `8 Jan`, or the year.
    pub(crate) period: Option<String>,
}

/// Ticks of a time axis in UTC within `start..=end`, about `wanted` of them, at round times of the day.
pub(crate) fn time_ticks(start: Timestamp, end: Timestamp, wanted: usize) -> Vec<TimeTick> {
    let span = end.millis().saturating_sub(start.millis());
    if span <= 0 {
        return Vec::new();
    }
    let raw = span / i64::try_from(wanted.max(1)).unwrap_or(1);
    let step = time_step(raw);
    // Weeks begin on Monday; the epoch was a Thursday.
    let offset = if step % (7 * DAY_MS) == 0 { 4 * DAY_MS } else { 0 };
    let first = start.millis().saturating_sub(offset).div_euclid(step).saturating_mul(step).saturating_add(offset);
    let mut ticks = Vec::new();
    let mut last_period = None;
    for i in 0..60 {
        let millis = first.saturating_add(step.saturating_mul(i));
        if millis < start.millis() {
            continue;
        }
        if millis > end.millis() {
            break;
        }
        let at = Timestamp::from_millis(millis);
        let (label, period) = if step >= DAY_MS {
            (calendar(at, "%-d %b"), calendar(at, "%Y"))
        } else if step < MINUTE_MS {
            (calendar(at, "%H:%M:%S"), calendar(at, "%-d %b"))
        } else {
            (calendar(at, "%H:%M"), calendar(at, "%-d %b"))
        };
        let changed = last_period.as_ref() != Some(&period);
        ticks.push(TimeTick { at, label, period: changed.then(|| period.clone()) });
        last_period = Some(period);
        if millis == i64::MAX {
            break;
        }
    }
    ticks
}

fn time_step(raw: i64) -> i64 {
    const STEPS: [i64; 23] = [
        1000,
        5000,
        15_000,
        30_000,
        MINUTE_MS,
        2 * MINUTE_MS,
        5 * MINUTE_MS,
        10 * MINUTE_MS,
        15 * MINUTE_MS,
        30 * MINUTE_MS,
        HOUR_MS,
        2 * HOUR_MS,
        3 * HOUR_MS,
        6 * HOUR_MS,
        12 * HOUR_MS,
        DAY_MS,
        2 * DAY_MS,
        7 * DAY_MS,
        14 * DAY_MS,
        28 * DAY_MS,
        84 * DAY_MS,
        168 * DAY_MS,
        364 * DAY_MS,
    ];
    STEPS.into_iter().find(|step| *step >= raw).unwrap_or(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_ticks_are_powers_of_two_and_clock_ticks_are_round() {
        let mib = 1024.0 * 1024.0;
        assert_eq!(
            value_ticks(Unit::Bytes, 0.0, 560.0 * mib, 5),
            [0.0, 128.0 * mib, 256.0 * mib, 384.0 * mib, 512.0 * mib]
        );
        assert_eq!(value_ticks(Unit::Seconds, 0.0, 7200.0, 4), [0.0, 1800.0, 3600.0, 5400.0, 7200.0]);
        assert_eq!(value_ticks(Unit::Seconds, 0.0, 40.0 * DAY, 4), [0.0, 10.0, 20.0, 30.0, 40.0].map(|d| d * DAY));
        assert_eq!(value_ticks(Unit::Ratio, 0.0, 0.055, 5), [0.0, 0.01, 0.02, 0.03, 0.04, 0.05]);
    }

    #[test]
    fn time_ticks_say_the_day_once() {
        let start: Timestamp = "2026-01-08T20:10:00Z".parse().unwrap();
        let end: Timestamp = "2026-01-09T05:00:00Z".parse().unwrap();
        let ticks = time_ticks(start, end, 5);
        let labels: Vec<&str> = ticks.iter().map(|t| t.label.as_str()).collect();
        assert_eq!(labels, ["22:00", "00:00", "02:00", "04:00"]);
        let periods: Vec<Option<&str>> = ticks.iter().map(|t| t.period.as_deref()).collect();
        assert_eq!(periods, [Some("8 Jan"), Some("9 Jan"), None, None]);
    }

    #[test]
    fn absurd_ranges_end() {
        assert!(value_ticks(Unit::Count, f64::MIN, f64::MAX, 5).is_empty());
        assert!(value_ticks(Unit::Count, 1.0, 1.0 + f64::EPSILON, 5).len() <= 50);
        assert!(time_ticks(Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX), 5).len() <= 60);
        assert!(time_ticks(Timestamp::from_millis(5), Timestamp::from_millis(5), 5).is_empty());
    }
}

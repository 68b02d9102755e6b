//! What is normal at a time of day: a robust level and spread per slot.
//!
//! Medians over days, so that one incident does not become the normal of its hour; neighbouring
//! slots are averaged, so that a slot seen on few days borrows from the hours around it. Times are
//! UTC. Not here: weekdays, holidays and daylight saving.

use forewarn_schema::Timestamp;
use serde::{Deserialize, Serialize};

/// Slots a day: half an hour each, short enough for a morning ramp and long enough for 30 samples a
/// day at the default step.
const SLOTS: usize = 48;
const DAY_MS: i64 = 86_400_000;
/// A median absolute deviation times this is a standard deviation where the noise is normal.
const MAD_TO_SIGMA: f64 = 1.4826;

/// Level and spread per half hour of the day (UTC), in the unit of the series it was learnt from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeasonalProfile {
    /// Median per slot, smoothed over its neighbours.
    level: Vec<f64>,
    /// Robust standard deviation of a sample around the level, over the whole day.
    spread: f64,
    /// Robust standard deviation per slot, never under a fifth of `spread`.
    slot_spread: Vec<f64>,
}

impl SeasonalProfile {
    /// Learns from `(time, value)`; NaN and infinite values are left out.
    ///
    /// `None` where fewer than `SLOTS` usable values or less than 6 hours of the day are seen: an
    /// honest "not known yet". Slots that were never seen take the nearest seen ones, interpolated.
    pub fn fit(values: impl Iterator<Item = (Timestamp, f64)>) -> Option<Self> {
        let mut by_slot: Vec<Vec<f64>> = vec![Vec::new(); SLOTS];
        for (at, value) in values.filter(|(_, v)| v.is_finite()) {
            by_slot[slot_of(at)].push(value);
        }
        let seen = by_slot.iter().filter(|s| !s.is_empty()).count();
        let total: usize = by_slot.iter().map(Vec::len).sum();
        if total < SLOTS || seen < SLOTS / 4 {
            return None;
        }
        let medians: Vec<f64> = by_slot.iter_mut().map(|s| median(s)).collect();
        let filled = fill_circular(&medians);
        let level = smooth_circular(&filled);
        let mut all = Vec::with_capacity(total);
        let mut slot_spread = Vec::with_capacity(SLOTS);
        for (slot, values) in by_slot.iter().enumerate() {
            let mut deviations: Vec<f64> = values.iter().map(|v| (v - level[slot]).abs()).collect();
            all.extend_from_slice(&deviations);
            slot_spread.push(MAD_TO_SIGMA * median(&mut deviations));
        }
        // A constant series has no spread; a millionth of its level keeps every quotient finite.
        let floor = level.iter().fold(0.0_f64, |m, l| m.max(l.abs())) * 1e-6 + 1e-12;
        let spread = (MAD_TO_SIGMA * median(&mut all)).max(floor);
        let slot_spread = smooth_circular(&fill_circular(&slot_spread)).iter().map(|s| s.max(spread / 5.0)).collect();
        Some(Self { level, spread, slot_spread })
    }

    /// The level and the spread (one robust standard deviation) at that time of day, interpolated
    /// between slot centres.
    pub fn expected(&self, at: Timestamp) -> (f64, f64) {
        let position = at.millis().rem_euclid(DAY_MS) as f64 / DAY_MS as f64 * SLOTS as f64 - 0.5;
        let (left, weight) = (position.floor(), position - position.floor());
        let slot = |offset: f64| (left + offset).rem_euclid(SLOTS as f64) as usize;
        let blend = |of: &[f64]| of[slot(0.0)] * (1.0 - weight) + of[slot(1.0)] * weight;
        (blend(&self.level), blend(&self.slot_spread))
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

    /// Whether what was deserialised has the shape that [`Self::fit`] makes.
    pub fn is_well_formed(&self) -> bool {
        self.level.len() == SLOTS && self.slot_spread.len() == SLOTS && self.spread > 0.0
    }
}

fn slot_of(at: Timestamp) -> usize {
    (at.millis().rem_euclid(DAY_MS) as usize * SLOTS / DAY_MS as usize).min(SLOTS - 1)
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

    #[test]
    fn median_of_even_and_odd_counts() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }
}

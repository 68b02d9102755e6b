//! Which steps are left out of what is normal though no limit was reached: what a signal did far from its normal on a day
//! or two is an incident, what it does on many days is its habit.

use std::collections::{BTreeMap, BTreeSet};

use forewarn_schema::Timestamp;

/// As far from normal as this, in robust standard deviations, is far.
const FAR: f32 = 8.0;
/// What is seen on more than this share of the days is a habit.
const RARE_DAYS: f64 = 0.25;
/// More of the rows than this are no incident but the service.
const MOST_ROWS: f64 = 0.05;
const DAY_MS: i64 = 86_400_000;

/// The times of such rows, sorted. `rows` are those of a pipeline, `width` features each, one at each of `times`.
pub(super) fn incidents(times: &[Timestamp], rows: &[f32], width: usize) -> Vec<Timestamp> {
    let day = |at: &Timestamp| at.millis().div_euclid(DAY_MS);
    let days = times.iter().map(day).collect::<BTreeSet<_>>().len();
    let most_days = ((days as f64 * RARE_DAYS) as usize).max(1);
    let mut found: BTreeMap<usize, BTreeSet<Timestamp>> = BTreeMap::new();
    for (at, row) in times.iter().zip(rows.chunks(width)) {
        // Every other feature is a distance from normal; the rest are changes.
        for (column, _) in row.iter().enumerate().step_by(2).filter(|(_, z)| z.abs() >= FAR) {
            found.entry(column).or_default().insert(*at);
        }
    }
    let rare = found.into_values().filter(|at| at.iter().map(day).collect::<BTreeSet<_>>().len() <= most_days);
    let apart: BTreeSet<Timestamp> = rare.flatten().collect();
    if days < 2 || apart.len() as f64 > MOST_ROWS * times.len() as f64 {
        Vec::new()
    } else {
        apart.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(days: i64, far: impl Fn(i64) -> bool) -> usize {
        let times: Vec<Timestamp> = (0..days * 144).map(|i| Timestamp::from_seconds(i * 600)).collect();
        let rows: Vec<f32> = (0..days * 144).flat_map(|i| [if far(i) { 12.0 } else { 0.5 }, 20.0]).collect();
        incidents(&times, &rows, 2).len()
    }

    #[test]
    fn an_incident_is_set_apart_and_a_habit_is_not() {
        assert_eq!(apart(8, |i| (500..520).contains(&i)), 20);
        assert_eq!(apart(8, |i| i % 144 < 3), 0, "a backup every night");
        assert_eq!(apart(8, |i| i > 1000), 0, "more than a twentieth is what the service is like");
        assert_eq!(apart(1, |i| i == 100), 0, "of one day nobody knows");
    }
}

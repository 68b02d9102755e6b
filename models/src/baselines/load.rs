//! The load of a service by time of day and day of the week: what many things grow with.

pub use forewarn_features::LOAD_SIGNAL;
use forewarn_features::seasonal::median;
use forewarn_features::{Calendar, SeasonalProfile, ServiceStep};
use forewarn_schema::Timestamp;
use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 86_400_000;
/// However quiet, never less than this share of the mean: a quiet night slows what grows with load and never stops it.
const LEAST_LEVEL: f64 = 0.05;

/// Load relative to its mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadProfile {
    /// What 1 stands for, in the unit of the signal; `None` where the profile was learnt from other services.
    mean: Option<f64>,
    by_time_of_day: SeasonalProfile,
    /// A factor for each day of the week, from Monday; a holiday is a Sunday; 1 for a day that was not seen.
    by_weekday: [f64; 7],
}

impl LoadProfile {
    /// Learns from the steps of one service; `None` where it has no traffic, or too little was seen to say what is normal.
    pub fn fit(steps: &[ServiceStep]) -> Option<Self> {
        Self::fit_in(&Calendar::default(), steps)
    }

    /// The same, by the clock of `calendar`.
    pub fn fit_in(calendar: &Calendar, steps: &[ServiceStep]) -> Option<Self> {
        let values: Vec<(Timestamp, f64)> =
            steps.iter().filter_map(|s| Some((s.at, load_of(s)?))).filter(|(_, v)| v.is_finite()).collect();
        let mean = SeasonalProfile::fit_daily(calendar, values.iter().copied())?.mean_level();
        if mean.is_nan() || mean <= 0.0 {
            return None;
        }
        let by_time_of_day = SeasonalProfile::fit_daily(calendar, values.iter().map(|(at, v)| (*at, v / mean)))?;
        let mut ratios: [Vec<f64>; 7] = Default::default();
        for (at, value) in &values {
            let usual = by_time_of_day.level(*at);
            if usual > LEAST_LEVEL {
                ratios[calendar.local(*at).weekday].push(value / mean / usual);
            }
        }
        let most = ratios.iter().map(Vec::len).max().unwrap_or(0);
        let by_weekday = ratios.map(|mut of_day| if of_day.len() * 4 > most { median(&mut of_day) } else { 1.0 });
        Some(Self { mean: Some(mean), by_time_of_day, by_weekday })
    }

    /// What services with traffic have in common, for those without (a node, say): the profile of their mean.
    pub fn fleet(services: &[Self]) -> Option<Self> {
        if services.is_empty() {
            return None;
        }
        let mean_at =
            |at: Timestamp| services.iter().map(|s| s.by_time_of_day.level(at)).sum::<f64>() / services.len() as f64;
        let quarters = (0..96).map(|q| Timestamp::from_millis(q * DAY_MS / 96));
        // All are of one configuration, hence of one calendar.
        let calendar = services[0].by_time_of_day.calendar();
        let by_time_of_day = SeasonalProfile::fit_daily(calendar, quarters.map(|at| (at, mean_at(at))))?;
        let by_weekday =
            std::array::from_fn(|day| median(&mut services.iter().map(|s| s.by_weekday[day]).collect::<Vec<_>>()));
        Some(Self { mean: None, by_time_of_day, by_weekday })
    }

    /// The expected load at a time, 1 on average.
    pub fn level(&self, at: Timestamp) -> f64 {
        let weekday = self.by_time_of_day.calendar().local(at).weekday;
        (self.by_time_of_day.level(at) * self.by_weekday[weekday]).max(LEAST_LEVEL)
    }

    /// The load that was seen in `step`, relative to the mean; `None` where it was not, or means nothing here.
    pub fn seen(&self, step: &ServiceStep) -> Option<f64> {
        load_of(step).map(|load| load / self.mean.unwrap_or(f64::NAN)).filter(|load| load.is_finite())
    }

    /// The load that was seen in `step`, or else the expected one.
    pub fn at(&self, step: &ServiceStep) -> f64 {
        self.seen(step).unwrap_or_else(|| self.level(step.at))
    }

    /// Whether what was deserialised hangs together.
    pub fn is_well_formed(&self) -> bool {
        self.by_time_of_day.is_well_formed()
            && self.mean.is_none_or(|mean| mean > 0.0)
            && self.by_weekday.iter().all(|factor| factor.is_finite() && *factor >= 0.0)
    }
}

fn load_of(step: &ServiceStep) -> Option<f64> {
    step.observations.iter().find(|o| &*o.signal == LOAD_SIGNAL).map(|o| o.value)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use forewarn_features::Observation;
    use forewarn_schema::LabelSet;

    use super::*;

    fn week(load: impl Fn(i64) -> f64) -> Vec<ServiceStep> {
        (0..7 * 144)
            .map(|i| {
                let observation = Observation {
                    signal: LOAD_SIGNAL.into(),
                    labels: Arc::new(LabelSet::default()),
                    value: load(i),
                    limit: None,
                };
                ServiceStep {
                    service: "cart".into(),
                    at: Timestamp::from_seconds(i * 600),
                    observations: vec![observation],
                }
            })
            .collect()
    }

    #[test]
    fn days_of_the_week_and_times_of_day_are_told_apart() {
        let wave = |i: i64| 100.0 + 50.0 * ((i % 144) as f64 / 144.0 * std::f64::consts::TAU).sin();
        let load = |i: i64| if i / 144 == 2 { 0.5 * wave(i) } else { wave(i) };
        let profile = LoadProfile::fit(&week(load)).unwrap();
        for i in [20, 70, 300, 350] {
            let wanted = load(i) / 100.0;
            let got = profile.level(Timestamp::from_seconds((i + 7 * 144) * 600));
            assert!((got - wanted).abs() < 0.08, "step {i}: {got}, wanted {wanted}");
        }
        assert_eq!(profile.seen(&week(|_| 150.0)[0]).map(|l| (l * 100.0).round()), Some(150.0));
    }

    #[test]
    fn a_holiday_has_the_load_of_a_sunday() {
        // The epoch was a Thursday, so that day 3 is a Sunday; day 11 is the Monday of the week after.
        let sundays = |i: i64| if i / 144 == 3 { 20.0 } else { 100.0 };
        let calendar = Calendar::new("UTC", &["1970-01-12".to_owned()]).unwrap();
        let profile = LoadProfile::fit_in(&calendar, &week(sundays)).unwrap();
        let noon = |day: i64| profile.level(Timestamp::from_seconds(day * 86_400 + 43_200));
        assert_eq!(noon(11), noon(10));
        assert!(noon(12) > 4.0 * noon(11), "{} and {}", noon(12), noon(11));
    }

    #[test]
    fn a_fleet_has_no_unit_and_no_traffic_no_profile() {
        let services: Vec<LoadProfile> =
            (1..4).map(|k| LoadProfile::fit(&week(|_| 100.0 * k as f64)).unwrap()).collect();
        let fleet = LoadProfile::fleet(&services).unwrap();
        assert!((fleet.level(Timestamp::from_seconds(5)) - 1.0).abs() < 1e-9);
        assert_eq!(fleet.seen(&week(|_| 150.0)[0]), None);
        assert_eq!(LoadProfile::fleet(&[]), None);
        assert_eq!(LoadProfile::fit(&week(|_| 0.0)), None);
    }
}

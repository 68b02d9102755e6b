//! From what is seen of a service to one row of numbers for the anomaly models.
//!
//! Each signal gives two columns: how far its value lies from what is normal at this time of day
//! (in robust standard deviations), and how far it moved within a quarter of an hour. Normal is conditioned on the load where
//! that explains the signal. A flag signal (only 0 and 1, such as a running deployment) shifts what is normal for the
//! others while it is up. Same code in training, backtest and serving.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use forewarn_schema::{BreachKind, Direction, SignalKind, Step, TimeRange, Timestamp};
use serde::{Deserialize, Serialize};

use crate::calendar::Calendar;
use crate::load_effect::LoadEffect;
use crate::observation::ServiceStep;
use crate::presence::Presence;
use crate::seasonal::{SeasonalProfile, median};
use crate::signal::{Signal, SignalSet};

/// The signal that says how much a service has to do.
pub const LOAD_SIGNAL: &str = "traffic";

/// Distances beyond this many standard deviations say no more than this one does, and would stretch
/// the forest's splits.
const CLIP: f64 = 20.0;
/// A flag needs this many steps up in training before its effect is believed.
const MIN_FLAG_STEPS: usize = 20;

/// How a pipeline is fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeaturePipelineParams {
    /// Over how many steps a change is measured; at least 1. Default 15.
    pub change_steps: usize,
    /// Whose time of day and days of the week. Default UTC.
    #[serde(default)]
    pub calendar: Calendar,
}

impl Default for FeaturePipelineParams {
    fn default() -> Self {
        Self { change_steps: 15, calendar: Calendar::default() }
    }
}

/// What is normal for each signal of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedFeaturePipeline {
    names: Vec<String>,
    columns: Vec<Column>,
    change_steps: usize,
    step: Step,
}

/// One signal of the service: its profile, how much it usually moves, what flags do to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Column {
    signal: String,
    direction: Direction,
    context: bool,
    profile: SeasonalProfile,
    /// What the load adds, where it explains the signal.
    load: Option<LoadEffect>,
    change_spread: f64,
    /// Whether it is usually there; `None` in pipelines that were fitted before that was learnt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    presence: Option<Presence>,
    /// Flag signal → what this column does while the flag is up.
    flags: BTreeMap<String, FlagEffect>,
}

/// What is normal while a flag is up: so much more than at that time of day, or a level of its own
/// whatever the time, whichever the history fits better.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FlagEffect {
    Shift { by: f64, spread: f64 },
    Level { at: f64, spread: f64 },
}

impl FlagEffect {
    /// `None` where the flag was up for too few of `values` to be believed.
    fn fit(values: &[(Timestamp, f64)], profile: &SeasonalProfile) -> Option<Self> {
        if values.len() < MIN_FLAG_STEPS {
            return None;
        }
        let centre = |mut values: Vec<f64>| {
            let centre = median(&mut values.clone());
            values.iter_mut().for_each(|v| *v = (*v - centre).abs());
            (centre, (1.4826 * median(&mut values)).max(profile.spread()))
        };
        let (by, shift_spread) = centre(values.iter().map(|(at, v)| v - profile.level(*at)).collect());
        let (at, level_spread) = centre(values.iter().map(|(_, v)| *v).collect());
        Some(match shift_spread <= level_spread {
            true => Self::Shift { by, spread: shift_spread },
            false => Self::Level { at, spread: level_spread },
        })
    }

    fn apply(self, (expected, spread): (f64, f64)) -> (f64, f64) {
        match self {
            Self::Shift { by, spread: flagged } => (expected + by, spread.max(flagged)),
            Self::Level { at, spread: flagged } => (at, spread.max(flagged)),
        }
    }
}

/// What a pipeline remembers between rows: the last values of each column.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FeatureState {
    recent: Vec<VecDeque<(Timestamp, f64)>>,
}

/// How one signal stands at a step, for explanations.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnReading {
    /// The signal's name.
    pub signal: String,
    /// Its value over the service, in its own unit (a fraction of the limit for limited signals).
    pub seen: f64,
    /// The normal value at this time of day, flags included, in the same unit.
    pub expected: f64,
    /// One standard deviation around it.
    pub spread: f64,
}

/// A signal that is missed.
#[derive(Clone, Debug, PartialEq)]
pub struct Absence {
    /// The signal's name.
    pub signal: String,
    /// When it was last seen.
    pub last: Timestamp,
    /// The share of normal steps at this time of day in which it was there, 0.9 to 1.
    pub usual: f64,
}

impl FeaturePipelineParams {
    /// Fits on the steps of one service that are not in `excluded` (incidents, maintenance).
    ///
    /// A signal with too few samples for a profile gets no column; no steps at all give a pipeline of
    /// width 0. It sees the whole of `steps`, so the caller must end them where the training ends.
    pub fn fit(
        &self,
        steps: &[ServiceStep],
        signals: &SignalSet,
        step: Step,
        excluded: &[TimeRange],
    ) -> FittedFeaturePipeline {
        let steps: Vec<&ServiceStep> =
            steps.iter().filter(|s| !excluded.iter().any(|range| range.contains(s.at))).collect();
        // What happened says nothing of what is normal.
        let signals: Vec<&Signal> = signals.iter().filter(|s| crate::presets::event(&s.name).is_none()).collect();
        let series: BTreeMap<&str, Vec<(Timestamp, f64)>> = signals
            .iter()
            .map(|signal| {
                let context = signal.kind == SignalKind::Context;
                let values = steps
                    .iter()
                    .filter_map(|s| Some((s.at, over_service(s, &signal.name, signal.direction, context)?)));
                (signal.name.as_str(), values.collect())
            })
            .collect();
        let flags: Vec<&str> = signals
            .iter()
            .filter(|s| s.kind == SignalKind::Context && is_flag(&series[s.name.as_str()]))
            .map(|s| s.name.as_str())
            .collect();
        let flagged = |at: Timestamp| flags.iter().any(|f| flag_is_up(&series[f], at));
        let unflagged = |values: &[(Timestamp, f64)]| {
            values.iter().copied().filter(|(at, _)| !flagged(*at)).collect::<Vec<_>>().into_iter()
        };
        let load_residuals = series.get(LOAD_SIGNAL).and_then(|values| {
            let profile = SeasonalProfile::fit_in(&self.calendar, unflagged(values))?;
            Some(values.iter().map(|(at, v)| (*at, v - profile.level(*at))).collect::<Vec<_>>())
        });
        let range = steps.first().zip(steps.last()).map(|(first, last)| (first.at, last.at + step.duration()));
        let (start, end) = range.unwrap_or_default();
        let range = TimeRange { start, end };
        let presence_of = |values: &[(Timestamp, f64)]| {
            let seen: Vec<Timestamp> = values.iter().map(|(at, _)| *at).collect();
            Presence::fit(&self.calendar, &seen, range, step, excluded)
        };
        let mut columns = Vec::new();
        for signal in signals.iter().filter(|s| !flags.contains(&s.name.as_str())) {
            if signal.kind == SignalKind::Breach(BreachKind::CertificateExpiry) {
                continue; // It only ever counts down: no day is like the one before.
            }
            let values = &series[signal.name.as_str()];
            let Some(profile) = SeasonalProfile::fit_in(&self.calendar, unflagged(values)) else { continue };
            let residuals: Vec<(Timestamp, f64)> =
                unflagged(values).map(|(at, v)| (at, v - profile.level(at))).collect();
            let load = match &load_residuals {
                Some(load) if signal.name != LOAD_SIGNAL => LoadEffect::fit(&residuals, load),
                _ => None,
            };
            let effect_of = |flag: &&str| {
                let up: Vec<_> = values.iter().copied().filter(|(at, _)| flag_is_up(&series[*flag], *at)).collect();
                Some(((*flag).to_owned(), FlagEffect::fit(&up, &profile)?))
            };
            let flags = flags.iter().filter_map(effect_of).collect();
            let of_load = |at: Timestamp| match (&load, &load_residuals) {
                (Some(effect), Some(residuals)) => value_of(residuals, at).map_or(0.0, |residual| effect.of(residual)),
                _ => 0.0,
            };
            let deviations: Vec<(Timestamp, f64)> =
                values.iter().map(|(at, v)| (*at, v - profile.level(*at) - of_load(*at))).collect();
            let change_spread = change_spread(&deviations, profile.spread(), self.change_steps, step);
            columns.push(Column {
                signal: signal.name.clone(),
                direction: signal.direction,
                context: signal.kind == SignalKind::Context,
                profile,
                load,
                change_spread,
                presence: Some(presence_of(values)),
                flags,
            });
        }
        let names = columns.iter().flat_map(|c| [c.signal.clone(), format!("{}_change", c.signal)]).collect();
        FittedFeaturePipeline { names, columns, change_steps: self.change_steps.max(1), step }
    }
}

impl FittedFeaturePipeline {
    /// The columns' names, in the order of a row: per signal its deviation and its change.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The signal that a column belongs to.
    pub fn signal_of(&self, column: usize) -> &str {
        &self.columns[column / 2].signal
    }

    /// An empty memory.
    pub fn new_state(&self) -> FeatureState {
        FeatureState { recent: vec![VecDeque::new(); self.columns.len()] }
    }

    /// The row of `step`: width `names().len()`, in standard deviations clipped to ±20; NaN where a
    /// signal is missing, or where it has no value `change_steps` ago to compare with.
    pub fn transform(&self, state: &mut FeatureState, step: &ServiceStep) -> Vec<f32> {
        let mut row = Vec::with_capacity(self.names.len());
        let span = self.step.duration() * u32::try_from(self.change_steps).unwrap_or(u32::MAX);
        let load = self.load_residual(step);
        for (column, recent) in self.columns.iter().zip(&mut state.recent) {
            let Some(reading) = column.read(step, load) else {
                row.extend([f32::NAN, f32::NAN]);
                continue;
            };
            let deviation = reading.seen - reading.expected;
            row.push(clip(deviation / reading.spread));
            while recent.front().is_some_and(|(at, _)| *at < step.at - span) {
                recent.pop_front();
            }
            // The oldest kept value is at most `change_steps` old; younger than half of that is no comparison.
            let before = recent.front().filter(|(at, _)| *at <= step.at - span / 2);
            row.push(before.map_or(f32::NAN, |(_, earlier)| clip((deviation - earlier) / column.change_spread)));
            recent.push_back((step.at, deviation));
        }
        row
    }

    /// What is not there at `at` although it usually is at this time of day, and was seen since `state` began: for at least 3 steps,
    /// as less may be a scrape that failed, and at most a day, after which it is how things are. In the order of the columns.
    pub fn absences(&self, state: &FeatureState, at: Timestamp) -> Vec<Absence> {
        const NOTICED: u32 = 3;
        const DAY: Duration = Duration::from_secs(86_400);
        let absent = |(column, recent): (&Column, &VecDeque<(Timestamp, f64)>)| {
            let last = recent.back()?.0;
            let is_missed = last + self.step.duration() * NOTICED <= at && last + DAY >= at;
            let usual = column.presence.as_ref()?.usual(at).filter(|_| is_missed)?;
            Some(Absence { signal: column.signal.clone(), last, usual })
        };
        self.columns.iter().zip(&state.recent).filter_map(absent).collect()
    }

    /// How each signal stands at `step`, in the order of the columns; missing ones are left out.
    pub fn readings(&self, step: &ServiceStep) -> Vec<ColumnReading> {
        let load = self.load_residual(step);
        self.columns.iter().filter_map(|c| c.read(step, load)).collect()
    }

    /// How far the load is from what is usual at the time; `None` where it was not seen or its usual is not known.
    fn load_residual(&self, step: &ServiceStep) -> Option<f64> {
        let column = self.columns.iter().find(|c| c.signal == LOAD_SIGNAL)?;
        let load = over_service(step, LOAD_SIGNAL, column.direction, column.context)?;
        Some(load - column.profile.level(step.at))
    }

    /// Every signal that has a profile, with it, sorted by signal.
    pub fn profiles(&self) -> impl Iterator<Item = (&str, &SeasonalProfile)> {
        self.columns.iter().map(|c| (c.signal.as_str(), &c.profile))
    }

    /// The profile of one signal over the service.
    pub fn profile(&self, signal: &str) -> Option<&SeasonalProfile> {
        self.columns.iter().find(|c| c.signal == signal).map(|c| &c.profile)
    }

    /// Whether what was deserialised hangs together, so that [`Self::transform`] cannot fail.
    pub fn is_well_formed(&self) -> bool {
        self.names.len() == 2 * self.columns.len()
            && self.change_steps > 0
            && self.columns.iter().all(Column::is_well_formed)
    }
}

impl Column {
    fn is_well_formed(&self) -> bool {
        let load = self.load.as_ref().is_none_or(LoadEffect::is_well_formed);
        let presence = self.presence.as_ref().is_none_or(Presence::is_well_formed);
        self.profile.is_well_formed() && load && presence && self.change_spread > 0.0
    }

    fn read(&self, step: &ServiceStep, load_residual: Option<f64>) -> Option<ColumnReading> {
        let seen = over_service(step, &self.signal, self.direction, self.context)?;
        let is_up = |flag: &&String| over_service(step, flag, Direction::Above, true).is_some_and(|v| v > 0.5);
        let up = self.flags.iter().filter(|(flag, _)| is_up(flag));
        let usual = self.profile.expected(step.at);
        let at_load = match (&self.load, load_residual) {
            (Some(effect), Some(residual)) => effect.apply(usual, residual),
            _ => usual,
        };
        let (expected, spread) = up.fold(at_load, |normal, (_, effect)| effect.apply(normal));
        Some(ColumnReading { signal: self.signal.clone(), seen, expected, spread })
    }
}

/// One value of `signal` over the service, as features see it: the mean of context targets; of limited ones the worst fraction
/// of the limit, or where the limit is 0 the worst value. `None` where the signal is missing.
pub fn service_value(step: &ServiceStep, signal: &Signal) -> Option<f64> {
    over_service(step, &signal.name, signal.direction, signal.kind == SignalKind::Context)
}

/// One value a signal and service: the mean of context targets; of limited ones the worst fraction of
/// the limit, or where the limit is 0 the worst value. `None` where the signal is missing.
fn over_service(step: &ServiceStep, signal: &str, direction: Direction, context: bool) -> Option<f64> {
    let targets = step.observations.iter().filter(|o| &*o.signal == signal && o.value.is_finite());
    if context {
        let (sum, count) = targets.fold((0.0, 0.0), |(sum, count), o| (sum + o.value, count + 1.0));
        return (count > 0.0).then(|| sum / count);
    }
    let fraction = |value: f64, limit: Option<f64>| match limit {
        Some(limit) if limit.is_finite() && limit != 0.0 => value / limit,
        _ => value,
    };
    let fractions = targets.map(|o| fraction(o.value, o.limit));
    match direction {
        Direction::Above => fractions.reduce(f64::max),
        Direction::Below => fractions.reduce(f64::min),
    }
}

fn is_flag(values: &[(Timestamp, f64)]) -> bool {
    let up = values.iter().filter(|(_, v)| *v == 1.0).count();
    up >= MIN_FLAG_STEPS && up < values.len() && values.iter().all(|(_, v)| *v == 0.0 || *v == 1.0)
}

fn flag_is_up(values: &[(Timestamp, f64)], at: Timestamp) -> bool {
    values.binary_search_by_key(&at, |(t, _)| *t).is_ok_and(|i| values[i].1 == 1.0)
}

fn value_of(series: &[(Timestamp, f64)], at: Timestamp) -> Option<f64> {
    series.binary_search_by_key(&at, |(t, _)| *t).ok().map(|i| series[i].1)
}

/// The robust standard deviation of how far the deviation from normal moves in `change_steps`; `spread` is its own.
fn change_spread(deviations: &[(Timestamp, f64)], spread: f64, change_steps: usize, step: Step) -> f64 {
    let span = step.millis().saturating_mul(i64::try_from(change_steps).unwrap_or(i64::MAX));
    let mut changes: Vec<f64> = Vec::new();
    for (later, earlier) in (change_steps..deviations.len()).zip(0..) {
        if deviations[later].0.millis() - deviations[earlier].0.millis() == span {
            changes.push((deviations[later].1 - deviations[earlier].1).abs());
        }
    }
    let of_changes = 1.4826 * median(&mut changes);
    if of_changes.is_nan() { spread } else { of_changes.max(spread / 10.0) }
}

fn clip(z: f64) -> f32 {
    z.clamp(-CLIP, CLIP) as f32
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use forewarn_schema::LabelSet;

    use super::*;
    use crate::observation::Observation;
    use crate::signal::Signal;

    fn signals() -> SignalSet {
        let context = |name: &str| Signal {
            name: name.to_owned(),
            kind: SignalKind::Context,
            service: "service".to_owned(),
            value: "x".to_owned(),
            limit: None,
            direction: Direction::Above,
            playbook: None,
        };
        SignalSet::new(&[], vec![context("latency"), context("deploying")]).unwrap()
    }

    fn step(minute: i64, latency: f64, deploying: f64) -> ServiceStep {
        let observe = |signal: &str, value| Observation {
            signal: signal.into(),
            labels: Arc::new(LabelSet::new()),
            value,
            limit: None,
        };
        ServiceStep {
            service: "checkout".into(),
            at: Timestamp::from_seconds(minute * 60),
            observations: vec![observe("deploying", deploying), observe("latency", latency)],
        }
    }

    fn fitted() -> FittedFeaturePipeline {
        let hour = |m: i64| (m / 60) % 24;
        let wobble = |m: i64| ((m * 7919) % 13) as f64 - 6.0;
        let deploying = |m: i64| if (560..620).contains(&(m % 2880)) { 1.0 } else { 0.0 };
        let latency = |m: i64| {
            wobble(m)
                + if deploying(m) == 1.0 {
                    200.0
                } else if hour(m) == 9 {
                    120.0
                } else {
                    60.0
                }
        };
        let steps: Vec<_> = (0..14 * 1440).map(|m| step(m, latency(m), deploying(m))).collect();
        FeaturePipelineParams::default().fit(&steps, &signals(), Step::MINUTE, &[])
    }

    #[test]
    fn the_same_latency_is_normal_at_nine_and_odd_at_two() {
        let pipeline = fitted();
        let z = |minute: i64, deploying: f64| {
            f64::from(pipeline.transform(&mut pipeline.new_state(), &step(20 * 1440 + minute, 125.0, deploying))[0])
        };
        assert!(z(9 * 60 + 30, 0.0).abs() < 3.0, "at nine: {}", z(9 * 60 + 30, 0.0));
        assert!(z(2 * 60, 0.0) > 8.0, "at two: {}", z(2 * 60, 0.0));
    }

    #[test]
    fn a_deployment_changes_what_is_normal_at_any_hour() {
        let pipeline = fitted();
        for minute in [120, 570, 840] {
            let at = |deploying| step(20 * 1440 + minute, 200.0, deploying);
            let row = |deploying| pipeline.transform(&mut pipeline.new_state(), &at(deploying))[0];
            assert!(row(1.0).abs() < 3.0, "while deploying, minute {minute}: {}", row(1.0));
            // Nine o'clock is a sharp edge, so its slot spreads widest: 80 ms are 4.3 of its deviations.
            assert!(row(0.0) > 4.0, "otherwise, minute {minute}: {}", row(0.0));
        }
    }

    #[test]
    fn latency_is_judged_by_the_traffic_of_the_moment() {
        let context = |name: &str| Signal { name: name.to_owned(), ..signals().get("latency").unwrap().clone() };
        let signals = SignalSet::new(&[], vec![context("latency"), context("traffic")]).unwrap();
        let noise = |m: i64, k: i64| ((m * k) % 101) as f64 / 50.0 - 1.0;
        let step = |m: i64, latency: f64, traffic: f64| {
            let mut step = step(m, latency, traffic);
            step.observations[0].signal = "traffic".into();
            step
        };
        // Traffic wanders by itself, and latency goes with it.
        let traffic = |m: i64| 100.0 + 30.0 * noise(m / 20, 7919);
        let steps: Vec<_> =
            (0..7 * 1440).map(|m| step(m, 20.0 + 0.5 * traffic(m) + noise(m, 104_729), traffic(m))).collect();
        let pipeline = FeaturePipelineParams::default().fit(&steps, &signals, Step::MINUTE, &[]);
        let z = |latency: f64, traffic: f64| {
            pipeline.transform(&mut pipeline.new_state(), &step(8 * 1440, latency, traffic))[0].abs()
        };
        assert!(z(84.0, 128.0) < 3.0, "busy and slow: {}", z(84.0, 128.0));
        assert!(z(84.0, 100.0) > 8.0, "slow, and not busier than usual: {}", z(84.0, 100.0));
    }

    #[test]
    fn a_missing_signal_is_nan_and_never_zero() {
        let pipeline = fitted();
        let empty = ServiceStep { observations: vec![], ..step(0, 0.0, 0.0) };
        assert!(pipeline.transform(&mut pipeline.new_state(), &empty).iter().all(|v| v.is_nan()));
    }
}

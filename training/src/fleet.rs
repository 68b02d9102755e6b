//! What services teach each other before any one of them is fitted: the load that those without traffic go by, and
//! the LSTM at which each one's own training begins.
//!
//! It is learnt from the whole fleet, also by a run that fits a part of it, so that the same service has the same
//! bits in any shard. What that costs is bounded: a fixed number of services teaches, with a fixed number of windows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forewarn_features::{ServiceStep, SignalSet};
use forewarn_models::baselines::{Baselines, HORIZONS, LoadProfile, QUANTILES};
use forewarn_models::forecast_input::{FEATURES, LOOKBACK, WindowChoice, training_windows};
use forewarn_models::lstm::{LstmError, LstmForecaster, LstmParams, LstmTrainingSet};
use forewarn_schema::{TimeRange, stable_id};
use rayon::prelude::*;

use crate::exclusions::{Known, Normal};
use crate::fit::{FitOptions, Training, fit_with_progress, on_threads, validation_start};
use crate::rehearsal::{Episodes, Replayed, replay};

/// At most so many services teach.
pub const TEACHERS: usize = 64;
/// Fewer windows than this teach an LSTM nothing; the baselines serve.
const MIN_WINDOWS: usize = 64;
/// Where the fleet has no LSTM, a service takes so many steps more, but no more than the fleet would have.
const STEPS_ALONE: usize = 200;
/// A service's own steps begin at this share of the learning rate: the fleet's weights are near already.
const FINE_TUNING_RATE: f64 = 0.5;

/// What the fleet taught. The default is a fleet of which nothing is known.
#[derive(Clone, Debug, Default)]
pub struct FleetPrior {
    pub(crate) load: Option<LoadProfile>,
    lstm: Option<LstmForecaster>,
    windows: u64,
    /// What the teachers' breaches teach.
    pub(crate) episodes: Episodes,
    /// What the replay of each teacher showed, by service.
    pub(crate) replayed: BTreeMap<Arc<str>, Replayed>,
}

/// What one service teaches the others.
#[derive(Clone, Debug)]
pub struct Lesson {
    service: Arc<str>,
    load: Option<LoadProfile>,
    windows: LstmTrainingSet,
    replayed: Replayed,
}

/// An LSTM and what it has learnt from.
#[derive(Clone, Debug)]
pub(crate) struct Trained {
    pub(crate) lstm: LstmForecaster,
    /// The service's own windows.
    pub(crate) windows: u64,
    /// The fleet's windows; 0: it began at random weights.
    pub(crate) fleet_windows: u64,
}

/// The services that teach: all of `known` where there are at most [`TEACHERS`], else as many, by what their names hash
/// to. Services that come or go exchange one teacher each at most.
pub fn teachers(known: &BTreeSet<String>) -> BTreeSet<String> {
    let mut by_hash: Vec<(String, &String)> = known.iter().map(|name| (stable_id("teacher", &[name]), name)).collect();
    by_hash.sort_unstable();
    by_hash.into_iter().take(TEACHERS).map(|(_, name)| name.clone()).collect()
}

/// The lessons of some teachers (each one's steps sorted by time), in the order of their names; `teachers` is how many
/// there are in all. `window` is the training window of the fleet, from where its earliest history begins: the windows
/// taught end where the earliest validation does, so that nobody's validation is known to the prior.
///
/// What is `known` not to be normal teaches nothing, nor do the breaches that the steps show.
pub fn lessons(
    histories: &BTreeMap<Arc<str>, Vec<ServiceStep>>,
    signals: &SignalSet,
    teachers: usize,
    window: TimeRange,
    options: &FitOptions,
    known: &Known,
) -> Vec<Lesson> {
    let max_windows = options.max_windows.div_ceil(teachers.max(1));
    let lesson = |(service, steps): (&Arc<str>, &Vec<ServiceStep>)| {
        let steps = &steps[..steps.partition_point(|s| s.at < options.until)];
        let load = LoadProfile::fit_in(&options.calendar, steps);
        let replayed = rehearse(service, steps, signals, options, known);
        let range = TimeRange { start: window.start, end: validation_start(window, options) };
        let before = &steps[..steps.partition_point(|s| s.at < range.end)];
        let normal = Normal::of(service, before, signals, known, range);
        let choice = WindowChoice { range, excluded: &normal.excluded, max_windows, seed: options.seed };
        let baselines = Baselines::fit_in(&options.calendar, before, signals, options.step, None);
        let windows = training_windows(before, signals, &baselines, options.step, &choice);
        Lesson { service: Arc::clone(service), load, windows, replayed }
    };
    on_threads(options.threads, || histories.par_iter().map(lesson).collect())
}

/// The replay of a teacher, with what can be fitted without the fleet: no LSTM, and no load but its own. A service that cannot be
/// fitted teaches nothing.
fn rehearse(
    service: &Arc<str>,
    steps: &[ServiceStep],
    signals: &SignalSet,
    options: &FitOptions,
    known: &Known,
) -> Replayed {
    let without_lstm = FitOptions { lstm_steps: 0, ..options.clone() };
    let alone = FleetPrior::default();
    let bundle = fit_with_progress(service, steps, signals, "", &without_lstm, &alone, known, Training::Done(None));
    let labels = known.labels_of(service);
    bundle.map_or_else(|_| Replayed::default(), |bundle| replay(service, steps, signals, &bundle, options, labels))
}

impl FleetPrior {
    /// Learns from the lessons of all teachers, in the order of their names. `on_step` hears the LSTM's steps, from 1,
    /// and their losses.
    pub fn learn(lessons: Vec<Lesson>, options: &FitOptions, on_step: &dyn Fn(usize, f32)) -> Result<Self, LstmError> {
        let mut loads = Vec::with_capacity(lessons.len());
        let mut set = LstmTrainingSet::default();
        let mut replayed = BTreeMap::new();
        for lesson in lessons {
            loads.extend(lesson.load);
            replayed.insert(lesson.service, lesson.replayed);
            set.inputs.extend(lesson.windows.inputs);
            set.targets.extend(lesson.windows.targets);
        }
        let windows = set.targets.len() / HORIZONS.len();
        let teaches = windows >= MIN_WINDOWS && options.lstm_steps > 0 && options.prior_steps > 0;
        let lstm = match teaches {
            true => Some(params(options, options.prior_steps, 1.0).check()?.fit(&set, on_step)?),
            false => None,
        };
        let windows = if lstm.is_some() { windows as u64 } else { 0 };
        let episodes = Episodes::of(replayed.values(), options.false_alarms_per_week);
        Ok(Self { load: LoadProfile::fleet(&loads), lstm, windows, episodes, replayed })
    }

    /// The LSTM of one service: the fleet's, and some steps more on the service's own clean windows; all the steps on
    /// those where the fleet has none. `None` where there are too few windows, or no steps are wanted.
    pub(crate) fn fine_tune(
        &self,
        set: &LstmTrainingSet,
        options: &FitOptions,
        on_step: &dyn Fn(usize, f32),
    ) -> Result<Option<Trained>, LstmError> {
        let windows = set.targets.len() / HORIZONS.len();
        if windows < MIN_WINDOWS || options.lstm_steps == 0 {
            return Ok(None);
        }
        let lstm = self.tuning_params(options).check()?.fit_from(self.lstm.as_ref(), set, on_step)?;
        Ok(Some(Trained { lstm, windows: windows as u64, fleet_windows: self.windows }))
    }
}

impl FleetPrior {
    /// As [`fine_tune`](Self::fine_tune) for many services, by name, trained as one; those with fewer windows than a batch are
    /// left out.
    pub(crate) fn fine_tune_together(
        &self,
        sets: &BTreeMap<Arc<str>, LstmTrainingSet>,
        options: &FitOptions,
    ) -> Result<BTreeMap<Arc<str>, Trained>, LstmError> {
        let count = |set: &LstmTrainingSet| set.targets.len() / HORIZONS.len();
        let enough = MIN_WINDOWS.max(options.lstm_batch);
        let (names, sets): (Vec<&Arc<str>>, Vec<&LstmTrainingSet>) =
            sets.iter().filter(|(_, set)| count(set) >= enough).unzip();
        if sets.is_empty() || options.lstm_steps == 0 {
            return Ok(BTreeMap::new());
        }
        let params = self.tuning_params(options).check()?;
        let lstms = params.fit_side_by_side(self.lstm.as_ref(), &sets, &|_, _| {})?;
        let trained = lstms.into_iter().zip(names.iter().zip(&sets)).map(|(lstm, (name, set))| {
            let trained = Trained { lstm, windows: count(set) as u64, fleet_windows: self.windows };
            (Arc::clone(name), trained)
        });
        Ok(trained.collect())
    }

    fn tuning_params(&self, options: &FitOptions) -> LstmParams {
        match &self.lstm {
            Some(_) => params(options, options.lstm_steps, FINE_TUNING_RATE),
            None => params(options, STEPS_ALONE.min(options.prior_steps) + options.lstm_steps, 1.0),
        }
    }
}

fn params(options: &FitOptions, steps: usize, rate: f64) -> LstmParams {
    LstmParams {
        lookback: LOOKBACK,
        features: FEATURES,
        hidden_size: options.hidden_size,
        horizons: HORIZONS.to_vec(),
        quantiles: QUANTILES,
        batch: options.lstm_batch,
        steps,
        learning_rate: rate * options.learning_rate,
        seed: options.seed,
        device: options.device,
    }
}

#[cfg(test)]
mod tests {
    use forewarn_schema::{Step, Timestamp};

    use super::*;

    #[test]
    fn services_are_tuned_together_as_each_is_alone() {
        let set = |phase: f32| {
            let wave = |i: usize| (i as f32 * 0.1 + phase).sin();
            let inputs = (0..100 * LOOKBACK * FEATURES).map(wave).collect();
            LstmTrainingSet { inputs, targets: (0..100 * HORIZONS.len()).map(wave).collect() }
        };
        let few =
            LstmTrainingSet { inputs: vec![0.0; 5 * LOOKBACK * FEATURES], targets: vec![0.0; 5 * HORIZONS.len()] };
        let sets = BTreeMap::from([("cart".into(), set(0.0)), ("few".into(), few), ("user".into(), set(1.0))]);
        let options =
            FitOptions { lstm_steps: 5, prior_steps: 5, ..FitOptions::new(Timestamp::default(), Step::MINUTE) };
        let alone = FleetPrior::default();
        let together = alone.fine_tune_together(&sets, &options).unwrap();
        assert_eq!(together.keys().map(|name| &**name).collect::<Vec<_>>(), ["cart", "user"]);
        for (name, together) in together {
            let one = alone.fine_tune(&sets[&name], &options, &|_, _| {}).unwrap().unwrap();
            let window = &sets[&name].inputs[..LOOKBACK * FEATURES];
            let (a, b) = (one.lstm.forecast(window), together.lstm.forecast(window));
            for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
                assert!((a - b).abs() < 1e-3, "{name}: {a} alone, {b} together");
            }
        }
    }

    #[test]
    fn a_service_that_comes_exchanges_one_teacher_at_most() {
        let fleet: BTreeSet<String> = (0..1300).map(|i| format!("service-{i}")).collect();
        let before = teachers(&fleet);
        assert_eq!(before.len(), TEACHERS);
        for newcomer in ["cart", "service-1300", "zebra"] {
            let mut fleet = fleet.clone();
            fleet.insert(newcomer.to_owned());
            assert!(teachers(&fleet).difference(&before).count() <= 1);
        }
        let small: BTreeSet<String> = fleet.into_iter().take(TEACHERS).collect();
        assert_eq!(teachers(&small), small);
    }
}

//! Fitting one bundle a service from the samples before a time, and all services side by side.
//!
//! Nothing at or after `until` is looked at, incidents are kept out of the normal, and the forecast
//! that serves is chosen on the last fifth of the training window, which the LSTM has not seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forewarn_features::{Calendar, ServiceStep, SignalSet};
use forewarn_models::baselines::Baselines;
use forewarn_models::bundle::{BundleError, BundleManifest};
use forewarn_models::calibration::CalibrationError;
use forewarn_models::forecast_input::{WindowChoice, training_windows};
use forewarn_models::isolation_forest::{IsolationForestError, IsolationForestParams};
use forewarn_models::lstm::{Device, LstmError, LstmParams, LstmTrainingSet};
use forewarn_models::rehearsal::Rehearsed;
use forewarn_models::{ForecastModel, ModelBundle};
use forewarn_schema::{Step, TimeRange, Timestamp, format_duration, stable_id};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::detectors::{self, AnomalyQuality, Detectors};
use crate::exclusions::{Known, LeftOut, Normal};
use crate::fleet::{FleetPrior, Trained};
use crate::forecasts::{ForecastSetup, compare};
use crate::rehearsal::replay;
use crate::report::ForecastQuality;

/// Origins on which the forecasts are compared.
const VALIDATION_ORIGINS: usize = 2000;

/// How to fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitOptions {
    /// Only samples before this are used.
    pub until: Timestamp,
    /// Of the dataset.
    pub step: Step,
    /// Of everything random. The same seed, data and options give the same bits. Default 1.
    pub seed: u64,
    /// What the LSTM is trained on.
    pub device: Device,
    /// How many services are fitted at once, at least 1. Changes no bit. Default 1.
    pub threads: usize,
    /// Optimiser steps of each service's LSTM, after those of the fleet's prior; 0 fits none. Default 100.
    pub lstm_steps: usize,
    /// Optimiser steps of the prior; where there is none, a service takes
    /// 200 more of its own. Default 2000.
    pub prior_steps: usize,
    /// Windows a step. Default 64.
    pub lstm_batch: usize,
    /// Width of the LSTM. Default 32.
    pub hidden_size: usize,
    /// Adam's learning rate at the start. Default 0.005.
    pub learning_rate: f64,
    /// At most this many training windows a service, and of the prior in all. Default 20,000.
    pub max_windows: usize,
    /// Trees of the forest. Default 100.
    pub trees: usize,
    /// Rows a tree is grown from. Default 256.
    pub sample_size: usize,
    /// A service with less history than this, from its first step to its last, is not fitted. Default
    /// one day: nothing is normal before a day has been seen.
    pub min_history: Duration,
    /// The share of the training window, at its end, on which the forecast is chosen. Default 0.2.
    pub validation_share: f64,
    /// How many false alarms a week all services together may raise, by the replay of the training window. Default 1.
    pub false_alarms_per_week: f64,
    /// Whose clock the load and the time of day go by. Default UTC, no holidays.
    #[serde(default)]
    pub calendar: Calendar,
}

impl FitOptions {
    /// The defaults, for samples before `until`.
    pub fn new(until: Timestamp, step: Step) -> Self {
        let (forest, lstm) = (IsolationForestParams::default(), LstmParams::default());
        Self {
            until,
            step,
            seed: 1,
            device: Device::default(),
            threads: 1,
            lstm_steps: 100,
            prior_steps: 2000,
            lstm_batch: lstm.batch,
            hidden_size: lstm.hidden_size,
            learning_rate: lstm.learning_rate,
            max_windows: 20_000,
            trees: forest.trees,
            sample_size: forest.sample_size,
            min_history: Duration::from_secs(86_400),
            validation_share: 0.2,
            false_alarms_per_week: 1.0,
            calendar: Calendar::default(),
        }
    }
}

/// One service could not be fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// Not enough to learn from.
    #[error("service {service:?} needs {} of history before {until}, got {}", format_duration(*.wanted), format_duration(*.got))]
    TooLittleHistory {
        /// Which.
        service: String,
        /// The end of the training window.
        until: Timestamp,
        /// How long the history must be.
        wanted: Duration,
        /// How long it is.
        got: Duration,
    },
    /// No signal was seen often enough to say what is normal.
    #[error(
        "service {service:?} has no signal with enough values before {until} to say what is normal, got {steps} steps"
    )]
    NothingToLearn {
        /// Which.
        service: String,
        /// The end of the training window.
        until: Timestamp,
        /// Steps before it.
        steps: usize,
    },
    /// The forest refused its settings or rows.
    #[error("isolation forest of service {service:?}")]
    Forest {
        /// Which service.
        service: String,
        /// Why.
        source: IsolationForestError,
    },
    /// The scores of the training rows could not be calibrated.
    #[error("calibration of service {service:?}")]
    Calibration {
        /// Which service.
        service: String,
        /// Why.
        source: CalibrationError,
    },
    /// The LSTM refused its settings, its windows or its device.
    #[error("lstm of service {service:?}")]
    Lstm {
        /// Which service.
        service: String,
        /// Why.
        source: LstmError,
    },
    /// The parts do not make a bundle.
    #[error("bundle of service {service:?}")]
    Bundle {
        /// Which service.
        service: String,
        /// Why.
        source: BundleError,
    },
}

/// Told how fitting goes, from several threads at once.
pub trait FitProgress: Send + Sync {
    /// Fitting of this one begins.
    fn service_started(&self, service: &str) {
        let _ = service;
    }
    /// The LSTM of this one did a step, counted from 1, with this loss.
    fn lstm_step(&self, service: &str, step: usize, loss: f32) {
        let _ = (service, step, loss);
    }
    /// Fitting of this one ended; `error` says why where it failed.
    fn service_done(&self, service: &str, error: Option<&FitError>) {
        let _ = (service, error);
    }
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl FitProgress for Quiet {}

/// What the fit measured on the tail of its training window; in the bundle's manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitQuality {
    /// The tail.
    pub validation: TimeRange,
    /// How the forecasts did there; `None` where no origin could be judged.
    pub forecast: Option<ForecastQuality>,
    /// Which detectors make the anomaly score, and how they did on the tail; `None` where it was too short to tell.
    pub anomaly: Option<AnomalyQuality>,
    /// Rows that the forest learnt from.
    pub rows: u64,
    /// Windows that the LSTM learnt from; 0: none was fitted.
    pub windows: u64,
    /// Windows of the whole fleet that its prior learnt from; 0: it began at random weights.
    pub fleet_windows: u64,
    /// Times left out of the normal.
    pub excluded: Vec<TimeRange>,
    /// Why, where something besides the samples had a say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
}

/// Fits every service, `options.threads` at a time, from what the fleet taught. A service that fails does not stop the
/// others. Sorted by service; the same bits whatever the thread count, and whichever services are fitted together.
pub fn fit_all(
    histories: &BTreeMap<Arc<str>, Vec<ServiceStep>>,
    signals: &SignalSet,
    dataset_digest: &str,
    options: &FitOptions,
    prior: &FleetPrior,
    known: &Known,
    progress: &dyn FitProgress,
) -> Vec<(Arc<str>, Result<ModelBundle, FitError>)> {
    let fit_one = |together: &BTreeMap<Arc<str>, Trained>, service: &Arc<str>, steps: &Vec<ServiceStep>| {
        progress.service_started(service);
        let on_step = |step, loss| progress.lstm_step(service, step, loss);
        let training = match together.get(service) {
            Some(trained) => Training::Done(Some(trained)),
            None => Training::Alone(&on_step),
        };
        let fitted = fit_with_progress(service, steps, signals, dataset_digest, options, prior, known, training)
            .and_then(|bundle| rehearsed(bundle, service, steps, signals, options, prior, known));
        progress.service_done(service, fitted.as_ref().err());
        (Arc::clone(service), fitted)
    };
    on_threads(options.threads, || {
        let together = match options.device {
            Device::Cuda => train_together(histories, signals, options, prior, known),
            Device::Flex | Device::Ndarray => BTreeMap::new(),
        };
        histories.par_iter().map(|(service, steps)| fit_one(&together, service, steps)).collect()
    })
}

/// Runs `work`, whose parallel iterators take so many threads, at least one.
pub(crate) fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    match rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build() {
        Ok(pool) => pool.install(work),
        Err(error) => {
            tracing::warn!(%error, threads, "fitting on as many threads as there are cores");
            work()
        }
    }
}

/// The bundle with what a replay of the training window teaches; a teacher was replayed already.
fn rehearsed(
    bundle: ModelBundle,
    service: &Arc<str>,
    steps: &[ServiceStep],
    signals: &SignalSet,
    options: &FitOptions,
    prior: &FleetPrior,
    known: &Known,
) -> Result<ModelBundle, FitError> {
    let rehearsed = match prior.replayed.get(&**service) {
        Some(replayed) => prior.episodes.teach(replayed),
        None => prior.episodes.teach(&replay(service, steps, signals, &bundle, options, known.labels_of(service))),
    };
    let bundle = ModelBundle { rehearsed, ..bundle };
    bundle.sealed().map_err(|source| FitError::Bundle { service: service.to_string(), source })
}

/// Fits one service from its steps (sorted by time) before `options.until`; what is `known` not to be normal is left
/// out, and so are the breaches that the steps themselves show. There are no others here to learn
/// from: a service without traffic has no load to go by, and its LSTM begins at random weights.
pub fn fit_service(
    service: &str,
    steps: &[ServiceStep],
    signals: &SignalSet,
    dataset_digest: &str,
    options: &FitOptions,
    known: &Known,
) -> Result<ModelBundle, FitError> {
    let alone = FleetPrior::default();
    let training = Training::Alone(&|_, _| {});
    let bundle = fit_with_progress(service, steps, signals, dataset_digest, options, &alone, known, training)?;
    rehearsed(bundle, &service.into(), steps, signals, options, &alone, known)
}

#[expect(
    clippy::too_many_arguments,
    reason = "two callers, a line each; a struct of these would be taken apart at once"
)]
pub(crate) fn fit_with_progress(
    service: &str,
    steps: &[ServiceStep],
    signals: &SignalSet,
    dataset_digest: &str,
    options: &FitOptions,
    prior: &FleetPrior,
    known: &Known,
    training: Training<'_>,
) -> Result<ModelBundle, FitError> {
    // From here on there is no later sample in reach.
    let steps = &steps[..steps.partition_point(|s| s.at < options.until)];
    let window = training_window(service, steps, options)?;
    let normal = Normal::of(service, steps, signals, known, window);
    let detectors = Detectors::fit(service, steps, signals, options, &normal)?;

    let validation = TimeRange { start: validation_start(window, options), end: window.end };
    let before = &steps[..steps.partition_point(|s| s.at < validation.start)];
    let fleet_load = prior.load.as_ref();
    let earlier_baselines = Baselines::fit_in(&options.calendar, before, signals, options.step, fleet_load);
    let trained = match training {
        Training::Done(trained) => trained.cloned(),
        Training::Alone(on_step) => {
            let range = TimeRange { start: window.start, end: validation.start };
            let windows = clean_windows(before, signals, &earlier_baselines, options, range, &normal.excluded);
            prior
                .fine_tune(&windows, options, on_step)
                .map_err(|source| FitError::Lstm { service: service.to_owned(), source })?
        }
    };
    let setup = ForecastSetup {
        steps,
        signals,
        step: options.step,
        baselines: &earlier_baselines,
        lstm: trained.as_ref().map(|trained| (&trained.lstm, &earlier_baselines)),
    };
    let quality = compare(&setup, validation, VALIDATION_ORIGINS);
    let forecast = choose(quality.as_ref());

    // All of the window: the profile of the last days matters more than the fifth that is spared above, and the scale
    // that the LSTM works in hardly moves.
    let baselines = Baselines::fit_in(&options.calendar, steps, signals, options.step, fleet_load);
    let mut manifest = BundleManifest::unsealed(service, window, options.step, options.seed);
    manifest.dataset_digest = dataset_digest.to_owned();
    manifest.signals_digest = signals_digest(signals);
    manifest.params = params_of(options);
    let mut bundle = ModelBundle {
        manifest,
        signals: signals.clone(),
        pipeline: detectors.pipeline,
        forest: detectors.forest,
        ensemble: detectors.ensemble,
        lstm: trained.as_ref().map(|trained| trained.lstm.clone()),
        baselines,
        forecast,
        rehearsed: Rehearsed::default(),
    };
    let earlier = Detectors::fit(service, before, signals, options, &normal).ok().map(|d| (d, earlier_baselines));
    let anomaly = detectors::settle(&mut bundle, earlier, steps, validation, &detectors.set_apart, &normal)
        .map_err(|source| FitError::Calibration { service: service.to_owned(), source })?;
    let count = |of: fn(&Trained) -> u64| trained.as_ref().map_or(0, of);
    bundle.manifest.quality = json(&FitQuality {
        validation,
        forecast: quality,
        anomaly,
        rows: detectors.rows as u64,
        windows: count(|t| t.windows),
        fleet_windows: count(|t| t.fleet_windows),
        excluded: normal.excluded,
        left_out: normal.left_out,
    });
    bundle.sealed().map_err(|source| FitError::Bundle { service: service.to_owned(), source })
}

/// How the LSTM of a service comes about.
pub(crate) enum Training<'a> {
    /// By itself; its steps are heard.
    Alone(&'a dyn Fn(usize, f32)),
    /// With others, before; `None` where it has too few windows.
    Done(Option<&'a Trained>),
}

/// The windows that an LSTM learns from.
fn clean_windows(
    before: &[ServiceStep],
    signals: &SignalSet,
    baselines: &Baselines,
    options: &FitOptions,
    range: TimeRange,
    excluded: &[TimeRange],
) -> LstmTrainingSet {
    let choice = WindowChoice { range, excluded, max_windows: options.max_windows, seed: options.seed };
    training_windows(before, signals, baselines, options.step, &choice)
}

/// The LSTMs of all services, trained as one: what a graphics processor is for. A service that is not among them has too few
/// windows, or too little history; where the device fails, nobody is, and each one's own training says why.
fn train_together(
    histories: &BTreeMap<Arc<str>, Vec<ServiceStep>>,
    signals: &SignalSet,
    options: &FitOptions,
    prior: &FleetPrior,
    known: &Known,
) -> BTreeMap<Arc<str>, Trained> {
    let windows_of = |(service, steps): (&Arc<str>, &Vec<ServiceStep>)| {
        let steps = &steps[..steps.partition_point(|s| s.at < options.until)];
        let window = training_window(service, steps, options).ok()?;
        let normal = Normal::of(service, steps, signals, known, window);
        let range = TimeRange { start: window.start, end: validation_start(window, options) };
        let before = &steps[..steps.partition_point(|s| s.at < range.end)];
        let baselines = Baselines::fit_in(&options.calendar, before, signals, options.step, prior.load.as_ref());
        Some((Arc::clone(service), clean_windows(before, signals, &baselines, options, range, &normal.excluded)))
    };
    let windows = histories.par_iter().filter_map(windows_of).collect();
    prior.fine_tune_together(&windows, options).unwrap_or_else(|error| {
        tracing::warn!(%error, "services are not trained together");
        BTreeMap::new()
    })
}

/// From the first step to `until`; refuses too short a history.
fn training_window(service: &str, steps: &[ServiceStep], options: &FitOptions) -> Result<TimeRange, FitError> {
    let first = steps.first().map_or(options.until, |s| s.at);
    let last = steps.last().map_or(options.until, |s| s.at + options.step.duration());
    let got = TimeRange { start: first, end: last.max(first) }.duration();
    if steps.is_empty() || got < options.min_history {
        let (service, until, wanted) = (service.to_owned(), options.until, options.min_history);
        return Err(FitError::TooLittleHistory {
            service,
            until,
            wanted,
            got: if steps.is_empty() { Duration::ZERO } else { got },
        });
    }
    Ok(TimeRange { start: first, end: options.until })
}

pub(crate) fn validation_start(window: TimeRange, options: &FitOptions) -> Timestamp {
    let tail = window.duration().mul_f64(options.validation_share.clamp(0.0, 0.5));
    (window.end - tail).align_down(options.step)
}

/// The LSTM only where its loss is under both baselines'; else the better baseline; the trend where
/// nothing could be judged.
fn choose(quality: Option<&ForecastQuality>) -> ForecastModel {
    let loss = |model| quality.and_then(|q| q.score(model)).map(|s| s.pinball_loss).filter(|l| l.is_finite());
    let baselines = [ForecastModel::Trend, ForecastModel::SeasonalNaive];
    let losses = baselines.into_iter().filter_map(|m| Some((m, loss(m)?)));
    let Some((best, best_loss)) = losses.min_by(|a, b| a.1.total_cmp(&b.1)) else { return ForecastModel::Trend };
    if loss(ForecastModel::Lstm).is_some_and(|lstm| lstm < best_loss) { ForecastModel::Lstm } else { best }
}

fn signals_digest(signals: &SignalSet) -> String {
    json(signals).map_or_else(String::new, |s| stable_id("signals", &[&s.to_string()]))
}

/// Whether a bundle with this manifest is what a fit of the same would make again, bit for bit: so that a fit that was interrupted
/// need not begin anew. Also true of one whose forecaster an evaluation has taken away since.
pub fn is_of_this_fit(
    manifest: &BundleManifest,
    dataset_digest: &str,
    signals: &SignalSet,
    options: &FitOptions,
    known: &Known,
) -> bool {
    let quality = manifest.quality.as_ref().map(|quality| quality.get("fit").unwrap_or(quality));
    let knew = quality.and_then(|q| q.get("left_out")?.get("digest")?.as_str());
    manifest.created_from.end == options.until
        && manifest.step == options.step
        && manifest.seed == options.seed
        && manifest.dataset_digest == dataset_digest
        && manifest.signals_digest == signals_digest(signals)
        && manifest.params == params_of(options)
        && manifest.forewarn_version == env!("CARGO_PKG_VERSION")
        && knew == known.digest()
}

/// The options as the manifest keeps them: without the thread count, which changes no bit, and so must
/// not change the version.
fn params_of(options: &FitOptions) -> serde_json::Value {
    let mut params = json(options).unwrap_or_default();
    if let Some(fields) = params.as_object_mut() {
        fields.remove("threads");
    }
    params
}

fn json<T: Serialize>(value: &T) -> Option<serde_json::Value> {
    serde_json::to_value(value).ok()
}

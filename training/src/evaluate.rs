//! Candidates against what serves now, the rules and the baselines, on history that none of them has
//! learnt from.
//!
//! Everything is replayed through the serving engine and settled from the data afterwards. A report
//! says what was measured; whether that is enough is the gate's business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use forewarn_features::{ServiceStep, SignalSet};
use forewarn_models::baselines::Baselines;
use forewarn_models::{Engine, EngineOptions, ForecastModel, ModelBundle};
use forewarn_schema::{BreachKind, Feedback, LabelSet, Prediction, RemediationRequest, Step, TimeRange, Timestamp};
use rayon::prelude::*;

use crate::alarms::{CHART_POINTS, Judged, judge};
use crate::backtest::RollingOriginBacktest;
use crate::changes::changes;
use crate::compare::Comparison;
use crate::drift::SignalDrift;
use crate::feedback::{Labelled, feedback_report};
use crate::forecasts::{ForecastSetup, charts, compare};
use crate::gate::{GateInput, GateVerdict, PromotionGate, count};
use crate::metrics::{mean, quantile};
use crate::pictures::Pictures;
use crate::replay::Replay;
use crate::report::{
    AlarmQuality, AnomalySummary, EvaluationReport, FORMAT_VERSION, KindReport, ModelCard, NotLearnt, ScorePoint,
    ServiceReport,
};
use forewarn_models::settle::Truth;

/// Origins a service on which forecasts are judged.
const FORECAST_ORIGINS: usize = 4000;

/// What to judge, and on what.
pub struct EvaluationInput<'a> {
    /// Per service, sorted by time; what lies before `range` warms the engine and is not judged.
    pub histories: &'a BTreeMap<Arc<str>, Vec<ServiceStep>>,
    /// What is watched.
    pub signals: &'a Arc<SignalSet>,
    /// Of the histories.
    pub step: Step,
    /// The held-out range; it must begin where the candidates' training ended, or later.
    pub range: TimeRange,
    /// Between two origins of the replay. Five minutes is what [`EvaluationInput::EVERY`] says.
    pub every: Duration,
    /// What might serve, by service.
    pub candidates: &'a BTreeMap<String, Arc<ModelBundle>>,
    /// What serves now, by service; a service without one is served by the rules.
    pub current: &'a BTreeMap<String, Arc<ModelBundle>>,
    /// What people and alerts said.
    pub feedback: &'a [Feedback],
    /// The requests that were made, which labels of requests and of spans of time speak of.
    pub requested: &'a [RemediationRequest],
    /// Of the engine that replays.
    pub options: EngineOptions,
    /// What decides the verdicts.
    pub gate: PromotionGate,
    /// By service, what [`crate::drift::drift`] says of it; a service without shows none.
    pub drift: &'a BTreeMap<String, Vec<SignalDrift>>,
}

impl EvaluationInput<'_> {
    /// The default distance between two origins.
    pub const EVERY: Duration = Duration::from_secs(300);
}

/// The three replays of one range.
struct Replays {
    candidate: Replay,
    /// `None`: the same as the rules, as no model serves yet.
    current: Option<Replay>,
    rules: Replay,
}

impl Replays {
    fn current(&self) -> &Replay {
        self.current.as_ref().unwrap_or(&self.rules)
    }
}

/// Measures and judges. Services without a candidate are measured with what serves them now.
pub fn evaluate(input: &EvaluationInput<'_>) -> EvaluationReport {
    let truth = Truth::from_histories(input.histories, input.signals);
    let labelled: BTreeSet<&str> = crate::feedback::labelled_predictions(input.feedback).collect();
    let mut seen = BTreeMap::new();
    let replays = replay_all(input, &labelled, &mut seen);
    let services: BTreeSet<&str> = input.histories.keys().map(|s| &**s).collect();
    let sides = [&replays.candidate, replays.current(), &replays.rules];
    let judge_one = |service: &&str| sides.map(|replay| judge(&truth, service, replay, input.range));
    let services: Vec<&str> = services.into_iter().collect();
    let judged: Vec<[Judged; 3]> = services.par_iter().map(judge_one).collect();
    let mut total = [Judged::default(), Judged::default(), Judged::default()];
    for judged in &judged {
        for (total, judged) in total.iter_mut().zip(judged) {
            total.absorb(judged);
        }
    }
    total.iter_mut().for_each(|judged| judged.sum_up(input.range));
    let beside_rules = Comparison::of(&total[0], &total[2]);
    let beside_current = replays.current.is_some().then(|| Comparison::of(&total[0], &total[1]));
    let all = beside_current.as_ref().unwrap_or(&beside_rules);
    let report_one =
        |(service, judged): (&str, [Judged; 3])| report_service(input, service, judged, &replays.candidate, all);
    let reports: Vec<ServiceReport> = services.into_par_iter().zip(judged).map(report_one).collect();
    let kinds = BreachKind::ALL.into_iter().filter_map(|kind| kind_report(&total, input.range, kind)).collect();
    let calibration = total[0].calibration();
    let [candidate, current, rules] = total.map(|judged| judged.quality);
    EvaluationReport {
        format_version: FORMAT_VERSION,
        headline: headline(&reports, &candidate),
        range: input.range,
        step: input.step,
        every_seconds: input.every.as_secs_f64(),
        gate: input.gate,
        candidate,
        current,
        rules,
        kinds,
        beside_current,
        beside_rules,
        calibration,
        services: reports,
        feedback: feedback_report(input.feedback, input.requested, &seen),
        forewarn_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn kind_report(total: &[Judged; 3], range: TimeRange, kind: BreachKind) -> Option<KindReport> {
    let [candidate, current, rules] = total.each_ref().map(|judged| judged.quality_of(range, Some(kind)));
    let is_empty = [&candidate, &current, &rules].iter().all(|q| q.breaches + q.sudden + q.requests == 0);
    (!is_empty).then_some(KindReport { kind, candidate, current, rules })
}

/// The candidates whose LSTM does not beat the baselines on the held-out range, each with the better
/// baseline in the LSTM's place and everything else as it was: what a service's normal is stays worth
/// having where its forecaster is not. The caller publishes them; the manifest's quality says why.
///
/// Evaluating them on the same range afterwards chooses between two rules by what is then reported,
/// which flatters them by as much as one choice of two can.
pub fn demote_forecasters(input: &EvaluationInput<'_>) -> BTreeMap<String, ModelBundle> {
    let mut demoted = BTreeMap::new();
    for (service, bundle) in input.candidates.iter().filter(|(_, b)| b.forecast == ForecastModel::Lstm) {
        let steps = input.histories.get(service.as_str()).map_or(&[][..], Vec::as_slice);
        let baselines = baselines_before(input, steps);
        let Some(quality) = compare(&setup(input, steps, bundle, &baselines), input.range, FORECAST_ORIGINS) else {
            continue;
        };
        let earned = input.gate.earned(&quality).filter(|model| *model != ForecastModel::Lstm);
        let Some(forecast) = earned else { continue };
        let mut bundle = ModelBundle::clone(bundle);
        bundle.forecast = forecast;
        let fitted = bundle.manifest.quality.take();
        bundle.manifest.quality =
            Some(serde_json::json!({ "fit": fitted, "lstm_lost_on": input.range, "held_out": quality }));
        demoted.insert(service.clone(), bundle);
    }
    demoted
}

/// The rules are fitted on all that lies before the range: a candidate does not bring its own bar.
fn baselines_before(input: &EvaluationInput<'_>, steps: &[ServiceStep]) -> Baselines {
    let before = &steps[..steps.partition_point(|s| s.at < input.range.start)];
    Baselines::fit(before, input.signals, input.step, None)
}

fn setup<'a>(
    input: &EvaluationInput<'a>,
    steps: &'a [ServiceStep],
    bundle: &'a ModelBundle,
    baselines: &'a Baselines,
) -> ForecastSetup<'a> {
    let lstm = bundle.lstm.as_ref().map(|lstm| (lstm, &bundle.baselines));
    ForecastSetup { steps, signals: input.signals, step: input.step, baselines, lstm }
}

fn replay_all(
    input: &EvaluationInput<'_>,
    labelled: &BTreeSet<&str>,
    seen: &mut BTreeMap<String, Labelled>,
) -> Replays {
    let mut serving = input.current.clone();
    serving.extend(input.candidates.iter().map(|(service, bundle)| (service.clone(), Arc::clone(bundle))));
    let none = BTreeMap::new();
    let mut notice = |prediction: &Prediction| {
        if labelled.contains(prediction.id.as_str()) {
            let (service, kind, at) = (prediction.service.clone(), prediction.kind, prediction.at);
            seen.insert(prediction.id.clone(), Labelled { service, kind, at });
        }
    };
    let (candidate, (current, rules)) = rayon::join(
        || replay(input, &serving, &mut notice),
        || {
            rayon::join(
                || (!input.current.is_empty()).then(|| replay(input, input.current, &mut |_| {})),
                || replay(input, &none, &mut |_| {}),
            )
        },
    );
    Replays { candidate, current, rules }
}

fn replay(
    input: &EvaluationInput<'_>,
    bundles: &BTreeMap<String, Arc<ModelBundle>>,
    notice: &mut dyn FnMut(&Prediction),
) -> Replay {
    let mut engine = Engine::new(Arc::clone(input.signals), input.options.clone());
    for (service, bundle) in bundles {
        engine.set_bundle(service, Some(Arc::clone(bundle)));
    }
    let mut replay = Replay::default();
    let backtest = RollingOriginBacktest { range: input.range, every: input.every, step: input.step };
    let summary = backtest.run(input.histories, &mut engine, &mut |prediction| {
        notice(prediction);
        replay.push(prediction);
    });
    for (request, foremost) in summary.requests.iter().zip(summary.foremost) {
        let emitted = replay.emitted.entry(request.id.clone()).or_default();
        (emitted.foremost, emitted.fan) = (foremost.labels, foremost.fan);
    }
    replay.requests = summary.requests;
    replay
}

fn report_service(
    input: &EvaluationInput<'_>,
    service: &str,
    judged: [Judged; 3],
    replay: &Replay,
    all: &Comparison,
) -> ServiceReport {
    let scores = replay.scores.get(service).map_or(&[][..], Vec::as_slice);
    let [mut candidate, current, rules] = judged;
    let bundle = input.candidates.get(service);
    let serving = input.current.get(service);
    let beside_rules = Comparison::of(&candidate, &rules);
    let beside_current = bundle.and(serving).map(|_| Comparison::of(&candidate, &current));
    let measured = bundle.or_else(|| input.current.get(service));
    let steps = input.histories.get(service).map_or(&[][..], Vec::as_slice);
    let baselines = baselines_before(input, steps);
    let setup = measured.map(|bundle| setup(input, steps, bundle, &baselines));
    let forecast = setup.as_ref().and_then(|setup| compare(setup, input.range, FORECAST_ORIGINS));
    let breached: BTreeMap<(String, LabelSet), Timestamp> =
        candidate.breaches.iter().rev().map(|b| ((b.signal.clone(), b.labels.clone()), b.at)).collect();
    let serves = measured.map_or(ForecastModel::Trend, |bundle| bundle.forecast);
    let forecast_charts = setup.as_ref().map(|setup| charts(setup, input.range, serves, &breached));
    let verdict = bundle.map(|bundle| {
        let trained_into_it = bundle.manifest.created_from.end > input.range.start;
        if trained_into_it {
            let (end, start) = (bundle.manifest.created_from.end, input.range.start);
            let reason = format!("It has learnt from data up to {end}, and the held-out range begins at {start}.");
            return GateVerdict::Refuse { reason };
        }
        input.gate.judge(&GateInput {
            serves: bundle.forecast,
            forecast: forecast.as_ref(),
            current: beside_current.as_ref(),
            rules: &beside_rules,
            all: Some(all),
        })
    });
    let pictures = Pictures { steps, signals: input.signals, replay };
    for breach in &mut candidate.breaches {
        breach.picture = pictures.of_breach(breach, &candidate.requests);
    }
    for request in &mut candidate.requests {
        request.picture = pictures.of_request(request);
    }
    ServiceReport {
        service: service.to_owned(),
        candidate: bundle.map(|bundle| model_card(bundle)),
        current_version: serving.map_or_else(|| "rules".to_owned(), |b| b.manifest.version.to_string()),
        changes: bundle.zip(serving).map(|(candidate, current)| changes(current, candidate)).unwrap_or_default(),
        verdict,
        forecast,
        anomaly: anomaly_summary(scores),
        candidate_alarms: candidate.quality,
        current_alarms: current.quality,
        rules_alarms: rules.quality,
        beside_current,
        beside_rules,
        drift: input.drift.get(service).cloned().unwrap_or_default(),
        breaches: candidate.breaches,
        requests: candidate.requests,
        forecast_charts: forecast_charts.unwrap_or_default(),
        anomaly_scores: highest_of_each_stretch(scores),
    }
}

fn model_card(bundle: &ModelBundle) -> ModelCard {
    let manifest = &bundle.manifest;
    ModelCard {
        version: manifest.version.to_string(),
        serves: bundle.forecast,
        data: manifest.created_from,
        dataset_digest: manifest.dataset_digest.clone(),
        seed: manifest.seed,
        params: manifest.params.clone(),
        quality: manifest.quality.clone(),
        not_learnt: NotLearnt::of(manifest),
        forewarn_version: manifest.forewarn_version.clone(),
    }
}

fn anomaly_summary(scores: &[(Timestamp, f64)]) -> Option<AnomalySummary> {
    let values = || scores.iter().map(|(_, score)| *score);
    Some(AnomalySummary {
        origins: scores.len() as u64,
        median: quantile(values(), 0.5)?,
        p99: quantile(values(), 0.99)?,
        max: quantile(values(), 1.0)?,
        share_above_0_999: mean(values().map(|score| f64::from(u8::from(score >= 0.999))))?,
    })
}

/// A peak of one origin is what one looks for, so a stretch is drawn by its highest score.
fn highest_of_each_stretch(scores: &[(Timestamp, f64)]) -> Vec<ScorePoint> {
    let stretch = scores.len().div_ceil(CHART_POINTS).max(1);
    let highest = scores.chunks(stretch).filter_map(|c| c.iter().max_by(|a, b| a.1.total_cmp(&b.1)));
    highest.map(|(at, score)| ScorePoint { at: *at, score: *score }).collect()
}

/// What the one who is called at night must know, and whether the models beat the baselines.
fn headline(services: &[ServiceReport], alarms: &AlarmQuality) -> String {
    let with_candidate: Vec<&ServiceReport> = services.iter().filter(|s| s.candidate.is_some()).collect();
    let announced = format!(
        "{} of {} announced in time, {}",
        alarms.predicted,
        count(alarms.breaches, "breach", "breaches"),
        count(alarms.false_alarms, "false alarm", "false alarms"),
    );
    if with_candidate.is_empty() {
        return format!("There is no candidate: what serves now was measured. {announced}.");
    }
    let beats = |s: &&&ServiceReport| {
        let loss = |model| s.forecast.as_ref().and_then(|f| f.score(model)).map(|score| score.pinball_loss);
        let baselines = [ForecastModel::Trend, ForecastModel::SeasonalNaive].into_iter().filter_map(loss);
        let best = baselines.reduce(f64::min);
        loss(ForecastModel::Lstm).zip(best).is_some_and(|(lstm, best)| lstm < best)
    };
    let beating = with_candidate.iter().filter(beats).count();
    let passing = with_candidate.iter().filter(|s| s.verdict.as_ref().is_some_and(GateVerdict::passes)).count();
    let of = count(with_candidate.len() as u64, "service", "services");
    let beat = match beating {
        0 => format!("The LSTM beats the baselines on none of {of}"),
        n if n == with_candidate.len() => format!("The LSTM beats the baselines on all of {of}"),
        n => format!("The LSTM beats the baselines on {n} of {of}"),
    };
    let candidates = count(with_candidate.len() as u64, "candidate", "candidates");
    let pass = if passing == 1 || with_candidate.len() == 1 { "passes" } else { "pass" };
    format!("{passing} of {candidates} {pass} the gate: {announced}. {beat}.")
}

//! Forecasts of one service beside what came: LSTM, trend and seasonal-naive on the same origins.
//!
//! Forward only: the forecast at an origin sees that origin and what lies before. Used twice, on the
//! tail of the training window to choose what serves, and on held-out history to judge it.

use std::collections::BTreeMap;

use forewarn_features::{ServiceStep, Signal, SignalSet};
use forewarn_models::ForecastModel;
use forewarn_models::baselines::{
    Baselines, HORIZONS, QUANTILES, SignalBaseline, fraction, recent_slope, seasonal_naive, value_at,
};
use forewarn_models::forecast_input::{LOOKBACK, horizon_targets, regular, window_input};
use forewarn_models::lstm::LstmForecaster;
use forewarn_schema::{Direction, LabelSet, Step, TimeRange, Timestamp};

use crate::alarms::CHART_POINTS;
use crate::compare::Difference;
use crate::intervals;
use crate::metrics::{interval_coverage, mean, pinball_loss};
use crate::report::{ForecastChart, ForecastPoint, ForecastQuality, ForecastScore};

/// Truths are cut off here, in steps' worth of ordinary change, as they are in training; so are the
/// forecasts: a restart must not outweigh a day of ordinary steps.
const CLIP: f64 = 50.0;
/// Origins of so long a stretch are resampled together: what is forecast from hour to hour is off in the
/// same way, of all targets of a service.
const BLOCK_MILLIS: i64 = 6 * 3_600_000;
/// The horizon that charts show: far enough to matter, near enough to be compared by eye.
const CHART_HORIZON: usize = 2;
const MODELS: [ForecastModel; 3] = [ForecastModel::Lstm, ForecastModel::SeasonalNaive, ForecastModel::Trend];

/// What forecasts with what, over which history.
#[derive(Clone, Copy)]
pub(crate) struct ForecastSetup<'a> {
    /// Of one service, sorted by time; what lies after an origin is used for its truth only.
    pub(crate) steps: &'a [ServiceStep],
    pub(crate) signals: &'a SignalSet,
    pub(crate) step: Step,
    /// The rules, and the units in which everything is judged.
    pub(crate) baselines: &'a Baselines,
    /// The forecaster, and the baselines that it was trained beside, in whose units it speaks.
    pub(crate) lstm: Option<(&'a LstmForecaster, &'a Baselines)>,
}

/// One target as the forecasters see it.
struct TargetSeries<'a> {
    signal: &'a Signal,
    labels: LabelSet,
    baseline: &'a SignalBaseline,
    reference: f64,
    /// The last limit at or before the end.
    limit: f64,
    /// Fractions at every step, gaps as NaN.
    points: Vec<(Timestamp, f64)>,
}

/// One model's quantiles a horizon, relative to the origin's value, in units of the signal's scale.
type Quantiles = Vec<[f64; 3]>;

/// What came, beside its three forecast quantiles, both clipped.
type Judged = (f64, [f64; 3]);

/// Judges the models on origins in `range` whose truths lie in it too, at most about `max_origins`,
/// spread evenly over targets and time. `None` where there is no such origin.
pub(crate) fn compare(setup: &ForecastSetup<'_>, range: TimeRange, max_origins: usize) -> Option<ForecastQuality> {
    let targets = target_series(setup, range);
    let in_range = |t: &TargetSeries<'_>| t.points.len() - t.points.partition_point(|(at, _)| *at < range.start);
    let total: usize = targets.iter().map(in_range).sum();
    let stride = total.div_ceil(max_origins.max(1)).max(1);
    // Per model and horizon.
    let mut judged: Vec<Vec<Vec<Judged>>> = vec![vec![Vec::new(); HORIZONS.len()]; MODELS.len()];
    let mut could: [bool; 3] = [setup.lstm.is_some(), true, true];
    let mut blocks: BTreeMap<i64, [(f64, f64); 3]> = BTreeMap::new();
    let mut origins = 0;
    for target in &targets {
        let first = target.points.partition_point(|(at, _)| *at < range.start).max(LOOKBACK);
        for origin in (first..target.points.len()).step_by(stride) {
            let Some(truth) = horizon_targets(&target.points, origin, target.baseline) else { continue };
            let Some(forecasts) = forecast_all(setup, target, origin) else { continue };
            origins += 1;
            let block = blocks.entry(target.points[origin].0.millis().div_euclid(BLOCK_MILLIS)).or_default();
            for (m, forecast) in forecasts.into_iter().enumerate() {
                let usable = forecast.filter(|f| f.iter().flatten().all(|v| v.is_finite()));
                could[m] &= usable.is_some();
                for (h, quantiles) in usable.into_iter().flatten().enumerate() {
                    let now: Judged = (f64::from(truth[h]), quantiles.map(|q| q.clamp(-CLIP, CLIP)));
                    if let Some(loss) = loss_of(&[now]) {
                        block[m] = (block[m].0 + loss, block[m].1 + 1.0);
                    }
                    judged[m][h].push(now);
                }
            }
        }
    }
    let scores = (0..MODELS.len()).filter(|m| could[*m] && origins > 0).map(|m| score(MODELS[m], &judged[m]));
    let scores: Vec<ForecastScore> = scores.collect();
    let blocks: Vec<[(f64, f64); 3]> = blocks.into_values().collect();
    (origins > 0).then(|| ForecastQuality {
        origins,
        horizons_seconds: HORIZONS.iter().map(|h| *h as f64 * setup.step.seconds()).collect(),
        lstm_beside_baseline: lstm_beside_baseline(&scores, &blocks),
        scores,
    })
}

/// The LSTM's loss beside the better baseline's, on the same origins, stretch by stretch.
fn lstm_beside_baseline(scores: &[ForecastScore], blocks: &[[(f64, f64); 3]]) -> Option<Difference> {
    let place = |model| MODELS.iter().position(|m| *m == model);
    let lstm = scores.iter().find(|s| s.model == ForecastModel::Lstm)?;
    let baselines = scores.iter().filter(|s| s.model != ForecastModel::Lstm);
    let best = baselines.min_by(|a, b| a.pinball_loss.total_cmp(&b.pinball_loss))?;
    let (ours, theirs) = (place(ForecastModel::Lstm)?, place(best.model)?);
    let of = |drawn: &[usize], m: usize| intervals::ratio_of_sums(drawn.iter().map(|i| blocks[*i][m]));
    let interval = intervals::bootstrap(blocks.len(), |drawn| Some(of(drawn, ours)? - of(drawn, theirs)?));
    Some(Difference { candidate: lstm.pinball_loss, other: best.pinball_loss, interval })
}

/// Forecasts of `model` beside the truth in `range`, one chart a signal: the target that `focus`
/// names with a time (a breach), up to an hour past it, or else the longest-lived target's last day.
pub(crate) fn charts(
    setup: &ForecastSetup<'_>,
    range: TimeRange,
    model: ForecastModel,
    focus: &BTreeMap<(String, LabelSet), Timestamp>,
) -> Vec<ForecastChart> {
    let targets = target_series(setup, range);
    let mut chosen: BTreeMap<&str, (&TargetSeries<'_>, Timestamp)> = BTreeMap::new();
    for target in &targets {
        let breach = focus.get(&(target.signal.name.clone(), target.labels.clone()));
        let end = breach.map_or(range.end, |at| *at + std::time::Duration::from_secs(3600));
        let better = chosen.get(target.signal.name.as_str()).is_none_or(|(other, other_end)| {
            let other_breached = *other_end != range.end;
            breach.is_some() && !other_breached
                || breach.is_some() == other_breached && target.points.len() > other.points.len()
        });
        if better {
            chosen.insert(&target.signal.name, (target, end));
        }
    }
    chosen.into_values().filter_map(|(target, end)| chart(setup, target, range, end, model)).collect()
}

fn chart(
    setup: &ForecastSetup<'_>,
    target: &TargetSeries<'_>,
    range: TimeRange,
    end: Timestamp,
    model: ForecastModel,
) -> Option<ForecastChart> {
    let which = MODELS.iter().position(|m| *m == model)?;
    let horizon = HORIZONS[CHART_HORIZON];
    let start = range.start.max(end - std::time::Duration::from_secs(86_400));
    let first = target.points.partition_point(|(at, _)| *at < start).max(LOOKBACK);
    let last = target.points.partition_point(|(at, _)| *at < end).saturating_sub(horizon);
    let stride = last.saturating_sub(first).div_ceil(CHART_POINTS).max(1);
    let to_value = |fraction| value_at(target.signal.direction, fraction, target.limit, target.reference);
    let mut points = Vec::new();
    for origin in (first..last).step_by(stride) {
        let Some(mut forecasts) = forecast_all(setup, target, origin) else { continue };
        let Some(quantiles) = forecasts.swap_remove(which) else { continue };
        let (now, (at, truth)) = (target.points[origin].1, target.points[origin + horizon]);
        let mut forecast = quantiles[CHART_HORIZON].map(|q| to_value(now + q * target.baseline.scale));
        forecast.sort_by(f64::total_cmp);
        if truth.is_finite() && forecast.iter().all(|v| v.is_finite()) {
            points.push(ForecastPoint { at, truth: to_value(truth), forecast });
        }
    }
    let kind = target.signal.kind.breach()?;
    (points.len() > 1).then(|| ForecastChart {
        signal: target.signal.name.clone(),
        kind,
        labels: target.labels.clone(),
        model,
        horizon_seconds: horizon as f64 * setup.step.seconds(),
        limit: Some(target.limit).filter(|limit| limit.is_finite()),
        points,
    })
}

/// The mean pinball loss over the quantiles; `None` where every truth is missing.
fn loss_of(judged: &[Judged]) -> Option<f64> {
    let of = |(i, q): (usize, f64)| pinball_loss(judged.iter().map(|(truth, f)| (*truth, f[i])), q);
    mean(QUANTILES.into_iter().enumerate().filter_map(of))
}

fn score(model: ForecastModel, by_horizon: &[Vec<Judged>]) -> ForecastScore {
    let by_horizon_loss: Vec<f64> = by_horizon.iter().map(|judged| loss_of(judged).unwrap_or(f64::INFINITY)).collect();
    let intervals = by_horizon.iter().flatten().map(|(truth, [low, _, high])| (*truth, *low, *high));
    ForecastScore {
        model,
        pinball_loss: mean(by_horizon_loss.iter().copied()).unwrap_or(f64::INFINITY),
        interval_coverage: interval_coverage(intervals),
        by_horizon: by_horizon_loss,
    }
}

/// What each of [`MODELS`] says at `origin`; `None` where the window there has too many gaps (then no
/// model is judged on it).
fn forecast_all(setup: &ForecastSetup<'_>, target: &TargetSeries<'_>, origin: usize) -> Option<Vec<Option<Quantiles>>> {
    let baseline = target.baseline;
    let window = &target.points[(origin + 1).checked_sub(LOOKBACK)?..=origin];
    // Also where there is no LSTM: the rules are judged on the origins on which it would be.
    window_input(window, baseline, setup.baselines)?;
    let (at, now) = target.points[origin];
    let slope = recent_slope(&carried_forward(&target.points[origin.checked_sub(LOOKBACK)?..=origin]));
    let ahead = |rule: &dyn Fn(usize) -> f64, errors: &[[f64; 3]]| -> Quantiles {
        HORIZONS.iter().zip(errors).map(|(h, error)| error.map(|e| rule(*h) / baseline.scale + e)).collect()
    };
    let trend = |h: usize| slope * h as f64;
    let naive = |h: usize| {
        let later = Timestamp::from_millis(at.millis() + setup.step.millis() * h as i64);
        seasonal_naive(&baseline.profile, at, now, later) - now
    };
    let lstm = setup.lstm.and_then(|(lstm, its_baselines)| {
        let its_baseline = its_baselines.signals.get(&target.signal.name)?;
        let input = window_input(window, its_baseline, its_baselines)?;
        let unit = its_baseline.scale / baseline.scale;
        Some(lstm.forecast(&input).iter().map(|q| q.map(|change| f64::from(change) * unit)).collect())
    });
    Some(vec![lstm, Some(ahead(&naive, &baseline.errors.seasonal_naive)), Some(ahead(&trend, &baseline.errors.trend))])
}

/// Gaps take the last value before them; leading gaps are left out.
fn carried_forward(points: &[(Timestamp, f64)]) -> Vec<(Timestamp, f64)> {
    let mut last = f64::NAN;
    let filled = points.iter().map(|(at, value)| {
        last = if value.is_finite() { *value } else { last };
        (*at, last)
    });
    filled.filter(|(_, value)| value.is_finite()).collect()
}

/// Every target with a baseline and a limit, up to the end of `range`, sorted by signal and labels.
fn target_series<'a>(setup: &ForecastSetup<'a>, range: TimeRange) -> Vec<TargetSeries<'a>> {
    let steps = &setup.steps[..setup.steps.partition_point(|s| s.at < range.end)];
    let mut series = Vec::new();
    for signal in setup.signals.iter() {
        let Some(baseline) = setup.baselines.signals.get(&signal.name) else { continue };
        let mut targets: BTreeMap<&LabelSet, Vec<(Timestamp, f64, f64)>> = BTreeMap::new();
        for step in steps {
            for seen in step.observations.iter().filter(|o| *o.signal == *signal.name) {
                if let (true, Some(limit)) = (seen.value.is_finite(), seen.limit) {
                    targets.entry(&*seen.labels).or_default().push((step.at, seen.value, limit));
                }
            }
        }
        for (labels, values) in targets {
            let reference = reference(signal.direction, &values, range.start);
            let way = |(at, value, limit): &(Timestamp, f64, f64)| {
                Some((*at, fraction(signal.direction, *value, *limit, reference)?))
            };
            let fractions: Vec<(Timestamp, f64)> = values.iter().filter_map(way).collect();
            let points = regular(&fractions, setup.step);
            let limit = values.last().map_or(f64::NAN, |v| v.2);
            series.push(TargetSeries { signal, labels: labels.clone(), baseline, reference, limit, points });
        }
    }
    series
}

/// What stands for fraction 0: the largest value before the origins begin (the first one, for a target
/// that is younger than that). Nothing later, or a volume's growth would be known before it happens.
fn reference(direction: Direction, values: &[(Timestamp, f64, f64)], start: Timestamp) -> f64 {
    if direction == Direction::Above {
        return 0.0;
    }
    let before = values.iter().take_while(|(at, _, _)| *at < start).map(|(_, value, _)| *value);
    before.reduce(f64::max).or(values.first().map(|v| v.1)).unwrap_or(f64::NAN)
}

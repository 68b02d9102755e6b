//! The forecast path of one target: the normal of its time of day, the trend on top of it, and close
//! by the learnt forecaster where that has earned its place.

use forewarn_features::seasonal::median;
use forewarn_schema::{Step, Timestamp};

use super::history::TargetHistory;
use crate::baselines::{Baselines, HORIZONS, SignalBaseline, Trend, UsualRises, fit_trend};
use crate::bundle::ForecastModel;
use crate::forecast_input::{LOOKBACK, window_input};
use crate::lstm::LstmForecaster;
use crate::time_to_breach::PathPoint;

/// Steps after a start in which a service warms up: its rise says nothing of the hours to come.
const SETTLE: usize = 90;
/// A run must be this many steps past its settling before its trend is followed.
const MIN_RUN: usize = 60;
/// Without a profile, this many more steps: a morning is not a leak.
const MIN_RUN_UNKNOWN: usize = 30;
/// How far above its normal a target must be before its rise is followed: so many times what it wanders, and at least as a
/// fraction of the way to the limit.
const MIN_RISE_WANDERS: f64 = 4.0;
const MIN_RISE: f64 = 0.08;
/// The same where no normal is known.
const MIN_RISE_UNKNOWN: f64 = 0.2;
/// The least relative uncertainty of a slope that is believed.
const MIN_DOUBT: f64 = 0.3;
const MAX_DOUBT: f64 = 0.8;
/// The furthest that a path reaches, in steps: two weeks at the default step.
const REACH: i64 = 20_160;

/// A path and what it rests on.
pub(super) struct Forecast {
    /// From now on; empty where too little is known of the target.
    pub path: Vec<PathPoint>,
    /// Which forecast it is.
    pub model: ForecastModel,
}

/// What is known of the service and signal that a target belongs to.
pub(super) struct Known<'a> {
    pub baselines: &'a Baselines,
    pub baseline: Option<&'a SignalBaseline>,
    /// Present only where it serves.
    pub lstm: Option<&'a LstmForecaster>,
    pub step: Step,
}

impl Known<'_> {
    fn normal(&self, at: Timestamp) -> f64 {
        self.baseline.map_or(0.0, |b| b.profile.level(at))
    }
}

/// Forecasts one target from what it did up to `now`.
pub(super) fn forecast(history: &TargetHistory, known: &Known<'_>, now: Timestamp) -> Forecast {
    let level = history.level();
    if !level.is_finite() {
        return Forecast { path: Vec::new(), model: ForecastModel::SeasonalNaive };
    }
    let trend = believed_trend(history, known);
    let near = known.lstm.and_then(|lstm| near_path(history, known, lstm, now));
    let mut model = if trend.is_some() { ForecastModel::Trend } else { ForecastModel::SeasonalNaive };
    let residual = trend.map_or(level - known.normal(now), |t| t.level);
    let doubt = trend.map_or(0.0, |t| t.disagreement.clamp(MIN_DOUBT, MAX_DOUBT));
    let noise = known.baseline.map_or(0.02, |b| b.profile.spread());
    let reach = if trend.is_some() { REACH } else { REACH / 14 };
    let mut path = vec![PathPoint { at: now, low: level.min(1.0), mid: level, high: level.max(0.0) }];
    let mut moved = 0.0; // Along the trend's own clock.
    let mut steps = 0;
    while steps < reach {
        let stride = stride(steps);
        steps += stride;
        let at = Timestamp::from_millis(now.millis() + steps * known.step.millis());
        let by_load = trend.is_some_and(|t| t.by_load);
        moved += stride as f64 * if by_load { known.baselines.load(at) } else { 1.0 };
        let base = known.normal(at) + residual;
        let rise = trend.map_or(0.0, |t| t.slope * moved);
        // Without a trend the doubt is what the level strays by; it does not grow past a few spreads.
        let stray = if trend.is_some() { noise } else { 2.0 * noise };
        let ruled = PathPoint {
            at,
            low: base + rise * (1.0 - doubt) - stray,
            mid: base + rise,
            high: base + rise * (1.0 + doubt) + stray,
        };
        let learnt = near.as_ref().and_then(|n| n.iter().find(|p| p.at == at));
        path.push(match learnt {
            None => ruled,
            Some(learnt) => {
                model = ForecastModel::Lstm;
                // What was learnt from normal days expects a return to normal; a climb that is believed
                // is not argued away by it, so the two meet in the middle and past its reach the climb goes on.
                if trend.is_some() { halfway(learnt, &ruled) } else { *learnt }
            }
        });
    }
    Forecast { path, model }
}

fn halfway(a: &PathPoint, b: &PathPoint) -> PathPoint {
    let mean = |a: f64, b: f64| (a + b) / 2.0;
    PathPoint { at: b.at, low: mean(a.low, b.low), mid: mean(a.mid, b.mid), high: mean(a.high, b.high) }
}

/// Fine at first, coarse later: 5 steps for the first hour's worth, then 15, 60, 120.
fn stride(steps: i64) -> i64 {
    match steps {
        ..60 => 5,
        60..1440 => 15,
        1440..10_080 => 60,
        _ => 120,
    }
}

/// The trend of the current run, if it is one that an engineer would call a climb.
fn believed_trend(history: &TargetHistory, known: &Known<'_>) -> Option<Trend> {
    let settle = if history.saw_start() { SETTLE } else { 0 };
    let run = history.run_length().saturating_sub(settle);
    let wait = if known.baseline.is_some() { 0 } else { MIN_RUN_UNKNOWN };
    if run < MIN_RUN + wait {
        return None;
    }
    let profile = known.baseline.map(|b| &b.profile);
    let points = known.baselines.trend_points(profile, history.fractions(run));
    let unknown = UsualRises::default();
    let trend = fit_trend(&points, known.baseline.map_or(&unknown, |b| &b.usual_rises))?;
    let rise = match known.baseline {
        Some(baseline) => {
            let needed = (MIN_RISE_WANDERS * baseline.wander).max(MIN_RISE);
            trend.level >= needed
        }
        None => {
            // The run's own lower quartile stands for the normal that nobody has learnt yet.
            let mut low: Vec<f64> = points.iter().map(|p| p.residual).filter(|r| r.is_finite()).collect();
            low.sort_by(f64::total_cmp);
            let start = median(&mut low[..points.len().min(120).min(low.len())].to_vec());
            trend.level - start >= MIN_RISE_UNKNOWN
        }
    };
    rise.then_some(trend)
}

/// The learnt forecaster's quantiles at its horizons, as fractions.
fn near_path(
    history: &TargetHistory,
    known: &Known<'_>,
    lstm: &LstmForecaster,
    now: Timestamp,
) -> Option<Vec<PathPoint>> {
    let baseline = known.baseline?;
    let window: Vec<(Timestamp, f64)> = history.fractions(LOOKBACK).collect();
    let (_, last) = *window.last()?;
    let input = window_input(&window, baseline, known.baselines)?;
    let quantiles = lstm.forecast(&input);
    let points = HORIZONS.into_iter().zip(quantiles).map(|(horizon, [low, mid, high])| PathPoint {
        at: Timestamp::from_millis(now.millis() + horizon as i64 * known.step.millis()),
        low: last + f64::from(low) * baseline.scale,
        mid: last + f64::from(mid) * baseline.scale,
        high: last + f64::from(high) * baseline.scale,
    });
    Some(points.collect())
}

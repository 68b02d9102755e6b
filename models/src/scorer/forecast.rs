//! The forecast of one target: the growth that its run shows, and near at hand, where that has earned its place, the
//! learnt forecaster beside it.

use std::time::Duration;

use forewarn_schema::{BreachKind, Step, Timestamp};

use super::history::TargetHistory;
use super::pyramid::Pyramid;
use crate::baselines::{Baselines, HORIZONS, SignalBaseline};
use crate::forecast_input::{LOOKBACK, window_input};
use crate::growth::{Ahead, CLASSES, Fan, Growth, LoadShare, Passage, Run, Start};
use crate::lstm::LstmForecaster;
use crate::time_to_breach::normal_cdf;

/// A start is followed by a warm-up, which says nothing of the hours to come: so long, or a third of the run.
const WARM_UP: Duration = Duration::from_secs(3 * 3600);
/// What has not come this share of the way to its limit is not followed; more is asked for where no normal is known.
const LEAST_RISE: f64 = 0.05;
const LEAST_RISE_UNKNOWN: f64 = 0.2;
/// A run of fewer steps than this says nothing, unless it began before our eyes and is halfway: a crash loop leaves no more time.
const MIN_RUN: usize = 30;
const HALFWAY: f64 = 0.5;
/// A run that began before our eyes is young for so many steps.
const YOUNG: usize = 60;
/// Peaks lie by so many standard deviations of single steps above the middle.
const PEAKS: f64 = 3.0;
/// A load that differs from what is expected for the time goes on differing, less and less, with this time constant.
const LOAD_MEMORY: Duration = Duration::from_secs(12 * 3600);
/// By what a load differs is read from so much of the past.
const LOAD_RECENT: Duration = Duration::from_secs(3 * 3600);
/// How far ahead a breach is looked for, and in which strides: minutes until, minutes each.
const STRIDES: [(f64, f64); 5] = [(60.0, 5.0), (240.0, 10.0), (720.0, 20.0), (1440.0, 40.0), (10_080.0, 120.0)];
/// 0.1 and 0.9 quantiles of a normal distribution lie so many standard deviations apart.
pub(super) const DECILES_APART: f64 = 2.5631;

/// What is known of the service and signal that a target belongs to.
pub(super) struct Known<'a> {
    pub kind: BreachKind,
    pub baselines: &'a Baselines,
    pub baseline: Option<&'a SignalBaseline>,
    /// Present only where it serves.
    pub lstm: Option<&'a LstmForecaster>,
    /// The relative load that was seen.
    pub loads: Option<&'a Pyramid>,
    /// How much likelier than usual each class of growth is here, where earlier episodes say.
    pub shapes: Option<&'a [f64; CLASSES]>,
    /// By what the intervals are stretched.
    pub stretch: f64,
    pub step: Step,
}

impl Known<'_> {
    /// The relative load of a stretch of steps: as it was seen, else as it is expected in its middle.
    fn load(&self, first: i64, steps: usize) -> f64 {
        let middle = first + (steps / 2) as i64;
        let seen = self.loads.map_or(f64::NAN, |loads| loads.at(middle));
        if seen.is_finite() { seen } else { self.baselines.load(Timestamp::from_millis(middle * self.step.millis())) }
    }

    /// The relative load so many steps from now.
    fn load_ahead(&self, now: Timestamp) -> impl Fn(f64) -> f64 {
        let recent = self.step.count_in(LOAD_RECENT).max(1) as i64;
        let (mut differs, mut seen) = (0.0, 0);
        if let Some(loads) = self.loads {
            for number in loads.number(now) - recent + 1..=loads.number(now) {
                let load = loads.at(number);
                if load.is_finite() {
                    differs += load / self.baselines.load(Timestamp::from_millis(number * self.step.millis()));
                    seen += 1;
                }
            }
        }
        let ratio = if seen * 6 >= recent { (differs / seen as f64).clamp(0.3, 3.0) } else { 1.0 };
        let memory = LOAD_MEMORY.as_secs_f64() / self.step.seconds();
        move |steps| {
            let at = Timestamp::from_millis(now.millis() + (steps * self.step.millis() as f64) as i64);
            self.baselines.load(at) * (1.0 + (ratio - 1.0) * (-steps / memory).exp())
        }
    }
}

/// Weighs what the current run shows; `None` where it is too short or too seldom seen.
pub(super) fn grow(history: &TargetHistory, known: &Known<'_>) -> Option<Growth> {
    let run = history.run_length();
    let warm_up = known.step.count_in(WARM_UP);
    // What is seen for the first time may be as fresh as what was seen to start.
    let (settle, start) = match history.saw_start() {
        began if run < 2 * warm_up => (if began { warm_up.min(run / 3) } else { 0 }, Start::Fresh),
        true => (warm_up, Start::Seen),
        false => (0, Start::Unseen),
    };
    if run - settle < MIN_RUN && !is_racing(history) {
        return None;
    }
    let course = history.course(run - settle, |first, steps| known.load(first, steps));
    let growth = Growth::fit(&Run {
        course: &course,
        start,
        share: known.baseline.map_or_else(LoadShare::default, |b| b.load_share),
        least_rise: if known.baseline.is_some() { LEAST_RISE } else { LEAST_RISE_UNKNOWN },
        // Connections and bytes run out at their peaks; an error rate is its own mean, and free space has no noise.
        peaks: match known.kind {
            BreachKind::PoolExhaustion | BreachKind::Oom => PEAKS * history.noise(run - settle),
            _ => 0.0,
        },
        elastic: known.kind == BreachKind::Oom,
        saw: known.baseline.and_then(|b| b.saw),
    });
    growth.map(|mut growth| {
        if let Some(factors) = known.shapes {
            growth.believe(factors);
        }
        growth
    })
}

/// Whether it runs up to its limit right from a start: halfway there while it is young.
pub(super) fn is_racing(history: &TargetHistory) -> bool {
    history.run_length() < YOUNG && history.saw_start() && history.level() >= HALFWAY
}

/// What lies ahead of `now`, the same for all targets of a service.
pub(super) fn look_ahead(known: &Known<'_>, now: Timestamp) -> Ahead {
    Ahead::look(times(known.step), known.load_ahead(now))
}

/// When the limit is passed.
pub(super) fn passage(growth: &Growth, history: &TargetHistory, known: &Known<'_>, ahead: &Ahead) -> Passage {
    let passage = growth.passage(ahead);
    let passage = match known.lstm.and_then(|lstm| near(history, known, lstm)) {
        Some(near) => passage.hastened(|steps| near_passage(&near, steps), HORIZONS[HORIZONS.len() - 1] as f64),
        None => passage,
    };
    passage.stretched(known.stretch)
}

/// Where the fraction goes until `reach` steps from now.
pub(super) fn fan(growth: &Growth, known: &Known<'_>, now: Timestamp, reach: f64) -> Vec<Fan> {
    let times = times(known.step).into_iter().take_while(|t| *t <= reach).collect();
    growth.fan(&Ahead::look(times, known.load_ahead(now)))
}

/// The times ahead that are looked at, in steps.
fn times(step: Step) -> Vec<f64> {
    let (mut times, mut minutes) = (Vec::with_capacity(160), 0.0);
    for (until, stride) in STRIDES {
        while minutes < until {
            minutes += stride;
            times.push(minutes * 60.0 / step.seconds());
        }
    }
    times
}

/// The learnt forecaster's fractions: horizon in steps, mean, standard deviation.
fn near(history: &TargetHistory, known: &Known<'_>, lstm: &LstmForecaster) -> Option<Vec<(f64, f64, f64)>> {
    let baseline = known.baseline?;
    let window: Vec<(Timestamp, f64)> = history.fractions(LOOKBACK).collect();
    let (_, last) = *window.last()?;
    let input = window_input(&window, baseline, known.baselines)?;
    let of_horizon = |(horizon, [low, mid, high]): (usize, [f32; 3])| {
        let spread = f64::from(high - low) * baseline.scale / DECILES_APART;
        (horizon as f64, last + f64::from(mid) * baseline.scale, spread.max(1e-6))
    };
    Some(HORIZONS.into_iter().zip(lstm.forecast(&input)).map(of_horizon).collect())
}

/// How likely the learnt forecast is past the limit at `steps`, by the nearest horizon that is not before it.
fn near_passage(near: &[(f64, f64, f64)], steps: f64) -> f64 {
    let of = near.iter().find(|(horizon, _, _)| *horizon >= steps).or(near.last());
    of.map_or(0.0, |(_, mean, deviation)| normal_cdf((mean - 1.0) / deviation))
}

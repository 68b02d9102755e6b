//! What the forecaster sees of one target: the same code builds training windows and live inputs.
//!
//! A window of [`LOOKBACK`] steps, each of [`FEATURES`] numbers, all relative to the last value and
//! in units of the signal's scale, so that one network serves every target of a service.

use forewarn_features::{ServiceStep, SignalSet};
use forewarn_schema::{SignalKind, Step, TimeRange, Timestamp};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::baselines::{Baselines, HORIZONS, SignalBaseline, fractions_by_target};
use crate::lstm::LstmTrainingSet;

/// Steps a window looks back.
pub const LOOKBACK: usize = 60;
/// Numbers a step.
pub const FEATURES: usize = 8;
/// Differences are clipped here: a restart is not worth a thousand ordinary steps of training.
const CLIP: f64 = 50.0;

/// The input for one target: `[LOOKBACK, FEATURES]`, row-major.
///
/// `window` holds the last [`LOOKBACK`] steps, consecutive, the most recent last, a gap as NaN; gaps
/// are carried forward and flagged. `None` where `window` is shorter, ends in a gap, or has more gaps
/// than values.
pub fn window_input(window: &[(Timestamp, f64)], baseline: &SignalBaseline, baselines: &Baselines) -> Option<Vec<f32>> {
    let (_, last) = *window.last()?;
    let gaps = window.iter().filter(|(_, f)| !f.is_finite()).count();
    if window.len() != LOOKBACK || !last.is_finite() || gaps * 2 > LOOKBACK {
        return None;
    }
    let scale = baseline.scale;
    let clip = |v: f64| v.clamp(-CLIP, CLIP) as f32;
    let mut carried = window.iter().map(|(_, f)| *f).find(|f| f.is_finite())?;
    let mut input = Vec::with_capacity(LOOKBACK * FEATURES);
    for (at, fraction) in window {
        let before = carried;
        let gap = !fraction.is_finite();
        if !gap {
            carried = *fraction;
        }
        let angle = at.millis().rem_euclid(86_400_000) as f64 / 86_400_000.0 * std::f64::consts::TAU;
        input.extend([
            clip((carried - last) / scale),
            carried.clamp(-2.0, 2.0) as f32,
            clip((carried - baseline.profile.level(*at)) / baseline.profile.spread()),
            clip((carried - before) / scale),
            (baselines.load(*at) - 1.0).clamp(-3.0, 3.0) as f32,
            angle.sin() as f32,
            angle.cos() as f32,
            if gap { 1.0 } else { 0.0 },
        ]);
    }
    Some(input)
}

/// Which windows of a history are learnt from.
#[derive(Clone, Copy, Debug)]
pub struct WindowChoice<'a> {
    /// Inputs and targets both lie in here, so nothing past its end is learnt.
    pub range: TimeRange,
    /// Incidents: no window touches one of these, neither with its input nor with what came after it.
    pub excluded: &'a [TimeRange],
    /// At most so many, evenly by chance.
    pub max_windows: usize,
    /// Of the chance.
    pub seed: u64,
}

/// Windows over every target of every signal that has a baseline, with what came [`HORIZONS`] steps later, in units of
/// the signal's scale, in random order. An empty set where no window fits.
pub fn training_windows(
    steps: &[ServiceStep],
    signals: &SignalSet,
    baselines: &Baselines,
    step: Step,
    choice: &WindowChoice<'_>,
) -> LstmTrainingSet {
    let mut set = LstmTrainingSet { inputs: Vec::new(), targets: Vec::new() };
    let from = steps.partition_point(|s| s.at < choice.range.start);
    let to = steps.partition_point(|s| s.at < choice.range.end);
    let mut rng = ChaCha8Rng::seed_from_u64(choice.seed);
    let mut series = Vec::new();
    for signal in signals.iter().filter(|s| s.kind != SignalKind::Context) {
        let Some(baseline) = baselines.signals.get(&signal.name) else { continue };
        for one in fractions_by_target(&steps[from..to], &signal.name, signal.direction).into_values() {
            series.push((baseline, regular(&one.points, step)));
        }
    }
    let longest = HORIZONS[HORIZONS.len() - 1];
    let mut origins: Vec<(usize, usize)> = Vec::new();
    for (which, (_, points)) in series.iter().enumerate() {
        origins.extend((LOOKBACK - 1..points.len().saturating_sub(longest)).map(|origin| (which, origin)));
    }
    origins.shuffle(&mut rng);
    for (which, origin) in origins {
        if set.targets.len() / HORIZONS.len() >= choice.max_windows {
            break;
        }
        let (baseline, points) = &series[which];
        let (first, last) = (points[origin + 1 - LOOKBACK].0, points[origin + longest].0);
        if choice.excluded.iter().any(|incident| first < incident.end && incident.start <= last) {
            continue;
        }
        let Some(truth) = horizon_targets(points, origin, baseline) else { continue };
        let Some(input) = window_input(&points[origin + 1 - LOOKBACK..=origin], baseline, baselines) else { continue };
        set.inputs.extend(input);
        set.targets.extend(truth);
    }
    set
}

/// What came [`HORIZONS`] steps after `origin`, less the value there, in units of the scale; `None`
/// where one of them is missing.
pub fn horizon_targets(points: &[(Timestamp, f64)], origin: usize, baseline: &SignalBaseline) -> Option<Vec<f32>> {
    let now = points.get(origin)?.1;
    HORIZONS
        .into_iter()
        .map(|h| {
            let later = points.get(origin + h)?.1;
            let change = (later - now) / baseline.scale;
            change.is_finite().then(|| change.clamp(-CLIP, CLIP) as f32)
        })
        .collect()
}

/// The same points at every step from the first to the last, gaps as NaN. `points` is sorted.
pub fn regular(points: &[(Timestamp, f64)], step: Step) -> Vec<(Timestamp, f64)> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let mut at = first.0;
    let mut dense = Vec::with_capacity(points.len());
    let mut next = 0;
    while at <= last.0 {
        let value = if points[next].0 == at { points[next].1 } else { f64::NAN };
        if points[next].0 <= at {
            next += 1;
        }
        dense.push((at, value));
        at = at + step.duration();
    }
    dense
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use forewarn_features::{Observation, Signal, SignalLimit};
    use forewarn_schema::{BreachKind, Direction, LabelSet};

    use super::*;

    #[test]
    fn no_window_touches_what_is_excluded() {
        let queue = Signal {
            name: "queue".to_owned(),
            kind: SignalKind::Breach(BreachKind::Custom),
            service: "service".to_owned(),
            value: "queue".to_owned(),
            limit: Some(SignalLimit::Number(100.0)),
            direction: Direction::Above,
            playbook: None,
        };
        let signals = SignalSet::new(&[], vec![queue]).unwrap();
        let at = |m: i64| Timestamp::from_seconds(m * 60);
        // An incident of ten minutes at the end of the first day, thousands of scales above all else.
        let incident = TimeRange::new(at(1430), at(1440)).unwrap();
        let value = |m: i64| if incident.contains(at(m)) { 90.0 } else { 10.0 + (m * 7919 % 13) as f64 * 0.01 };
        let step = |m| ServiceStep {
            service: "cart".into(),
            at: at(m),
            observations: vec![Observation {
                signal: "queue".into(),
                labels: Arc::new(LabelSet::new()),
                value: value(m),
                limit: Some(100.0),
            }],
        };
        let steps: Vec<ServiceStep> = (0..2 * 1440).map(step).collect();
        let baselines = Baselines::fit(&steps, &signals, Step::MINUTE, None);
        let windows = |excluded: &[TimeRange]| {
            let range = TimeRange::new(at(0), at(2 * 1440)).unwrap();
            let choice = WindowChoice { range, excluded, max_windows: usize::MAX, seed: 1 };
            training_windows(&steps, &signals, &baselines, Step::MINUTE, &choice)
        };
        let seen = |set: &LstmTrainingSet| {
            let in_inputs = set.inputs.chunks(FEATURES).any(|row| row[1] > 0.5);
            in_inputs || set.targets.iter().any(|change| change.abs() > 20.0)
        };
        let (all, clean) = (windows(&[]), windows(&[incident]));
        assert!(seen(&all) && !seen(&clean));
        // All that is lost is what touches it: an input or a target within it.
        let (longest, lost) =
            (HORIZONS[HORIZONS.len() - 1], (all.targets.len() - clean.targets.len()) / HORIZONS.len());
        assert_eq!(lost, LOOKBACK + longest + 10 - 1);
    }

    #[test]
    fn gaps_become_nan_and_stay_gaps() {
        let at = |m: i64| Timestamp::from_seconds(m * 60);
        let dense = regular(&[(at(0), 1.0), (at(3), 2.0)], Step::MINUTE);
        assert_eq!(dense.len(), 4);
        assert!(dense[1].1.is_nan() && dense[2].1.is_nan());
        assert_eq!(dense[3], (at(3), 2.0));
    }
}

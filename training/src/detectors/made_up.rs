//! Incidents that did not happen, in the tail of the training window, so that detectors can be compared on a service that has
//! had none: a signal shifts, climbs, goes by another clock, or all move a little together. Each lasts half an hour of steps.
//!
//! How far is in the signal's own robust standard deviations: far enough to matter, not so far that any detector would do.

use forewarn_features::{ServiceStep, Signal};
use forewarn_models::ModelBundle;
use forewarn_models::forecast_input::LOOKBACK;
use forewarn_schema::{Direction, SignalKind, Timestamp};

/// Steps of an incident, and from the start of one to the start of the next.
const LASTS: usize = 30;
const EVERY: usize = 120;
/// Steps before the tail that the scorer is shown first, so that it knows the last hours.
const LEAD: usize = 4 * LOOKBACK;
/// Of the steps of an incident, every so manieth is judged, from the third on.
const JUDGED: usize = 4;
/// How far a signal shifts, climbs within the half hour, and how far all do, in standard deviations.
const SHIFT: f64 = 6.0;
const CLIMB: f64 = 10.0;
const ALL: f64 = 3.0;
/// How far away the clock is by which a signal goes, in milliseconds: half a day.
const OTHER_CLOCK_MS: i64 = 43_200_000;

/// The tail of `steps`, from a little before index `tail`, with incidents made up in it; and the times to judge them by.
pub(super) fn incidents(
    bundle: &ModelBundle,
    steps: &[ServiceStep],
    tail: usize,
) -> (Vec<ServiceStep>, Vec<Timestamp>) {
    let mut made: Vec<ServiceStep> = steps[tail.saturating_sub(LEAD)..].to_vec();
    let first = tail.min(LEAD) + LASTS;
    let mut judged = Vec::new();
    let signals: Vec<(&Signal, f64)> = bundle
        .pipeline
        .profiles()
        .filter_map(|(name, profile)| Some((bundle.signals.get(name)?, profile.spread())))
        .collect();
    if signals.is_empty() {
        return (made, judged);
    }
    for (which, start) in (first..made.len().saturating_sub(LASTS)).step_by(EVERY).enumerate() {
        let (signal, spread) = signals[which / 4 % signals.len()];
        for i in 0..LASTS {
            let step = &mut made[start + i];
            match which % 4 {
                0 => shift(step, signal, SHIFT * spread),
                1 => shift(step, signal, CLIMB * spread * (i + 1) as f64 / LASTS as f64),
                2 => signals.iter().for_each(|(signal, spread)| shift(step, signal, ALL * spread)),
                _ => by_another_clock(step, signal, steps),
            }
            if i >= 2 && i % JUDGED == 2 {
                judged.push(step.at);
            }
        }
    }
    (made, judged)
}

/// Moves every target of `signal` to the side of its limit; `by` is in the unit of features, which is a share of the limit
/// where there is one.
fn shift(step: &mut ServiceStep, signal: &Signal, by: f64) {
    let limited = signal.kind != SignalKind::Context;
    for seen in step.observations.iter_mut().filter(|o| *o.signal == *signal.name) {
        let unit = seen.limit.filter(|limit| limited && limit.is_finite() && *limit != 0.0).unwrap_or(1.0);
        let by = by * unit.abs();
        seen.value = match signal.direction {
            Direction::Above => seen.value + by,
            Direction::Below => (seen.value - by).max(seen.value.min(0.0)),
        };
    }
}

/// Gives every target of `signal` the value that it had half a day before.
fn by_another_clock(step: &mut ServiceStep, signal: &Signal, steps: &[ServiceStep]) {
    let at = Timestamp::from_millis(step.at.millis() - OTHER_CLOCK_MS);
    let Ok(other) = steps.binary_search_by_key(&at, |s| s.at) else { return };
    for seen in step.observations.iter_mut().filter(|o| *o.signal == *signal.name) {
        let then = steps[other].observations.iter().find(|o| o.signal == seen.signal && o.labels == seen.labels);
        seen.value = then.map_or(seen.value, |then| then.value);
    }
}

//! One target from its first step to its last: when its limit was reached, and when it began anew.

use std::time::Duration;

use forewarn_schema::{BreachKind, Direction, TimeRange, Timestamp};

use super::onset::{Nearness, onset};
use super::{ENDED, Point, SUDDEN};
use crate::metrics::median;

/// For so long a target has to have gone back before reaching its limit counts as a new breach: a full
/// pool that frees a connection now and then is one outage, not twenty.
const REARM: Duration = Duration::from_secs(30 * 60);
/// It has gone back where it is this share of the way from its limit to what it was before: an error rate
/// that swings about its limit with the traffic, for a night and a day, is one outage too.
const GONE_BACK: f64 = 0.5;
/// A share of errors is a rate over five minutes: one burst, of a restart or of a service that it calls, shows
/// as five minutes at the limit, and with a noise about it as more. Reached is it where it is at the limit for
/// at least half of so long.
const LASTS: Duration = Duration::from_secs(15 * 60);
/// A stretch of which less is known than this says nothing about lasting.
const LASTS_SEEN: Duration = Duration::from_secs(10 * 60);
/// Where less than this share of the way had been gone a quarter of an hour before, it was a jump, and what
/// looked like a way is the chance of what was before.
const GONE_BEFORE_JUMP: f64 = 0.2;
/// A container is killed between two scrapes, so the limit itself is rarely seen: from this share of
/// the limit, a fall counts as a kill.
const OOM_NEAR: f64 = 0.97;
/// What is left of the value, as a share, when a step counts as a fall: the process is a new one.
const FALL: f64 = 0.5;

/// Values on either side of a fall that are compared.
const STEADY: usize = 6;
/// A climb that had gone this share of its way when it ended would have come to its limit, for all that anyone
/// can tell.
const GONE_WHEN_AVERTED: f64 = 0.5;

/// What a walk over a target's life finds.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) ways: Vec<Way>,
    /// The first step of each new process, other than after a breach.
    pub(super) resets: Vec<Timestamp>,
    /// Climbs that had gone half of their way when the process or the target ended: from onset to end.
    pub(super) averted: Vec<TimeRange>,
}

/// One breach.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) onset: Timestamp,
    pub(super) at: Timestamp,
    pub(super) over: Timestamp,
    pub(super) limit: f64,
}

/// Walks `points`, sorted by time.
pub(super) fn walk(points: &[Point], kind: BreachKind, direction: Direction) -> Walked {
    let mut walked = Walked::default();
    // Where the present life of the target began: its first point, or the one after a breach or reset.
    let mut life = 0;
    // A target that is first seen on the safe side is armed at once; others have to go back first.
    let mut armed = points.first().is_some_and(|p| nearness(p, direction) < 0.0);
    let mut back_since: Option<Timestamp> = None;
    // How near to the limit is near no more, after a breach.
    let mut calm = 0.0;
    for (i, point) in points.iter().enumerate() {
        let near = nearness(point, direction);
        let reached = near >= 0.0 && (kind != BreachKind::ErrorRate || lasts(&points[i..], direction));
        if reached && armed {
            let (way, usual) = way_to(&points[life..=i], direction);
            calm = usual.min(0.0) * GONE_BACK;
            walked.ways.push(way);
            armed = false;
        }
        if !armed {
            // Of a target that starts at its limit nothing better is known than the safe side.
            let is_back = !reached && near <= calm;
            back_since = if is_back { back_since.or(Some(point.at)) } else { None };
            armed = back_since.is_some_and(|since| point.at >= since + REARM);
            if !is_back {
                life = i + 1;
                walked.ways.last_mut().into_iter().for_each(|way| way.over = point.at);
            }
        }
        if reached || direction != Direction::Above || point.value <= 0.0 {
            continue;
        }
        let next = points.get(i + 1);
        let fell = next.is_some_and(|n| n.value <= point.value * FALL);
        let vanished = next.is_some_and(|n| n.at > point.at + ENDED);
        let killed = kind == BreachKind::Oom && point.value >= point.limit * OOM_NEAR && (fell || vanished);
        if killed && armed {
            // Prometheus shows a dead target's last value for minutes: the kill came when that was new.
            let held = points[life..=i].iter().rposition(|p| p.value != point.value).map_or(life, |p| life + p + 1);
            walked.ways.push(way_to(&points[life..=held], direction).0);
            life = i + 1;
        } else if fell && is_reset(points, life, i) {
            walked.averted.extend(averted(&points[life..=i], direction));
            walked.resets.extend(next.map(|n| n.at));
            life = i + 1;
        }
    }
    if life < points.len() {
        walked.averted.extend(averted(&points[life..], direction));
    }
    walked
}

/// Whether a new process began after `points[i]`: half was left of what there was, and of more than one value,
/// as connections in use halve from minute to minute by chance.
fn is_reset(points: &[Point], life: usize, i: usize) -> bool {
    let value = |of: &[Point]| median(of.iter().map(|p| p.value));
    let before = value(&points[(i + 1).saturating_sub(STEADY).max(life)..=i]);
    let after = value(&points[i + 1..(i + 1 + STEADY).min(points.len())]);
    before.zip(after).is_some_and(|(before, after)| before >= points[i].limit * FALL && after <= before * FALL)
}

/// The climb that was under way at the end of `life`; `None` where less than half of its way had been gone.
fn averted(life: &[Point], direction: Direction) -> Option<TimeRange> {
    let nearness = |of: &[Point]| median(of.iter().map(|p| nearness(p, direction)));
    let at_end = nearness(&life[life.len().saturating_sub(STEADY)..])?;
    let gone = |usual: f64| usual < 0.0 && at_end >= usual * (1.0 - GONE_WHEN_AVERTED);
    // What a fit costs is spared where the end is like the beginning.
    if !gone(nearness(&life[..life.len().div_ceil(2)])?) {
        return None;
    }
    let (way, usual) = way_to(life, direction);
    gone(usual).then_some(TimeRange { start: way.onset, end: way.at })
}

/// Whether what begins at the limit with the first of `points` stays there.
fn lasts(points: &[Point], direction: Direction) -> bool {
    let Some(first) = points.first() else { return false };
    let stretch = &points[..points.partition_point(|p| p.at < first.at + LASTS)];
    let at_limit = stretch.iter().filter(|p| nearness(p, direction) >= 0.0).count();
    let is_known = stretch.last().is_some_and(|last| last.at >= first.at + LASTS_SEEN);
    is_known && at_limit * 2 >= stretch.len()
}

/// How near a point is to its limit: 0 or more at it or past it.
fn nearness(point: &Point, direction: Direction) -> f64 {
    match direction {
        Direction::Above => point.value - point.limit,
        Direction::Below => point.limit - point.value,
    }
}

/// The way to the last point of `life`, and how near the target was before it began.
fn way_to(life: &[Point], direction: Direction) -> (Way, f64) {
    let nearness: Vec<Nearness> = life.iter().map(|p| (p.at, nearness(p, direction))).collect();
    let last = &life[life.len() - 1];
    let onset = onset(&nearness).unwrap_or(last.at);
    let before = nearness.iter().take_while(|(at, _)| *at < onset).map(|(_, near)| *near);
    // Of a climb that fills the life, the first half was before the second.
    let first_half = nearness[..nearness.len().div_ceil(2)].iter().map(|(_, near)| *near);
    let usual = median(before).or_else(|| median(first_half)).unwrap_or(0.0);
    let gone = |near: f64| near > usual.min(0.0) * (1.0 - GONE_BEFORE_JUMP);
    let still = nearness.iter().rev().find(|(_, near)| !gone(*near)).map(|(at, _)| *at);
    let jumped = still.filter(|at| *at + SUDDEN > last.at);
    let onset = jumped.map_or(onset, |still| onset.max(still));
    (Way { onset, at: last.at, over: last.at, limit: last.limit }, usual)
}

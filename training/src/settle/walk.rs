//! One target from its first step to its last: when its limit was reached, and when it began anew.

use std::time::Duration;

use forewarn_schema::{BreachKind, Direction, Timestamp};

use super::onset::{Nearness, onset};
use super::{ENDED, Point};
use crate::metrics::median;

/// For so long a target has to have gone back before reaching its limit counts as a new breach: a full
/// pool that frees a connection now and then is one outage, not twenty.
const REARM: Duration = Duration::from_secs(30 * 60);
/// It has gone back where it is this share of the way from its limit to what it was before: an error rate
/// that swings about its limit with the traffic, for a night and a day, is one outage too.
const GONE_BACK: f64 = 0.5;
/// A container is killed between two scrapes, so the limit itself is rarely seen: from this share of
/// the limit, a fall counts as a kill.
const OOM_NEAR: f64 = 0.97;
/// What is left of the value, as a share, when a step counts as a fall: the process is a new one.
const FALL: f64 = 0.5;

/// What a walk over a target's life finds.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) ways: Vec<Way>,
    /// The first step of each new process, other than after a breach.
    pub(super) resets: Vec<Timestamp>,
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
        if near >= 0.0 && armed {
            let (way, usual) = way_to(&points[life..=i], direction);
            calm = usual.min(0.0) * GONE_BACK;
            walked.ways.push(way);
            armed = false;
        }
        if !armed {
            // Of a target that starts at its limit nothing better is known than the safe side.
            let is_back = near < 0.0 && near <= calm;
            back_since = if is_back { back_since.or(Some(point.at)) } else { None };
            armed = back_since.is_some_and(|since| point.at >= since + REARM);
            if !is_back {
                life = i + 1;
                walked.ways.last_mut().into_iter().for_each(|way| way.over = point.at);
            }
        }
        if near >= 0.0 || direction != Direction::Above || point.value <= 0.0 {
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
        } else if fell && point.value >= point.limit * FALL {
            walked.resets.extend(next.map(|n| n.at));
            life = i + 1;
        }
    }
    walked
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
    let usual = median(before).or_else(|| median(nearness[..nearness.len().div_ceil(2)].iter().map(|(_, v)| *v)));
    (Way { onset, at: last.at, over: last.at, limit: last.limit }, usual.unwrap_or(0.0))
}

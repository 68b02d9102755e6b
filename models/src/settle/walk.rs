//! One target from its first step to its last: when its limit was reached, and when it began anew. A step at a time, so that a
//! history that is read back and one that is being written are judged by the same lines.

use std::time::Duration;

use forewarn_schema::{BreachKind, Direction, TimeRange, Timestamp};
use serde::{Deserialize, Serialize};

use super::life::{Life, Point, WouldHave};
use super::onset::{Nearness, onset};
use super::{ENDED, SUDDEN};
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
pub(super) const STEADY: usize = 6;
/// A climb that had gone this share of its way when it ended would have come to its limit, for all that anyone
/// can tell.
const GONE_WHEN_AVERTED: f64 = 0.5;

/// What a walk over a target's life finds, each sorted by time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Walked {
    pub(super) ways: Vec<Way>,
    /// The first step of each new process, other than after a breach.
    pub(super) resets: Vec<Reset>,
    /// Climbs that had gone half of their way when the process or the target ended: from onset to end.
    pub(super) averted: Vec<TimeRange>,
}

/// One breach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Way {
    pub(super) onset: Timestamp,
    pub(super) at: Timestamp,
    pub(super) over: Timestamp,
    pub(super) limit: f64,
}

/// A new process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Reset {
    /// Its first step.
    pub(super) at: Timestamp,
    /// When the breach of the old one would have come, by the last forecast.
    pub(super) would_have: WouldHave,
}

/// What is walked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) kind: BreachKind,
    pub(super) direction: Direction,
}

/// A walk under way. It holds only what was not judged yet: what came before is asked of the target's [`Life`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Walker {
    /// Points that wait for what comes after them, oldest first.
    waiting: Vec<Point>,
    /// The present life of the target is what came after this: after its first step, a breach or a reset.
    life_after: Option<Timestamp>,
    back_since: Option<Timestamp>,
    /// How near to the limit is near no more, after a breach.
    calm: f64,
    begun: bool,
    armed: bool,
}

impl Walker {
    /// Takes the next point, and judges those that need not wait any longer.
    pub(super) fn push(&mut self, point: Point, rules: Rules, life: &dyn Life, walked: &mut Walked) {
        if !self.begun {
            // A target that is first seen on the safe side is armed at once; others have to go back first.
            (self.begun, self.armed) = (true, rules.nearness(&point) < 0.0);
        }
        self.waiting.reserve_exact(1);
        self.waiting.push(point);
        while self.can_judge(rules) {
            self.judge(rules, life, walked);
        }
        if self.waiting.capacity() > 2 * self.waiting.len().max(1) {
            self.waiting.shrink_to_fit();
        }
    }

    /// Judges what waits as if nothing came after it, and the climb that goes on, which ends with the data.
    pub(super) fn finish(mut self, rules: Rules, life: &dyn Life, walked: &mut Walked) {
        let Some(last) = self.waiting.last().map(|p| p.at) else { return };
        while !self.waiting.is_empty() {
            self.judge(rules, life, walked);
        }
        walked.averted.extend(averted(&life.between(self.life_after, last), rules));
    }

    /// The last point that was taken; `None` before the first.
    pub(super) fn last(&self) -> Option<&Point> {
        self.waiting.last()
    }

    /// Whether it is at its limit, or was so lately that reaching it again would be the same breach.
    pub(super) fn in_breach(&self) -> bool {
        self.begun && !self.armed
    }

    /// Forgets what is before: the limit was reached at `at`, and nobody saw what came between.
    pub(super) fn reached(&mut self, at: Timestamp) {
        *self = Self { begun: true, life_after: Some(at), ..Self::default() };
    }

    /// The same of the end of that breach.
    pub(super) fn left(&mut self, over: Timestamp) {
        *self = Self { begun: true, armed: true, life_after: Some(over), ..Self::default() };
    }

    /// The last point waits, so that what is asked of a target at the end of the data finds it there.
    fn can_judge(&self, rules: Rules) -> bool {
        let [first, next, ..] = self.waiting.as_slice() else { return false };
        if rules.kind == BreachKind::ErrorRate && rules.nearness(first) >= 0.0 {
            return self.waiting.last().is_some_and(|last| last.at >= first.at + LASTS) && self.waiting.len() > STEADY;
        }
        rules.direction == Direction::Below || !fell(first, next) || self.waiting.len() > STEADY
    }

    /// Judges the first point that waits, seeing those after it.
    fn judge(&mut self, rules: Rules, life: &dyn Life, walked: &mut Walked) {
        let point = self.waiting[0];
        let near = rules.nearness(&point);
        let reached = near >= 0.0 && (rules.kind != BreachKind::ErrorRate || lasts(&self.waiting, rules));
        if reached && self.armed {
            let (way, usual) = self.way_to(point, point.at, rules, life);
            self.calm = usual.min(0.0) * GONE_BACK;
            walked.ways.push(way);
            self.armed = false;
        }
        if !self.armed {
            // Of a target that starts at its limit nothing better is known than the safe side.
            let is_back = !reached && near <= self.calm;
            self.back_since = if is_back { self.back_since.or(Some(point.at)) } else { None };
            self.armed = self.back_since.is_some_and(|since| point.at >= since + REARM);
            if !is_back {
                self.life_after = Some(point.at);
                walked.ways.last_mut().into_iter().for_each(|way| way.over = point.at);
            }
        }
        if !reached && rules.direction == Direction::Above && point.value > 0.0 {
            self.judge_fall(point, rules, life, walked);
        }
        self.waiting.remove(0);
    }

    /// Whether the process ended after `point`, killed or not.
    fn judge_fall(&mut self, point: Point, rules: Rules, life: &dyn Life, walked: &mut Walked) {
        let Some(next) = self.waiting.get(1).copied() else { return };
        let fell = fell(&point, &next);
        let vanished = next.at > point.at + ENDED;
        let near = rules.kind == BreachKind::Oom && point.value >= point.limit * OOM_NEAR;
        if near && (fell || vanished) && self.armed {
            // Prometheus shows a dead target's last value for minutes: the kill came when that was new.
            let held = self.held_since(point, life);
            walked.ways.push(self.way_to(point, held, rules, life).0);
            self.life_after = Some(point.at);
        } else if fell && self.is_reset(point, life) {
            walked.averted.extend(averted(&self.lived(point, point.at, life), rules));
            walked.resets.push(Reset { at: next.at, would_have: next.would_have });
            self.life_after = Some(point.at);
        }
    }

    /// The present life up to `until`, which is not after `point`.
    fn lived(&self, point: Point, until: Timestamp, life: &dyn Life) -> Vec<Point> {
        let lived = life.between(self.life_after, until);
        if lived.is_empty() { vec![point] } else { lived }
    }

    /// Since when the value of `point` has been what it is.
    fn held_since(&self, point: Point, life: &dyn Life) -> Timestamp {
        // A dead target's value is shown for five minutes; one that stands still for longer is asked for as a whole.
        for count in [4 * STEADY, usize::MAX] {
            let lived = life.last(self.life_after, point.at, count);
            // What is remembered may be less exact than what is seen.
            let same = |p: &Point| p.value as f32 == point.value as f32;
            match lived.iter().rposition(|p| !same(p)) {
                Some(before) => return lived.get(before + 1).map_or(point.at, |p| p.at),
                None if lived.len() < count => return lived.first().map_or(point.at, |p| p.at),
                None => {}
            }
        }
        point.at
    }

    /// Whether a new process began after `point`: half was left of what there was, and of more than one value,
    /// as connections in use halve from minute to minute by chance.
    fn is_reset(&self, point: Point, life: &dyn Life) -> bool {
        let value = |of: &[Point]| median(of.iter().map(|p| p.value));
        let before = value(&life.last(self.life_after, point.at, STEADY));
        let after = value(&self.waiting[1..self.waiting.len().min(1 + STEADY)]);
        before.zip(after).is_some_and(|(before, after)| before >= point.limit * FALL && after <= before * FALL)
    }

    /// The way to `until`, and how near the target was before it began.
    fn way_to(&self, point: Point, until: Timestamp, rules: Rules, life: &dyn Life) -> (Way, f64) {
        way_to(&self.lived(point, until, life), rules)
    }
}

impl Rules {
    /// How near a point is to its limit: 0 or more at it or past it.
    pub(super) fn nearness(self, point: &Point) -> f64 {
        match self.direction {
            Direction::Above => point.value - point.limit,
            Direction::Below => point.limit - point.value,
        }
    }
}

fn fell(point: &Point, next: &Point) -> bool {
    next.value <= point.value * FALL
}

/// The climb that was under way at the end of `life`; `None` where less than half of its way had been gone.
fn averted(life: &[Point], rules: Rules) -> Option<TimeRange> {
    let nearness = |of: &[Point]| median(of.iter().map(|p| rules.nearness(p)));
    let at_end = nearness(&life[life.len().saturating_sub(STEADY)..])?;
    let gone = |usual: f64| usual < 0.0 && at_end >= usual * (1.0 - GONE_WHEN_AVERTED);
    // What a fit costs is spared where the end is like the beginning.
    if !gone(nearness(&life[..life.len().div_ceil(2)])?) {
        return None;
    }
    let (way, usual) = way_to(life, rules);
    gone(usual).then_some(TimeRange { start: way.onset, end: way.at })
}

/// Whether what begins at the limit with the first of `points` stays there.
fn lasts(points: &[Point], rules: Rules) -> bool {
    let Some(first) = points.first() else { return false };
    let stretch = &points[..points.partition_point(|p| p.at < first.at + LASTS)];
    let at_limit = stretch.iter().filter(|p| rules.nearness(p) >= 0.0).count();
    let is_known = stretch.last().is_some_and(|last| last.at >= first.at + LASTS_SEEN);
    is_known && at_limit * 2 >= stretch.len()
}

/// The way to the last point of `life`, which has one, and how near the target was before it began.
fn way_to(life: &[Point], rules: Rules) -> (Way, f64) {
    let nearness: Vec<Nearness> = life.iter().map(|p| (p.at, rules.nearness(p))).collect();
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

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;

//! One target as it is watched.

use forewarn_schema::{BreachKind, Happening, Prediction, TimeRange, Timestamp};
use serde::{Deserialize, Serialize};

use super::{PATIENCE, What, keep};
use crate::scorer::horizon_seconds;
use crate::settle::ENDED;
use crate::settle::facts::Facts;
use crate::settle::life::{Life, Point, WouldHave};
use crate::settle::walk::{Reset, Rules, Walked, Walker, Way};

/// A limit that differs by less than this share is the same.
const SAME_LIMIT: f64 = 1e-3;
/// What was likely is remembered by such parts of a horizon.
const PARTS: usize = 4;
/// So many parts, two horizons.
const BLOCKS: usize = 2 * PARTS;

/// What is held of one target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WatchedTarget {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    walker: Walker,
    /// What was found lately; of most targets nothing.
    found: Option<Box<Found>>,
    /// What was said last of it while it was seen.
    pub(super) would_have: WouldHave,
    /// The number of the newest block of `likely`.
    block: i32,
    /// The most that was likely, by block, of 255.
    likely: [u8; BLOCKS],
    pub(super) ended: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Found {
    walked: Walked,
    changes: Vec<Change>,
}

/// What happened to it besides breaches and restarts that its values show.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) at: Timestamp,
    pub(super) what: Happening,
    pub(super) would_have: WouldHave,
    /// Whether the target was not seen after it.
    pub(super) ends: bool,
}

impl WatchedTarget {
    pub(super) fn new(at: Timestamp) -> Self {
        Self {
            first: at,
            last: at,
            walker: Walker::default(),
            found: None,
            would_have: WouldHave::Unknown,
            block: 0,
            likely: [0; BLOCKS],
            ended: false,
        }
    }

    /// Takes what was seen, and tells what is certain by it.
    pub(super) fn observe(
        &mut self,
        point: Point,
        rules: Rules,
        life: &dyn Life,
        mut tell: impl FnMut(Timestamp, What, WouldHave),
    ) {
        let would_have = self.would_have;
        let point = Point { would_have, ..point };
        let limit = self.walker.last().map_or(point.limit, |last| last.limit);
        if (limit - point.limit).abs() > SAME_LIMIT * limit.abs() {
            tell(point.at, What::Happening(Happening::LimitChanged), would_have);
            self.changed(Change { at: point.at, what: Happening::LimitChanged, would_have, ends: false });
        }
        let was_in_breach = self.walker.in_breach();
        let mut found = self.found.take().unwrap_or_default();
        let known = (found.walked.ways.last().map(|w| w.at), found.walked.resets.last().map(|r| r.at));
        self.walker.push(point, rules, life, &mut found.walked);
        // What was taken back from elsewhere may be found once more.
        found.walked.ways.sort_by_key(|way| way.at);
        found.walked.ways.dedup_by_key(|way| way.at);
        let Walked { ways, resets, .. } = &found.walked;
        for way in ways.iter().filter(|way| known.0.is_none_or(|known| way.at > known)) {
            tell(way.at, What::Reached { onset: way.onset, limit: way.limit }, WouldHave::At(way.at));
        }
        for reset in resets.iter().filter(|reset| known.1.is_none_or(|known| reset.at > known)) {
            tell(reset.at, What::Happening(Happening::Restarted), reset.would_have);
        }
        if let Some(way) = ways.last().filter(|_| was_in_breach && !self.walker.in_breach()) {
            tell(way.over, What::Left, WouldHave::Unknown);
        }
        found.forget(point.at, rules.kind, self.walker.in_breach());
        self.found = (!found.is_empty()).then_some(found);
        (self.last, self.ended) = (point.at, false);
    }

    /// What is said of it at the step at which it was seen.
    pub(super) fn heard(&mut self, prediction: &Prediction) {
        if prediction.at == self.last {
            self.would_have = WouldHave::said(prediction);
        }
        let block = block_of(prediction.kind, prediction.at);
        let passed = usize::try_from(i64::from(block) - i64::from(self.block)).unwrap_or(0);
        for back in 0..passed.min(BLOCKS) {
            self.likely[place(block - back as i32)] = 0;
        }
        self.block = self.block.max(block);
        let likely = (prediction.breach_probability.get() * 255.0).round() as u8;
        self.likely[place(block)] = self.likely[place(block)].max(likely);
    }

    /// See [`super::Watch::most_likely`]; `None` where nothing is remembered of that time.
    pub(super) fn most_likely(&self, kind: BreachKind, range: TimeRange) -> Option<f64> {
        let (from, to) = (block_of(kind, range.start.max(self.first)), block_of(kind, range.end));
        let kept = from.max(self.block - BLOCKS as i32 + 1)..=to.min(self.block);
        let most = kept.map(|block| self.likely[place(block)]).max()?;
        Some(f64::from(most) / 255.0)
    }

    /// The last value that was seen.
    pub(super) fn level(&self) -> Option<f64> {
        self.walker.last().map(|point| point.value)
    }

    pub(super) fn changed(&mut self, change: Change) {
        self.found.get_or_insert_default().changes.push(change);
    }

    pub(super) fn changes(&self) -> &[Change] {
        self.found.as_ref().map_or(&[], |found| &found.changes)
    }

    /// What was found, as if the data ended now.
    pub(super) fn walked(&self, rules: Rules, life: &dyn Life) -> Walked {
        let mut walked = self.certain().cloned().unwrap_or_default();
        self.walker.clone().finish(rules, life, &mut walked);
        walked
    }

    /// What was found and stays so.
    pub(super) fn certain(&self) -> Option<&Walked> {
        self.found.as_ref().map(|found| &found.walked)
    }

    pub(super) fn facts<'a>(&self, data_end: Timestamp, walked: &'a Walked) -> Facts<'a> {
        Facts { first: self.first, last: self.last, data_end, walked }
    }

    pub(super) fn is_forgotten(&self, at: Timestamp, kind: BreachKind) -> bool {
        self.last + ENDED + keep(kind) < at
    }

    /// Goes on from what was stored of a breach that it has not seen itself.
    pub(super) fn recall_breach(&mut self, way: Way) {
        let ways = &mut self.found.get_or_insert_default().walked.ways;
        if let Err(place) = ways.binary_search_by_key(&way.at, |known| known.at) {
            ways.insert(place, way);
            if way.at >= self.last {
                self.walker.reached(way.at);
            }
        }
    }

    /// And that it was over.
    pub(super) fn recall_left(&mut self, over: Timestamp) {
        let mut ways = self.found.iter_mut().flat_map(|found| &mut found.walked.ways);
        if let Some(way) = ways.rfind(|way| way.at <= over) {
            way.over = way.over.max(over);
        }
        if over > self.last {
            self.walker.left(over);
        }
    }

    /// The same of a restart.
    pub(super) fn recall_reset(&mut self, reset: Reset) {
        let resets = &mut self.found.get_or_insert_default().walked.resets;
        if let Err(place) = resets.binary_search_by_key(&reset.at, |known| known.at) {
            resets.insert(place, reset);
        }
    }
}

impl Found {
    fn is_empty(&self) -> bool {
        let Walked { ways, resets, averted } = &self.walked;
        ways.is_empty() && resets.is_empty() && averted.is_empty() && self.changes.is_empty()
    }

    /// Drops what nobody asks for any more.
    fn forget(&mut self, at: Timestamp, kind: BreachKind, in_breach: bool) {
        let kept = |since: Timestamp| since + keep(kind) + PATIENCE > at;
        let last = self.walked.ways.last().map(|way| way.at);
        self.walked.ways.retain(|way| kept(way.over) || in_breach && Some(way.at) == last);
        self.walked.resets.retain(|reset| kept(reset.at));
        self.walked.averted.retain(|climb| kept(climb.end));
        self.changes.retain(|change| kept(change.at));
    }
}

fn block_of(kind: BreachKind, at: Timestamp) -> i32 {
    let length = (horizon_seconds(kind) * 1000.0) as i64 / PARTS as i64;
    at.millis().div_euclid(length) as i32
}

fn place(block: i32) -> usize {
    block.rem_euclid(BLOCKS as i32) as usize
}

impl WatchedTarget {
    /// Forgets a change that was taken back.
    pub(super) fn unchanged(&mut self, at: Timestamp, what: Happening) {
        if let Some(found) = &mut self.found {
            found.changes.retain(|change| (change.at, change.what) != (at, what));
        }
    }
}

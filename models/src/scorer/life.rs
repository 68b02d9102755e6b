//! What is remembered of a target, for whoever settles what was said of it: see [`crate::settle`].

use std::sync::Arc;

use forewarn_schema::{LabelSet, Timestamp};

use super::ServiceScorer;
use super::history::TargetHistory;
use super::pyramid::SINGLE;
use crate::settle::{Life, Point, WouldHave};

/// The last days of one target; its old steps are medians. Limits of the past are not remembered: all is measured by the last one.
struct Kept<'a>(&'a TargetHistory);

impl ServiceScorer {
    /// What is remembered of one target; nothing where it is not known.
    pub(crate) fn life(&self, signal: &Arc<str>, labels: &Arc<LabelSet>) -> Box<dyn Life + '_> {
        let key = (Arc::clone(signal), Arc::clone(labels));
        match self.targets.get(&key) {
            Some(history) => Box::new(Kept(history)),
            None => Box::new(()),
        }
    }
}

impl Kept<'_> {
    fn point(&self, (at, value): (Timestamp, f64)) -> Point {
        Point { at, value, limit: self.0.limit(), would_have: WouldHave::Unknown }
    }
}

impl Life for Kept<'_> {
    fn between(&self, after: Option<Timestamp>, until: Timestamp) -> Vec<Point> {
        let values = self.0.values().filter(|(at, value)| !value.is_nan() && after.is_none_or(|after| *at > after));
        values.take_while(|(at, _)| *at <= until).map(|value| self.point(value)).collect()
    }

    fn last(&self, after: Option<Timestamp>, until: Timestamp, count: usize) -> Vec<Point> {
        let seen = self.0.single_values(SINGLE).rev().filter(|(at, value)| *at <= until && !value.is_nan());
        let life = seen.take_while(|(at, _)| after.is_none_or(|after| *at > after));
        let mut last: Vec<Point> = life.take(count).map(|value| self.point(value)).collect();
        if last.len() < count && self.0.len() > SINGLE {
            let mut all = self.between(after, until);
            return all.split_off(all.len().saturating_sub(count));
        }
        last.reverse();
        last
    }
}

//! The teeth of what saws, as memory does under a garbage collector: when it fell, by how much, and what was left.

use std::collections::VecDeque;

use forewarn_schema::{Step, Timestamp};
use serde::{Deserialize, Serialize};

use super::pyramid::{Joined, Pyramid};
use crate::growth::Tooth;

/// Teeth whose height is remembered: more tell nothing new of how high they are.
const MOST: usize = 64;

/// Kept of a target from its first tooth on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Teeth {
    /// What was left after a fall; NaN at steps without one.
    troughs: Pyramid,
    /// Step number and height as a fraction, oldest first.
    heights: VecDeque<(i64, f32)>,
}

impl Teeth {
    /// None yet; of several troughs the `joined` one is kept.
    pub(super) fn new(step: Step, joined: Joined, at: Timestamp) -> Self {
        Self { troughs: Pyramid::new(step, joined, at), heights: VecDeque::new() }
    }

    /// Takes a step with a tooth, what was left and by how much it fell as a fraction, or one without.
    pub(super) fn push(&mut self, at: Timestamp, tooth: Option<(f64, f64)>) {
        self.troughs.push(at, tooth.map_or(f64::NAN, |(left, _)| left));
        if let Some((_, height)) = tooth {
            if self.heights.len() == MOST {
                self.heights.pop_front();
            }
            self.heights.push_back((self.troughs.last(), height as f32));
        }
    }

    /// What was left after a fall within the stretch of that step; NaN where there was none.
    pub(super) fn trough(&self, number: i64) -> f64 {
        self.troughs.at(number)
    }

    /// Those within the `count` steps up to `last`, oldest first.
    pub(super) fn recent(&self, last: i64, count: usize) -> Vec<Tooth> {
        let tooth = |(number, height): &(i64, f32)| {
            let age = usize::try_from(last - number).ok().filter(|age| *age < count)?;
            Some(Tooth { age, height: f64::from(*height) })
        };
        self.heights.iter().filter_map(tooth).collect()
    }
}

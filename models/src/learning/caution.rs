//! How cautious one is before a breach is announced, and the fixed steps in which that moves.

use std::collections::BTreeMap;

use forewarn_schema::BreachKind;
use serde::{Deserialize, Serialize};

use crate::decision::DecisionParams;

/// From which probability on a breach is urgent, and how long that must last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Caution {
    /// 0..=1; NaN announces nothing.
    pub min_probability: f64,
    /// Steps.
    pub persistence: u32,
    /// The same for a target that races from its start to its limit, steps.
    pub persistence_racing: u32,
}

impl Caution {
    /// Whether what was announced so cautiously would be announced with `other` too.
    pub fn covers(&self, other: &Self) -> bool {
        self.min_probability >= other.min_probability
            && self.persistence >= other.persistence
            && self.persistence_racing >= other.persistence_racing
    }
}

/// The probabilities between which a threshold moves; the last is the most that is ever asked for, so that none goes silent.
const PROBABILITIES: [f64; 9] = [0.05, 0.1, 0.2, 0.35, 0.55, 0.65, 0.75, 0.85, 0.95];
/// Steps below the start, at most.
const DOWN: usize = 2;

/// Where a threshold may stand: from two steps below its start, if there are so many, up to 0.95.
///
/// With each step above the start urgency must last twice as long, up to what the default asks for; below, it stays as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct CautionScale {
    rungs: Vec<Caution>,
    start: usize,
}

impl CautionScale {
    /// The scale of a threshold that starts at `start`, which is one of its rungs.
    pub fn from_start(start: Caution) -> Self {
        let most = DecisionParams::default();
        let lower = PROBABILITIES.iter().rev().filter(|p| **p < start.min_probability).take(DOWN);
        let mut rungs: Vec<Caution> = lower.map(|p| Caution { min_probability: *p, ..start }).collect();
        rungs.reverse();
        let at = rungs.len();
        rungs.push(start);
        let higher = PROBABILITIES.iter().filter(|p| **p > start.min_probability);
        let longer = |steps: u32, times: u32, most: u32| steps.max(1).saturating_mul(times).min(most.max(steps));
        rungs.extend(higher.zip(1..).map(|(p, steps): (_, u32)| Caution {
            min_probability: *p,
            persistence: longer(start.persistence, 1 << steps, most.persistence),
            persistence_racing: longer(start.persistence_racing, 1 << steps, most.persistence_racing),
        }));
        Self { rungs, start: at }
    }

    /// Least cautious first.
    pub fn rungs(&self) -> &[Caution] {
        &self.rungs
    }

    /// The start's place among them.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The highest rung that something reached; `None` where that is none.
    pub(super) fn highest<'a>(&self, reached: impl Iterator<Item = &'a Caution> + Clone) -> Option<usize> {
        (0..self.rungs.len()).rev().find(|i| reached.clone().any(|r| r.covers(&self.rungs[*i])))
    }

    /// The lowest rung from the start on that asks for at least this probability.
    pub(super) fn at_least(&self, probability: f64) -> usize {
        let from_start = self.start..self.rungs.len();
        from_start.clone().find(|i| self.rungs[*i].min_probability >= probability).unwrap_or(self.rungs.len() - 1)
    }
}

/// What was learnt of thresholds. Empty: each stands at its start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds {
    /// Of services with announcements that were judged.
    pub(super) own: BTreeMap<BreachKind, BTreeMap<String, Caution>>,
    /// Of all others, the least that the fleet asks for; only where it moved up.
    pub(super) fleet: BTreeMap<BreachKind, f64>,
}

impl Thresholds {
    /// Whether each stands at its start.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.fleet.is_empty()
    }

    /// How cautious to be with a service that starts at `start`.
    pub fn of(&self, service: &str, kind: BreachKind, start: Caution) -> Caution {
        if let Some(own) = self.own.get(&kind).and_then(|services| services.get(service)) {
            return *own;
        }
        match self.fleet.get(&kind) {
            Some(asked) => {
                let scale = CautionScale::from_start(start);
                scale.rungs[scale.at_least(*asked)]
            }
            None => start,
        }
    }
}

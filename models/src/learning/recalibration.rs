//! What a probability that the models call turned out to be worth: a monotone map by kind of breach, learnt from what became of
//! predictions.
//!
//! It changes the number that is said, not what is announced (thresholds are of the models' own probability, and a monotone map
//! keeps the order) nor when the breach is expected: p10 to p90 stay as they are.

use std::collections::BTreeMap;

use forewarn_schema::{BreachKind, Judge, Probability, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

use super::{Evidence, LearningParams};

/// Fewer blocks of service and day than this, and a kind keeps its probabilities.
const LEAST_BLOCKS: f64 = 10.0;
/// How far slope and offset lie from 1 and 0 beforehand (standard deviations of their priors).
const SLOPE: f64 = 0.3;
const OFFSET: f64 = 0.5;
/// Where they are looked for.
const SLOPES: (f64, f64) = (0.3, 2.0);
const OFFSETS: (f64, f64) = (-2.0, 2.0);
/// Certainties stay certain; logarithms of odds are of what lies within.
const EDGE: f64 = 0.001;

/// The maps of all kinds. Empty: every probability stays, bit for bit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recalibration {
    by_kind: BTreeMap<BreachKind, Stretch>,
}

/// A map of logarithms of odds: `slope` times what was said, plus `offset` (Platt 1999, on the logit as in the beta calibration of
/// Kull et al. 2017).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// More than 0; under 1 where the models are too sure.
    pub slope: f64,
    /// Under 0 where they cry wolf.
    pub offset: f64,
    /// From so many blocks of service and day.
    pub blocks: f64,
}

impl Recalibration {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.by_kind.is_empty()
    }

    /// The maps by kind.
    pub fn maps(&self) -> impl Iterator<Item = (BreachKind, Stretch)> + '_ {
        self.by_kind.iter().map(|(kind, map)| (*kind, *map))
    }

    /// What a probability of that kind is worth. What lies within 0.001 of 0 or 1 stays.
    pub fn apply(&self, kind: BreachKind, said: Probability) -> Probability {
        match self.by_kind.get(&kind) {
            Some(map) if (EDGE..=1.0 - EDGE).contains(&said.get()) => {
                Probability::saturating(map.of(said.get()).clamp(EDGE, 1.0 - EDGE))
            }
            _ => said,
        }
    }

    /// Learns from what was settled before `until`; a miss says nothing of what was said. Shrunk towards what the models say: a few
    /// cases hardly move it, and under ten days of services nothing is changed.
    pub fn learn(evidence: &[Evidence], until: Timestamp, params: &LearningParams) -> Self {
        let mut blocks: BTreeMap<(BreachKind, i64, &str), Vec<Point>> = BTreeMap::new();
        for one in evidence.iter().filter(|e| e.known_at < until) {
            let judged = &one.judged;
            let truth = match judged.verdict {
                Verdict::TruePositive => true,
                Verdict::FalsePositive => false,
                Verdict::Missed | Verdict::Unclear => continue,
            };
            let Some(said) = judged.probability else { continue };
            let error = if judged.judge == Judge::Label { params.label_error } else { 0.0 };
            let day = judged.at.millis().div_euclid(86_400_000);
            let log_odds = logit(said.get().clamp(EDGE, 1.0 - EDGE));
            let block = blocks.entry((judged.kind, day, &judged.service)).or_default();
            block.push(Point { log_odds, truth, error, weight: 1.0 });
        }
        let mut by_kind: BTreeMap<BreachKind, (f64, Vec<Point>)> = BTreeMap::new();
        for ((kind, ..), mut points) in blocks {
            // What is said within a day of one service is hardly news: it counts once.
            let weight = 1.0 / points.len() as f64;
            points.iter_mut().for_each(|p| p.weight = weight);
            points.sort_by(|a, b| {
                (a.log_odds, a.error)
                    .partial_cmp(&(b.log_odds, b.error))
                    .unwrap_or(std::cmp::Ordering::Equal)
                    .then(a.truth.cmp(&b.truth))
            });
            let (count, all) = by_kind.entry(kind).or_default();
            *count += 1.0;
            all.extend(points);
        }
        let enough = by_kind.into_iter().filter(|(_, (count, _))| *count >= LEAST_BLOCKS);
        Self { by_kind: enough.map(|(kind, (count, points))| (kind, fit(count, &points))).collect() }
    }
}

impl Stretch {
    fn of(&self, said: f64) -> f64 {
        sigmoid(self.slope * logit(said) + self.offset)
    }
}

#[derive(Clone, Copy)]
struct Point {
    log_odds: f64,
    truth: bool,
    /// How likely the label is wrong.
    error: f64,
    weight: f64,
}

/// The likeliest map after all, on a grid that closes in: it has no derivative to go wrong and the same bits everywhere.
fn fit(blocks: f64, points: &[Point]) -> Stretch {
    const TRIED: i32 = 6;
    let (mut best, mut at) = (f64::NEG_INFINITY, (1.0, 0.0));
    let mut reach = (0.8, 1.5);
    for _ in 0..8 {
        let centre = at;
        for i in -TRIED..=TRIED {
            for j in -TRIED..=TRIED {
                let slope = (centre.0 + reach.0 * f64::from(i) / f64::from(TRIED)).clamp(SLOPES.0, SLOPES.1);
                let offset = (centre.1 + reach.1 * f64::from(j) / f64::from(TRIED)).clamp(OFFSETS.0, OFFSETS.1);
                let value = likelihood(slope, offset, points);
                if value > best {
                    (best, at) = (value, (slope, offset));
                }
            }
        }
        reach = (reach.0 / 3.0, reach.1 / 3.0);
    }
    Stretch { slope: at.0, offset: at.1, blocks }
}

fn likelihood(slope: f64, offset: f64, points: &[Point]) -> f64 {
    let prior = -((slope - 1.0) / SLOPE).powi(2) / 2.0 - (offset / OFFSET).powi(2) / 2.0;
    let of = |p: &Point| {
        let truly = sigmoid(slope * p.log_odds + offset);
        let says = truly * (1.0 - p.error) + (1.0 - truly) * p.error;
        p.weight * if p.truth { says } else { 1.0 - says }.max(1e-12).ln()
    };
    prior + points.iter().map(of).sum::<f64>()
}

fn logit(p: f64) -> f64 {
    (p / (1.0 - p)).ln()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

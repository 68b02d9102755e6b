//! The first passage of a mixture of growths through the limit.

use super::Growth;
use super::evidence::Candidate;
use super::shape::{Clock, Shape};

/// Explanations less likely than this are not followed.
const LEAST_WEIGHT: f64 = 0.005;
/// How wrong a growth may be in itself, as one standard deviation of what it still has to grow: no shape is exactly one of ours.
/// Measured: with it the 80 % intervals hold the truth in 80 % of the cases of the labelled histories.
const MODEL_DOUBT: f64 = 0.2;
/// What the last bins lie above the fit is forgotten within so many bins.
const OFFSET_BINS: f64 = 8.0;
/// Share of the misfit that is there in every forecast.
const LASTING_MISFIT: f64 = 0.3;

/// How likely the limit has been passed by a time: never falling.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// Steps from now, rising.
    steps: Vec<f64>,
    probability: Vec<f64>,
}

/// The distribution of a target's fraction at one time ahead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fan {
    /// Steps from now.
    pub steps: f64,
    /// The 0.1 quantile.
    pub low: f64,
    /// The median.
    pub mid: f64,
    /// The 0.9 quantile.
    pub high: f64,
}

impl Passage {
    /// How likely it is within `steps`, 0..=1; linear between the points that were looked at.
    pub fn within(&self, steps: f64) -> f64 {
        let after = self.steps.partition_point(|s| *s <= steps);
        let (left, p_left) = if after == 0 { (0.0, 0.0) } else { (self.steps[after - 1], self.probability[after - 1]) };
        let Some(right) = self.steps.get(after) else { return p_left };
        p_left + (self.probability[after] - p_left) * ((steps - left) / (right - left)).clamp(0.0, 1.0)
    }

    /// When the probability reaches `quantile`, in steps from now; `None` where it never does.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let at = self.probability.partition_point(|p| *p < quantile);
        let right = *self.steps.get(at)?;
        let (left, p_left) = if at == 0 { (0.0, 0.0) } else { (self.steps[at - 1], self.probability[at - 1]) };
        let rise = self.probability[at] - p_left;
        let share = if rise > 0.0 { (quantile - p_left) / rise } else { 1.0 };
        Some(left + (right - left) * share.clamp(0.0, 1.0))
    }

    /// The last time that was looked at, in steps from now.
    pub fn end(&self) -> f64 {
        self.steps.last().copied().unwrap_or(0.0)
    }

    /// The same with the logarithms of its times stretched about the median: by more than 1 a wider interval. Where no median
    /// comes there is nothing to stretch about.
    pub(crate) fn stretched(mut self, by: f64) -> Self {
        let Some(median) = self.quantile(0.5).filter(|median| *median > 0.0) else { return self };
        for steps in &mut self.steps {
            *steps = median * (*steps / median).powf(by);
        }
        self
    }

    /// The same with a forecaster of what is normal beside it, until `reach` steps: where it sees the limit passed sooner, the mean of
    /// both. Where it does not, that says nothing: it has never been shown a way to a limit, and would put off every breach to the end of
    /// its reach.
    pub(crate) fn hastened(mut self, other: impl Fn(f64) -> f64, reach: f64) -> Self {
        let mut highest = 0.0_f64;
        for (steps, probability) in self.steps.iter().zip(&mut self.probability) {
            if *steps <= reach {
                *probability += (other(*steps) - *probability).max(0.0) / 2.0;
            }
            highest = highest.max(*probability);
            *probability = highest;
        }
        self
    }
}

impl Growth {
    /// How likely the limit is passed by each of the times ahead.
    pub fn passage(&self, ahead: &Ahead) -> Passage {
        let mut probability = vec![0.0; ahead.steps.len()];
        for candidate in self.candidates.iter().filter(|c| c.weight >= LEAST_WEIGHT) {
            let follow = Follow { candidate, width: self.width, now: candidate.grown(0.0) };
            // Peaks of what does not grow have not reached the limit so far, and will not.
            let before = if candidate.shape == Shape::Flat { 0.0 } else { self.ahead };
            let mut passed = 0.0_f64;
            for (i, probability) in probability.iter_mut().enumerate() {
                let (mean, deviation) = follow.at(ahead, i);
                passed = passed.max(normal_cdf((mean + before - 1.0) / deviation));
                *probability += candidate.weight * passed;
            }
        }
        Passage { steps: ahead.steps.clone(), probability }
    }

    /// Where the fraction is at each of the times ahead.
    pub fn fan(&self, ahead: &Ahead) -> Vec<Fan> {
        let followed: Vec<Follow<'_>> = self
            .candidates
            .iter()
            .filter(|c| c.weight >= LEAST_WEIGHT)
            .map(|candidate| Follow { candidate, width: self.width, now: candidate.grown(0.0) })
            .collect();
        (0..ahead.steps.len())
            .map(|i| {
                let parts: Vec<(f64, f64, f64)> = followed
                    .iter()
                    .map(|f| {
                        let (mean, deviation) = f.at(ahead, i);
                        (f.candidate.weight, mean, deviation)
                    })
                    .collect();
                let quantile = |q| mixture_quantile(&parts, q);
                Fan { steps: ahead.steps[i], low: quantile(0.1), mid: quantile(0.5), high: quantile(0.9) }
            })
            .collect()
    }
}

/// What lies ahead, the same for every explanation and for every target of a service.
#[derive(Clone, Debug)]
pub struct Ahead {
    steps: Vec<f64>,
    loads: Vec<f64>,
    /// The clock of load.
    passed: Vec<f64>,
}

impl Ahead {
    /// At `steps` from now, rising, under the load that `load_ahead` expects that many steps from now.
    pub fn look(steps: Vec<f64>, load_ahead: impl Fn(f64) -> f64) -> Self {
        let (mut left, mut load_left, mut total) = (0.0, load_ahead(0.0), 0.0);
        let (mut loads, mut passed) = (Vec::with_capacity(steps.len()), Vec::with_capacity(steps.len()));
        for &right in &steps {
            let (middle, load) = (load_ahead((left + right) / 2.0), load_ahead(right));
            total += (right - left) * (load_left + 4.0 * middle + load) / 6.0;
            (left, load_left) = (right, load);
            loads.push(load);
            passed.push(total);
        }
        Self { steps, loads, passed }
    }
}

struct Follow<'a> {
    candidate: &'a Candidate,
    width: f64,
    now: f64,
}

impl Follow<'_> {
    /// Mean and standard deviation of the fraction at the `i`-th time ahead.
    fn at(&self, ahead: &Ahead, i: usize) -> (f64, f64) {
        let Self { candidate, width, now } = self;
        let x = if candidate.clock == Clock::Load { ahead.passed[i] } else { ahead.steps[i] };
        let row = [1.0, ahead.loads[i] - 1.0, candidate.grown(x)];
        let [_, _, amplitude] = candidate.coefficients;
        let fitted: f64 = row.iter().zip(&candidate.coefficients).map(|(a, b)| a * b).sum();
        let mean = fitted + candidate.offset * (-ahead.steps[i] / (OFFSET_BINS * width)).exp();
        let unsure: f64 =
            (0..3).map(|a| (0..3).map(|b| row[a] * row[b] * candidate.covariance[a][b]).sum::<f64>()).sum();
        let doubt = MODEL_DOUBT * amplitude * (row[2] - now);
        let variance = unsure.max(0.0) + doubt * doubt + (LASTING_MISFIT * candidate.misfit).powi(2) + 1e-8;
        (mean, variance.sqrt())
    }
}

fn mixture_quantile(parts: &[(f64, f64, f64)], quantile: f64) -> f64 {
    let total: f64 = parts.iter().map(|p| p.0).sum();
    let reach = |sign: f64| {
        parts.iter().map(|(_, mean, deviation)| sign * (mean + sign * 4.0 * deviation)).fold(f64::MIN, f64::max)
    };
    let (mut low, mut high) = (-reach(-1.0), reach(1.0));
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        let below: f64 =
            parts.iter().map(|(weight, mean, deviation)| weight * normal_cdf((middle - mean) / deviation)).sum();
        if below < quantile * total { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// The standard normal distribution function, to 1e-7 (Abramowitz and Stegun 26.2.17).
pub(crate) fn normal_cdf(z: f64) -> f64 {
    if z < -8.0 {
        return 0.0;
    }
    let t = 1.0 / (1.0 + 0.2316419 * z.abs());
    let series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
    let tail = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * series;
    if z >= 0.0 { 1.0 - tail } else { tail }
}

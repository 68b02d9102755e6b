//! The explanations of a run, each fitted and weighed by its evidence.

use forewarn_features::seasonal::median;

use super::bins::Bins;
use super::columns::Columns;
use super::shape::{Clock, Shape};
use super::{LoadShare, SETTLING_CLASS, Start};

/// Where in the run a growth may begin, as shares of it.
const ONSETS: [f64; 7] = [0.0, 0.2, 0.4, 0.55, 0.7, 0.8, 0.88];
/// Bins that a growth which began within the run must have.
const MIN_BINS_GROWN: usize = 8;
/// Rates of acceleration: how often its own time constant fits into the run so far, with the prior share of each for a run whose
/// start was seen. One that was not seen to start may be much older than what accelerates in it.
const ACCELERATIONS: [(f64, f64); 8] =
    [(0.7, 0.2), (1.5, 0.25), (2.5, 0.25), (4.0, 0.2), (7.0, 0.04), (12.0, 0.02), (24.0, 0.02), (48.0, 0.02)];
/// The same of coming to rest. A slower one cannot be told from a linear growth, and is none until it has slowed.
const SETTLINGS: [f64; 4] = [3.0, 5.0, 8.0, 16.0];
/// The same while a start is fresh: every start warms up, and a warm-up begins like a line.
const WARMING_SETTLINGS: [f64; 4] = [0.7, 1.5, 3.0, 8.0];
/// What has not come this share of the way may have many reasons.
const LEAST_RISE: f64 = 0.05;
/// What is believed beforehand of a run that grows.
const PRIOR_SETTLING: f64 = 0.3;
const PRIOR_WARMING: f64 = 0.95;
const PRIOR_ACCELERATING: f64 = 0.25;
/// That accelerating growth goes by the clock of time rather than of load.
const PRIOR_ACCELERATING_BY_TIME: f64 = 0.8;
/// That a growth began with the run: leaks come with a deployment or a restart.
const PRIOR_FROM_START: f64 = 0.9;
/// The same where the start was not seen.
const PRIOR_FROM_BEFORE: f64 = 0.5;
/// That nothing grows, against that anything does: 4 to 1.
const PRIOR_FLAT: f64 = 4.0;
/// Standard deviation of a bin below which a better fit proves nothing.
const LEAST_MISFIT: f64 = 1e-3;

/// One explanation: `base + share * (load - 1) + amplitude * shape`.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub shape: Shape,
    pub clock: Clock,
    /// Of the shape, per unit of the clock.
    pub rate: f64,
    /// The clock's value where the growth begins, not above 0 (now).
    pub onset: f64,
    /// The share of the run at which it begins.
    onset_share: f64,
    /// Base, share and amplitude; the last per whole run, see [`Candidate::grown`].
    pub coefficients: [f64; 3],
    /// Their covariance.
    pub covariance: [[f64; 3]; 3],
    /// Mean of what the last bins lie above the fit.
    pub offset: f64,
    /// Standard deviation of what a bin lies off.
    pub misfit: f64,
    /// The posterior probability.
    pub weight: f64,
    /// What was believed beforehand, in the same unit for all.
    pub prior: f64,
    squares: f64,
}

impl Candidate {
    /// The growth at `x` of its clock, relative to now at 0; in units of the length so far.
    pub(super) fn grown(&self, x: f64) -> f64 {
        if self.shape == Shape::Flat { 0.0 } else { self.shape.at(x - self.onset, self.rate) / -self.onset }
    }

    /// Whether it says that what matters began in the last half of the run.
    pub(super) fn began_late(&self) -> bool {
        self.is_burst() || self.shape != Shape::Flat && self.onset_share >= 0.5
    }

    /// Whether it lays all of the growth into the very last bins: a reason to look closer, never one to believe.
    fn is_burst(&self) -> bool {
        self.shape == Shape::Accelerating && -self.rate * self.onset > 6.0
    }

    /// Which of the classes that siblings can agree on; `None` for no growth.
    pub(super) fn class(&self) -> Option<usize> {
        match (self.shape, self.clock) {
            (Shape::Flat, _) => None,
            (Shape::Linear, Clock::Time) => Some(0),
            (Shape::Linear, Clock::Load) => Some(1),
            (Shape::Accelerating, Clock::Time) => Some(2),
            (Shape::Accelerating, Clock::Load) => Some(3),
            (Shape::Settling, _) => Some(SETTLING_CLASS),
        }
    }

    fn residual(&self, bins: &Bins, bin: usize) -> f64 {
        let x = clock_of(bins, self.clock)[bin];
        let [base, share, amplitude] = self.coefficients;
        bins.values[bin] - base - share * (bins.loads[bin] - 1.0) - amplitude * self.grown(x)
    }
}

/// Every explanation with its weight; the weights sum to 1.
pub(super) fn fit_candidates(bins: &Bins, share: LoadShare, start: Start) -> Vec<Candidate> {
    let seen: Vec<usize> = (0..bins.values.len()).filter(|b| bins.values[*b].is_finite()).collect();
    let columns = Columns::new(bins);
    let ridge = (bin_noise(bins, &seen) / share.spread).powi(2);
    let mut candidates = Vec::with_capacity(80);
    let flat = Explanation { shape: Shape::Flat, clock: Clock::Time, rate: 0.0, onset_share: 0.0, prior: PRIOR_FLAT };
    candidates.extend(flat.fit(bins, &columns, share, ridge));
    for explanation in explanations(start) {
        let onset_bin = (explanation.onset_share * bins.values.len() as f64) as usize;
        if onset_bin == 0 || bins.values.len() - onset_bin >= MIN_BINS_GROWN {
            candidates.extend(explanation.fit(bins, &columns, share, ridge));
        }
    }
    weigh(bins, &seen, &columns, &mut candidates);
    candidates
}

#[derive(Clone, Copy)]
struct Explanation {
    shape: Shape,
    clock: Clock,
    /// Times the length of the run since the onset.
    rate: f64,
    onset_share: f64,
    prior: f64,
}

fn explanations(start: Start) -> impl Iterator<Item = Explanation> {
    let started = start != Start::Unseen;
    let from_start = if started { PRIOR_FROM_START } else { PRIOR_FROM_BEFORE };
    let (settles, settlings) = match start {
        Start::Fresh => (PRIOR_WARMING, WARMING_SETTLINGS),
        _ => (PRIOR_SETTLING, SETTLINGS),
    };
    let accelerates = PRIOR_ACCELERATING * (1.0 - settles) / (1.0 - PRIOR_SETTLING);
    let linear = (1.0 - settles - accelerates) / 2.0;
    let within = ONSETS.into_iter().flat_map(move |onset_share| {
        let onset = if onset_share == 0.0 { from_start } else { (1.0 - from_start) / (ONSETS.len() - 1) as f64 };
        let lines = [Clock::Time, Clock::Load].into_iter().map(move |clock| (Shape::Linear, clock, 0.0, linear));
        let settling = settles / settlings.len() as f64;
        let settlings = settlings.into_iter().map(move |rate| (Shape::Settling, Clock::Time, rate, settling));
        lines.chain(settlings).map(move |(shape, clock, rate, prior)| Explanation {
            shape,
            clock,
            rate,
            onset_share,
            prior: prior * onset,
        })
    });
    let clocks = [(Clock::Time, PRIOR_ACCELERATING_BY_TIME), (Clock::Load, 1.0 - PRIOR_ACCELERATING_BY_TIME)];
    // What accelerates begins so slowly that its onset does not matter.
    let accelerating = clocks.into_iter().flat_map(move |(clock, by_clock)| {
        ACCELERATIONS.into_iter().map(move |(rate, seen)| {
            let of_rate = if started { seen } else { 1.0 / ACCELERATIONS.len() as f64 };
            let prior = accelerates * by_clock * of_rate;
            Explanation { shape: Shape::Accelerating, clock, rate, onset_share: 0.0, prior }
        })
    });
    within.chain(accelerating)
}

impl Explanation {
    /// `None` where the data have it shrink or hardly grow, or say nothing of it.
    fn fit(self, bins: &Bins, columns: &Columns<'_>, share: LoadShare, ridge: f64) -> Option<Candidate> {
        let clock = clock_of(bins, self.clock);
        let onset_bin = (self.onset_share * bins.values.len() as f64) as usize;
        let half_bin = bins.width as f64 / 2.0 * if self.clock == Clock::Load { bins.loads[onset_bin] } else { 1.0 };
        let onset = (clock[onset_bin] - half_bin).min(-1e-9);
        let grown = columns.grown(self.shape, self.clock, self.rate, onset_bin, onset);
        // What is known of the share counts like an observation of it.
        let normal = [
            [columns.count, columns.loads, grown.sum],
            [columns.loads, columns.loads_squared + ridge, grown.by_load],
            [grown.sum, grown.by_load, if self.shape == Shape::Flat { 1.0 } else { grown.squared }],
        ];
        let right = [columns.values, columns.values_by_load + ridge * share.mean, grown.by_value];
        let mut covariance = invert(normal)?;
        let row = |of: &[f64; 3], by: &[f64; 3]| -> f64 { of.iter().zip(by).map(|(a, b)| a * b).sum() };
        let fitted: [f64; 3] = std::array::from_fn(|i| row(&covariance[i], &right));
        let [base, share_fitted, amplitude] = fitted;
        if self.shape == Shape::Flat {
            covariance[2][2] = 0.0;
        } else if amplitude.is_nan() || amplitude * self.shape.at(1.0, self.rate) < LEAST_RISE {
            return None;
        }
        // The squares of what is left over, from the sums alone.
        let quadratic: f64 = (0..3).map(|i| fitted[i] * row(&normal[i], &fitted)).sum();
        let squares = columns.values_squared + ridge * share.mean.powi(2) - 2.0 * row(&right, &fitted) + quadratic;
        let recent = columns.recent;
        let above = recent.values - recent.count * base - share_fitted * recent.loads - amplitude * grown.recent;
        squares.is_finite().then_some(Candidate {
            shape: self.shape,
            clock: self.clock,
            rate: self.rate / -onset,
            onset,
            onset_share: self.onset_share,
            coefficients: [base + columns.middle, share_fitted, amplitude],
            covariance,
            offset: if recent.count > 0.0 { above / recent.count } else { 0.0 },
            misfit: 0.0,
            weight: 0.0,
            squares: squares.max(0.0),
            prior: self.prior,
        })
    }
}

fn clock_of(bins: &Bins, clock: Clock) -> &[f64] {
    match clock {
        Clock::Time => &bins.time,
        Clock::Load => &bins.load_clock,
    }
}

/// Posterior weights, and what the forecast needs to know of the misfit.
fn weigh(bins: &Bins, seen: &[usize], columns: &Columns<'_>, candidates: &mut [Candidate]) {
    let Some(best) = candidates.iter().min_by(|a, b| a.squares.total_cmp(&b.squares)) else { return };
    let n = columns.count;
    // Neighbouring bins are off together: so many independent ones say as much.
    let residuals: Vec<f64> = seen.iter().map(|b| best.residual(bins, *b)).collect();
    let lagged: f64 = residuals.windows(2).map(|p| p[0] * p[1]).sum();
    let squared: f64 = residuals.iter().map(|r| r * r).sum::<f64>().max(1e-18);
    let autocorrelation = (lagged / squared + 2.0 / n).clamp(0.0, 0.95);
    let independent = (n * (1.0 - autocorrelation) / (1.0 + autocorrelation)).max(6.0);
    let floor = n * LEAST_MISFIT * LEAST_MISFIT;
    let least = best.squares + floor;
    for candidate in candidates.iter_mut() {
        let parameters = match candidate.shape {
            Shape::Flat => 2.0,
            _ if candidate.onset_share > 0.0 => 4.0,
            _ => 3.0,
        };
        let likelihood = -0.5 * independent * ((candidate.squares + floor) / least).ln();
        candidate.weight = candidate.prior * (likelihood - 0.5 * parameters * independent.ln()).exp();
        candidate.misfit = (candidate.squares / (n - 3.0).max(1.0)).sqrt();
        // Coefficients are as unsure as so many independent bins make them.
        let variance = candidate.misfit.powi(2) * n / independent;
        candidate.covariance.iter_mut().flatten().for_each(|c| *c *= variance);
    }
    normalise(candidates);
}

/// Whether the best fit, whatever was believed beforehand, lays the growth into the last half and halves what no growth leaves over.
pub(super) fn best_fit_began_late(candidates: &[Candidate]) -> bool {
    let flat = candidates.iter().find(|c| c.shape == Shape::Flat);
    let best = candidates.iter().min_by(|a, b| a.squares.total_cmp(&b.squares));
    best.zip(flat).is_some_and(|(best, flat)| best.began_late() && best.squares * 2.0 < flat.squares)
}

/// Where no closer look is possible, what would only show there is left out, and so is what has not come `least_rise` of the way.
pub(super) fn leave_out_unproven(candidates: &mut Vec<Candidate>, least_rise: f64) {
    let risen = |c: &Candidate| c.coefficients[2] * c.grown(0.0);
    candidates.retain(|c| c.shape == Shape::Flat || !c.is_burst() && risen(c) >= least_rise);
    normalise(candidates);
}

/// Makes the weights sum to 1.
fn normalise(candidates: &mut [Candidate]) {
    let total: f64 = candidates.iter().map(|c| c.weight).sum();
    if total > 0.0 {
        candidates.iter_mut().for_each(|c| c.weight /= total);
    }
}

/// One standard deviation of a bin, from the changes between neighbours.
fn bin_noise(bins: &Bins, seen: &[usize]) -> f64 {
    let neighbours = seen.windows(2).filter(|p| p[1] == p[0] + 1);
    let mut changes: Vec<f64> = neighbours.map(|p| (bins.values[p[1]] - bins.values[p[0]]).abs()).collect();
    if changes.len() < 4 {
        return 0.01;
    }
    (1.4826 * median(&mut changes) / std::f64::consts::SQRT_2).max(1e-4)
}

/// The inverse of a symmetric positive matrix by its cofactors; `None` where it is singular.
pub(super) fn invert(m: [[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let minor = |i: usize, j: usize| {
        let (a, b) = ((i + 1) % 3, (i + 2) % 3);
        let (c, d) = ((j + 1) % 3, (j + 2) % 3);
        m[a][c] * m[b][d] - m[a][d] * m[b][c]
    };
    let determinant: f64 = (0..3).map(|j| m[0][j] * minor(0, j)).sum();
    // Relative to the diagonal, so that small units are no singularity.
    let size = m[0][0] * m[1][1] * m[2][2];
    if determinant.is_nan() || determinant <= 1e-12 * size {
        return None;
    }
    Some(std::array::from_fn(|i| std::array::from_fn(|j| minor(j, i) / determinant)))
}

#[cfg(test)]
mod tests {
    use super::super::Course;
    use super::*;

    /// Noise of a hundredth, the same in each run.
    fn noise(step: usize) -> f64 {
        0.01 * ((step * 7919 % 101) as f64 / 101.0 - 0.5)
    }

    #[test]
    fn what_is_left_over_is_what_the_residuals_come_to() {
        for (steps, hole) in [(40, 20..22), (96, 90..96), (450, 0..0), (1440, 300..700)] {
            let load = |step: usize| 1.0 + 0.5 * (step as f64 / 200.0).sin();
            let value = |step: usize| {
                let grown = 0.2 + 0.6 * (step as f64 / steps as f64).powi(2) + 0.1 * load(step) + noise(step);
                if hole.contains(&step) { f64::NAN } else { grown }
            };
            let [values, loads]: [Vec<f64>; 2] = [(0..steps).map(value).collect(), (0..steps).map(load).collect()];
            let bins = Bins::cut(&Course::of_steps(&values, &loads), 0, false, None).unwrap();
            let share = LoadShare { mean: 0.05, spread: 0.02 };
            let candidates = fit_candidates(&bins, share, Start::Seen);
            assert!(candidates.len() > 20 && candidates.iter().any(|c| c.clock == Clock::Load), "{}", candidates.len());
            let (count, seen) = (bins.values.len(), |bin: &usize| bins.values[*bin].is_finite());
            let ridge = (bin_noise(&bins, &(0..count).filter(seen).collect::<Vec<_>>()) / share.spread).powi(2);
            for candidate in candidates {
                let residual = |bin: usize| candidate.residual(&bins, bin);
                let weight = |bin: usize| (-(count as f64 - 1.0 - bin as f64) / count as f64).exp();
                let squares: f64 = (0..count).filter(seen).map(|bin| weight(bin) * residual(bin).powi(2)).sum();
                let wanted = squares + ridge * (candidate.coefficients[1] - share.mean).powi(2);
                assert!((candidate.squares - wanted).abs() < 1e-9 * wanted + 1e-13, "{candidate:?}: {wanted}");
                let recent: Vec<f64> = (count - 6..count).filter(seen).map(residual).collect();
                let above = recent.iter().sum::<f64>() / recent.len().max(1) as f64;
                assert!((candidate.offset - above).abs() < 1e-10, "{candidate:?}: {above}");
            }
        }
    }
}

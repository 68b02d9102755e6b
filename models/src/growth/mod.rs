//! Where a target is going: a base, a share that follows the load, and a growth whose shape the data choose.
//!
//! A fraction `y` on its way to 1 is taken as `y = base + share * (load - 1) + amplitude * growth(t)`. The growth may be linear,
//! accelerating or coming to rest, on the clock of time or on the clock of load (many leaks sleep at night), and may begin with the
//! run or within it. Every such candidate, and no growth at all, is fitted to the whole run by least squares; each then
//! counts by its evidence, so that two explanations that fit alike are both kept and the forecast is a mixture: its first passage
//! through the limit has quantiles, and a probability that nothing ever comes.
//!
//! This is Bayesian model averaging with the usual large-sample evidence (Kass and Raftery 1995, Schwarz 1978), on a number of
//! observations that is discounted for the autocorrelation of what is left. Memory that a collector gives back is judged by
//! what is left after each collection. [Why not a trend line](../../docs/decisions/0021-growth-by-evidence.md).

mod bins;
mod columns;
mod course;
mod evidence;
mod passage;
mod shape;
mod share;
#[cfg(test)]
mod tests;

use bins::Bins;
pub(crate) use bins::LEAST_TOOTH_HEIGHT;
pub use bins::Saw;
pub use course::{Course, Stretch, Tooth};
pub(crate) use course::{noise, usual_rise};
use evidence::{Candidate, fit_candidates};
pub(crate) use passage::normal_cdf;
pub use passage::{Ahead, Fan, Passage};
use serde::{Deserialize, Serialize};
pub use shape::{Clock, Shape};

/// Fewer steps than this say nothing.
const MIN_STEPS: usize = 12;
/// Bins that a run is cut into.
const MAX_BINS: usize = 96;
/// A run is looked at more closely from its last half on, where what matters began there, so many times.
const MAX_ZOOMS: usize = 6;
/// Below this many steps there is nothing to look closer at.
const MIN_ZOOM_STEPS: usize = 240;
/// Where the share of the load is not known, so many steps are asked by themselves as well: a day at the default step.
const RECENT_STEPS: usize = 1440;
/// A collector has to be able to give back this share of what it used to: with less room to the limit it is at its end.
const LEAST_TOOTH: f64 = 0.1;

/// How much of a fraction follows the load: its change where the load changes by its own mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadShare {
    /// Expected.
    pub mean: f64,
    /// How sure that is: one standard deviation, more than 0.
    pub spread: f64,
}

impl Default for LoadShare {
    /// Nothing known: none, give or take a tenth of the way.
    fn default() -> Self {
        Self { mean: 0.0, spread: 0.1 }
    }
}

/// What is known of the beginning of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It lies before what is remembered.
    Unseen,
    /// It was seen, so long ago that the warm-up is over.
    Seen,
    /// It was seen, and what it started may still be warming up.
    Fresh,
}

/// One run of a target: from a start, or from as far back as is remembered, to now; without a restart within.
pub struct Run<'a> {
    /// What is remembered of it.
    pub course: &'a Course,
    /// How the run began.
    pub start: Start,
    /// What is known of the share that follows the load.
    pub share: LoadShare,
    /// A growth that has not come this share of the way is not followed; at least a twentieth.
    pub least_rise: f64,
    /// By how much the peaks of what grows go ahead of its middle: they, not it, reach the limit.
    pub peaks: f64,
    /// Whether falls give back what is needed before the limit, as a garbage collector's do.
    pub elastic: bool,
    /// The saw that this signal is known for: then only troughs count, however few there are as yet.
    pub saw: Option<Saw>,
}

/// A mixture of explanations of one run.
#[derive(Clone, Debug)]
pub struct Growth {
    candidates: Vec<Candidate>,
    /// By how much the limit is reached ahead of the middle of a growing series.
    ahead: f64,
    /// Steps a bin.
    width: f64,
}

/// The kinds of explanation that siblings can agree on.
pub const CLASSES: usize = 5;
/// The last of them: growth that comes to rest.
pub const SETTLING_CLASS: usize = CLASSES - 1;

impl Growth {
    /// Weighs the explanations of `run`.
    ///
    /// `None` where fewer than 12 steps, or too few of their bins, were seen.
    pub fn fit(run: &Run<'_>) -> Option<Self> {
        let whole = Self::fit_from(run, 0)?;
        let known = run.share != LoadShare::default();
        if known || whole.probability_of_growth() >= 0.5 || run.course.steps() <= RECENT_STEPS {
            return Some(whole);
        }
        // Days of waves that nobody can explain drown what began an hour ago.
        let recent = Self::fit_from(run, run.course.steps() - RECENT_STEPS);
        Some(recent.filter(|recent| recent.probability_of_growth() >= 0.5).unwrap_or(whole))
    }

    /// Weighs what `run` shows from a step on, or from where the evidence says that what matters began.
    fn fit_from(run: &Run<'_>, mut from: usize) -> Option<Self> {
        for zoom in 0..=MAX_ZOOMS {
            let steps = run.course.steps() - from;
            if steps < MIN_STEPS {
                return None;
            }
            let bins = Bins::cut(run.course, from, run.elastic, run.saw)?;
            let start = if from == 0 || run.start == Start::Fresh { run.start } else { Start::Unseen };
            let mut candidates = fit_candidates(&bins, run.share, start);
            let began_late: f64 = candidates.iter().filter(|c| c.began_late()).map(|c| c.weight).sum();
            // Waves of a load that nobody knows make all evidence weak: there the best fit decides whether to look closer.
            let hidden = run.share == LoadShare::default() && evidence::best_fit_began_late(&candidates);
            if (began_late > 0.6 || hidden) && steps >= MIN_ZOOM_STEPS && zoom < MAX_ZOOMS {
                from += steps / 2;
                continue;
            }
            evidence::leave_out_unproven(&mut candidates, run.least_rise);
            let ahead = match bins.tooth {
                Some(tooth) => LEAST_TOOTH * tooth,
                None => run.peaks,
            };
            return Some(Self { candidates, ahead, width: bins.width as f64 });
        }
        None
    }

    /// The evidence for each class of growth beyond what was believed beforehand; `None` where nothing is likely to grow.
    pub(crate) fn evidence(&self) -> Option<[f64; CLASSES]> {
        if self.probability_of_growth() < 0.5 {
            return None;
        }
        let (mut weights, mut priors) = ([0.0; CLASSES], [0.0; CLASSES]);
        for candidate in &self.candidates {
            if let Some(class) = candidate.class() {
                weights[class] += candidate.weight;
                priors[class] += candidate.prior;
            }
        }
        // A class of which no candidate fits at all is unlikely, not impossible.
        Some(std::array::from_fn(|c| if priors[c] > 0.0 { (weights[c] / priors[c]).max(1e-3) } else { 1e-3 }))
    }

    /// The share of each class among what grows, and what was believed beforehand; `None` where nothing is likely to grow.
    pub fn classes(&self) -> Option<[[f64; CLASSES]; 2]> {
        if self.probability_of_growth() < 0.5 {
            return None;
        }
        let mut shares = [[0.0; CLASSES]; 2];
        for candidate in &self.candidates {
            if let Some(class) = candidate.class() {
                shares[0][class] += candidate.weight;
                shares[1][class] += candidate.prior;
            }
        }
        Some(shares.map(|of| {
            let total: f64 = of.iter().sum();
            of.map(|share| share / total)
        }))
    }

    /// Believes the classes of growth by what earlier episodes of the same signal showed; whether anything grows stays as likely
    /// as it was.
    pub(crate) fn believe(&mut self, factors: &[f64; CLASSES]) {
        self.weigh(factors);
        for candidate in &mut self.candidates {
            if let Some(class) = candidate.class() {
                candidate.prior *= factors[class];
            }
        }
    }

    /// Weighs the classes of growth by what siblings say of them. Whether anything grows stays as likely as it was: one replica may
    /// leak where the others do not.
    pub(crate) fn weigh(&mut self, factors: &[f64; CLASSES]) {
        let grows = self.probability_of_growth();
        let weighed = |c: &Candidate| c.class().map_or(0.0, |class| c.weight * factors[class]);
        let total: f64 = self.candidates.iter().map(weighed).sum();
        if !(total > 0.0 && total.is_finite()) {
            return;
        }
        for candidate in &mut self.candidates {
            if let Some(class) = candidate.class() {
                candidate.weight *= factors[class] * grows / total;
            }
        }
    }

    /// How likely it is that anything grows at all, 0..=1.
    pub fn probability_of_growth(&self) -> f64 {
        self.candidates.iter().filter(|c| c.shape != Shape::Flat).map(|c| c.weight).sum()
    }

    /// The shape and clock of the likeliest explanation.
    pub fn likeliest(&self) -> (Shape, Clock) {
        let best = self.candidates.iter().max_by(|a, b| a.weight.total_cmp(&b.weight));
        best.map_or((Shape::Flat, Clock::Time), |c| (c.shape, c.clock))
    }
}

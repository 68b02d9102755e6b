//! A run cut into bins: few enough to try many explanations, each value a median so that spikes do not count.

use forewarn_features::seasonal::median;
use serde::{Deserialize, Serialize};

use super::MAX_BINS;

/// Fewer bins with a value than this say nothing.
const MIN_BINS: usize = 10;
/// Where only the troughs of a saw count, fewer do.
const MIN_TROUGHS: usize = 5;
/// Steps, at most, in which a saw's teeth are looked for: a day at the default step.
const SAW_STEPS: usize = 1440;
/// A tooth falls by this many times the largest of the usual rises, and by at least this much of the way.
const TOOTH_RISES: f64 = 4.0;
const MIN_TOOTH: f64 = 0.04;
/// A saw has at least two teeth and one for each quarter of a day besides.
const STEPS_A_TOOTH: usize = 360;
/// Steps that the noise of single samples is read from.
const NOISE_STEPS: usize = 720;

/// Median values, mean loads and both clocks of equal parts of a run.
pub(super) struct Bins {
    /// Steps a bin.
    pub width: usize,
    /// The fraction; NaN where nothing was seen.
    pub values: Vec<f64>,
    /// The mean relative load.
    pub loads: Vec<f64>,
    /// Steps from each bin's middle to now, negative.
    pub time: Vec<f64>,
    /// The same in units of load.
    pub load_clock: Vec<f64>,
    /// One standard deviation of single samples.
    pub noise: f64,
    /// How much a tooth falls, where this is a saw that is judged by its troughs.
    pub tooth: Option<f64>,
}

impl Bins {
    /// `None` where too few bins have a value.
    pub(super) fn cut(fractions: &[f64], loads: &[f64], elastic: bool, known: Option<Saw>) -> Option<Self> {
        let width = fractions.len().div_ceil(MAX_BINS).max(1);
        let count = fractions.len() / width;
        let skipped = fractions.len() - count * width;
        let (fractions, loads) = (&fractions[skipped..], &loads[skipped..]);
        let mut bins = Self {
            width,
            values: Vec::with_capacity(count),
            loads: Vec::with_capacity(count),
            time: Vec::with_capacity(count),
            load_clock: Vec::with_capacity(count),
            noise: noise(fractions),
            tooth: None,
        };
        let mut seen = Vec::with_capacity(width);
        let mut passed = 0.0;
        for (bin, (values, loads)) in fractions.chunks_exact(width).zip(loads.chunks_exact(width)).enumerate() {
            seen.clear();
            seen.extend(values.iter().copied().filter(|v| v.is_finite()));
            bins.values.push(median(&mut seen));
            let load: f64 = loads.iter().sum();
            bins.loads.push(load / width as f64);
            bins.time.push((bin as f64 + 0.5 - count as f64) * width as f64);
            bins.load_clock.push(passed + load / 2.0);
            passed += load;
        }
        for clock in &mut bins.load_clock {
            *clock -= passed;
        }
        if elastic {
            bins.take_troughs(fractions, known);
        }
        let wanted = if bins.tooth.is_some() { MIN_TROUGHS } else { MIN_BINS };
        (bins.values.iter().filter(|v| v.is_finite()).count() >= wanted).then_some(bins)
    }

    /// Where the run saws, keeps of each bin only what is left after a fall.
    fn take_troughs(&mut self, fractions: &[f64], known: Option<Saw>) {
        let recent = &fractions[fractions.len().saturating_sub(SAW_STEPS)..];
        let Some(saw) = Saw::of(recent).or(known) else { return };
        self.tooth = Some(saw.height);
        self.values.fill(f64::NAN);
        for (step, pair) in fractions.windows(2).enumerate() {
            if pair[0] - pair[1] >= saw.least
                && let Some(value) = self.values.get_mut((step + 1) / self.width)
            {
                *value = value.min(pair[1]);
            }
        }
    }
}

/// A series that falls again and again by what it rose before, as memory does under a garbage collector. In fractions of the way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saw {
    /// The least fall from one step to the next that is a tooth's.
    least: f64,
    /// The median fall of the teeth.
    height: f64,
}

impl Saw {
    /// Finds it in up to a day of steps (gaps NaN): falls that no usual rise comes near, again and again. `None`: it does not saw.
    pub(super) fn of(recent: &[f64]) -> Option<Self> {
        let mut changes: Vec<f64> = recent.windows(2).map(|p| p[1] - p[0]).filter(|c| c.is_finite()).collect();
        if changes.len() < 60 {
            return None;
        }
        changes.sort_by(f64::total_cmp);
        let largest_usual_rise = changes[changes.len() - 1 - (changes.len() / 200).max(1)];
        let least = (TOOTH_RISES * largest_usual_rise).max(MIN_TOOTH);
        let teeth = changes.partition_point(|change| -change >= least);
        let wanted = MIN_TROUGHS.max(2 + recent.len() / STEPS_A_TOOTH);
        (teeth >= wanted).then(|| Self { least, height: -changes[teeth / 2] })
    }

    /// Learns from days of targets; `None` unless most of them saw.
    pub fn learn<'a>(days: impl Iterator<Item = &'a [f64]>) -> Option<Self> {
        let (mut all, mut least, mut heights) = (0, Vec::new(), Vec::new());
        for day in days {
            all += 1;
            if let Some(saw) = Self::of(&day[day.len().saturating_sub(SAW_STEPS)..]) {
                least.push(saw.least);
                heights.push(saw.height);
            }
        }
        (heights.len() * 2 > all).then(|| Self { least: median(&mut least), height: median(&mut heights) })
    }

    /// Whether what was deserialised hangs together.
    pub(crate) fn is_well_formed(&self) -> bool {
        self.least > 0.0 && self.height > 0.0
    }
}

/// One standard deviation of single samples, from the changes between neighbours.
fn noise(fractions: &[f64]) -> f64 {
    let recent = &fractions[fractions.len().saturating_sub(NOISE_STEPS)..];
    let mut changes: Vec<f64> = recent.windows(2).map(|p| (p[1] - p[0]).abs()).filter(|c| c.is_finite()).collect();
    if changes.len() < 10 {
        return 0.0;
    }
    1.4826 * median(&mut changes) / std::f64::consts::SQRT_2
}

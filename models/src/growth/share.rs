//! How much of a fraction follows the load, learnt from history.

use forewarn_features::seasonal::median;

use super::LoadShare;
use super::evidence::invert;

/// Parts that a day is cut into.
const PARTS: usize = 48;
/// Of which so many must have been seen.
const MIN_PARTS: usize = 24;
/// Fewer days than this teach nothing.
const MIN_DAYS: usize = 3;
/// A share is never taken for more certain than this, nor than a tenth of itself.
const LEAST_SPREAD: f64 = 0.01;
const LEAST_RELATIVE_SPREAD: f64 = 0.1;

impl LoadShare {
    /// Learns from whole days of targets: of each the fractions (gaps NaN) and the relative loads, equally long.
    ///
    /// Each day is fitted by a level, a share and a drift; the median over all days is what most of them have, whatever a few
    /// leaks and restarts did. With fewer than three usable days nothing is known: the default.
    pub fn learn<'a>(days: impl Iterator<Item = (&'a [f64], &'a [f64])>) -> Self {
        let mut shares: Vec<f64> = days.filter_map(|(fractions, loads)| share_of(fractions, loads)).collect();
        if shares.len() < MIN_DAYS {
            return Self::default();
        }
        let mean = median(&mut shares);
        let mut strays: Vec<f64> = shares.iter().map(|s| (s - mean).abs()).collect();
        let least = LEAST_SPREAD.max(LEAST_RELATIVE_SPREAD * mean.abs());
        Self { mean, spread: (1.4826 * median(&mut strays)).max(least) }
    }
}

fn share_of(fractions: &[f64], loads: &[f64]) -> Option<f64> {
    let width = fractions.len() / PARTS;
    if width == 0 {
        return None;
    }
    let (mut normal, mut right, mut parts) = ([[0.0; 3]; 3], [0.0; 3], 0);
    for (part, (values, loads)) in fractions.chunks_exact(width).zip(loads.chunks_exact(width)).enumerate() {
        let mut seen: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let value = median(&mut seen);
        let mut loads: Vec<f64> = loads.iter().copied().filter(|l| l.is_finite()).collect();
        let load = median(&mut loads);
        if !(value.is_finite() && load.is_finite()) {
            continue;
        }
        parts += 1;
        let row = [1.0, load - 1.0, part as f64 / PARTS as f64];
        for i in 0..3 {
            for j in 0..3 {
                normal[i][j] += row[i] * row[j];
            }
            right[i] += row[i] * value;
        }
    }
    if parts < MIN_PARTS {
        return None;
    }
    let inverse = invert(normal)?;
    Some((0..3).map(|j| inverse[1][j] * right[j]).sum())
}

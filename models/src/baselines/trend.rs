//! A trend that does not believe in spikes, and does not see one in noise.
//!
//! Theil's and Sen's slope (the median of all pairwise slopes; Sen 1968) over medians of equal parts
//! of a window, accepted only where Kendall's tau says that most pairs rise. Windows from half an hour
//! to a day and more are tried: the shortest that is sure knows most of now, the longer ones keep it
//! honest. Each is tried against the clock and against the clock of traffic, because many leaks grow
//! with load and sleep at night.

use forewarn_features::seasonal::median;
use serde::{Deserialize, Serialize};

/// Window lengths in steps: at the default step of a minute, 30 minutes to 32 hours.
const WINDOWS: [usize; 7] = [30, 60, 120, 240, 480, 960, 1920];
/// Each window is cut into this many parts, whose medians are fitted.
const PARTS: usize = 30;
/// Parts of this many steps and more are taken by their floor.
const FLOOR_WIDTH: usize = 16;
/// A rise counts where it is this many times what the window rises by itself in one case of 20.
const RISE_MARGIN: f64 = 1.5;
/// So many windows in a row have to be sure, where the run is long enough for the second.
const CONFIRMED: usize = 2;
/// Kendall's tau of 30 points of pure noise has a standard deviation of 0.13: this is over 4 of them.
const MIN_TAU: f64 = 0.6;

/// One step of a target's way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrendPoint {
    /// Steps since any fixed origin.
    pub time: f64,
    /// The same span counted in load: the sum of relative traffic over the steps.
    pub load: f64,
    /// The fraction, less what is normal at that time of day; NaN for a gap.
    pub residual: f64,
}

/// A rise that is believed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// The residual now, a median over the last tenth of the window.
    pub level: f64,
    /// Fraction a step (of time or of load); more than 0.
    pub slope: f64,
    /// Whether the slope is against load rather than time.
    pub by_load: bool,
    /// How much the windows disagree on the slope: half their range over its median, 0 and up.
    pub disagreement: f64,
    /// The shortest window that is sure, in steps.
    pub window: usize,
}

/// How much the residual rises within each window by itself: saws, busy mornings, other weekdays. A
/// trend has to rise by more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsualRises(Vec<f64>);

impl UsualRises {
    /// Measures on normal data, one run of points a target. A window longer than every run has 0.
    pub fn measure(runs: &[Vec<TrendPoint>]) -> Self {
        let of_window = |window: usize| {
            let mut rises = Vec::new();
            for run in runs.iter().filter(|run| run.len() >= window) {
                // Overlapping by halves, and at most 200 a run: the quantile asks for no more.
                let stride = (window / 2).max((run.len() - window) / 200).max(1);
                let starts = (0..=run.len() - window).step_by(stride);
                rises.extend(starts.filter_map(|s| fit_window(&run[s..s + window])).map(|fit| fit.rise.max(0.0)));
            }
            rises.sort_by(f64::total_cmp);
            rises.get(rises.len().saturating_sub(1) * 95 / 100).copied().unwrap_or(0.0)
        };
        Self(WINDOWS.into_iter().map(of_window).collect())
    }

    fn of(&self, index: usize) -> f64 {
        self.0.get(index).copied().unwrap_or(0.0)
    }
}

struct Fit {
    /// By how much the line over time rises within the window.
    rise: f64,
    time: Line,
    load: Line,
    tau: f64,
}

struct Line {
    slope: f64,
    /// The median absolute distance of the parts from it.
    misfit: f64,
}

/// Fits `points`, the most recent last, of one run without restarts.
///
/// `None`: nothing rises that can be told from noise, or fewer than the shortest window's steps.
pub fn fit_trend(points: &[TrendPoint], usual: &UsualRises) -> Option<Trend> {
    let mut sure: Vec<(usize, Fit)> = Vec::new();
    for (index, window) in WINDOWS.into_iter().enumerate().take_while(|(_, w)| *w <= points.len()) {
        let fit = fit_window(&points[points.len() - window..]);
        match fit.filter(|fit| fit.tau >= MIN_TAU && fit.rise > RISE_MARGIN * usual.of(index)) {
            Some(fit) => sure.push((window, fit)),
            // What rises for an hour and not for two swings; it does not climb.
            None if sure.len() < CONFIRMED => sure.clear(),
            None => break,
        }
        if sure.len() == CONFIRMED + 1 {
            break;
        }
    }
    let (window, _) = sure.first()?;
    let by_load = grows_with_load(points);
    let slope_of = |fit: &Fit| if by_load { fit.load.slope } else { fit.time.slope };
    let mut slopes: Vec<f64> = sure.iter().map(|(_, fit)| slope_of(fit)).collect();
    let range = slopes.iter().copied().fold(0.0, f64::max) - slopes.iter().copied().fold(f64::INFINITY, f64::min);
    let slope = median(&mut slopes);
    let recent = (window / 10).max(3);
    let mut last: Vec<f64> =
        points[points.len() - recent..].iter().map(|p| p.residual).filter(|r| r.is_finite()).collect();
    let level = median(&mut last);
    let (level_known, rises) = (level.is_finite(), slope > 0.0);
    (level_known && rises).then_some(Trend {
        level,
        slope,
        by_load,
        disagreement: range / 2.0 / slope,
        window: *window,
    })
}

/// Whether the rise follows traffic: only a long window, day and night in it, can tell.
fn grows_with_load(points: &[TrendPoint]) -> bool {
    let longest_first = WINDOWS.into_iter().rev().skip_while(|w| *w > points.len());
    let mut fits = longest_first.filter_map(|window| fit_window(&points[points.len() - window..]));
    fits.find(|fit| fit.tau >= MIN_TAU).is_some_and(|fit| fit.load.misfit < 0.9 * fit.time.misfit)
}

fn fit_window(points: &[TrendPoint]) -> Option<Fit> {
    let mut parts: Vec<TrendPoint> = Vec::with_capacity(PARTS);
    let width = points.len() / PARTS;
    for part in 0..PARTS {
        // From a quarter of an hour on a part is the floor of itself and its neighbours: memory that is
        // collected saws, and leaks by what collection leaves behind.
        let (start, end) = (part * width, (part + 1) * width);
        let reach = if width >= FLOOR_WIDTH { width } else { 0 };
        let span = &points[start.saturating_sub(reach)..(end + reach).min(points.len())];
        let mut residuals: Vec<f64> = span.iter().map(|p| p.residual).filter(|r| r.is_finite()).collect();
        if residuals.is_empty() {
            continue;
        }
        let middle = points[start + width / 2];
        let residual = if reach > 0 { lower_fifth(&mut residuals) } else { median(&mut residuals) };
        parts.push(TrendPoint { residual, ..middle });
    }
    if parts.len() < PARTS * 2 / 3 {
        return None; // Mostly gaps.
    }
    let (slope, tau) = theil_sen(&parts, |p| p.time)?;
    let (load_slope, _) = theil_sen(&parts, |p| p.load)?;
    let time = Line { slope, misfit: misfit(&parts, slope, |p| p.time) };
    let load = Line { slope: load_slope, misfit: misfit(&parts, load_slope, |p| p.load) };
    Some(Fit { rise: slope * (parts[parts.len() - 1].time - parts[0].time), time, load, tau })
}

fn lower_fifth(values: &mut [f64]) -> f64 {
    let rank = values.len() / 5;
    *values.select_nth_unstable_by(rank, f64::total_cmp).1
}

/// The median slope over `x`, and Kendall's tau. `None` where no two points differ in `x`.
fn theil_sen(points: &[TrendPoint], x: impl Fn(&TrendPoint) -> f64) -> Option<(f64, f64)> {
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    let mut balance = 0.0;
    for (i, a) in points.iter().enumerate() {
        for b in &points[i + 1..] {
            let run = x(b) - x(a);
            if run > 0.0 {
                let rise = b.residual - a.residual;
                slopes.push(rise / run);
                balance += if rise > 0.0 {
                    1.0
                } else if rise < 0.0 {
                    -1.0
                } else {
                    0.0
                };
            }
        }
    }
    if slopes.is_empty() {
        return None;
    }
    let tau = balance / slopes.len() as f64;
    Some((median(&mut slopes), tau))
}

/// The median absolute distance from the line.
fn misfit(points: &[TrendPoint], slope: f64, x: impl Fn(&TrendPoint) -> f64) -> f64 {
    let mut offsets: Vec<f64> = points.iter().map(|p| p.residual - slope * x(p)).collect();
    let offset = median(&mut offsets.clone());
    offsets.iter_mut().for_each(|o| *o = (*o - offset).abs());
    median(&mut offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(n: usize, residual: impl Fn(usize) -> f64) -> Vec<TrendPoint> {
        (0..n).map(|i| TrendPoint { time: i as f64, load: i as f64, residual: residual(i) }).collect()
    }

    fn noise(i: usize) -> f64 {
        ((i * 2654435761) % 1000) as f64 / 1000.0 - 0.5
    }

    #[test]
    fn a_noisy_ramp_with_spikes_and_gaps_keeps_its_slope() {
        let ramp = points(300, |i| match i % 50 {
            7 => 5.0,
            9 => f64::NAN,
            _ => 0.001 * i as f64 + 0.01 * noise(i),
        });
        let trend = fit_trend(&ramp, &UsualRises::default()).unwrap();
        assert!((trend.slope - 0.001).abs() < 1e-4, "slope {}", trend.slope);
        assert!((trend.level - 0.3).abs() < 0.02, "level {}", trend.level);
    }

    #[test]
    fn noise_a_plateau_and_a_fall_are_no_trend() {
        assert_eq!(fit_trend(&points(2000, |i| 0.01 * noise(i)), &UsualRises::default()), None);
        let plateau = points(2000, |i| i.min(600) as f64 * 0.001 + 0.01 * noise(i));
        assert_eq!(fit_trend(&plateau, &UsualRises::default()), None);
        assert_eq!(fit_trend(&points(500, |i| -0.001 * i as f64), &UsualRises::default()), None);
        assert_eq!(fit_trend(&points(10, |i| i as f64), &UsualRises::default()), None);
    }

    #[test]
    fn what_saws_every_day_is_no_trend_until_it_climbs_over_its_saw() {
        let saw = |i: usize| 0.002 * (i % 90) as f64 + 0.002 * noise(i);
        let usual = UsualRises::measure(&[points(3000, saw)]);
        let tooth = points(1079, saw);
        assert!(fit_trend(&tooth, &UsualRises::default()).is_some_and(|t| t.slope > 0.001), "it looks like a climb");
        assert_eq!(fit_trend(&tooth, &usual), None);
        let climbing = fit_trend(&points(1079, |i| saw(i) + 0.0006 * i as f64), &usual).unwrap();
        assert!((climbing.slope - 0.0006).abs() < 1e-4, "slope {}", climbing.slope);
    }

    #[test]
    fn a_leak_that_grows_with_load_is_measured_in_load() {
        let load = |i: usize| 1.0 + 0.9 * (i as f64 / 1440.0 * std::f64::consts::TAU).sin();
        let mut total = 0.0;
        let leak: Vec<_> = (0..1900)
            .map(|i| {
                total += load(i);
                TrendPoint { time: i as f64, load: total, residual: 2e-4 * total + 2e-3 * noise(i) }
            })
            .collect();
        let trend = fit_trend(&leak, &UsualRises::default()).unwrap();
        assert!(trend.by_load);
        assert!((trend.slope - 2e-4).abs() < 4e-5, "slope {}", trend.slope);
    }
}

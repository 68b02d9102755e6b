//! How sure a figure is: intervals of shares, counts and means, and of differences between two that
//! were measured on the same incidents. Everything random is seeded: the same figures, the same bits.
//!
//! Not here: which figure is compared with which (`gate`), and the figures themselves (`metrics`).

use serde::{Deserialize, Serialize};

/// Of every interval in a report, two-sided.
pub const CONFIDENCE: f64 = 0.9;
/// The normal quantile of 0.95, which leaves 5 % on either side.
const Z: f64 = 1.644_853_626_951_472_2;
/// Resamples of a bootstrap: the fifth percentile then moves by about a hundredth of the interval's width
/// from one seed to another.
const RESAMPLES: usize = 1000;
/// Fewer clusters than this give intervals that are far too narrow (Cameron, Gelbach and Miller 2008).
pub const MIN_CLUSTERS: usize = 5;
const SEED: u64 = 0x666f_7265_7761_726e;

/// Where a figure may lie, bounds included, in the figure's unit; 90 % sure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// At most one in twenty samples of such history would give a figure below.
    pub low: f64,
    /// Nor above.
    pub high: f64,
}

impl Interval {
    /// Whether all of it lies above `value`.
    pub fn is_above(&self, value: f64) -> bool {
        self.low > value
    }
}

/// Wilson's score interval of a share of `hits` in `trials`, both counted in independent incidents, so
/// they may be fractions. `None` without a trial. Wilson 1927; equals statsmodels'
/// `proportion_confint(…, alpha=0.1, method="wilson")`.
pub fn of_share(hits: f64, trials: f64) -> Option<Interval> {
    if trials.is_nan() || trials <= 0.0 {
        return None;
    }
    let share = (hits / trials).clamp(0.0, 1.0);
    let z2 = Z * Z / trials;
    let middle = (share + z2 / 2.0) / (1.0 + z2);
    let half = Z / (1.0 + z2) * (share * (1.0 - share) / trials + z2 / trials / 4.0).sqrt();
    // Where none or all are hits the bound is exact, which rounding would show as 1e-15.
    let low = if share == 0.0 { 0.0 } else { (middle - half).max(0.0) };
    let high = if share == 1.0 { 1.0 } else { (middle + half).min(1.0) };
    Some(Interval { low, high })
}

/// The exact interval of a Poisson mean after `events`, scaled by `1 / exposure` (weeks: events a week).
/// No event still leaves room for 3 in an exposure of 1. `None` without exposure. Garwood 1936.
pub fn of_rate(events: u64, exposure: f64) -> Option<Interval> {
    if exposure.is_nan() || exposure <= 0.0 {
        return None;
    }
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let mean_where = |probability_of_at_most: &dyn Fn(f64) -> f64, wanted: f64| {
        // Falls from 1 to 0 in the mean, and the mean that gives 5 % lies below this for every count.
        let (mut low, mut high) = (0.0, events as f64 + 10.0 * (events as f64 + 1.0).sqrt() + 10.0);
        for _ in 0..100 {
            let middle = f64::midpoint(low, high);
            if probability_of_at_most(middle) > wanted { low = middle } else { high = middle }
        }
        f64::midpoint(low, high)
    };
    let low = if events == 0 { 0.0 } else { mean_where(&|m| poisson_at_most(events - 1, m), 1.0 - tail) };
    let high = mean_where(&|m| poisson_at_most(events, m), tail);
    Some(Interval { low: low / exposure, high: high / exposure })
}

/// `P(X ≤ events)` of a Poisson variable.
fn poisson_at_most(events: u64, mean: f64) -> f64 {
    let (mut term, mut sum) = ((-mean).exp(), 0.0);
    for k in 0..=events {
        sum += term;
        term *= mean / (k + 1) as f64;
    }
    sum
}

/// `P(X ≥ heads)` of `tosses` of a fair coin: 1 where `heads` is 0. The sign test; with the discordant
/// pairs of two yes-or-no outcomes it is McNemar's exact test, one-sided.
pub fn coin_at_least(heads: u64, tosses: u64) -> f64 {
    let half = 0.5_f64.ln();
    let (mut log_choose, mut sum) = (0.0, 0.0);
    for k in 0..=tosses {
        if k >= heads {
            sum += (log_choose + half * tosses as f64).exp();
        }
        log_choose += ((tosses - k) as f64 / (k + 1) as f64).ln();
    }
    if heads == 0 { 1.0 } else { f64::min(sum, 1.0) }
}

/// The percentile interval of `statistic` over resamples of whole clusters: `statistic` is handed the
/// indices of `clusters` clusters, drawn with replacement, and gives `None` where it has nothing to go by.
///
/// What is alike stays together: predictions of one incident, origins of one stretch of time. `None` with
/// fewer than [`MIN_CLUSTERS`]. Efron 1979; for blocks of time series Künsch 1989.
pub fn bootstrap(clusters: usize, statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<Interval> {
    if clusters < MIN_CLUSTERS {
        return None;
    }
    let mut random = SplitMix(SEED);
    let mut drawn = vec![0; clusters];
    let mut values = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        drawn.iter_mut().for_each(|index| *index = random.below(clusters));
        values.extend(statistic(&drawn).filter(|v| !v.is_nan()));
    }
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let quantile = |q| crate::metrics::quantile(values.iter().copied(), q);
    Some(Interval { low: quantile(tail)?, high: quantile(1.0 - tail)? })
}

/// The interval of a mean of which each cluster gives a sum and a count: the count may differ.
pub fn of_mean(clusters: &[(f64, f64)]) -> Option<Interval> {
    bootstrap(clusters.len(), |drawn| ratio_of_sums(drawn.iter().map(|i| clusters[*i])))
}

/// `Σ sum / Σ count`; `None` where nothing was counted.
pub fn ratio_of_sums(clusters: impl IntoIterator<Item = (f64, f64)>) -> Option<f64> {
    let (sum, count) = clusters.into_iter().fold((0.0, 0.0), |(s, n), (sum, count)| (s + sum, n + count));
    (count > 0.0).then(|| sum / count)
}

/// Steele, Lea and Flood 2014: small, and the same on every machine.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The bias of the remainder is n in 2^64.
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of tables and libraries, which print that many digits.
    const PRINTED: f64 = 5e-4;

    #[test]
    fn a_share_of_few_incidents_is_hardly_known() {
        // statsmodels 0.14: proportion_confint(8, 10, alpha=0.1, method="wilson") = (0.5409, 0.9309).
        let interval = of_share(8.0, 10.0).unwrap();
        assert!((interval.low - 0.5409).abs() < 5e-3 && (interval.high - 0.9309).abs() < 5e-3, "{interval:?}");
        let all = of_share(3.0, 3.0).unwrap();
        assert!(all.low < 0.55 && all.high == 1.0, "{all:?}");
        assert_eq!(of_share(0.0, 3.0).unwrap().low, 0.0);
        assert_eq!(of_share(0.0, 0.0), None);
    }

    #[test]
    fn a_quiet_week_is_no_proof_of_none() {
        // Garwood's table at 90 %: 0 events 0 to 2.996, 3 events 0.818 to 7.754.
        let none = of_rate(0, 1.0).unwrap();
        assert!(none.low == 0.0 && (none.high - 2.9957).abs() < PRINTED, "{none:?}");
        let three = of_rate(3, 1.0).unwrap();
        assert!((three.low - 0.8177).abs() < PRINTED && (three.high - 7.7537).abs() < PRINTED, "{three:?}");
        assert_eq!(of_rate(3, 2.0).unwrap().low, three.low / 2.0);
        assert_eq!(of_rate(1, 0.0), None);
    }

    #[test]
    fn a_sign_test_counts_tosses() {
        assert_eq!(coin_at_least(0, 0), 1.0);
        assert!((coin_at_least(4, 4) - 0.0625).abs() < 1e-12);
        assert!((coin_at_least(5, 6) - 7.0 / 64.0).abs() < 1e-12);
        assert!((coin_at_least(1, 2) - 0.75).abs() < 1e-12);
    }

    #[test]
    fn a_bootstrap_is_seeded_and_needs_clusters() {
        let clusters: Vec<(f64, f64)> = (0..40).map(|i| (f64::from(i % 4), 1.0)).collect();
        let interval = of_mean(&clusters).unwrap();
        assert_eq!(of_mean(&clusters), Some(interval));
        // The standard error of the mean of 40 values whose variance is 1.25 is 0.177: 1.5 ± 0.29.
        assert!((interval.low - 1.21).abs() < 0.05 && (interval.high - 1.79).abs() < 0.05, "{interval:?}");
        assert_eq!(of_mean(&clusters[..4]), None);
    }
}

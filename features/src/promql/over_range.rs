//! Functions over the samples of a window, as Prometheus 2.42's `promql/functions.go` has them: the
//! window includes both ends, staleness markers are left out, and sums are compensated (Neumaier).

use std::borrow::Cow;
use std::sync::Arc;

use forewarn_schema::{Sample, is_stale};

use super::eval::{Element, Evaluation};
use super::node::RangeFunction;
use super::selector::Selector;

/// Applies `function` to each series' samples in `[at - offset - range, at - offset]`. A series without
/// samples there, or with too few for the function, gives nothing.
pub(super) fn apply(
    evaluation: &Evaluation<'_>,
    function: RangeFunction,
    selector: &Selector,
    range_ms: i64,
    parameter: f64,
) -> Vec<Element> {
    let end_ms = evaluation.at_ms.saturating_sub(selector.offset_ms);
    let start_ms = end_ms.saturating_sub(range_ms);
    let mut elements = Vec::new();
    for series in evaluation.store.select(selector) {
        let samples = live(series.window(start_ms, end_ms));
        if samples.is_empty() {
            continue;
        }
        let window = Window { samples: &samples, start_ms, end_ms };
        if let Some(value) = window.value(function, parameter, evaluation.at_ms) {
            // It acts like an offset, so the name stays.
            let keeps_name = function == RangeFunction::Last;
            let labels = if keeps_name { &series.labels } else { &series.nameless };
            elements.push(Element { labels: Arc::clone(labels), value });
        }
    }
    elements
}

fn live(samples: &[Sample]) -> Cow<'_, [Sample]> {
    if samples.iter().any(|s| is_stale(s.value)) {
        Cow::Owned(samples.iter().copied().filter(|s| !is_stale(s.value)).collect())
    } else {
        Cow::Borrowed(samples)
    }
}

/// At least one sample, none stale, sorted by time.
struct Window<'s> {
    samples: &'s [Sample],
    start_ms: i64,
    end_ms: i64,
}

impl Window<'_> {
    fn value(&self, function: RangeFunction, parameter: f64, at_ms: i64) -> Option<f64> {
        let values = || self.samples.iter().map(|s| s.value);
        match function {
            RangeFunction::Rate => {
                let seconds = (self.end_ms - self.start_ms) as f64 / 1000.0;
                self.extrapolated(true, seconds)
            }
            RangeFunction::Increase => self.extrapolated(true, 1.0),
            RangeFunction::Delta => self.extrapolated(false, 1.0),
            RangeFunction::Irate => self.last_difference(true),
            RangeFunction::Idelta => self.last_difference(false),
            RangeFunction::Deriv => self.regression(self.samples[0].at.millis()).map(|(slope, _)| slope),
            RangeFunction::PredictLinear => {
                self.regression(at_ms).map(|(slope, intercept)| slope * parameter + intercept)
            }
            RangeFunction::Changes => Some(self.count_pairs(|a, b| a != b && !(a.is_nan() && b.is_nan()))),
            RangeFunction::Resets => Some(self.count_pairs(|a, b| b < a)),
            RangeFunction::Avg => Some(mean(values())),
            RangeFunction::Min => values().reduce(|min, v| if v < min || min.is_nan() { v } else { min }),
            RangeFunction::Max => values().reduce(|max, v| if v > max || max.is_nan() { v } else { max }),
            RangeFunction::Sum => Some(values().fold(CompensatedSum::default(), CompensatedSum::plus).total()),
            RangeFunction::Count => Some(self.samples.len() as f64),
            RangeFunction::Last => self.samples.last().map(|s| s.value),
            RangeFunction::Stddev => Some(variance(values()).sqrt()),
            RangeFunction::Stdvar => Some(variance(values())),
            RangeFunction::Quantile => Some(quantile(parameter, &mut values().collect::<Vec<_>>())),
            RangeFunction::Present => Some(1.0),
        }
    }

    /// The difference between the last sample and the first, counter resets added up where `counter`,
    /// extrapolated to the window's edges where samples come close to them, per `seconds`.
    fn extrapolated(&self, counter: bool, seconds: f64) -> Option<f64> {
        let [first, .., last] = self.samples else { return None };
        let mut difference = last.value - first.value;
        if counter {
            for pair in self.samples.windows(2) {
                if pair[1].value < pair[0].value {
                    difference += pair[0].value;
                }
            }
        }
        let mut to_start = (first.at.millis() - self.start_ms) as f64 / 1000.0;
        let to_end = (self.end_ms - last.at.millis()) as f64 / 1000.0;
        let sampled = last.at.seconds_since(first.at);
        let between_samples = sampled / (self.samples.len() - 1) as f64;
        if counter && difference > 0.0 && first.value >= 0.0 {
            // A counter starts at zero: do not extrapolate to before that.
            let to_zero = sampled * (first.value / difference);
            to_start = if to_zero < to_start { to_zero } else { to_start };
        }
        let threshold = between_samples * 1.1;
        let mut covered = sampled;
        covered += if to_start < threshold { to_start } else { between_samples / 2.0 };
        covered += if to_end < threshold { to_end } else { between_samples / 2.0 };
        Some(difference * (covered / sampled / seconds))
    }

    /// The difference of the last two samples; per second, and knowing of resets, where `rate`.
    fn last_difference(&self, rate: bool) -> Option<f64> {
        let [.., before, last] = self.samples else { return None };
        let reset = rate && last.value < before.value;
        let difference = if reset { last.value } else { last.value - before.value };
        Some(if rate { difference / last.at.seconds_since(before.at) } else { difference })
    }

    /// Slope a second and value at `origin_ms` of the least-squares line.
    fn regression(&self, origin_ms: i64) -> Option<(f64, f64)> {
        let [first, _, ..] = self.samples else { return None };
        if self.samples.iter().skip(1).all(|s| s.value == first.value) {
            let infinite = first.value.is_infinite();
            return Some(if infinite { (f64::NAN, f64::NAN) } else { (0.0, first.value) });
        }
        let (mut sum_x, mut sum_y) = (CompensatedSum::default(), CompensatedSum::default());
        let (mut sum_xy, mut sum_xx) = (CompensatedSum::default(), CompensatedSum::default());
        for sample in self.samples {
            let x = (sample.at.millis() - origin_ms) as f64 / 1000.0;
            sum_x = sum_x.plus(x);
            sum_y = sum_y.plus(sample.value);
            sum_xy = sum_xy.plus(x * sample.value);
            sum_xx = sum_xx.plus(x * x);
        }
        let n = self.samples.len() as f64;
        let (sum_x, sum_y) = (sum_x.sum + sum_x.lost, sum_y.sum + sum_y.lost);
        let covariance = sum_xy.sum + sum_xy.lost - sum_x * sum_y / n;
        let variance = sum_xx.sum + sum_xx.lost - sum_x * sum_x / n;
        let slope = covariance / variance;
        Some((slope, sum_y / n - slope * sum_x / n))
    }

    fn count_pairs(&self, counts: impl Fn(f64, f64) -> bool) -> f64 {
        self.samples.windows(2).filter(|pair| counts(pair[0].value, pair[1].value)).count() as f64
    }
}

/// A sum and what rounding took from it (Neumaier 1974).
#[derive(Clone, Copy, Debug, Default)]
struct CompensatedSum {
    sum: f64,
    lost: f64,
}

impl CompensatedSum {
    fn plus(self, value: f64) -> Self {
        let sum = self.sum + value;
        let lost = if self.sum.abs() >= value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
        Self { sum, lost: self.lost + lost }
    }

    fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}

/// The running mean; an infinite mean stays, except against an infinity of the other sign or a NaN.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let mut mean = CompensatedSum::default();
    for (i, value) in values.enumerate() {
        let count = (i + 1) as f64;
        if mean.sum.is_infinite() && mean_absorbs(mean.sum, value) {
            continue;
        }
        mean = mean.plus(value / count - mean.sum / count);
    }
    mean.total()
}

/// Whether an infinite `mean` stays what it is when `value` is added.
pub(super) fn mean_absorbs(mean: f64, value: f64) -> bool {
    if value.is_infinite() { (mean > 0.0) == (value > 0.0) } else { !value.is_nan() }
}

/// The population variance (Welford 1962).
fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut mean, mut squares) = (CompensatedSum::default(), CompensatedSum::default());
    let mut count = 0.0;
    for value in values {
        count += 1.0;
        let delta = value - (mean.sum + mean.lost);
        mean = mean.plus(delta / count);
        squares = squares.plus(delta * (value - (mean.sum + mean.lost)));
    }
    (squares.sum + squares.lost) / count
}

/// The `q`-quantile by linear interpolation; a NaN is the smallest value. NaN for no values or a NaN
/// `q`, an infinity for a `q` outside 0..1. Sorts `values`.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor();
    let upper = (lower as usize + 1).min(values.len() - 1);
    let weight = rank - lower;
    values[lower as usize] * (1.0 - weight) + values[upper] * weight
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::{STALE_NAN_BITS, Timestamp};

    fn samples(points: &[(i64, f64)]) -> Vec<Sample> {
        points.iter().map(|(s, value)| Sample { at: Timestamp::from_seconds(*s), value: *value }).collect()
    }

    fn over(function: RangeFunction, range: (i64, i64), points: &[(i64, f64)]) -> Option<f64> {
        let samples = samples(points);
        let window = Window { samples: &samples, start_ms: range.0 * 1000, end_ms: range.1 * 1000 };
        window.value(function, 60.0, range.1 * 1000)
    }

    #[test]
    fn a_counter_reset_does_not_make_a_negative_rate() {
        // 100 → 160, restart, 20 → 50: 60 + 20 + 30 more, from edge to edge of the window.
        let points = [(0, 100.0), (60, 160.0), (120, 20.0), (180, 50.0)];
        assert_eq!(over(RangeFunction::Increase, (0, 180), &points), Some(110.0));
        assert_eq!(over(RangeFunction::Rate, (0, 180), &points), Some(110.0 / 180.0));
        assert_eq!(over(RangeFunction::Delta, (0, 180), &points), Some(-50.0));
        assert_eq!(over(RangeFunction::Resets, (0, 180), &points), Some(1.0));
    }

    #[test]
    fn extrapolation_reaches_a_near_edge_half_way_to_a_far_one_and_not_past_zero() {
        // 10 s to the start is within 1.1 × 60 s, 130 s to the end is not: 60 + 10 + 30 s covered of 60.
        let near_and_far = [(10, 600.0), (70, 660.0)];
        assert_eq!(over(RangeFunction::Increase, (0, 200), &near_and_far), Some(100.0));
        // The counter was zero 5 s before its first sample.
        let from_zero = [(10, 5.0), (70, 65.0)];
        assert_eq!(over(RangeFunction::Increase, (0, 70), &from_zero), Some(65.0));
        assert_eq!(over(RangeFunction::Increase, (0, 70), &[(10, 5.0)]), None);
    }

    #[test]
    fn a_line_is_continued_from_the_evaluation_time() {
        let line: Vec<_> = (0..5).map(|i| (i * 60, 10.0 + 2.0 * i as f64)).collect();
        assert_eq!(over(RangeFunction::Deriv, (0, 240), &line), Some(2.0 / 60.0));
        let predicted = over(RangeFunction::PredictLinear, (0, 300), &line).unwrap();
        assert!((predicted - 22.0).abs() < 1e-12, "{predicted}");
        assert_eq!(over(RangeFunction::Deriv, (0, 240), &[(0, 7.0), (60, 7.0)]), Some(0.0));
    }

    #[test]
    fn a_sum_keeps_what_rounding_takes() {
        let points = [(0, 1e16), (60, 1.0), (120, 1.0), (180, -1e16)];
        assert_eq!(over(RangeFunction::Sum, (0, 180), &points), Some(2.0));
    }

    #[test]
    fn an_average_with_infinities_is_what_the_limit_is() {
        let inf = f64::INFINITY;
        assert_eq!(mean([1.0, inf, 2.0, inf].into_iter()), inf);
        assert!(mean([inf, -inf].into_iter()).is_nan());
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(0.5, &mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(quantile(0.0, &mut [4.0, 1.0]), 1.0);
        assert_eq!(quantile(1.5, &mut [4.0]), f64::INFINITY);
        assert!(quantile(0.0, &mut [1.0, f64::NAN]).is_nan());
    }

    #[test]
    fn staleness_markers_are_no_samples_but_other_nans_are() {
        let points = samples(&[(0, 1.0), (60, f64::from_bits(STALE_NAN_BITS)), (120, f64::NAN)]);
        assert_eq!(live(&points).len(), 2);
    }
}

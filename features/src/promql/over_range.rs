//! Functions over the samples of a window, as Prometheus 2.42's `promql/functions.go` has them: the
//! window includes both ends, staleness markers are left out.
//!
//! Where a window keeps count of what a function needs, the function only reads it: rate, increase, delta,
//! irate, idelta, changes, resets, deriv, predict_linear, and sum, avg, min, max, count, last, present,
//! stddev, stdvar over time cost the same for any width. Sums and means are rounded once from the exact sum;
//! upstream's are compensated, which differs in the last bits. holt_winters and quantile over time look at
//! every sample each time.

use std::borrow::Cow;
use std::sync::Arc;

use forewarn_schema::Sample;

use super::eval::EvalError;
use super::line;
use super::native::growth;
use super::node::RangeFunction;
use super::series::{HistogramPoint, Point};
use super::spread;
use super::value::Value;
use super::window::{Kept, WindowView};

/// Refuses parameters that no window fits.
pub(super) fn check(function: RangeFunction, parameters: &[f64]) -> Result<(), EvalError> {
    let wrong = parameters.iter().find(|factor| !(**factor > 0.0 && **factor < 1.0));
    match wrong {
        Some(factor) if function == RangeFunction::HoltWinters => Err(EvalError::NotAFactor(*factor)),
        _ => Ok(()),
    }
}

/// The value of `function` over a window that ends at or before `at_ms`; `None` without samples, or with
/// too few for the function. Native histograms are counted, and have a last one, a rate, an increase and a
/// delta; for all else they are no samples.
pub(super) fn value(function: RangeFunction, parameters: &[f64], window: WindowView<'_>, at_ms: i64) -> Option<Value> {
    let histograms: Vec<&HistogramPoint> = window.histograms.iter().filter(|p| !p.is_stale()).collect();
    if histograms.is_empty() && window.tally.count == 0 {
        return None;
    }
    match function {
        RangeFunction::Count => Some(Value::Float((window.tally.count + histograms.len()) as f64)),
        RangeFunction::Present => Some(Value::Float(1.0)),
        RangeFunction::Last => {
            let float = window.floats.iter().rev().find(|s| !s.is_stale());
            match (float, histograms.last()) {
                (Some(float), histogram) if histogram.is_none_or(|h| h.at < float.at) => {
                    Some(Value::Float(float.value))
                }
                (_, histogram) => histogram.map(|h| Value::Histogram(Arc::clone(&h.histogram))),
            }
        }
        RangeFunction::Rate | RangeFunction::Increase | RangeFunction::Delta if !histograms.is_empty() => {
            if window.tally.count > 0 {
                return None;
            }
            let ends = Ends::new(&histograms)?;
            let mut grown = growth(&histograms, function != RangeFunction::Delta)?;
            grown.scale(ends.factor(&window, None) / per_seconds(function, &window));
            Some(Value::Histogram(Arc::new(grown)))
        }
        _ if window.tally.count == 0 => None,
        _ => Floats { window, at_ms }.value(function, parameters).map(Value::Float),
    }
}

/// What a difference is divided by.
fn per_seconds(function: RangeFunction, window: &WindowView<'_>) -> f64 {
    if function == RangeFunction::Rate { (window.end_ms - window.start_ms) as f64 / 1000.0 } else { 1.0 }
}

/// First and last time of at least two points, and how many there are.
struct Ends {
    first_ms: i64,
    last_ms: i64,
    count: usize,
}

impl Ends {
    fn new(points: &[&HistogramPoint]) -> Option<Self> {
        let [first, .., last] = points else { return None };
        Some(Self { first_ms: first.at.millis(), last_ms: last.at.millis(), count: points.len() })
    }

    /// How much more the window covers than the points do: a difference is extrapolated to the window's
    /// edges where points come close to them. Of a counter, `counter` is its first value and its growth: it
    /// starts at zero, and is not extrapolated to before that.
    fn factor(&self, window: &WindowView<'_>, counter: Option<(f64, f64)>) -> f64 {
        let mut to_start = (self.first_ms - window.start_ms) as f64 / 1000.0;
        let to_end = (window.end_ms - self.last_ms) as f64 / 1000.0;
        let sampled = (self.last_ms - self.first_ms) as f64 / 1000.0;
        let between_points = sampled / (self.count - 1) as f64;
        if let Some((first, growth)) = counter.filter(|(first, growth)| *growth > 0.0 && *first >= 0.0) {
            let to_zero = sampled * (first / growth);
            to_start = if to_zero < to_start { to_zero } else { to_start };
        }
        let threshold = between_points * 1.1;
        let mut covered = sampled;
        covered += if to_start < threshold { to_start } else { between_points / 2.0 };
        covered += if to_end < threshold { to_end } else { between_points / 2.0 };
        covered / sampled
    }
}

/// At least one sample that is not stale.
struct Floats<'w> {
    window: WindowView<'w>,
    at_ms: i64,
}

impl Floats<'_> {
    fn value(&self, function: RangeFunction, parameters: &[f64]) -> Option<f64> {
        let parameter = |i: usize| parameters.get(i).copied().unwrap_or(f64::NAN);
        let count = self.window.tally.count;
        match (function, &self.window.tally.kept) {
            (RangeFunction::Rate | RangeFunction::Increase | RangeFunction::Delta, kept) => {
                self.extrapolated(function, kept)
            }
            (RangeFunction::Irate, _) => self.last_difference(true),
            (RangeFunction::Idelta, _) => self.last_difference(false),
            (RangeFunction::Changes | RangeFunction::Resets, Kept::Pairs { number, .. }) => Some(*number as f64),
            (RangeFunction::Sum, Kept::Sum(sum)) => Some(sum.total()),
            (RangeFunction::Avg, Kept::Sum(sum)) => Some(sum.mean(count)),
            (RangeFunction::Min | RangeFunction::Max, Kept::Extreme { candidates, .. }) => {
                Some(candidates.front().map_or(f64::NAN, |(_, value)| *value))
            }
            (RangeFunction::Deriv, Kept::Line(sums)) => {
                let first = self.first()?;
                let samples = || self.samples().into_owned();
                line::regression(sums, samples, first, first.at.millis(), None).map(|line| line.slope)
            }
            (RangeFunction::PredictLinear, Kept::Line(sums)) => {
                let (ahead, samples) = (parameter(0), || self.samples().into_owned());
                line::regression(sums, samples, self.first()?, self.at_ms, Some(ahead))
                    .map(|line| line.slope * ahead + line.intercept)
            }
            (RangeFunction::HoltWinters, _) => smoothed(&self.samples(), parameter(0), parameter(1)),
            (RangeFunction::Stddev | RangeFunction::Stdvar, Kept::Spread(sums)) => {
                let variance = spread::variance(sums, || self.samples().into_owned());
                Some(if function == RangeFunction::Stddev { variance.sqrt() } else { variance })
            }
            (RangeFunction::Quantile, _) => {
                let mut values: Vec<f64> = self.samples().iter().map(|s| s.value).collect();
                Some(quantile(parameter(0), &mut values))
            }
            _ => None,
        }
    }

    fn first(&self) -> Option<&Sample> {
        self.window.floats.iter().find(|s| !s.is_stale())
    }

    /// The samples without staleness markers.
    fn samples(&self) -> Cow<'_, [Sample]> {
        let all = self.window.floats;
        if all.len() == self.window.tally.count {
            return Cow::Borrowed(all);
        }
        Cow::Owned(all.iter().copied().filter(|s| !s.is_stale()).collect())
    }

    /// The difference between the last sample and the first, extrapolated; of a counter, with what resets
    /// took away.
    fn extrapolated(&self, function: RangeFunction, kept: &Kept) -> Option<f64> {
        let first = self.first()?;
        let last = self.window.floats.iter().rev().find(|s| !s.is_stale())?;
        let count = self.window.tally.count;
        if count < 2 {
            return None;
        }
        let mut difference = last.value - first.value;
        if let Kept::Resets(resets) = kept {
            resets.iter().for_each(|(_, before)| difference += before);
        }
        let counter = (function != RangeFunction::Delta).then_some((first.value, difference));
        let ends = Ends { first_ms: first.at.millis(), last_ms: last.at.millis(), count };
        Some(difference * (ends.factor(&self.window, counter) / per_seconds(function, &self.window)))
    }

    /// The difference of the last two samples; per second, and knowing of resets, where `rate`.
    fn last_difference(&self, rate: bool) -> Option<f64> {
        let mut newest = self.window.floats.iter().rev().filter(|s| !s.is_stale());
        let (last, before) = (newest.next()?, newest.next()?);
        let reset = rate && last.value < before.value;
        let difference = if reset { last.value } else { last.value - before.value };
        Some(if rate { difference / last.at.seconds_since(before.at) } else { difference })
    }
}

/// Double exponential smoothing (Holt 1957): the level after the last sample.
fn smoothed(samples: &[Sample], level_factor: f64, trend_factor: f64) -> Option<f64> {
    let [first, second, ..] = samples else { return None };
    let (mut before, mut level) = (0.0, first.value);
    let mut trend = second.value - first.value;
    for (i, sample) in samples.iter().skip(1).enumerate() {
        if i > 0 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        let next = level_factor * sample.value + (1.0 - level_factor) * (level + trend);
        (before, level) = (level, next);
    }
    Some(level)
}

/// Whether an infinite `mean` stays what it is when `value` is added.
pub(super) fn mean_absorbs(mean: f64, value: f64) -> bool {
    if value.is_infinite() { (mean > 0.0) == (value > 0.0) } else { !value.is_nan() }
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
    use crate::promql::series::{StoredSeries, Track};
    use crate::promql::window::SeriesWindow;
    use forewarn_schema::{STALE_NAN_BITS, Timestamp};

    fn samples(points: &[(i64, f64)]) -> Vec<Sample> {
        points.iter().map(|(s, value)| Sample { at: Timestamp::from_seconds(*s), value: *value }).collect()
    }

    fn over(function: RangeFunction, range: (i64, i64), points: &[(i64, f64)]) -> Option<f64> {
        let mut series = StoredSeries::new(0, Arc::default());
        series.floats = Track::from_sorted(samples(points));
        let mut window = SeriesWindow::new(Some(function));
        let view = window.slide(&series, range.0 * 1000, range.1 * 1000);
        value(function, &[60.0], view, range.1 * 1000).and_then(|v| v.float())
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
        assert_eq!(over(RangeFunction::Avg, (0, 9), &[(0, 1.0), (1, inf), (2, 2.0), (3, inf)]), Some(inf));
        assert!(over(RangeFunction::Avg, (0, 9), &[(0, inf), (1, -inf)]).unwrap().is_nan());
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
        let points = [(0, 1.0), (60, f64::from_bits(STALE_NAN_BITS)), (120, f64::NAN)];
        assert_eq!(over(RangeFunction::Count, (0, 120), &points), Some(2.0));
        assert_eq!(over(RangeFunction::Max, (0, 120), &points), Some(1.0));
    }

    #[test]
    fn smoothing_follows_level_and_trend() {
        let line: Vec<_> = (0..5).map(|i| (i * 60, 10.0 + 2.0 * i as f64)).collect();
        let samples = samples(&line);
        assert!((smoothed(&samples, 0.3, 0.7).unwrap() - 18.0).abs() < 1e-12);
        assert_eq!(check(RangeFunction::HoltWinters, &[0.5, 1.0]), Err(EvalError::NotAFactor(1.0)));
    }
}

//! The least-squares line through the samples of a window, for deriv and predict_linear.
//!
//! It is made from sums that can be kept up to date, all of them exact: times are whole milliseconds, and a
//! time times a value is two floats that add up to it. So a line costs the same for any width of the
//! window, and is more exact than Prometheus', which loses digits where a series hardly rises over its
//! level. Where it loses so many that the two could differ by more than is promised, its own order of
//! operations is followed, sample by sample.

use forewarn_schema::Sample;

use super::exact_sum::ExactSum;

/// By how much rounding upstream may be magnified for the exact line to stand: about 1e-10 of the result.
const MOST_MAGNIFIED: f64 = 262_144.0;
/// Up to here, the year 2109, a million times add up in 64 bits and their squares, multiplied by their
/// count, in 128.
const MOST_MS: u64 = 1 << 42;

/// Sums over time *t* in milliseconds and value *y*.
#[derive(Clone, Debug, Default)]
pub(super) struct LineSums {
    count: i64,
    t: i64,
    tt: i128,
    y: ExactSum,
    ty: ExactSum,
    /// Samples that cannot be in the sums: not finite, or with a product out of range.
    wild: usize,
    /// Neighbours with different values.
    unequal: usize,
}

/// A line: its slope per second, and its value where it was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) slope: f64,
    pub(super) intercept: f64,
}

impl LineSums {
    /// A sample comes in after one with the value `before`.
    pub(super) fn enter(&mut self, sample: &Sample, before: Option<f64>) {
        self.unequal += usize::from(before.is_some_and(|before| before != sample.value));
        self.count += 1;
        match exact_product(sample) {
            None => self.wild += 1,
            Some((t, products)) => {
                self.t += t;
                self.tt += i128::from(t) * i128::from(t);
                self.y.add(sample.value);
                products.iter().for_each(|product| self.ty.add(*product));
            }
        }
    }

    /// The oldest sample goes; the next has the value `next`.
    pub(super) fn leave(&mut self, sample: &Sample, next: Option<f64>) {
        self.unequal -= usize::from(next.is_some_and(|next| next != sample.value));
        self.count -= 1;
        match exact_product(sample) {
            None => self.wild -= 1,
            Some((t, products)) => {
                self.t -= t;
                self.tt -= i128::from(t) * i128::from(t);
                self.y.remove(sample.value);
                products.iter().for_each(|product| self.ty.remove(*product));
            }
        }
    }

    /// The line with its value at `origin_ms`, and `ahead` seconds after that, where the sums suffice to be
    /// as near to Prometheus' as promised.
    fn line(&self, first: &Sample, origin_ms: i64, ahead: Option<f64>) -> Option<Line> {
        if self.wild > 0 || origin_ms.unsigned_abs() > MOST_MS {
            return None;
        }
        if self.unequal == 0 {
            return Some(Line { slope: 0.0, intercept: first.value });
        }
        let count = i128::from(self.count);
        let variance = (count * self.tt - i128::from(self.t) * i128::from(self.t)) as f64;
        let covariance = self.ty.scaled_difference(self.count, &self.y, self.t);
        let slope = covariance / variance * 1000.0;
        // As upstream counts time: from the origin.
        let x = (i128::from(self.t) - count * i128::from(origin_ms)) as f64;
        let y = self.y.total();
        let n = self.count as f64;
        let intercept = y / n - slope * (x / 1000.0) / n;
        let mut magnified = (x * y / covariance).abs().max(x * x / variance);
        if let Some(ahead) = ahead {
            let moved = (slope * ahead).abs();
            let result = (slope * ahead + intercept).abs();
            let terms = moved + (y / n).abs() + (slope * (x / 1000.0) / n).abs();
            magnified = magnified.max(1.0) * (terms / result);
        }
        // Not above it: a NaN must not stand either.
        (magnified <= MOST_MAGNIFIED).then_some(Line { slope, intercept })
    }
}

/// Time, and time times value as two floats that add up to it exactly.
fn exact_product(sample: &Sample) -> Option<(i64, [f64; 2])> {
    /// Below this the lower part of a product may be lost.
    const LEAST: f64 = 1e-250;
    let t = sample.at.millis();
    if t.unsigned_abs() > MOST_MS {
        return None;
    }
    let product = t as f64 * sample.value;
    if !product.is_finite()
        || (product.abs() < LEAST && product != 0.0)
        || (product == 0.0 && sample.value != 0.0 && t != 0)
    {
        return None;
    }
    Some((t, [product, (t as f64).mul_add(sample.value, -product)]))
}

/// The line through `samples`, with its value at `origin_ms`; `ahead` says how many seconds later it is
/// wanted, where not only its slope is. `None` for fewer than two samples.
pub(super) fn regression(
    sums: &LineSums,
    samples: impl FnOnce() -> Vec<Sample>,
    first: &Sample,
    origin_ms: i64,
    ahead: Option<f64>,
) -> Option<Line> {
    if sums.count < 2 {
        return None;
    }
    sums.line(first, origin_ms, ahead).or_else(|| upstream(&samples(), origin_ms))
}

/// As Prometheus 2.42 computes it, with sums compensated for rounding.
fn upstream(samples: &[Sample], origin_ms: i64) -> Option<Line> {
    let [first, _, ..] = samples else { return None };
    if samples.iter().skip(1).all(|s| s.value == first.value) {
        let infinite = first.value.is_infinite();
        let line = if infinite { (f64::NAN, f64::NAN) } else { (0.0, first.value) };
        return Some(Line { slope: line.0, intercept: line.1 });
    }
    let mut sums = [CompensatedSum::default(); 4];
    for sample in samples {
        let x = sample.at.millis().saturating_sub(origin_ms) as f64 / 1000.0;
        for (sum, term) in sums.iter_mut().zip([x, sample.value, x * sample.value, x * x]) {
            *sum = sum.plus(term);
        }
    }
    let n = samples.len() as f64;
    let [x, y, xy, xx] = sums.map(CompensatedSum::total);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    Some(Line { slope, intercept: y / n - slope * x / n })
}

/// A sum and what rounding took from it (Neumaier 1974).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CompensatedSum {
    sum: f64,
    lost: f64,
}

impl CompensatedSum {
    /// The sum with `value`.
    pub(super) fn plus(self, value: f64) -> Self {
        let sum = self.sum + value;
        let lost = if self.sum.abs() >= value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
        Self { sum, lost: self.lost + lost }
    }

    /// What it comes to.
    pub(super) fn total(self) -> f64 {
        self.sum + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::Timestamp;
    use proptest::prelude::*;

    const START_MS: i64 = 1_767_225_600_000;

    fn samples(values: &[f64]) -> Vec<Sample> {
        let at = |i: usize| Timestamp::from_millis(START_MS + i as i64 * 15_001);
        values.iter().enumerate().map(|(i, value)| Sample { at: at(i), value: *value }).collect()
    }

    fn sums(samples: &[Sample]) -> LineSums {
        let mut sums = LineSums::default();
        let mut before = None;
        for sample in samples {
            sums.enter(sample, before);
            before = Some(sample.value);
        }
        sums
    }

    #[test]
    fn a_line_is_found_from_its_sums() {
        let line: Vec<f64> = (0..5).map(|i| 10.0 + 2.0 * f64::from(i)).collect();
        let samples = samples(&line);
        let found = sums(&samples).line(&samples[0], START_MS, Some(0.0)).unwrap();
        assert!((found.slope - 2.0 / 15.001).abs() < 1e-15 && (found.intercept - 10.0).abs() < 1e-14, "{found:?}");
    }

    #[test]
    fn a_slope_lost_in_its_level_is_left_to_the_order_of_upstream() {
        let flat: Vec<f64> = (0..40).map(|i| 1e12 + f64::from(i % 2)).collect();
        let flat = samples(&flat);
        assert_eq!(sums(&flat).line(&flat[0], START_MS, None), None);
        let found = regression(&sums(&flat), || flat.clone(), &flat[0], START_MS, None);
        assert_eq!(found, upstream(&flat, START_MS));
        let wild = samples(&[1.0, f64::INFINITY, 2.0]);
        assert_eq!(sums(&wild).line(&wild[0], START_MS, None), None);
        let constant = samples(&[7.0, 7.0]);
        assert_eq!(sums(&constant).line(&constant[0], 0, None), Some(Line { slope: 0.0, intercept: 7.0 }));
    }

    proptest! {
        #[test]
        fn where_the_sums_suffice_they_agree_with_upstream(
            values in prop::collection::vec(-1e6..1e9_f64, 2..60), ahead in 0.0..1e6_f64, late in 0..600_000_i64,
        ) {
            let samples = samples(&values);
            let origin = samples.last().unwrap().at.millis() + late;
            let theirs = upstream(&samples, origin).unwrap();
            if let Some(ours) = sums(&samples).line(&samples[0], origin, Some(ahead)) {
                let (ours, theirs) = (ours.slope * ahead + ours.intercept, theirs.slope * ahead + theirs.intercept);
                prop_assert!((ours - theirs).abs() <= 5e-10 * theirs.abs(), "{ours} {theirs}");
            }
            if let Some(ours) = sums(&samples).line(&samples[0], samples[0].at.millis(), None) {
                let theirs = upstream(&samples, samples[0].at.millis()).unwrap();
                prop_assert!((ours.slope - theirs.slope).abs() <= 5e-10 * theirs.slope.abs(), "{ours:?} {theirs:?}");
            }
        }
    }
}

//! The variance of a window's samples, for stddev and stdvar over time.
//!
//! Like the line, from exact sums of values and their squares; and like the line, where a series hardly
//! moves about its level and Prometheus' rounding could be seen, in Prometheus' order of operations.

use forewarn_schema::Sample;

use super::exact_sum::ExactSum;
use super::line::CompensatedSum;

/// Level squared over variance, up to which rounding upstream stays below about 1e-10 of the result.
const MOST_LEVEL: f64 = (1_u64 << 36) as f64;
/// Squares of values between these lose nothing.
const LEAST: f64 = 1e-120;
const MOST: f64 = 1e120;

/// Sums over values *y*.
#[derive(Clone, Debug, Default)]
pub(super) struct SpreadSums {
    count: usize,
    y: ExactSum,
    yy: ExactSum,
    /// Samples that cannot be in the sums: not finite, or with a square out of range.
    wild: usize,
    /// Neighbours with different values.
    unequal: usize,
}

impl SpreadSums {
    /// A sample comes in after one with the value `before`.
    pub(super) fn enter(&mut self, sample: &Sample, before: Option<f64>) {
        self.unequal += usize::from(before.is_some_and(|before| before != sample.value));
        self.count += 1;
        if is_wild(sample.value) {
            self.wild += 1;
            return;
        }
        self.y.add(sample.value);
        product(sample.value, sample.value).iter().for_each(|part| self.yy.add(*part));
    }

    /// The oldest sample goes; the next has the value `next`.
    pub(super) fn leave(&mut self, sample: &Sample, next: Option<f64>) {
        self.unequal -= usize::from(next.is_some_and(|next| next != sample.value));
        self.count -= 1;
        if is_wild(sample.value) {
            self.wild -= 1;
            return;
        }
        self.y.remove(sample.value);
        product(sample.value, sample.value).iter().for_each(|part| self.yy.remove(*part));
    }

    /// The variance, where the sums suffice to be as near to Prometheus' as promised.
    fn variance(&self) -> Option<f64> {
        if self.wild > 0 || self.count == 0 {
            return None;
        }
        if self.unequal == 0 {
            return Some(0.0);
        }
        // The sum of (y - m)^2 for a rounded mean m is exact too: yy - 2 m y + n m^2.
        let n = self.count as f64;
        let mean = self.y.mean(self.count);
        if is_wild(mean) {
            return None;
        }
        let mut squares = self.yy.clone();
        for part in self.y.parts() {
            product(-2.0 * mean, part).iter().for_each(|part| squares.add(*part));
        }
        for part in product(mean, mean) {
            product(n, part).iter().for_each(|part| squares.add(*part));
        }
        let variance = squares.total() / n;
        (mean * mean <= MOST_LEVEL * variance).then_some(variance)
    }
}

fn is_wild(value: f64) -> bool {
    value != 0.0 && !(LEAST..=MOST).contains(&value.abs())
}

/// Two floats that add up to `a * b` exactly, where that is far from the ends of the range.
fn product(a: f64, b: f64) -> [f64; 2] {
    let product = a * b;
    [product, a.mul_add(b, -product)]
}

/// The population variance; NaN without samples.
pub(super) fn variance(sums: &SpreadSums, samples: impl FnOnce() -> Vec<Sample>) -> f64 {
    sums.variance().unwrap_or_else(|| upstream(&samples()))
}

/// As Prometheus 2.42 computes it (Welford 1962), with sums compensated for rounding.
fn upstream(samples: &[Sample]) -> f64 {
    let (mut mean, mut squares) = (CompensatedSum::default(), CompensatedSum::default());
    let mut count = 0.0;
    for sample in samples {
        count += 1.0;
        let delta = sample.value - mean.total();
        mean = mean.plus(delta / count);
        squares = squares.plus(delta * (sample.value - mean.total()));
    }
    squares.total() / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::Timestamp;
    use proptest::prelude::*;

    fn samples(values: &[f64]) -> Vec<Sample> {
        let at = |i: usize| Timestamp::from_seconds(i as i64);
        values.iter().enumerate().map(|(i, value)| Sample { at: at(i), value: *value }).collect()
    }

    fn sums(samples: &[Sample]) -> SpreadSums {
        let mut sums = SpreadSums::default();
        let mut before = None;
        for sample in samples {
            sums.enter(sample, before);
            before = Some(sample.value);
        }
        sums
    }

    #[test]
    fn the_variance_by_hand() {
        let known = samples(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!(sums(&known).variance(), Some(4.0));
        assert_eq!(sums(&samples(&[0.1, 0.1, 0.1])).variance(), Some(0.0));
        assert_eq!(sums(&samples(&[1.0, f64::INFINITY])).variance(), None);
    }

    #[test]
    fn a_spread_lost_in_its_level_is_left_to_the_order_of_upstream() {
        let flat = samples(&[1e15, 1e15 + 0.125, 1e15]);
        assert_eq!(sums(&flat).variance(), None);
        assert_eq!(variance(&sums(&flat), || flat.clone()), upstream(&flat));
    }

    proptest! {
        #[test]
        fn where_the_sums_suffice_they_agree_with_upstream(
            values in prop::collection::vec(-1e6..1e6_f64, 2..80), level in prop_oneof![Just(0.0), -1e10..1e10_f64],
        ) {
            let values: Vec<f64> = values.iter().map(|v| v + level).collect();
            let samples = samples(&values);
            if let Some(ours) = sums(&samples).variance() {
                let theirs = upstream(&samples);
                prop_assert!((ours - theirs).abs() <= 5e-10 * theirs, "{ours} {theirs}");
            }
        }
    }
}

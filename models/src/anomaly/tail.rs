//! How rare a magnitude is among those before it: the conformal p-value (Vovk, Gammerman, Shafer 2005), from a
//! histogram of logarithmic buckets that never forgets, and past the largest seen by a Pareto tail.

/// Buckets in each power of two, as a power of two: 16, so a bucket spans 6 %.
const BUCKET_BITS: u32 = 4;

/// See the module. At most 32,752 buckets, since so many are the powers of two of a double; some hundreds in practice.
#[derive(Clone, Debug, Default)]
pub(super) struct Exceedances {
    /// Bucket and count, ascending.
    buckets: Vec<(u64, u64)>,
    total: u64,
    largest: f64,
}

impl Exceedances {
    /// The share of those before that are at least as large as `magnitude`, counting it among them; then takes it.
    /// `magnitude` is finite and at least 0.
    pub(super) fn push(&mut self, magnitude: f64) -> f64 {
        // The bits of a positive double are in the order of its value: the exponent and the first bits after it.
        let bucket = magnitude.to_bits() >> (f64::MANTISSA_DIGITS - 1 - BUCKET_BITS);
        let at = self.buckets.partition_point(|(b, _)| *b < bucket);
        let exceeding: u64 = self.buckets[at..].iter().map(|(_, count)| count).sum();
        let mut p = (exceeding as f64 + 1.0) / (self.total as f64 + 1.0);
        if exceeding == 0 && self.largest > 0.0 {
            p *= self.largest / magnitude;
        }
        match self.buckets.get_mut(at) {
            Some((b, count)) if *b == bucket => *count += 1,
            _ => self.buckets.insert(at, (bucket, 1)),
        }
        self.total += 1;
        self.largest = self.largest.max(magnitude);
        p
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_counted_and_goes_on_past_the_largest() {
        let mut tail = Exceedances::default();
        for magnitude in 1..=9 {
            tail.push(f64::from(magnitude));
        }
        assert!((tail.push(7.0) - 0.4).abs() < 1e-12, "7, 8, 9 and itself of ten");
        assert!((tail.push(0.0) - 1.0).abs() < 1e-12);
        assert!((tail.push(90.0) - 1.0 / 120.0).abs() < 1e-12, "one in twelve, and ten times the largest");
    }

    #[test]
    fn it_stays_bounded() {
        let mut tail = Exceedances::default();
        for i in 0..50_000_u32 {
            tail.push(f64::from(i.wrapping_mul(2_654_435_761)).powi(9));
        }
        // Nine powers of 32 powers of two, 16 buckets each.
        assert!(tail.buckets.len() <= 9 * 33 * 16, "{}", tail.buckets.len());
    }
}

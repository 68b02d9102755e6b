//! A sum of floats that forgets nothing: what was added can be taken away again, in any order, and the
//! total has the same bits as if only the rest had ever been added.
//!
//! A float is a whole number times a power of two, so a sum of floats is one wide whole number (Kulisch
//! 1971; Neal 2015, "Fast exact summation using small and large superaccumulators"). A window can slide
//! over its samples at the price of the samples that come and go, which no running float sum allows.

const LIMB_BITS: usize = 32;
/// The exponent of the lowest bit of the smallest float.
const LOWEST_EXPONENT: i32 = -1074;
/// Limbs for every float (2,098 bits), and room for carries.
const MAX_LIMBS: usize = 68;
/// Limbs have 31 bits to spare; they are carried over before these are used up.
const MAX_PENDING: u32 = 1 << 30;

/// See the module. The empty sum is 0; negative zero is not told apart from zero.
#[derive(Clone, Debug, Default)]
pub(super) struct ExactSum {
    /// Position of `limbs[0]`.
    low: usize,
    /// Signed digits to the base 2^32, the lowest first.
    limbs: Vec<i64>,
    /// Additions since the last carry.
    pending: u32,
    nans: usize,
    positive_infinities: usize,
    negative_infinities: usize,
}

impl ExactSum {
    /// Adds `value`.
    pub(super) fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.accumulate(value, value.is_sign_negative());
        } else {
            *self.special(value) += 1;
        }
    }

    /// Takes away a `value` that was added before.
    pub(super) fn remove(&mut self, value: f64) {
        if value.is_finite() {
            self.accumulate(value, !value.is_sign_negative());
        } else {
            let seen = self.special(value);
            *seen = seen.saturating_sub(1);
        }
    }

    /// The sum, rounded once. NaN where a NaN or infinities of both signs were added.
    pub(super) fn total(&self) -> f64 {
        self.not_finite().unwrap_or_else(|| self.rounded(0))
    }

    /// The sum divided by `count`, also where the sum itself is past the largest float.
    pub(super) fn mean(&self, count: usize) -> f64 {
        const SHIFT: i32 = 64;
        let total = self.total();
        if total.is_infinite() && self.not_finite().is_none() {
            return self.rounded(-SHIFT) / count as f64 * exp2(SHIFT);
        }
        total / count as f64
    }

    fn special(&mut self, value: f64) -> &mut usize {
        if value.is_nan() {
            &mut self.nans
        } else if value > 0.0 {
            &mut self.positive_infinities
        } else {
            &mut self.negative_infinities
        }
    }

    fn not_finite(&self) -> Option<f64> {
        match (self.nans, self.positive_infinities, self.negative_infinities) {
            (0, 0, 0) => None,
            (0, _, 0) => Some(f64::INFINITY),
            (0, 0, _) => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }

    /// Adds the magnitude of `value` with the given sign.
    fn accumulate(&mut self, value: f64, negative: bool) {
        let bits = value.to_bits();
        let fraction = bits & ((1 << 52) - 1);
        let exponent = ((bits >> 52) & 0x7ff) as usize;
        let (mantissa, position) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
        if mantissa == 0 {
            return;
        }
        let mut digits = u128::from(mantissa) << (position % LIMB_BITS);
        let first = self.make_room(position / LIMB_BITS);
        for limb in &mut self.limbs[first..first + 3] {
            let digit = (digits & 0xffff_ffff) as i64;
            *limb += if negative { -digit } else { digit };
            digits >>= LIMB_BITS;
        }
        self.pending += 1;
        if self.pending >= MAX_PENDING {
            self.pending = 0;
            self.limbs.push(0);
            carry(&mut self.limbs);
        }
    }

    /// Widens to hold three limbs from `position` on, and returns where the first of them is.
    fn make_room(&mut self, position: usize) -> usize {
        if self.limbs.is_empty() {
            self.low = position;
        } else if position < self.low {
            let missing = self.low - position;
            self.limbs.splice(0..0, std::iter::repeat_n(0, missing));
            self.low = position;
        }
        let first = position - self.low;
        if self.limbs.len() < first + 3 {
            self.limbs.resize(first + 3, 0);
        }
        first
    }

    /// Floats that add up to the finite part exactly, the largest first.
    pub(super) fn parts(&self) -> impl Iterator<Item = f64> {
        let mut rest = Self { nans: 0, positive_infinities: 0, negative_infinities: 0, ..self.clone() };
        std::iter::from_fn(move || {
            let part = rest.total();
            rest.remove(part);
            (part != 0.0 && part.is_finite()).then_some(part)
        })
    }

    /// `a * self - b * other`, rounded once; both must be finite.
    pub(super) fn scaled_difference(&self, a: i64, other: &Self, b: i64) -> f64 {
        let low = if self.limbs.is_empty() { other.low } else { self.low };
        let low = if other.limbs.is_empty() { low } else { low.min(other.low) };
        // A limb is below 2^63, a factor too, so that two products fit 128 bits; carried, they take up to
        // three limbs more.
        let mut products = [0_i128; MAX_LIMBS + 8];
        let mut used = 0;
        for (sum, factor) in [(self, i128::from(a)), (other, -i128::from(b))] {
            let mut carried = [0_i64; MAX_LIMBS + 2];
            let limbs = sum.carried(&mut carried);
            for (i, limb) in limbs.iter().enumerate() {
                let Some(product) = products.get_mut(sum.low - low.min(sum.low) + i) else { return f64::NAN };
                *product += factor * i128::from(*limb);
                used = used.max(sum.low - low.min(sum.low) + i + 1);
            }
        }
        let mut limbs = [0_i64; MAX_LIMBS + 8];
        let mut rest = 0_i128;
        let wide = (used + 3).min(limbs.len());
        for (limb, product) in limbs[..wide].iter_mut().zip(&products) {
            let digit = product + rest;
            *limb = (digit & 0xffff_ffff) as i64;
            rest = digit >> LIMB_BITS;
        }
        // What is left is the sign.
        limbs[wide - 1] += (rest << LIMB_BITS) as i64;
        rounded(&mut limbs[..wide], low, 0)
    }

    /// The finite part times 2^`shift`, to the nearest float, ties to even.
    fn rounded(&self, shift: i32) -> f64 {
        rounded(self.carried(&mut [0; MAX_LIMBS + 2]), self.low, shift)
    }

    /// The limbs carried over, in `buffer`.
    fn carried<'b>(&self, buffer: &'b mut [i64; MAX_LIMBS + 2]) -> &'b mut [i64] {
        let used = self.limbs.len().min(MAX_LIMBS);
        buffer[..used].copy_from_slice(&self.limbs[..used]);
        let limbs = &mut buffer[..used + 2];
        carry(limbs);
        limbs
    }
}

/// The number with these carried limbs, the first of which stands at `low`, times 2^`shift`; to the nearest
/// float, ties to even.
fn rounded(limbs: &mut [i64], low: usize, shift: i32) -> f64 {
    let negative = limbs.last().is_some_and(|top| *top < 0);
    if negative {
        limbs.iter_mut().for_each(|limb| *limb = -*limb);
        carry(limbs);
    }
    let Some(top) = limbs.iter().rposition(|limb| *limb != 0) else { return 0.0 };
    // Four limbs hold at least 97 bits; all that is below them only breaks ties.
    let bottom = top.saturating_sub(3);
    let mut leading = limbs[bottom..=top].iter().rev().fold(0_u128, |n, limb| n << LIMB_BITS | *limb as u128);
    if limbs[..bottom].iter().any(|limb| *limb != 0) {
        leading |= 1;
    }
    let exponent = ((low + bottom) * LIMB_BITS) as i32 + LOWEST_EXPONENT + shift;
    // In two halves: 2^exponent alone may be out of range.
    let magnitude = leading as f64 * exp2(exponent / 2) * exp2(exponent - exponent / 2);
    if negative { -magnitude } else { magnitude }
}

/// Makes every limb but the last a digit in 0..2^32.
fn carry(limbs: &mut [i64]) {
    let mut carried = 0;
    let last = limbs.len().saturating_sub(1);
    for (i, limb) in limbs.iter_mut().enumerate() {
        *limb += carried;
        carried = 0;
        if i < last {
            carried = *limb >> LIMB_BITS;
            *limb &= 0xffff_ffff;
        }
    }
}

fn exp2(exponent: i32) -> f64 {
    f64::from(exponent).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(values: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        values.iter().for_each(|v| sum.add(*v));
        sum
    }

    #[test]
    fn nothing_is_lost_to_rounding() {
        assert_eq!(sum(&[1e16, 1.0, 1.0, -1e16]).total(), 2.0);
        assert_eq!(sum(&[1e300, 1e-300, -1e300]).total(), 1e-300);
        assert_eq!(sum(&[0.1; 10]).total(), 1.0);
        assert_eq!(sum(&[]).total(), 0.0);
        assert_eq!(sum(&[f64::from_bits(1), f64::from_bits(2)]).total(), f64::from_bits(3));
    }

    #[test]
    fn a_tie_goes_to_the_even_neighbour() {
        assert_eq!(sum(&[9_007_199_254_740_992.0, 1.0]).total(), 9_007_199_254_740_992.0);
        assert_eq!(sum(&[9_007_199_254_740_992.0, 1.0, 1e-9]).total(), 9_007_199_254_740_994.0);
    }

    #[test]
    fn the_mean_of_huge_values_does_not_overflow_and_infinities_rule() {
        assert_eq!(sum(&[f64::MAX, f64::MAX]).total(), f64::INFINITY);
        assert_eq!(sum(&[f64::MAX, f64::MAX]).mean(2), f64::MAX);
        let mut mixed = sum(&[1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN]);
        assert!(mixed.total().is_nan());
        mixed.remove(f64::NAN);
        mixed.remove(f64::NEG_INFINITY);
        assert_eq!(mixed.mean(2), f64::INFINITY);
        mixed.remove(f64::INFINITY);
        assert_eq!(mixed.total(), 1.0);
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let mut whole = sum(&[1e16, 1.0, 1e-9]);
        let parts: Vec<f64> = whole.parts().collect();
        assert_eq!((parts.len(), parts[0]), (3, 1.0000000000000002e16));
        parts.iter().for_each(|part| whole.remove(*part));
        assert_eq!(whole.total(), 0.0);
        assert_eq!(sum(&[]).parts().count(), 0);
    }

    #[test]
    fn a_difference_of_products_is_rounded_once() {
        let (a, b) = (sum(&[1e17, 1.0]), sum(&[1e17]));
        assert_eq!(a.scaled_difference(1 << 60, &b, 1 << 60), (1_u64 << 60) as f64);
        assert_eq!(b.scaled_difference(3, &a, 3), -3.0);
        assert_eq!(sum(&[0.1]).scaled_difference(10, &sum(&[]), 5), 10.0 * 0.1);
        assert_eq!(sum(&[]).scaled_difference(10, &sum(&[1e-300, 1e300]), i64::MAX), -(i64::MAX as f64) * 1e300);
    }

    proptest! {
        #[test]
        fn products_of_whole_numbers_are_whole(
            x in -1_000_000_i64..1_000_000, y in -1_000_000_i64..1_000_000, a in any::<i32>(), b in any::<i32>(),
        ) {
            let exact = i128::from(x) * i128::from(a) - i128::from(y) * i128::from(b);
            let difference = sum(&[x as f64]).scaled_difference(a.into(), &sum(&[y as f64]), b.into());
            prop_assert_eq!(difference, exact as f64);
        }

        #[test]
        fn taking_away_leaves_what_the_rest_alone_would_be(
            bits in prop::collection::vec(any::<u64>(), 0..60), gone in prop::collection::vec(any::<u64>(), 0..60),
        ) {
            let floats = |bits: &[u64]| bits.iter().map(|b| f64::from_bits(*b)).collect::<Vec<_>>();
            let (stays, gone) = (floats(&bits), floats(&gone));
            let mut slid = sum(&gone);
            stays.iter().for_each(|v| slid.add(*v));
            gone.iter().for_each(|v| slid.remove(*v));
            prop_assert_eq!(slid.total().to_bits(), sum(&stays).total().to_bits());
        }

        #[test]
        fn whole_numbers_add_up_as_whole_numbers(values in prop::collection::vec(-1_000_000_i64..1_000_000, 0..200)) {
            let total: i64 = values.iter().sum();
            let floats: Vec<f64> = values.iter().map(|v| *v as f64).collect();
            prop_assert_eq!(sum(&floats).total(), total as f64);
        }
    }
}

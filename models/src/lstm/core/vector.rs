//! Vectors of whatever width the processor has, and the activations on them.

use pulp::Simd;

use super::{GATES, GateLines, Line};

/// The `at`-th vector of a line.
#[inline(always)]
pub(super) fn load<S: Simd>(line: &Line, at: usize) -> S::f32s {
    S::as_simd_f32s(&line.0).0[at]
}

#[inline(always)]
pub(super) fn store<S: Simd>(line: &mut Line, at: usize, value: S::f32s) {
    S::as_mut_simd_f32s(&mut line.0).0[at] = value;
}

/// The `at`-th vector of each gate.
#[inline(always)]
pub(super) fn load_gates<S: Simd>(lines: &GateLines, at: usize) -> [S::f32s; GATES] {
    [load::<S>(&lines[0], at), load::<S>(&lines[1], at), load::<S>(&lines[2], at), load::<S>(&lines[3], at)]
}

/// `1 / (1 + 2^x)`: the sigmoid of `-x ln 2`.
#[inline(always)]
pub(super) fn logistic<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    simd.div_f32s(one, simd.add_f32s(one, exp2(simd, x)))
}

/// `2 / (1 + 2^x) - 1`: the hyperbolic tangent of `-x ln 2 / 2`; exactly 0 at 0.
#[inline(always)]
pub(super) fn signed_logistic<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let half = logistic(simd, x);
    simd.sub_f32s(simd.add_f32s(half, half), simd.splat_f32s(1.0))
}

/// `2^x`, relative error below 2e-7; exactly 1 at 0; saturates beyond +-126.
///
/// A whole power of two times a polynomial on [-1/2, 1/2] (degree 5, least relative error with a constant term of 1).
#[allow(clippy::approx_constant, reason = "a coefficient of the fit, not the logarithm of 2")]
#[inline(always)]
fn exp2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// Adding it rounds to an integer, which then lies in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let splat = |value: f32| simd.splat_f32s(value);
    // In this order a NaN passes through the vector instructions of x86, which give the second operand then.
    let x = simd.max_f32s(splat(-126.0), simd.min_f32s(splat(126.0), x));
    let shifted = simd.add_f32s(x, splat(ROUND));
    let rest = simd.sub_f32s(x, simd.sub_f32s(shifted, splat(ROUND)));
    let mut mantissa = splat(1.326_472_7e-3);
    for coefficient in [9.671_513e-3, 5.550_733_6e-2, 0.240_222_42, 0.693_147, 1.0] {
        mantissa = simd.mul_add_f32s(mantissa, rest, splat(coefficient));
    }
    let exponent = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(mantissa), exponent))
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, Scalar, WithSimd};

    use super::*;
    use crate::lstm::core::LANES;

    /// Logistic, signed logistic and power of a line.
    struct Activate(Line);

    impl WithSimd for Activate {
        type Output = [Line; 3];

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> [Line; 3] {
            let mut out = [self.0; 3];
            for at in 0..LANES / S::F32_LANES {
                let x = load::<S>(&self.0, at);
                store::<S>(&mut out[0], at, logistic(simd, x));
                store::<S>(&mut out[1], at, signed_logistic(simd, x));
                store::<S>(&mut out[2], at, exp2(simd, x));
            }
            out
        }
    }

    #[test]
    fn activations_are_exact_enough() {
        let xs: Vec<f32> = (-40_000..40_000).map(|thousandth| thousandth as f32 / 1000.0).collect();
        for line in xs.as_chunks::<LANES>().0 {
            let [logistic, signed, power] = Arch::new().dispatch(Activate(Line(*line)));
            for (at, x) in line.iter().enumerate() {
                let exact = f64::from(*x).exp2();
                assert!((f64::from(power.0[at]) / exact - 1.0).abs() < 2e-7, "2^{x}");
                assert!((f64::from(logistic.0[at]) - 1.0 / (1.0 + exact)).abs() < 2e-7, "logistic({x})");
                assert!((f64::from(signed.0[at]) - (1.0 - exact) / (1.0 + exact)).abs() < 3e-7, "signed({x})");
            }
        }
    }

    #[test]
    fn activations_saturate_and_are_exact_at_zero() {
        let mut line = Line([0.0; LANES]);
        line.0[1..5].copy_from_slice(&[-1e30, 1e30, f32::NEG_INFINITY, f32::INFINITY]);
        let [logistic, signed, power] = Arch::new().dispatch(Activate(line));
        assert_eq!([logistic.0[0], signed.0[0], power.0[0]], [0.5, 0.0, 1.0]);
        assert_eq!(logistic.0[1..5], [1.0, 1.175_494_4e-38, 1.0, 1.175_494_4e-38]);
        assert_eq!(signed.0[1..5], [1.0, -1.0, 1.0, -1.0]);
    }

    #[test]
    fn every_width_gives_the_same_bits() {
        for step in 0..500 {
            let line = Line(std::array::from_fn(|lane| (step * LANES + lane) as f32 * 0.0173 - 70.0));
            assert_eq!(Arch::new().dispatch(Activate(line)), Scalar.vectorize(Activate(line)));
        }
    }
}

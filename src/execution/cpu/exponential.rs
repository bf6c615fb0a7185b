//! An f32 exp that the compiler can vectorise, unlike a call to libm's `expf`.

use super::vectors::{multiply_add, polynomial};
use crate::data::integers::ROUND;

/// e^x to within 2 ulp for x from -87 to 88; x is clamped to that range. Cephes' `expf`: x = n·ln 2 + r with |r| ≤ ln 2 / 2, a polynomial for e^r,
/// then the exponent n.
#[inline(always)]
pub fn exp<S: pulp::Simd>(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let shifted = multiply_add::<S>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    // ln 2 in two parts, the first exact in a few bits.
    let r = multiply_add::<S>(n, 2.121_944_4e-4, multiply_add::<S>(n, -0.693_359_4, x));
    let p = polynomial::<S, 6>(r, [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1]);
    let fraction = multiply_add::<S>(p * r, r, r) + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    fraction * power
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::cpu::vectors::vectorised;

    vectorised! {
        fn exp_of<'a>(x: &'a f32) -> f32 {
            exp::<S>(*x)
        }
    }

    #[test]
    fn exp_is_accurate() {
        for i in -87_000..=88_000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp_of(&x)) - exact).abs() / exact;
            assert!(error <= 2.0 * f64::from(f32::EPSILON), "exp({x}) is off by {error}");
        }
        assert!(exp_of(&-1e30) < 1e-37 && exp_of(&1e30) > 1e38 && exp_of(&f32::NAN).is_nan());
    }
}

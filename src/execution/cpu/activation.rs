//! Element-wise activations.

use super::exponential::exp;
use super::vectors::{multiply_add, polynomial, vectorised};
use crate::data::config::Activation;

vectorised! {
    /// Applies `activation` to each value in place. Where products of 16-bit numbers or less read the results next, GELU may be off by 3e-7 · x.
    #[allow(clippy::redundant_closure)] // A closure is inlined; a call through the function itself is not.
    pub fn activate<'a>(activation: Activation, is_rounded: bool, values: &'a mut [f32]) -> () {
        // One loop per activation, so that the compiler can vectorise it.
        match activation {
            Activation::Gelu if is_rounded => each(values, |x| 0.5 * x * rounded_complementary_error_function::<S>(x * -std::f32::consts::FRAC_1_SQRT_2)),
            Activation::Gelu => each(values, |x| 0.5 * x * complementary_error_function::<S>(x * -std::f32::consts::FRAC_1_SQRT_2)),
            Activation::GeluTanh => each(values, |x| 0.5 * x * (1.0 + tanh::<S>(0.797_884_6 * (x + 0.044_715 * x * x * x)))),
            Activation::QuickGelu => each(values, |x| x / (1.0 + exp::<S>(-1.702 * x))),
            Activation::Relu => each(values, |x| x.max(0.0)),
            Activation::Tanh => each(values, |x| tanh::<S>(x)),
            Activation::Silu => each(values, |x| x / (1.0 + exp::<S>(-x))),
            Activation::Sigmoid => each(values, |x| 1.0 / (1.0 + exp::<S>(-x))),
        }
    }
}

#[inline(always)]
fn each(values: &mut [f32], of: impl Fn(f32) -> f32) {
    for value in values {
        *value = of(*value);
    }
}

/// Returns the activation with this number in WGSL.
pub(crate) fn numbered(number: u32) -> Activation {
    Activation::ALL.into_iter().find(|&activation| activation as u32 == number).unwrap_or_else(|| panic!("no activation has the number {number}"))
}

#[inline(always)]
fn tanh<S: pulp::Simd>(x: f32) -> f32 {
    let e = exp::<S>(-2.0 * x.abs());
    ((1.0 - e) / (1.0 + e)).copysign(x)
}

/// Complementary error function, as in `shaders/common/activation.wgsl` (Numerical Recipes, 3rd edition, section 6.2.2). The relative error is at
/// most 1.2e-7 everywhere, so GELU's negative tail keeps digits that 1 + erf would lose to rounding.
#[inline(always)]
fn complementary_error_function<S: pulp::Simd>(x: f32) -> f32 {
    const COEFFICIENTS: [f32; 10] =
        [0.170_872_77, -0.822_152_23, 1.488_515_9, -1.135_204, 0.278_868_07, -0.186_288_06, 0.096_784_18, 0.374_091_96, 1.000_023_7, -1.265_512_2];
    let z = x.abs();
    let t = 1.0 / multiply_add::<S>(0.5, z, 1.0);
    let upper = t * exp::<S>(multiply_add::<S>(-z, z, polynomial::<S, 10>(t, COEFFICIENTS)));
    if x < 0.0 { 2.0 - upper } else { upper }
}

/// Complementary error function to within 3e-7, as in `shaders/common/activation.wgsl` (Abramowitz and Stegun 1964, 7.1.28), in half the time.
#[inline(always)]
fn rounded_complementary_error_function<S: pulp::Simd>(x: f32) -> f32 {
    const COEFFICIENTS: [f32; 7] = [4.306_38e-5, 2.765_672e-4, 1.520_143e-4, 9.270_527e-3, 4.228_201e-2, 7.052_308e-2, 1.0];
    let root = 1.0 / polynomial::<S, 7>(x.abs(), COEFFICIENTS);
    let fourth = (root * root) * (root * root);
    let upper = (fourth * fourth) * (fourth * fourth);
    if x < 0.0 { 2.0 - upper } else { upper }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_is_accurate_far_into_its_tail() {
        for i in -9000..=9000 {
            let x = i as f32 / 1000.0;
            let mut value = [x];
            activate(Activation::Gelu, false, &mut value);
            let exact = 0.5 * f64::from(x) * libm::erfc(-f64::from(x) / std::f64::consts::SQRT_2);
            let difference = (f64::from(value[0]) - exact).abs();
            // Half an ulp of x, plus the error of erfc itself.
            let bound = f64::from(f32::EPSILON) * f64::from(x.max(0.0)) + 2e-7 * exact.abs() + 1e-7 * f64::from(x < 1.0);
            assert!(difference <= bound, "gelu({x}) is off by {difference:e}, allowed {bound:e}");
            let mut rounded = [x];
            activate(Activation::Gelu, true, &mut rounded);
            let difference = (f64::from(rounded[0]) - exact).abs();
            assert!(difference <= 1e-6 * f64::from(x.abs()).max(0.1), "rounded gelu({x}) is off by {difference:e}");
        }
    }
}

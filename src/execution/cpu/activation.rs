//! Element-wise activations.

use super::exponential::exp;
use super::vectors::{multiply_add, polynomial, vectorised};
use crate::data::config::Activation;

vectorised! {
    /// Applies `activation` to each value in place.
    #[allow(clippy::redundant_closure)] // A closure is inlined; a call through the function itself is not.
    pub fn activate<'a>(activation: Activation, values: &'a mut [f32]) -> () {
        // One loop per activation, so that the compiler can vectorise it.
        match activation {
            Activation::Gelu => each(values, |x| gelu::<S>(x)),
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

/// GELU as in `shaders/common/activation.wgsl`: x · Φ(x) = max(x, 0) - |x| · Φ(-|x|), with Φ(-s) as the square of a rational function, which has no
/// cancellation: the negative tail keeps digits that 1 + erf would lose to rounding. `benches/gelu.py` fits it; it is off by at most 2.4e-7.
#[inline(always)]
fn gelu<S: pulp::Simd>(x: f32) -> f32 {
    const NUMERATOR: [f32; 5] = [4.404_191e-4, -1.090_869_7e-2, 0.102_788_93, -0.436_907_38, 0.707_106_77];
    const DENOMINATOR: [f32; 8] = [4.011_558_5e-5, -1.462_272_2e-4, 8.514_999e-4, 3.430_740_2e-3, -1.270_552_3e-2, 0.137_600_29, -0.218_938_01, 1.0];
    let s = x.abs();
    let root = polynomial::<S, 5>(s, NUMERATOR) / polynomial::<S, 8>(s, DENOMINATOR);
    // Beyond 6, Φ is less than 1e-9, and the fit ends. Values that are not finite stay so: infinity times 0.
    let root = if s < 6.0 { root } else { 0.0 };
    multiply_add::<S>(-s, root * root, if x > 0.0 { x } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_is_accurate_far_into_its_tail() {
        for i in -9000..=9000 {
            let x = i as f32 / 1000.0;
            let mut value = [x];
            activate(Activation::Gelu, &mut value);
            let exact = 0.5 * f64::from(x) * libm::erfc(-f64::from(x) / std::f64::consts::SQRT_2);
            let difference = (f64::from(value[0]) - exact).abs();
            // Half an ulp of x, plus the error of Φ itself.
            let bound = f64::from(f32::EPSILON) * f64::from(x.max(0.0)) + 2e-7 * exact.abs() + 1e-7 * f64::from(x < 1.0);
            assert!(difference <= bound, "gelu({x}) is off by {difference:e}, allowed {bound:e}");
        }
    }

    #[test]
    fn gelu_hides_no_value_that_is_not_finite() {
        let mut values = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e38, -1e38];
        activate(Activation::Gelu, &mut values);
        assert!(values[..3].iter().all(|value| !value.is_finite()) && values[3..] == [1e38, 0.0], "{values:?}");
    }
}

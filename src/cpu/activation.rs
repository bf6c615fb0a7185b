//! Activations, element by element.

use crate::config::Activation;

/// Applies `activation` to each value.
pub fn activate(activation: Activation, values: &mut [f32]) {
    // One loop for each kind, so that the compiler turns it into vector instructions.
    match activation {
        Activation::Gelu => values.iter_mut().for_each(|x| *x = 0.5 * *x * (1.0 + error_function(*x * std::f32::consts::FRAC_1_SQRT_2))),
        Activation::GeluTanh => values.iter_mut().for_each(|x| {
            let inner = 0.797_884_6 * (*x + 0.044_715 * *x * *x * *x);
            *x = 0.5 * *x * (1.0 + inner.tanh());
        }),
        Activation::QuickGelu => values.iter_mut().for_each(|x| *x /= 1.0 + (-1.702 * *x).exp()),
        Activation::Relu => values.iter_mut().for_each(|x| *x = x.max(0.0)),
        Activation::Tanh => values.iter_mut().for_each(|x| *x = x.tanh()),
    }
}

/// The activation that has this number in WGSL.
pub(crate) fn numbered(number: u32) -> Activation {
    let all = [Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu, Activation::Relu, Activation::Tanh];
    all.into_iter().find(|&activation| activation as u32 == number).unwrap_or_else(|| panic!("no activation has the number {number}"))
}

/// The error function as `shaders/common/activation.wgsl` has it: a rational approximation (the f32
/// erf of XLA and Eigen) that the compiler can vectorise, which a call of libm's `erff` is not.
fn error_function(value: f32) -> f32 {
    let x = value.clamp(-4.0, 4.0);
    let s = x * x;
    let horner = |coefficients: &[f32]| coefficients.iter().fold(0.0, |sum, &coefficient| sum * s + coefficient);
    let p = horner(&[-2.726_142_3e-10, 2.770_681_4e-8, -2.101_024e-6, -5.692_506_4e-5, -7.349_906_3e-4, -2.954_599_8e-3, -1.609_603_3e-2]);
    let q = horner(&[-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_474_1e-2]);
    x * p / q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_function_is_accurate() {
        for i in -6000..=6000 {
            let x = i as f32 / 1000.0;
            let difference = (f64::from(error_function(x)) - libm::erf(f64::from(x))).abs();
            assert!(difference <= 3e-7, "erf({x}) is off by {difference}");
        }
    }
}

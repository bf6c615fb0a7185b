//! Twins of the kernels that compute f32 products as three f16 products: the powers of two that scale the factors, and the products themselves, which
//! the scaling leaves unchanged.

use super::attention;
use super::matmul::{Params, matmul};
use super::product::with_panel;
use crate::data::panels::PANEL;
use crate::data::record::Call;

/// Exponent of the power of two below the largest scaled magnitude.
const EXPONENT: u32 = 12;

/// Twin of `matmul_powers`.
pub fn matmul_powers(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [m, n, k] = [params.m, params.n, params.k].map(|size| size as usize);
    let w = call.factor(1);
    let (rows, columns) = call.write.split_at_mut(m);
    for (power, row) in rows.iter_mut().zip(call.reads[0].chunks(k)) {
        *power = power_for(row.iter());
    }
    for (first, columns) in (0..n).step_by(PANEL).zip(columns.chunks_mut(PANEL)) {
        with_panel(w.part(first * k, PANEL * k), k, |panel| {
            for (column, power) in columns.iter_mut().enumerate() {
                *power = power_for(panel.iter().skip(column).step_by(PANEL));
            }
        });
    }
}

/// Twin of `attention_powers`.
pub fn attention_powers(call: Call<'_>) {
    let params: attention::Params = *bytemuck::from_bytes(call.params);
    let [tokens, heads] = [params.tokens, params.heads].map(|size| size as usize);
    let head = call.spec.get("HEAD") as usize;
    for (number, power) in call.write.iter_mut().enumerate() {
        let (image, h, part) = (number / (3 * heads), number / 3 % heads, number % 3);
        let vectors = (image * tokens..(image + 1) * tokens).map(|n| &call.reads[0][((n * 3 + part) * heads + h) * head..][..head]);
        *power = power_for(vectors.flatten());
    }
}

/// Returns the power of two that scales the largest magnitude to between 2^12 and 2^13. Neither it nor its inverse is subnormal.
fn power_for<'a>(values: impl Iterator<Item = &'a f32>) -> f32 {
    let largest = values.fold(0.0, |largest: f32, value| largest.max(value.abs()));
    f32::from_bits((127 + 127 + EXPONENT - (largest.to_bits() >> 23)).min(253) << 23)
}

/// Twin of `matmul_cooperative_f32`.
pub fn matmul_by_three(call: Call<'_>) {
    let Call { reads, .. } = call;
    matmul(Call { reads: &reads[..4], ..call });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_for_scales_values_into_a_fixed_range() {
        for value in [1.0, 1.5, -3e-30, 7e37, 4095.9] {
            let scaled = (power_for([0.0, value].iter()) * value).abs();
            assert!((4096.0..8192.0).contains(&scaled), "{value}: {scaled}");
        }
        for value in [0.0, 1e-45, f32::MAX] {
            let power = power_for([value].iter());
            assert!(power.is_normal() && (1.0 / power).is_normal(), "{value}: {power}");
        }
    }
}

//! Twin of `matmul/bf16.wgsl`: products of bf16 with sums in f32.

use super::instructions;
use super::matmul::{Params, finished};
use super::parallel::{for_each_chunk, with_workspace};
use super::product::{Target, product_in_panels, product_of_words};
use super::to_bf16::restore_row;
use crate::data::bf16::words;
use crate::data::panels::Panels;
use crate::data::record::Call;

/// Twin of `matmul_bf16`. Where the processor does not multiply bf16, it multiplies the same values in f32.
pub fn matmul_bf16(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let w = call.factor_words(1);
    let sizes @ [m, _, k] = [params.m, params.n, params.k].map(|size| size as usize);
    let x: &[u32] = bytemuck::cast_slice(call.reads[0]);
    let y = Target { data: &mut call.write[params.first as usize..], row_stride: params.stride as usize };
    let finish = finished(call.spec, call.reads[2], call.reads[3], params.packed(call.packed));
    if let Some(multiply) = instructions::for_bf16() {
        return product_of_words(sizes, words(k), [x, w], y, finish, multiply);
    }
    with_workspace(m * k, |values| {
        for_each_chunk(values, k, |row, values| restore_row(&x[row * words(k)..][..words(k)], values));
        product_in_panels(sizes, values, Panels::Bf16Pairs(w), y, finish);
    });
}

/// Returns whether this processor has instructions that multiply bf16; they take about half the time of f32, or less.
pub fn is_native() -> bool {
    instructions::for_bf16().is_some()
}

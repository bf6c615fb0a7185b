//! Twin of `matmul/int8.wgsl`: products of 8-bit integers, with a scale per block of both factors.

use super::instructions;
use super::matmul::{Params, finished};
use super::parallel::{for_each_chunk, with_workspace};
use super::product::{Target, product_in_panels, product_of_words};
use super::quantise::restore_row;
use crate::data::int8::row_words;
use crate::data::panels::Panels;
use crate::data::record::Call;

/// Twin of `matmul_int8`. Sums within a block are exact where the processor multiplies integers; elsewhere, it multiplies the values that the
/// integers stand for.
pub fn matmul_int8(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let w = call.factor_words(1);
    let sizes @ [m, _, k] = [params.m, params.n, params.k].map(|size| size as usize);
    let x: &[u32] = bytemuck::cast_slice(call.reads[0]);
    let y = Target { data: &mut call.write[params.first as usize..], row_stride: params.stride as usize };
    let finish = finished(call.spec, call.reads[2], call.reads[3], params.packed(call.packed));
    if let Some(multiply) = instructions::for_int8() {
        return product_of_words(sizes, row_words(k), [x, w], y, finish, multiply);
    }
    with_workspace(m * k, |values| {
        for_each_chunk(values, k, |row, values| restore_row(&x[row * row_words(k)..][..row_words(k)], values));
        product_in_panels(sizes, values, Panels::Int8(w), y, finish);
    });
}

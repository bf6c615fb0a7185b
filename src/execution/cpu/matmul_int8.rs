//! Twin of `matmul/int8.wgsl`: products of 8-bit integers, with a scale per row of both factors.

use super::matmul::{Params, finished};
use super::parallel::for_each_chunk;
use super::product::{Target, product_in_panels};
use crate::data::int8::{WORD, integers};
use crate::data::panels::{PANEL, Panels};
use crate::data::record::Call;

/// Twin of `matmul_int8`. Multiplies the integers as f32, which is exact for the products, and for sums up to 2^24.
pub fn matmul_int8(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let w = match call.panels {
        Some(Panels::Int8(words)) => words,
        Some(other) => panic!("expected 8-bit integers, found {other:?}"),
        None => bytemuck::cast_slice(call.reads[1]),
    };
    let [m, n, k] = [params.m, params.n, params.k].map(|size| size as usize);
    let words = k.div_ceil(WORD);
    let quantised: &[u32] = bytemuck::cast_slice(call.reads[0]);
    let mut x = vec![0.0; m * k];
    for_each_chunk(&mut x, k, |row, x| widen(&quantised[row * (words + 1)..], x));
    let scale = |row: usize| f32::from_bits(quantised[row * (words + 1) + words]);
    let scales: Vec<f32> = (0..n).map(|column| f32::from_bits(w[(column / PANEL * (words + 1) + words) * PANEL + column % PANEL])).collect();
    let y = Target { data: &mut call.write[params.first as usize..], row_stride: params.stride as usize };
    let finish = finished(call.spec, call.reads[2], call.reads[3]);
    product_in_panels([m, n, k], &x, Panels::Int8(w), y, |row, columns, sums, y| {
        let scale = scale(row);
        sums.iter_mut().zip(&scales[columns.clone()]).for_each(|(sum, column)| *sum *= column * scale);
        finish(row, columns, sums, y);
    });
}

fn widen(words: &[u32], x: &mut [f32]) {
    for (x, word) in x.chunks_mut(WORD).zip(words) {
        x.copy_from_slice(&integers(*word)[..x.len()]);
    }
}

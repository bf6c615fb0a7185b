//! Twin of `matmul/bf16.wgsl`: products of bf16 with sums in f32.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx;
#[cfg(target_arch = "x86_64")]
use super::avx512_bf16;
use super::matmul::{Params, finished};
use super::parallel::{for_each_chunk, with_workspace};
use super::product::{MultiplyWords, Target, product_in_panels, product_of_words};
use super::to_bf16::restore_row;
use crate::data::bf16::words;
use crate::data::panels::Panels;
use crate::data::record::Call;

/// Twin of `matmul_bf16`. Where the processor does not multiply bf16, it multiplies the same values in f32.
pub fn matmul_bf16(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let w = match call.panels {
        Some(Panels::Bf16Pairs(words)) => words,
        Some(other) => panic!("expected pairs of bf16, found {other:?}"),
        None => bytemuck::cast_slice(call.reads[1]),
    };
    let sizes @ [m, _, k] = [params.m, params.n, params.k].map(|size| size as usize);
    let x: &[u32] = bytemuck::cast_slice(call.reads[0]);
    let y = Target { data: &mut call.write[params.first as usize..], row_stride: params.stride as usize };
    let finish = finished(call.spec, call.reads[2], call.reads[3], params.packed(call.packed));
    if let Some(multiply) = multiplication() {
        return product_of_words(sizes, words(k), [x, w], y, finish, multiply);
    }
    with_workspace(m * k, |values| {
        for_each_chunk(values, k, |row, values| restore_row(&x[row * words(k)..][..words(k)], values));
        product_in_panels(sizes, values, Panels::Bf16Pairs(w), y, finish);
    });
}

/// Returns whether this processor has instructions that multiply bf16; they take about half the time of f32, or less.
pub fn is_native() -> bool {
    multiplication().is_some()
}

/// Returns the fastest multiplication of bf16 that this processor has.
fn multiplication() -> Option<MultiplyWords> {
    let found = None;
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    let found = found.or_else(amx::detect);
    #[cfg(target_arch = "x86_64")]
    let found = found.or_else(avx512_bf16::detect);
    found
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::bf16;
    use crate::data::capabilities::Precision;
    use crate::data::panels::Packed;
    use crate::execution::cpu::product::ROWS;

    /// Checks a multiplication of bf16 against that of the same values in f32.
    pub fn check(multiply: MultiplyWords) {
        for sizes @ [m, n, k] in [[1, 1, 1], [7, 70, 33], [ROWS + 5, 64, 96], [3, 130, 31], [21, 66, 300], [ROWS, 64, 512]] {
            let value = |i: usize| ((i * 7919) % 1009) as f32 / 504.0 - 1.0;
            let w: Vec<f32> = (0..n * k).map(|i| value(i + 5)).collect();
            let packed = Packed::new(&w, [n, k], Precision::Bf16);
            let Packed::Bf16Pairs(w) = &packed else { panic!("pairs") };
            let (mut x, mut restored) = (vec![0; m * words(k)], vec![0.0; m * k]);
            for (i, (row, restored)) in x.chunks_mut(words(k)).zip(restored.chunks_mut(k)).enumerate() {
                let values: Vec<f32> = (i * k..(i + 1) * k).map(value).collect();
                bf16::round(&values, row);
                bf16::restore(row, restored);
            }
            let set = |_, _, sums: &mut [f32], y: &mut [f32]| y.copy_from_slice(sums);
            let (mut got, mut want) = (vec![0.0; m * n], vec![1.0; m * n]);
            product_of_words(sizes, words(k), [&x, w], Target { data: &mut got, row_stride: n }, set, multiply);
            product_in_panels(sizes, &restored, packed.panels(), Target { data: &mut want, row_stride: n }, set);
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                // Some roundings of each of the sums, which are at most K.
                assert!(
                    (got - want).abs() <= 4.0 * f32::EPSILON * k as f32,
                    "{m} x {n} x {k}: {got} instead of {want} in row {}, column {}",
                    i / n,
                    i % n
                );
            }
        }
    }

    #[test]
    fn processors_without_bf16_multiply_its_values() {
        check(|x, panel, k, sums| {
            let stride = words(k);
            for (x, sums) in x.chunks(stride).zip(sums.chunks_mut(crate::data::panels::PANEL)) {
                sums.fill(0.0);
                for (x, w) in x.iter().zip(panel.chunks(sums.len())) {
                    for (sum, w) in sums.iter_mut().zip(w) {
                        let (x, w) = (bf16::numbers(*x), bf16::numbers(*w));
                        *sum += x[0] * w[0] + x[1] * w[1];
                    }
                }
            }
        });
    }
}

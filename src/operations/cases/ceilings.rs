//! Cases of the kernels that measure a device's peak throughput.

use super::Case;
use super::Fill::{Halves, Within};
use crate::operations::kernels;

pub(super) fn ceilings(len: usize) -> [Case; 2] {
    let case = |kernel: &'static str, terms, flops: usize| Case {
        name: format!("{kernel} {len}"),
        kernel,
        inputs: vec![(vec![len], Within(0.9))],
        output: vec![len],
        record: Box::new(move |recording, inputs, output| match kernel {
            "ceiling_copy" => kernels::ceiling_copy(recording, kernel.into(), inputs[0], output),
            _ => kernels::ceiling_multiply(recording, kernel.into(), inputs[0], output),
        }),
        reference: Box::new(move |inputs| {
            let chain = |x: f64| (0..4).map(|start| (0..256).fold(f64::from(start), |s, _| s * x + x)).sum();
            inputs[0].iter().map(|&x| if kernel == "ceiling_copy" { x } else { chain(x) }).collect()
        }),
        terms,
        flops: (flops * len) as u64,
        ..Case::plain()
    };
    // Contributions to the chain vanish after about ten steps.
    [case("ceiling_copy", 1, 1), case("ceiling_multiply", 40, 2048)]
}

pub(super) fn ceiling_coop(kernel: &'static str, side: usize, tiles: usize) -> Case {
    Case {
        name: format!("{kernel} {tiles}"),
        kernel,
        inputs: vec![(vec![tiles, side * side], Halves(0.9))],
        output: vec![tiles, side * side],
        record: Box::new(move |recording, inputs, output| kernels::ceiling_coop(recording, kernel.into(), inputs[0], output)),
        reference: Box::new(move |inputs| {
            let square = |x: &[f64]| {
                let dot = |row: usize, column: usize| (0..side).map(|k| x[row * side + k] * x[k * side + column]).sum::<f64>();
                (0..side * side).map(|i| 1024.0 * dot(i / side, i % side)).collect::<Vec<_>>()
            };
            inputs[0].chunks(side * side).flat_map(square).collect()
        }),
        terms: 256 * side,
        flops: (2048 * tiles * side.pow(3)) as u64,
        ..Case::plain()
    }
}

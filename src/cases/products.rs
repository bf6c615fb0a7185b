//! Cases of products: matmul in all its ways, patches, convolutions.

use super::Fill::{Factor, Left, Within};
use super::{Case, reference};
use crate::config::Activation;
use crate::kernels::{self, Epilogue};
use crate::record::Buf;

/// One case for each way to compute products and each epilogue.
pub(super) fn matmuls(shape: [usize; 3]) -> Vec<Case> {
    let mut cases = Vec::new();
    let tiles = ["matmul", "matmul_128x128", "matmul_128x64", "matmul_32x32"].map(|rung| ("matmul", rung));
    let of_f16 = [("matmul_f16", "matmul_f16_128x128"), ("matmul_combine", "matmul_split")];
    let others = ["matmul_subgroup", "matmul_skinny", "matmul_split", "matmul_naive", "matmul_int8", "quantise"].map(|kernel| (kernel, kernel));
    let others_f16 = ["matmul_f16", "matmul_subgroup_f16", "matmul_skinny_f16", "matmul_split_f16"].map(|kernel| (kernel, kernel));
    let coop = ["matmul_coop16", "matmul_split_coop16", "matmul_coop8", "matmul_split_coop8"].map(|kernel| (kernel, kernel));
    let coop = [&coop[..], &[("matmul_coop16", "matmul_coop16_64x64"), ("matmul_coop8", "matmul_coop8_32x32")]].concat();
    // They read x four values at a time.
    let coop = if shape[2].is_multiple_of(4) { coop } else { Vec::new() };
    for kernel in [&tiles[..], &of_f16, &coop, &others, &others_f16].concat() {
        cases.push(matmul(kernel, shape, "bias", 0, |_| Epilogue::Bias, |sum, _, _| sum));
        for activation in Activation::ALL {
            let finish = move |sum, _, _| reference::activate(activation, sum);
            cases.push(matmul(kernel, shape, &format!("{activation:?}"), 0, move |_| Epilogue::Activation(activation), finish));
        }
        cases.push(matmul(kernel, shape, "residual", 1, |_| Epilogue::Residual, |sum, before, _| before + sum));
        let scaled = |inputs: &[Buf]| Epilogue::ScaledResidual(inputs[5]);
        cases.push(matmul(kernel, shape, "scaled residual", 2, scaled, |sum, before, scale| before + scale * sum));
    }
    cases
}

/// A product whose result, for the residual epilogues, begins as another product: inputs 3 and 4 are its
/// factors of depth 1, and input 5 the scale. `extras` says how much of that the epilogue needs.
pub(super) fn matmul(
    (kernel, rung): (&'static str, &'static str),
    [m, n, k]: [usize; 3],
    what: &str,
    extras: usize,
    epilogue: impl Fn(&[Buf]) -> Epilogue + 'static,
    finish: impl Fn(f64, f64, f64) -> f64 + 'static,
) -> Case {
    // Values that keep sums near 1, so that activations are tested where they bend.
    let range = (3.0 / (k as f32).sqrt()).min(1.0).sqrt() * 1.5;
    let mut inputs = vec![(vec![m, k], Left(range)), (vec![n, k], Factor(range)), (vec![n], Within(1.0))];
    if extras > 0 {
        inputs.extend([(vec![m, 1], Left(1.0)), (vec![n, 1], Factor(1.0))]);
    }
    if extras > 1 {
        inputs.push((vec![n], Within(1.0)));
    }
    Case {
        name: format!("{rung} {what} {m}x{n}x{k}"),
        kernel,
        inputs,
        output: vec![m, n],
        record: Box::new(move |recording, inputs, output| {
            let bias = inputs[2];
            recording.prefer(rung);
            if extras > 0 {
                kernels::matmul(recording, "before".into(), inputs[3], [inputs[4], bias], Epilogue::Bias, output)?;
            }
            kernels::matmul(recording, kernel.into(), inputs[0], [inputs[1], bias], epilogue(inputs), output)
        }),
        reference: Box::new(move |inputs| {
            let x = if kernel == "quantise" { reference::quantised(&inputs[0], k) } else { inputs[0].clone() };
            let sums = reference::matmul(&x, &inputs[1], &inputs[2], [m, n, k]);
            let before = if extras > 0 { reference::matmul(&inputs[3], &inputs[4], &inputs[2], [m, n, 1]) } else { vec![0.0; m * n] };
            let scale = |i: usize| if extras > 1 { inputs[5][i % n] } else { 1.0 };
            (0..m * n).map(|i| finish(sums[i], before[i], scale(i))).collect()
        }),
        terms: k,
        flops: 2 * (m * n * k) as u64,
    }
}

pub(super) fn patchify(image: [usize; 4], patch: [usize; 2], pad: bool, width: usize) -> Vec<Case> {
    let [batch, channels, height, image_width] = image;
    let grid = [(height, patch[0]), (image_width, patch[1])].map(|(size, patch)| if pad { size.div_ceil(patch) } else { size / patch });
    let count = grid[0] * grid[1];
    let values = channels * patch[0] * patch[1];
    let case = |kernel| Case {
        name: format!("{kernel} {image:?} by {patch:?} to {width}, {grid:?} patches"),
        kernel,
        inputs: vec![(image.to_vec(), Within(1.0)), (vec![width, values], Factor(1.0)), (vec![width], Within(1.0))],
        output: vec![batch, count, width],
        record: Box::new(move |recording, inputs, output| {
            kernels::patchify(recording, "patchify".into(), inputs[0], [inputs[1], inputs[2]], patch, grid, output)
        }),
        reference: Box::new(move |inputs| {
            let rows = reference::patches(&inputs[0], image, patch, grid);
            reference::matmul(&rows, &inputs[1], &inputs[2], [batch * count, width, values])
        }),
        terms: values,
        flops: 2 * (batch * count * width * values) as u64,
    };
    let is_inside = grid[0] * patch[0] <= height && grid[1] * patch[1] <= image_width;
    std::iter::once("patchify").chain(is_inside.then_some("patchify_subgroup")).map(case).collect()
}

pub(super) fn convolution(map: [usize; 4], [outputs, size, stride]: [usize; 3]) -> Case {
    let [batch, channels, height, width] = map;
    let output = [batch, outputs, height.div_ceil(stride), width.div_ceil(stride)];
    let values = channels * size * size;
    Case {
        name: format!("convolution {map:?} to {outputs} by {size} / {stride}"),
        kernel: "convolution",
        inputs: vec![(map.to_vec(), Within(1.0)), (vec![outputs, channels, size, size], Within(1.0))],
        output: output.to_vec(),
        record: Box::new(move |recording, inputs, output| {
            kernels::convolution(recording, "convolution".into(), inputs[0], inputs[1], stride, output)
        }),
        reference: Box::new(move |inputs| reference::convolution(&inputs[0], map, &inputs[1], outputs, [size, stride])),
        terms: values,
        flops: 2 * (output.iter().product::<usize>() * values) as u64,
    }
}

//! Cases of matrix products, patches and convolutions.

use super::Fill::{Factor, Left, Levels, Within};
use super::{Case, of_all_devices, reference};
use crate::data::capabilities::{Needs, Precision};
use crate::data::config::Activation;
use crate::data::record::Buf;
use crate::operations::kernels::matmul::variants::{MATMUL_COMBINE, MATMUL_POWERS, Shape, Sizes, suitable};
use crate::operations::kernels::variant::Variant;
use crate::operations::kernels::{self, Epilogue};

/// Cases for each variant: all epilogues for the first variant of each shader, two for the others.
pub(super) fn matmuls(shape: [usize; 3]) -> Vec<Case> {
    let [m, n, k] = shape;
    let (f32, f16, bf16, int8) = (Precision::F32, Precision::F16, Precision::Bf16, Precision::Int8);
    let mut cases = Vec::new();
    for [x, w] in [[f32, f32], [f32, f16], [f16, f16], [f32, bf16], [f32, int8]] {
        let mut known = Vec::new();
        for variant in of_all_devices(|device| suitable(&Sizes { m, n, k, x, w }, device)) {
            let Variant { kernel, shape: Shape { slices, .. } } = variant;
            let product = Product { variant, kernel: kernel.name, sizes: shape, x, w };
            // 8 × 8 and 16 × 16 matrices count as different shaders.
            let is_first = !known.contains(&(kernel.entry, kernel.needs.cooperative, *slices));
            known.push((kernel.entry, kernel.needs.cooperative, *slices));
            cases.extend(if is_first && *slices == 1 { product.of_all_epilogues() } else { product.of_some_epilogues() });
            if is_first && *slices > 1 && kernel.needs == Needs::NOTHING {
                cases.extend(Product { kernel: MATMUL_COMBINE.name, ..product }.of_all_epilogues());
            }
            if is_first && variant.shape.reads_powers() {
                cases.extend([80, -80].map(|exponent| product.of_magnitudes(exponent)));
            }
            let conversion = match w {
                Precision::Bf16 => Some("to_bf16"),
                Precision::Int8 => Some("quantise"),
                _ => None,
            };
            if let Some(kernel) = conversion.filter(|_| is_first) {
                cases.extend(Product { kernel, ..product }.of_some_epilogues());
            }
        }
    }
    cases
}

/// A product and the variant that computes it.
#[derive(Clone, Copy)]
struct Product {
    variant: &'static Variant<Shape>,
    /// The kernel under test.
    kernel: &'static str,
    sizes: [usize; 3],
    x: Precision,
    w: Precision,
}

impl Product {
    fn of_some_epilogues(self) -> Vec<Case> {
        vec![self.case("bias", 0, |_| Epilogue::Bias, |sum, _, _| sum).written_as(self.x), self.of_scaled_residual()]
    }

    fn of_all_epilogues(self) -> Vec<Case> {
        let of_activation = |activation| {
            let finish = move |sum, _, _| reference::activate(activation, sum);
            self.case(&format!("{activation:?}"), 0, move |_| Epilogue::Activation(activation), finish).written_as(self.x)
        };
        let mut cases = self.of_some_epilogues();
        cases.extend(Activation::ALL.map(of_activation));
        cases.push(self.case("bias in f32", 0, |_| Epilogue::Bias, |sum, _, _| sum));
        cases.push(self.case("residual", 1, |_| Epilogue::Residual, |sum, before, _| before + sum));
        cases
    }

    /// x is so large and w so small, or vice versa, that neither is in the range of f16.
    fn of_magnitudes(self, exponent: i32) -> Case {
        let case = self.case(&format!("magnitudes 2^{exponent} and 2^-{exponent}"), 0, |_| Epilogue::Bias, |sum, _, _| sum);
        let [m, n, k] = self.sizes;
        let [large, small] = [exponent, -exponent].map(|exponent| 2f32.powi(exponent));
        Case { inputs: vec![(vec![m, k], Left(large)), (vec![n, k], Factor(small)), (vec![n], Within(1.0))], is_peaked: true, ..case }
    }

    fn of_scaled_residual(self) -> Case {
        let scaled = |inputs: &[Buf]| Epilogue::ScaledResidual(inputs[5]);
        self.case("scaled residual", 2, scaled, |sum, before, scale| before + scale * sum)
    }

    /// For the residual epilogues, the result is initialised with another product: inputs 3 and 4 are its factors with K = 1, and input 5 is the
    /// scale. `extras` is how much of that the epilogue needs: 1 for the factors, 2 for the scale too.
    fn case(
        self,
        what: &str,
        extras: usize,
        epilogue: impl Fn(&[Buf]) -> Epilogue + 'static,
        finish: impl Fn(f64, f64, f64) -> f64 + 'static,
    ) -> Case {
        let Product { variant, kernel, sizes: [m, n, k], x, w } = self;
        // Keeps sums near 1, where activations are most nonlinear.
        let range = (3.0 / (k as f32).sqrt()).min(1.0).sqrt() * 1.5;
        let mut inputs = vec![(vec![m, k], Left(range)), (vec![n, k], Factor(range)), (vec![n], Within(1.0))];
        if extras > 0 {
            inputs.extend([(vec![m, 1], Left(1.0)), (vec![n, 1], Factor(1.0))]);
        }
        if extras > 1 {
            inputs.push((vec![n], Within(1.0)));
        }
        Case {
            name: format!("{kernel} by {} of {x} x {w}, {what} {m}x{n}x{k}", variant.kernel.name),
            kernel,
            precision: w,
            activations: x,
            inputs,
            output: vec![m, n],
            record: Box::new(move |recording, inputs, output| {
                let bias = inputs[2];
                recording.prefer(variant.kernel.name);
                if extras > 0 {
                    kernels::matmul(recording, "before".into(), inputs[3], [inputs[4], bias], Epilogue::Bias, output)?;
                }
                kernels::matmul(recording, kernel.into(), inputs[0], [inputs[1], bias], epilogue(inputs), output)
            }),
            reference: Box::new(move |inputs| {
                let converted = |x: &[f64], k| match kernel {
                    "quantise" => reference::quantised(x, k),
                    "to_bf16" => reference::rounded_to_bf16(x),
                    _ => x.to_vec(),
                };
                let sums = reference::matmul(&converted(&inputs[0], k), &inputs[1], &inputs[2], [m, n, k]);
                let before =
                    if extras > 0 { reference::matmul(&converted(&inputs[3], 1), &inputs[4], &inputs[2], [m, n, 1]) } else { vec![0.0; m * n] };
                let scale = |i: usize| if extras > 1 { inputs[5][i % n] } else { 1.0 };
                (0..m * n).map(|i| finish(sums[i], before[i], scale(i))).collect()
            }),
            terms: k,
            flops: 2 * (m * n * k) as u64,
            ..Case::plain()
        }
    }
}

/// Powers of two that scale a product's factors. One value of each row and column is much larger than the rest.
pub(super) fn powers([m, n, k]: [usize; 3]) -> Case {
    Case {
        name: format!("{} {m}x{n}x{k}", MATMUL_POWERS.name),
        kernel: MATMUL_POWERS.name,
        inputs: vec![(vec![m, k], Left(1.0)), (vec![n, k], Factor(1.0))],
        is_peaked: true,
        output: vec![m + n],
        flops: ((m + n) * k) as u64,
        record: Box::new(|recording, inputs, output| kernels::matmul_powers(recording, "powers".into(), [inputs[0], inputs[1]], output)),
        reference: Box::new(move |inputs| {
            let power = |row: &[f64]| 2f64.powf(12.0 - row.iter().fold(0.0, |most: f64, value| most.max(value.abs())).log2().floor());
            inputs.iter().flat_map(|values| values.chunks(k)).map(power).collect()
        }),
        ..Case::plain()
    }
}

/// Pixel values looked up from 8-bit levels.
pub(super) fn normalise(image: [usize; 4]) -> Case {
    let [_, channels, height, width] = image;
    Case {
        name: format!("normalise {image:?}"),
        kernel: "normalise",
        inputs: vec![(image.to_vec(), Levels), (vec![channels, 256], Within(2.0))],
        output: image.to_vec(),
        record: Box::new(|recording, inputs, output| kernels::normalise(recording, "normalise".into(), inputs[0], inputs[1], output)),
        reference: Box::new(move |inputs| {
            let value = |(i, level): (usize, &f64)| inputs[1][i / (height * width) % channels * 256 + *level as usize];
            inputs[0].iter().enumerate().map(value).collect()
        }),
        flops: image.iter().product::<usize>() as u64,
        ..Case::plain()
    }
}

/// Patches of images.
pub(super) fn unfold(image: [usize; 4], patch: [usize; 2], grid: [usize; 2]) -> Case {
    let values = image[1] * patch[0] * patch[1];
    let output = vec![image[0], grid[0] * grid[1], values];
    Case {
        name: format!("unfold {image:?} by {patch:?}, {grid:?} patches"),
        kernel: "unfold",
        inputs: vec![(image.to_vec(), Within(1.0))],
        output: output.clone(),
        record: Box::new(move |recording, inputs, output| kernels::unfold(recording, "unfold".into(), inputs[0], patch, grid, output)),
        reference: Box::new(move |inputs| reference::patches(&inputs[0], image, patch, grid)),
        terms: 1,
        flops: output.iter().product::<usize>() as u64,
        ..Case::plain()
    }
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
        ..Case::plain()
    }
}

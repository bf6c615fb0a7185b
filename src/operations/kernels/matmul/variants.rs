//! Product variants. Each is a value of [`shapes`]; its name, constants, grid, memory and needs are derived from it, as are the test and doctor
//! cases, the benchmark rows and the tuner's candidates.

use crate::data::capabilities::{Capabilities, Needs, Precision};
use crate::data::int8::{BLOCK, WORD};
use crate::data::record::{Kernel, Spec, Twin, read, shader, write};
use crate::execution::cpu::matmul::{self as twin, Params};
use crate::execution::cpu::{matmul_bf16, matmul_int8, matmul_split, powers};
use crate::operations::kernels::{size, variant::Variant};
use std::sync::LazyLock;

/// Adds up the partial sums of split-K products and applies the epilogue.
pub static MATMUL_COMBINE: Kernel = Kernel::new(
    "matmul_combine",
    shader!("matmul/combine"),
    Params::FIELDS,
    &[read(1, "x"), read(3, "bias"), read(4, "scale"), write(5, "y")],
    matmul_split::matmul_combine,
);

/// Finds the scales for f32 products on f16 cooperative matrices.
pub static MATMUL_POWERS: Kernel =
    Kernel::new("matmul_powers", shader!("matmul/powers"), Params::FIELDS, &[read(1, "x"), read(2, "w"), write(3, "y")], powers::matmul_powers);

/// Algorithm of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Textbook: one invocation per element.
    Naive,
    /// 4 × 64 per workgroup, with K split over its invocations; for few rows.
    Skinny,
    /// 40 × 64 per subgroup of 8, in registers; for llvmpipe.
    Software,
    /// `tile` rows and columns per workgroup, 8 × 8 per invocation, with `depth` steps of K (for packed numbers: words) at a time in workgroup
    /// memory.
    Tiled { tile: [u32; 2], depth: u32 },
    /// f16 cooperative matrices of `side` × `side`; an f32 product takes three f16 products. A workgroup has `subgroups` down and across, each with
    /// `matrices` down and across; tiles are `steps` matrices deep.
    Cooperative { side: u32, subgroups: [u32; 2], matrices: [u32; 2], steps: u32 },
}
use Algorithm::{Cooperative, Naive, Skinny, Software, Tiled};

/// Parameters of a product variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Precision of w.
    pub precision: Precision,
    /// Number of K slices over workgroups (split-K); 1 if K is not split.
    pub slices: u32,
}

const fn tiled(rows: u32, columns: u32, depth: u32) -> Algorithm {
    Tiled { tile: [rows, columns], depth }
}

const fn cooperative(side: u32, subgroups: [u32; 2], matrices: [u32; 2], steps: u32) -> Algorithm {
    Cooperative { side, subgroups, matrices, steps }
}

/// Scalar variants, with w in f32 or f16. Fastest on software adapters first (benches/results).
const SCALAR: &[(Algorithm, u32)] = &[
    (Software, 1),
    (tiled(64, 64, 16), 1),
    (tiled(128, 128, 8), 1),
    (tiled(128, 64, 16), 1),
    (tiled(32, 32, 32), 1),
    (tiled(64, 64, 16), 4),
    (tiled(32, 32, 32), 4),
    (Skinny, 1),
    (Naive, 1),
];

/// Cooperative-matrix variants, with x and w in f16. An H200 does best with 64 × 64 per subgroup and less than 24 KiB per workgroup. The 8 × 8
/// variants are those that the tests run on a software adapter, and one for Metal.
const COOPERATIVE: &[(Algorithm, u32)] = &[
    (cooperative(16, [2, 2], [4, 4], 2), 1),
    (cooperative(16, [2, 2], [3, 4], 2), 1),
    (cooperative(16, [2, 4], [4, 4], 2), 1),
    (cooperative(16, [2, 2], [2, 4], 2), 1),
    (cooperative(16, [2, 2], [2, 2], 4), 1),
    (cooperative(16, [1, 2], [2, 2], 4), 1),
    (cooperative(16, [2, 2], [1, 2], 4), 1),
    (cooperative(16, [2, 2], [2, 2], 4), 4),
    (cooperative(8, [2, 2], [2, 2], 2), 1),
    (cooperative(8, [1, 3], [2, 2], 2), 1),
    (cooperative(8, [2, 2], [2, 2], 2), 4),
    (cooperative(8, [2, 2], [4, 4], 2), 1),
];

/// Cooperative-matrix variants, with x and w in f32. They take twice the sums and factors of an f16 product in registers and memory.
const COOPERATIVE_F32: &[(Algorithm, u32)] = &[
    (cooperative(16, [2, 2], [4, 2], 1), 1),
    (cooperative(16, [2, 2], [2, 4], 1), 1),
    (cooperative(16, [2, 2], [2, 2], 2), 1),
    (cooperative(16, [2, 2], [2, 2], 2), 4),
    (cooperative(8, [2, 2], [2, 1], 2), 1),
    (cooperative(8, [2, 2], [2, 1], 2), 4),
];

/// Integer variants. A tile is as deep as the blocks that share a scale.
const INTEGERS: &[(Algorithm, u32)] = &[(tiled(64, 64, WORDS), 1), (tiled(128, 64, WORDS), 1), (tiled(32, 32, WORDS), 1)];

/// Variants in bf16.
const PAIRS: &[(Algorithm, u32)] = &[(tiled(64, 64, 16), 1), (tiled(128, 64, 16), 1), (tiled(32, 32, 32), 1)];

const WORDS: u32 = (BLOCK / WORD) as u32;

fn shapes() -> impl Iterator<Item = Shape> {
    let lists = [
        (Precision::F32, SCALAR),
        (Precision::F32, COOPERATIVE_F32),
        (Precision::F16, SCALAR),
        (Precision::F16, COOPERATIVE),
        (Precision::Bf16, PAIRS),
        (Precision::Int8, INTEGERS),
    ];
    lists.into_iter().flat_map(|(precision, list)| list.iter().map(move |&(algorithm, slices)| Shape { algorithm, precision, slices }))
}

/// All variants.
pub static VARIANTS: LazyLock<Vec<Variant<Shape>>> = LazyLock::new(|| shapes().map(|shape| Variant { kernel: shape.kernel(), shape }).collect());

/// Problem size of a product.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// M.
    pub m: usize,
    /// N.
    pub n: usize,
    /// K.
    pub k: usize,
    /// Precision of x.
    pub x: Precision,
    /// Precision of w.
    pub w: Precision,
}

/// Maximum matrix products per tile in a small shader.
const SMALL: u32 = 8;

/// Maximum number of rows for which `Skinny` is preferred; it reads the weight once per four rows.
const FEW_ROWS: usize = 8;

impl Shape {
    /// Rows and columns of y per workgroup.
    pub fn tile(&self) -> [u32; 2] {
        match self.algorithm {
            Naive => [1, 64],
            Skinny => [4, 64],
            Software => [40, 64],
            Tiled { tile, .. } => tile,
            Cooperative { side, subgroups: [down, across], matrices, .. } => [down * matrices[0] * side, across * matrices[1] * side],
        }
    }

    /// Steps of K, or words of packed numbers, loaded at a time.
    pub fn depth(&self) -> u32 {
        match self.algorithm {
            Naive | Software => 1,
            // Each slice has four loads in flight.
            Skinny => 32,
            Tiled { depth, .. } => depth,
            Cooperative { side, steps, .. } => side * steps,
        }
    }

    /// Bytes of workgroup memory, as declared in the shader.
    pub fn workgroup_bytes(&self) -> u32 {
        let ([rows, columns], depth) = (self.tile(), self.depth());
        match self.algorithm {
            Naive | Software => 0,
            Skinny => 8 * 64 * 16,
            Tiled { .. } => 4 * depth * (rows + 4 + columns),
            Cooperative { side, subgroups: [down, across], .. } => {
                let tiles = 2 * (rows * (depth + 8) + depth * (columns + 8));
                tiles * if self.precision == Precision::F32 { 2 } else { 1 } + 4 * down * across * side * side
            }
        }
    }

    fn name(&self) -> String {
        let precision = match self.precision {
            Precision::F32 => "",
            Precision::F16 => "_f16",
            Precision::Bf16 => "_bf16",
            Precision::Int8 => "_int8",
        };
        let ([rows, columns], depth) = (self.tile(), self.depth());
        let name = match self.algorithm {
            Naive => format!("matmul_naive{precision}"),
            Skinny => format!("matmul_skinny{precision}"),
            Software => format!("matmul_software{precision}"),
            Tiled { .. } => format!("matmul{precision}_{rows}x{columns}x{depth}"),
            Cooperative { side, subgroups: [down, across], .. } => {
                let precision = if self.precision == Precision::F32 { "_f32" } else { "" };
                format!("matmul_coop{side}{precision}_{rows}x{columns}x{depth}_by_{down}x{across}")
            }
        };
        if self.slices > 1 { format!("{name}_split{}", self.slices) } else { name }
    }

    fn kernel(&self) -> Kernel {
        let tile = |[rows, columns]: [u32; 2], depth| Spec::NONE.with([("ROWS", rows), ("COLUMNS", columns), ("TILE_K", depth)]);
        let (entry, (file, wgsl), spec) = match self.algorithm {
            Naive => ("matmul_naive", shader!("matmul/naive"), Spec::NONE),
            Skinny => ("matmul_skinny", shader!("matmul/skinny"), Spec::NONE),
            Software => ("matmul_software", shader!("software/matmul"), Spec::NONE),
            Tiled { tile: sizes, depth } if self.precision == Precision::Int8 => ("matmul_int8", shader!("matmul/int8"), tile(sizes, depth)),
            Tiled { tile: sizes, depth } if self.precision == Precision::Bf16 => ("matmul_bf16", shader!("matmul/bf16"), tile(sizes, depth)),
            Tiled { tile: sizes, depth } => ("matmul_tiled", shader!("matmul/tiled"), tile(sizes, depth)),
            Cooperative { side, subgroups: [down, across], matrices, steps } => {
                let constants =
                    [("DOWN", down), ("ACROSS", across), ("MATRICES_DOWN", matrices[0]), ("MATRICES_ACROSS", matrices[1]), ("STEPS", steps)];
                let spec = Spec::NONE.with(constants);
                let spec = if side == 16 { spec } else { spec.with_piece("common/coop_16", "common/coop_8") };
                match self.precision {
                    Precision::F32 => ("matmul_cooperative_f32", shader!("matmul/cooperative_f32"), spec),
                    _ => ("matmul_cooperative", shader!("matmul/cooperative"), spec),
                }
            }
        };
        let is_cooperative = matches!(self.algorithm, Cooperative { .. });
        let spec = if self.precision == Precision::F16 && !is_cooperative { spec.with_piece("matmul/w_f32", "matmul/w_f16") } else { spec };
        let needs = match self.algorithm {
            Software => Needs::LLVMPIPE,
            Cooperative { side, subgroups: [down, across], matrices, steps } => {
                let needs = Needs::cooperative(side, down * across, self.workgroup_bytes());
                let needs = Needs { large_shaders: matrices[0] * matrices[1] * steps > SMALL, ..needs };
                if self.reads_powers() { Needs { vector_tiles: true, ..needs } } else { needs }
            }
            _ => Needs::NOTHING,
        };
        let (call, split) = if is_cooperative { ("matmul/call_vec4", "matmul/split_k_vec4") } else { ("matmul/call", "matmul/split_k") };
        let spec = if self.slices > 1 { spec.with_piece(call, split) } else { spec };
        let mut bindings = vec![read(1, "x"), read(2, "w")];
        if self.slices == 1 {
            bindings.extend([read(3, "bias"), read(4, "scale")]);
        }
        bindings.push(write(if self.slices == 1 { 5 } else { 3 }, "y"));
        if self.reads_powers() {
            bindings.push(read(6, "powers"));
        }
        let twin: Twin = match self.precision {
            _ if self.slices > 1 => matmul_split::matmul_split,
            Precision::Bf16 => matmul_bf16::matmul_bf16,
            Precision::Int8 => matmul_int8::matmul_int8,
            Precision::F32 if self.reads_powers() => powers::matmul_by_three,
            _ => twin::matmul,
        };
        Kernel { name: self.name().leak(), entry, file, wgsl, edited: &[], spec, params: Params::FIELDS, bindings: bindings.leak(), needs, twin }
    }

    /// Returns whether it needs the output of [`MATMUL_POWERS`].
    pub fn reads_powers(&self) -> bool {
        matches!(self.algorithm, Cooperative { .. }) && self.precision == Precision::F32
    }

    /// Adds the constants that depend on the device, and on sizes known when the pipeline is created: loads can skip the bounds checks for the end of
    /// K and for the last row, stores those for the last row and column, and columns are written four at a time where N is a multiple of four. `band`
    /// is the number of columns per dispatch.
    pub fn specialised(&self, spec: Spec, [m, n, k]: [usize; 3], band: usize, capabilities: &Capabilities) -> Spec {
        let known = [("WHOLE", u32::from(k.is_multiple_of(self.depth() as usize))), ("K", if capabilities.large_shaders { size(k) } else { 0 })];
        let spec = match self.algorithm {
            Tiled { .. } if self.slices == 1 && n.is_multiple_of(4) => spec.in_fours(),
            Cooperative { .. } if capabilities.scalar_tiles => spec.with_scalar_tiles(),
            _ => spec,
        };
        let spec = match self.algorithm {
            Tiled { .. } if self.precision.is_packed() => spec,
            Tiled { .. } => spec.with(known),
            Cooperative { subgroups: [down, across], .. } => {
                let lanes = capabilities.subgroup;
                let invocations = lanes * down * across;
                // Chunks of four adjacent values: the invocations cover whole rows of a tile, and each loads the same number of chunks.
                let [rows, columns] = self.tile();
                let divide = |long: u32, wide: u32| invocations.is_multiple_of(wide / 4) && (long * wide / 4).is_multiple_of(invocations);
                let (is_tall, is_even) = (m >= rows as usize && divide(rows, self.depth()), divide(self.depth(), columns));
                let is_inside = is_tall && [n, n.min(band)].iter().all(|width| width.is_multiple_of(columns as usize));
                let facts = [("TALL", is_tall), ("EVEN", is_even), ("INSIDE", is_inside)].map(|(name, holds)| (name, u32::from(holds)));
                spec.with(known).with([("LANES", lanes)]).with(facts)
            }
            Naive | Skinny | Software => return spec,
        };
        spec.unrolled(capabilities.large_shaders)
    }

    /// Returns whether it supports the sizes on a device that meets its kernel's needs.
    fn suits(&self, sizes: &Sizes) -> bool {
        let takes_x = match self.algorithm {
            Cooperative { .. } => sizes.x == sizes.w && sizes.k.is_multiple_of(4) && sizes.n.is_multiple_of(4),
            Software => sizes.x == Precision::F32,
            _ => true,
        };
        self.precision == sizes.w && takes_x
    }

    /// Estimated time on a large GPU, in clocks, fitted to measurements of 33 sizes on an H200 (`benches/results`): its first choices took 0.5 %
    /// longer than the fastest variants, on average. The model: per clock, a multiprocessor does 1,024 multiply-adds on cooperative matrices or 128
    /// in f32, and moves 128 bytes between registers and its memories, all kinds of access together, with hardly any overlap. Two workgroups below 24
    /// KiB share a multiprocessor.
    fn cost(&self, sizes: &Sizes) -> f64 {
        const UNITS: f64 = 132.0;
        // Cost of another dispatch; cost of a tile's first loads and its end; bytes of device memory per clock.
        const DISPATCH: f64 = 14_000.0;
        const ENDS: f64 = 3_000.0;
        const MEMORY: f64 = 2_000.0;
        let [rows, columns] = self.tile().map(f64::from);
        let step = f64::from(self.depth());
        let (x, w) = (f64::from(sizes.x.bits()) / 8.0, if sizes.w == Precision::F32 { 4.0 } else { 2.0 });
        let loaded = rows * x + columns * w;
        let beside = if self.workgroup_bytes() < 24 * 1024 { 2.0 } else { 1.0 };
        // Multiply-adds per clock, bytes per k, minimum clocks per step, and workgroups per multiprocessor.
        let (rate, moved, latency, together) = match self.algorithm {
            Naive | Software => (128.0, rows * columns * (x + w), 500.0, 8.0),
            Skinny => (128.0, loaded + rows * columns / 8.0, 800.0, 4.0),
            // Half of the peak.
            Tiled { .. } => {
                let rate = if self.precision == Precision::Int8 { 256.0 } else { 60.0 };
                (rate, 2.0 * (loaded + 4.0 * (rows + columns) + rows * columns / 8.0), 4_000.0, beside)
            }
            Cooperative { subgroups: [down, across], .. } => {
                let (parts, rate) = if self.precision == Precision::F32 { (2.0, 1024.0 / 3.0) } else { (1.0, 1024.0) };
                let read = 2.0 * parts * (f64::from(across) * rows + f64::from(down) * columns);
                let chunks = parts * step * (rows + columns) / 4.0 / f64::from(32 * down * across);
                (rate, 2.0 * loaded + read, 430.0 + 32.0 * chunks, beside)
            }
        };
        let workgroups = (sizes.m as f64 / rows).ceil() * (sizes.n as f64 / columns).ceil() * f64::from(self.slices);
        let resident = (workgroups / UNITS).ceil().min(together);
        let work = resident * step * (rows * columns / rate + moved / 128.0);
        let alone = if resident < 2.0 { latency / 6.0 } else { 0.0 };
        let steps = (sizes.k as f64 / f64::from(self.slices) / step).ceil();
        let tiles = (workgroups / (UNITS * together)).ceil() * (steps * (work.max(latency) + alone) + ENDS);
        let [m, n, k] = [sizes.m, sizes.n, sizes.k].map(|size| size as f64);
        let combining = if self.slices > 1 { DISPATCH + (f64::from(self.slices) + 1.0) * m * n * 8.0 / MEMORY } else { 0.0 };
        let scaling = if self.reads_powers() { DISPATCH + (m + n) * k * 4.0 / MEMORY } else { 0.0 };
        tiles + combining + scaling
    }
}

/// Returns the variants that support the sizes on a device, fastest expected first.
pub fn suitable(sizes: &Sizes, capabilities: &Capabilities) -> Vec<&'static Variant<Shape>> {
    ranked(&VARIANTS, sizes, capabilities)
}

/// Returns those of `variants` that support the sizes on a device, fastest expected first.
pub fn ranked(variants: &'static [Variant<Shape>], sizes: &Sizes, capabilities: &Capabilities) -> Vec<&'static Variant<Shape>> {
    let fits = |variant: &&Variant<Shape>| {
        let partial_sums = u64::from(variant.shape.slices) * (sizes.m * sizes.n * 4) as u64;
        variant.shape.slices == 1 || partial_sums <= capabilities.binding_bytes.min(capabilities.buffer_bytes)
    };
    let able = variants.iter().filter(|variant| variant.shape.suits(sizes) && variant.kernel.needs.met_by(capabilities));
    let mut found: Vec<&Variant<Shape>> = able.filter(fits).collect();
    if capabilities.software {
        // In the order of the lists, which was measured on software adapters. They emulate cooperative matrices, which come last.
        let few = |variant: &Variant<Shape>| sizes.m <= FEW_ROWS && variant.shape.algorithm == Skinny;
        found.sort_by_key(|variant| (variant.shape.algorithm != Software, !few(variant), variant.kernel.needs.cooperative > 0));
    } else {
        found.sort_by(|a, b| a.shape.cost(sizes).total_cmp(&b.shape.cost(sizes)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::capabilities::Trust;
    use crate::data::record::Recording;

    #[test]
    fn chosen_variant_suits_device_and_shape() {
        let llvmpipe = Capabilities { software: true, subgroup: 8, ..Capabilities::CPU };
        let hardware = Capabilities { software: false, subgroup: 32, workgroup_bytes: 48 * 1024, half: true, ..Capabilities::CPU };
        let chosen = |capabilities, [x, w]: [Precision; 2], [m, n, k]: [usize; 3], preferred: Option<&'static str>| {
            let mut recording = Recording::new(capabilities);
            preferred.into_iter().for_each(|kernel| recording.prefer(kernel));
            let variants = suitable(&Sizes { m, n, k, x, w }, &capabilities);
            variants[recording.choose(None, variants.iter().map(|variant| &variant.kernel))].kernel.name
        };
        let (single, mixed, half) = ([Precision::F32; 2], [Precision::F32, Precision::F16], [Precision::F16; 2]);
        let block = [197, 2304, 768];
        assert_eq!(chosen(llvmpipe, single, block, None), "matmul_software");
        assert_eq!(chosen(llvmpipe, mixed, block, None), "matmul_software_f16");
        assert_eq!(chosen(Capabilities { subgroup: 4, ..llvmpipe }, single, block, None), "matmul_64x64x16");
        assert_eq!(chosen(llvmpipe, single, block, Some("matmul_naive")), "matmul_naive");
        assert_eq!(chosen(hardware, single, block, Some("matmul_128x128x8")), "matmul_128x128x8");
        assert_eq!(chosen(hardware, single, [1, 1000, 768], None), "matmul_skinny");
        assert_eq!(chosen(hardware, mixed, [1, 1000, 768], None), "matmul_skinny_f16");
        // Variants that need subgroups of 8 or x in f16 are not taken even if preferred.
        assert_ne!(chosen(hardware, single, block, Some("matmul_software")), "matmul_software");
        let matrices = Capabilities { cooperative: 16, ..hardware };
        let large = [64 * 197, 2304, 768];
        assert_eq!(chosen(matrices, half, large, None), "matmul_coop16_128x128x32_by_2x2");
        assert!(!chosen(matrices, mixed, large, None).contains("coop"));
        assert!(!chosen(hardware, half, large, None).contains("coop"));
        assert!(!chosen(matrices, half, [12608, 2304, 770], None).contains("coop"));
        assert!(chosen(matrices, single, large, None).starts_with("matmul_coop16_f32"));
        assert!(!chosen(Capabilities { trust: Trust::Portable, ..matrices }, half, large, None).contains("coop"));
        // No variant fits 8 KiB; two subgroups of 256 would make workgroups of 512.
        assert!(!chosen(Capabilities { workgroup_bytes: 8 * 1024, ..matrices }, half, large, None).contains("coop"));
        assert!(!chosen(Capabilities { subgroup: 256, ..matrices }, half, large, None).contains("coop"));
        assert_eq!(chosen(Capabilities { cooperative: 8, ..llvmpipe }, half, large, None), "matmul_f16_64x64x16");
        assert_eq!(chosen(hardware, [Precision::F32, Precision::Int8], large, None), "matmul_int8_128x64x8");
        // For a single image, smaller tiles keep all multiprocessors busy.
        let small = chosen(matrices, half, block, None);
        assert!(small.contains("coop16") && !small.contains("128x128"), "{small}");
    }

    #[test]
    fn stores_are_unchecked_only_if_all_tiles_lie_inside() {
        let device = Capabilities { software: false, subgroup: 32, cooperative: 16, half: true, ..Capabilities::CPU };
        let variant = VARIANTS.iter().find(|variant| variant.kernel.name == "matmul_coop16_128x128x32_by_2x2").expect("a variant");
        let unchecked = |m, n, band| {
            let spec = variant.shape.specialised(Spec::NONE, [m, n, 768], band, &device);
            spec.constants.iter().any(|&(name, value)| (name, value) == ("INSIDE", 1))
        };
        assert!(unchecked(128, 2304, 2304) && unchecked(197, 2304, 4096) && unchecked(197, 2304, 1152));
        assert!(!unchecked(127, 2304, 2304), "a tile is taller than y");
        assert!(!unchecked(197, 2308, 2308), "the last tile is wider than y");
        assert!(!unchecked(197, 2304, 960), "the last tile of a band is wider");
    }

    #[test]
    fn variant_names_are_unique() {
        let mut names: Vec<&str> = VARIANTS.iter().map(|variant| variant.kernel.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}

//! The ways to compute a product, and which of them a device is given.

use crate::capabilities::{Capabilities, Needs, Precision};
use crate::cpu::matmul::{self as twin, Params};
use crate::cpu::{matmul_int8, matmul_split};
use crate::record::{Binding, Kernel, Twin, read, write};

pub static MATMUL: Kernel = kernel("matmul", include_str!("../../shaders/matmul.wgsl"), Needs::NOTHING);
pub static MATMUL_SUBGROUP: Kernel = kernel("matmul_subgroup", include_str!("../../shaders/matmul_subgroup.wgsl"), Needs::LLVMPIPE);
pub static MATMUL_SKINNY: Kernel = kernel("matmul_skinny", include_str!("../../shaders/matmul_skinny.wgsl"), Needs::NOTHING);
pub static MATMUL_SPLIT: Kernel = split("matmul_split", include_str!("../../shaders/matmul_split.wgsl"), Needs::NOTHING);
pub static MATMUL_NAIVE: Kernel = kernel("matmul_naive", include_str!("../../shaders/matmul_naive.wgsl"), Needs::NOTHING);

pub static MATMUL_F16: Kernel = kernel("matmul_f16", include_str!("../../shaders/matmul_f16.wgsl"), Needs::NOTHING);
pub static MATMUL_SUBGROUP_F16: Kernel = kernel("matmul_subgroup_f16", include_str!("../../shaders/matmul_subgroup_f16.wgsl"), Needs::LLVMPIPE);
pub static MATMUL_SKINNY_F16: Kernel = kernel("matmul_skinny_f16", include_str!("../../shaders/matmul_skinny_f16.wgsl"), Needs::NOTHING);
pub static MATMUL_SPLIT_F16: Kernel = split("matmul_split_f16", include_str!("../../shaders/matmul_split_f16.wgsl"), Needs::NOTHING);
pub static MATMUL_COOP8: Kernel = kernel("matmul_coop8", include_str!("../../shaders/matmul_coop8.wgsl"), Needs::cooperative(8));
pub static MATMUL_COOP16: Kernel = kernel("matmul_coop16", include_str!("../../shaders/matmul_coop16.wgsl"), Needs::cooperative(16));
pub static MATMUL_SPLIT_COOP8: Kernel = split("matmul_split_coop8", include_str!("../../shaders/matmul_split_coop8.wgsl"), Needs::cooperative(8));
pub static MATMUL_SPLIT_COOP16: Kernel = split("matmul_split_coop16", include_str!("../../shaders/matmul_split_coop16.wgsl"), Needs::cooperative(16));

pub static MATMUL_INT8: Kernel =
    Kernel { twin: matmul_int8::matmul_int8, ..kernel("matmul_int8", include_str!("../../shaders/matmul_int8.wgsl"), Needs::NOTHING) };

/// What ends a product whose K was split.
pub static MATMUL_COMBINE: Kernel = Kernel {
    bindings: &[read(1, "x"), read(3, "bias"), read(4, "scale"), write(5, "y")],
    twin: matmul_split::matmul_combine,
    ..kernel("matmul_combine", include_str!("../../shaders/matmul_combine.wgsl"), Needs::NOTHING)
};

const fn kernel(name: &'static str, wgsl: &'static str, needs: Needs) -> Kernel {
    const BINDINGS: &[Binding] = &[read(1, "x"), read(2, "w"), read(3, "bias"), read(4, "scale"), write(5, "y")];
    Kernel { name, wgsl, params: Params::FIELDS, bindings: BINDINGS, needs, twin: twin::matmul }
}

const fn split(name: &'static str, wgsl: &'static str, needs: Needs) -> Kernel {
    const BINDINGS: &[Binding] = &[read(1, "x"), read(2, "w"), write(3, "y")];
    const TWIN: Twin = matmul_split::matmul_split;
    Kernel { name, wgsl, params: matmul_split::Params::FIELDS, bindings: BINDINGS, needs, twin: TWIN }
}

/// A way to compute products.
pub struct Rung {
    /// What [`Recording::prefer`](crate::record::Recording::prefer) calls it.
    pub name: &'static str,
    /// What multiplies.
    pub kernel: &'static Kernel,
    /// Rows and columns of y that a workgroup computes.
    pub tile: [usize; 2],
    /// Values of the kernel's constants, if they make the rung.
    pub constants: &'static [(&'static str, u32)],
    /// Whether K is split over workgroups, so that [`MATMUL_COMBINE`] has the epilogue.
    pub is_split: bool,
}

const fn rung(kernel: &'static Kernel, tile: [usize; 2]) -> Rung {
    Rung { name: kernel.name, kernel, tile, constants: &[], is_split: false }
}

const SUBGROUP: Rung = rung(&MATMUL_SUBGROUP, [40, 64]);
const SUBGROUP_F16: Rung = rung(&MATMUL_SUBGROUP_F16, [40, 64]);
const SKINNY: Rung = rung(&MATMUL_SKINNY, [4, 64]);
const SKINNY_F16: Rung = rung(&MATMUL_SKINNY_F16, [4, 64]);
const SPLIT: Rung = Rung { is_split: true, ..rung(&MATMUL_SPLIT, [64, 64]) };
const SPLIT_F16: Rung = Rung { is_split: true, ..rung(&MATMUL_SPLIT_F16, [64, 64]) };
const NAIVE: Rung = rung(&MATMUL_NAIVE, [1, 64]);
const INT8: Rung = rung(&MATMUL_INT8, [64, 64]);

/// Tiles through workgroup memory.
const TILED: [Rung; 4] = [
    rung(&MATMUL, [64, 64]),
    Rung { name: "matmul_128x128", constants: &[("ROWS", 128), ("COLUMNS", 128), ("TILE_K", 8)], ..rung(&MATMUL, [128, 128]) },
    Rung { name: "matmul_128x64", constants: &[("ROWS", 128), ("COLUMNS", 64), ("TILE_K", 16)], ..rung(&MATMUL, [128, 64]) },
    Rung { name: "matmul_32x32", constants: &[("ROWS", 32), ("COLUMNS", 32), ("TILE_K", 32)], ..rung(&MATMUL, [32, 32]) },
];

/// The same with w in f16.
const TILED_F16: [Rung; 2] = [
    rung(&MATMUL_F16, [64, 64]),
    Rung { name: "matmul_f16_128x128", constants: &[("ROWS", 128), ("COLUMNS", 128), ("TILE_K", 8)], ..rung(&MATMUL_F16, [128, 128]) },
];

/// Cooperative matrices, for K that are multiples of 4.
const COOPERATIVE: [Rung; 6] = [
    Rung { constants: &[("DOWN", 2)], ..rung(&MATMUL_COOP16, [128, 128]) },
    Rung { name: "matmul_coop16_64x64", constants: &[("DOWN", 1)], ..rung(&MATMUL_COOP16, [64, 64]) },
    Rung { constants: &[("DOWN", 1)], is_split: true, ..rung(&MATMUL_SPLIT_COOP16, [64, 64]) },
    Rung { constants: &[("DOWN", 2)], ..rung(&MATMUL_COOP8, [64, 64]) },
    Rung { name: "matmul_coop8_32x32", constants: &[("DOWN", 1)], ..rung(&MATMUL_COOP8, [32, 32]) },
    Rung { constants: &[("DOWN", 1)], is_split: true, ..rung(&MATMUL_SPLIT_COOP8, [32, 32]) },
];

/// The most rows that are few to `matmul_skinny`, which reads the weight once for every four.
const FEW_ROWS: usize = 8;

/// Invocations of a workgroup that every device has.
const INVOCATIONS: u32 = 256;

impl Rung {
    /// Whether a kernel for cooperative matrices can read rows of x of `k` elements, and its workgroups fit the device; by the sizes in
    /// `shaders/common/coop_tile.wgsl`.
    fn suits(&self, k: usize, capabilities: &Capabilities) -> bool {
        let (side, lanes) = (self.kernel.needs.cooperative, capabilities.subgroup);
        let down = self.constants.iter().find(|(name, _)| *name == "DOWN").map_or(1, |(_, down)| *down);
        let (invocations, rows) = (2 * down * down * lanes, 4 * side * down);
        let depth = 16 * invocations / rows;
        let bytes = rows * (2 * depth + 16) + depth * (2 * rows + 16) + 2 * down * down * side * side * 4;
        let is_whole = depth >= side && depth.is_multiple_of(side);
        k.is_multiple_of(4) && is_whole && invocations <= INVOCATIONS && bytes <= capabilities.workgroup_bytes
    }
}

/// The ways to compute a product of `m` rows and depth `k`, the best first of those that a device can run. On llvmpipe that was
/// measured (benches/results); elsewhere it is what the arithmetic suggests, until it is measured there.
pub fn ladder([m, k]: [usize; 2], precision: Precision, capabilities: &Capabilities) -> Vec<&'static Rung> {
    let mut ladder: Vec<&'static Rung> = Vec::new();
    let skinny = match precision {
        Precision::Int8 => return vec![&INT8],
        Precision::F32 => {
            ladder.push(&SUBGROUP);
            ladder.extend(&TILED);
            ladder.extend([&SPLIT, &NAIVE]);
            &SKINNY
        }
        Precision::F16 => {
            let cooperative = || COOPERATIVE.iter().filter(|rung| rung.suits(k, capabilities));
            ladder.push(&SUBGROUP_F16);
            // Where a processor imitates cooperative matrices, they are slower than what they are made of.
            ladder.extend(cooperative().filter(|_| !capabilities.software));
            ladder.extend(&TILED_F16);
            ladder.extend(cooperative().filter(|_| capabilities.software));
            ladder.push(&SPLIT_F16);
            &SKINNY_F16
        }
    };
    ladder.insert(if m <= FEW_ROWS { 1 } else { ladder.len() }, skinny);
    ladder
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Recording;

    #[test]
    fn rungs_suit_the_device_and_the_shape() {
        let llvmpipe = Capabilities { software: true, subgroup: 8, ..Capabilities::CPU };
        let hardware = Capabilities { subgroup: 32, ..Capabilities::CPU };
        let chosen = |capabilities, precision, m, preferred: Option<&'static str>| {
            let mut recording = Recording::new(capabilities);
            preferred.into_iter().for_each(|kernel| recording.prefer(kernel));
            let ladder = ladder([m, 768], precision, &capabilities);
            ladder[recording.choose(None, ladder.iter().map(|rung| (rung.name, rung.kernel.needs)))].name
        };
        assert_eq!(chosen(llvmpipe, Precision::F32, 197, None), "matmul_subgroup");
        assert_eq!(chosen(llvmpipe, Precision::F32, 197, Some("matmul_naive")), "matmul_naive");
        assert_eq!(chosen(hardware, Precision::F32, 197, None), "matmul");
        assert_eq!(chosen(hardware, Precision::F32, 197, Some("matmul_128x128")), "matmul_128x128");
        assert_eq!(chosen(hardware, Precision::F32, 1, None), "matmul_skinny");
        assert_eq!(chosen(hardware, Precision::F32, 197, Some("matmul_subgroup")), "matmul");
        let matrices = Capabilities { cooperative: 16, ..hardware };
        assert_eq!(chosen(hardware, Precision::F16, 197, None), "matmul_f16");
        assert_eq!(chosen(matrices, Precision::F16, 197, None), "matmul_coop16");
        assert_eq!(chosen(Capabilities { subgroup: 64, ..matrices }, Precision::F16, 197, None), "matmul_coop16_64x64");
        // 27,136 bytes of workgroup memory are more than 16 KiB; subgroups of 8 are too few for tiles of 16.
        assert_eq!(chosen(Capabilities { workgroup_bytes: 16 * 1024, ..matrices }, Precision::F16, 197, None), "matmul_coop16_64x64");
        assert_eq!(chosen(Capabilities { subgroup: 8, ..matrices }, Precision::F16, 197, None), "matmul_f16");
        assert_eq!(chosen(Capabilities { cooperative: 8, ..llvmpipe }, Precision::F16, 197, None), "matmul_subgroup_f16");
        assert_eq!(chosen(matrices, Precision::F16, 1, None), "matmul_skinny_f16");
        assert_eq!(chosen(hardware, Precision::Int8, 197, None), "matmul_int8");
    }
}

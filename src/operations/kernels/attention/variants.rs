//! Attention variants. Each is a value of [`shapes`], from which everything else is derived.

use super::mask::MaskKind;
use crate::data::capabilities::{Capabilities, Needs, Precision};
use crate::data::record::{Binding, Kernel, Spec, Twin, read, shader, write};
use crate::execution::cpu::attention::{self as twin, Params};
use crate::execution::cpu::powers::attention_powers;
use crate::operations::kernels::{size, variant::Variant};

use std::sync::LazyLock;

/// Finds the scales for f32 attention on f16 cooperative matrices.
pub static ATTENTION_POWERS: Kernel =
    Kernel::new("attention_powers", shader!("attention/powers"), Params::FIELDS, &[read(1, "qkv"), write(2, "y")], attention_powers);

/// Parameters of an attention variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The algorithm and its tile.
    pub tile: Tile,
    /// The mask that it is compiled with.
    pub mask: MaskKind,
}

/// An algorithm and its tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {
    /// One query per invocation, with tiles of keys and values in workgroup memory.
    Tiled,
    /// 40 queries per subgroup of 8, in registers; for llvmpipe.
    Software,
    /// f16 cooperative matrices of `side` × `side`: `side` queries per subgroup, `subgroups` per workgroup, `keys` per tile. With two `parts`, each
    /// f32 value is split into two f16 values.
    Cooperative { side: u32, subgroups: u32, keys: u32, parts: u32 },
}
use Tile::{Cooperative, Software, Tiled};

const fn cooperative(side: u32, subgroups: u32, keys: u32) -> Tile {
    Cooperative { side, subgroups, keys, parts: 1 }
}

const fn cooperative_f32(side: u32, subgroups: u32, keys: u32) -> Tile {
    Cooperative { side, subgroups, keys, parts: 2 }
}

/// An H200 does best with 64 queries and 16 keys.
const COOPERATIVE: &[Tile] = &[
    cooperative(16, 4, 16),
    cooperative(16, 4, 32),
    cooperative(16, 2, 16),
    cooperative(16, 2, 32),
    cooperative(16, 1, 16),
    cooperative(8, 4, 32),
    cooperative(8, 4, 16),
    cooperative(8, 2, 16),
    cooperative_f32(16, 4, 16),
    cooperative_f32(16, 2, 16),
    cooperative_f32(8, 2, 8),
];

/// Tiles with masked variants: the fastest of each kind.
const MASKED: &[Tile] = &[Tiled, cooperative(16, 4, 16), cooperative(8, 4, 16), cooperative_f32(16, 4, 16), cooperative_f32(8, 2, 8)];

fn shapes() -> impl Iterator<Item = Shape> {
    let of = |mask, tiles: &'static [Tile]| tiles.iter().map(move |&tile| Shape { tile, mask });
    let masks = MaskKind::ALL.into_iter().filter(|mask| *mask != MaskKind::None);
    of(MaskKind::None, &[Software, Tiled]).chain(of(MaskKind::None, COOPERATIVE)).chain(masks.flat_map(move |mask| of(mask, MASKED)))
}

/// All variants.
pub static VARIANTS: LazyLock<Vec<Variant<Shape>>> = LazyLock::new(|| shapes().map(|shape| Variant { kernel: shape.kernel(), shape }).collect());

/// Problem size of an attention call.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Number of query tokens.
    pub queries: usize,
    /// Head width D.
    pub head: usize,
    /// Kind of mask.
    pub mask: MaskKind,
    /// Precision of queries, keys and values.
    pub qkv: Precision,
}

/// Maximum matrix products per tile of scores in a small shader; with two-part values, each score takes three.
const SMALL: u32 = 8;

impl Shape {
    /// Queries per workgroup.
    pub fn queries(&self) -> u32 {
        match self.tile {
            Tiled => 64,
            Software => 40,
            Cooperative { side, subgroups, .. } => side * subgroups,
        }
    }

    /// Keys per tile for a head width; `None` if not even one fits. Tiled: as many as fit in 16 KiB, which every device has, but at most 32, as each
    /// invocation keeps their scores in registers.
    fn keys(&self, head: usize, capabilities: &Capabilities) -> Option<u32> {
        match self.tile {
            Tiled => {
                let memory = capabilities.workgroup_bytes.min(16 * 1024);
                (0..=5).rev().map(|power| 1 << power).find(|&keys| self.workgroup_bytes(head, keys) <= memory)
            }
            Software => Some(2),
            Cooperative { keys, .. } => Some(keys),
        }
    }

    /// Bytes of workgroup memory for a head width and number of keys, as declared in the shader.
    pub fn workgroup_bytes(&self, head: usize, keys: u32) -> u32 {
        match self.tile {
            Tiled => 2 * keys * size(head).div_ceil(4) * 16,
            Software => 0,
            Cooperative { side, parts, .. } => {
                let (padded, queries) = (size(head).next_multiple_of(side), self.queries());
                parts * (2 * keys * (2 * padded + 16) + queries * (2 * keys + 16)) + queries * (4 * keys + 16) + 16
            }
        }
    }

    fn name(&self) -> String {
        let tile = match self.tile {
            Tiled => "tiled".to_owned(),
            Software => "software".to_owned(),
            Cooperative { side, keys, parts, .. } => format!("coop{side}{}_{}x{keys}", if parts == 2 { "_f32" } else { "" }, self.queries()),
        };
        format!("attention_{tile}{}", self.mask.suffix())
    }

    fn kernel(&self) -> Kernel {
        let spec = self.mask.spec();
        let (entry, (file, wgsl), spec, needs) = match self.tile {
            Tiled => ("attention_tiled", shader!("attention/tiled"), spec, Needs::NOTHING),
            Software => ("attention_software", shader!("software/attention"), spec, Needs::LLVMPIPE),
            Cooperative { side, subgroups, keys, parts } => {
                let spec = spec.with([("SUBGROUPS", subgroups)]);
                let spec = if side == 16 { spec } else { spec.with_piece("common/coop_16", "common/coop_8") };
                let spec = if parts == 1 { spec } else { spec.with_piece("attention/no_powers", "attention/with_powers") };
                let needs = Needs::cooperative(side, subgroups, self.workgroup_bytes(side as usize, keys));
                ("attention_cooperative", shader!("attention/cooperative"), spec, Needs { vector_tiles: true, ..needs })
            }
        };
        const BINDINGS: &[Binding] = &[read(1, "qkv"), write(2, "y"), read(3, "powers")];
        let bindings = self.mask.bindings(if self.reads_powers() { BINDINGS } else { &BINDINGS[..2] });
        let twin: Twin = match self.mask {
            MaskKind::None => twin::attention,
            MaskKind::Keys => twin::attention_masked,
            MaskKind::Causal => twin::attention_causal,
            MaskKind::CausalKeys => twin::attention_causal_masked,
            MaskKind::Relative => twin::attention_relative,
        };
        Kernel { name: self.name().leak(), entry, file, wgsl, edited: &[], spec, params: Params::FIELDS, bindings, needs, twin }
    }

    /// Returns whether it needs the output of [`ATTENTION_POWERS`].
    pub fn reads_powers(&self) -> bool {
        matches!(self.tile, Cooperative { parts: 2, .. })
    }

    /// Adds the constants that depend on the call and the device.
    pub fn specialised(&self, spec: Spec, head: usize, capabilities: &Capabilities) -> Spec {
        let spec = spec.with([("HEAD", size(head))]);
        let keys = self.keys(head, capabilities).map(|keys| ("KEYS", keys));
        match self.tile {
            Tiled => spec.with(keys),
            Software => spec,
            Cooperative { .. } => spec.with(keys).with([("LANES", capabilities.subgroup)]).unrolled(capabilities.large_shaders),
        }
    }

    /// Returns whether its shader is large for a head width.
    pub fn is_large(&self, head: usize) -> bool {
        match self.tile {
            Tiled | Software => false,
            Cooperative { side, keys, parts, .. } => (2 * parts - 1) * size(head).div_ceil(side) * keys / side > SMALL,
        }
    }

    /// Returns whether it supports the sizes on a device that meets its kernel's needs.
    fn suits(&self, sizes: &Sizes, capabilities: &Capabilities) -> bool {
        let Sizes { head, mask, qkv, .. } = *sizes;
        let is_supported = match self.tile {
            Tiled => self.keys(head, capabilities).is_some(),
            Software => qkv == Precision::F32 && head.is_multiple_of(4) && head <= 128,
            Cooperative { side, keys, parts, .. } => {
                let lanes = capabilities.subgroup;
                let shares_rows = lanes >= side && lanes <= 4 * side && (keys / 4).is_multiple_of(lanes / side);
                let is_compiled = capabilities.large_shaders || !self.is_large(head);
                qkv == if parts == 1 { Precision::F16 } else { Precision::F32 }
                    && head.is_multiple_of(4)
                    && shares_rows
                    && is_compiled
                    && self.workgroup_bytes(head, keys) <= capabilities.workgroup_bytes
            }
        };
        self.mask == mask && is_supported
    }
}

/// A workgroup with more memory than this has a multiprocessor of an H200 to itself.
const SHARED_BYTES: u32 = 24 * 1024;

/// Returns the variants that support the sizes on a device, fastest expected first; empty if the heads are too wide.
pub fn suitable(sizes: &Sizes, capabilities: &Capabilities) -> Vec<&'static Variant<Shape>> {
    let suits = |variant: &&Variant<Shape>| variant.shape.suits(sizes, capabilities) && variant.kernel.needs.met_by(capabilities);
    let mut found: Vec<&Variant<Shape>> = VARIANTS.iter().filter(suits).collect();
    let group = |shape: &Shape| match shape.tile {
        Software => 0,
        Tiled => 2,
        // Software adapters emulate cooperative matrices, so they are slower than the operations they are emulated with.
        Cooperative { .. } if capabilities.software => 4,
        Cooperative { keys, .. } if shape.workgroup_bytes(sizes.head, keys) > SHARED_BYTES => 3,
        Cooperative { .. } => 1,
    };
    // Unused query slots cost as much as used ones.
    let idle = |shape: &Shape| if sizes.queries < shape.queries() as usize { shape.queries() } else { 0 };
    found.sort_by_key(|variant| (group(&variant.shape), idle(&variant.shape)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the default variant.
    fn first(head: usize, queries: usize, mask: MaskKind, qkv: Precision, capabilities: &Capabilities) -> Option<&'static str> {
        let variants = suitable(&Sizes { queries, head, mask, qkv }, capabilities);
        variants.iter().find(|variant| variant.kernel.needs.trust <= capabilities.trust).map(|variant| variant.kernel.name)
    }

    #[test]
    fn key_tiles_fit_in_workgroup_memory() {
        let keys =
            |head, workgroup_bytes| Shape { tile: Tiled, mask: MaskKind::None }.keys(head, &Capabilities { workgroup_bytes, ..Capabilities::CPU });
        assert_eq!(keys(16, 32768), Some(32));
        assert_eq!(keys(64, 32768), Some(32));
        assert_eq!(keys(72, 32768), Some(16));
        assert_eq!(keys(128, 32768), Some(16));
        assert_eq!(keys(64, 4096), Some(8));
        assert_eq!(keys(2048, 16384), Some(1));
        assert_eq!(keys(4096, 32768), None);
        assert_eq!(first(4096, 100, MaskKind::None, Precision::F32, &Capabilities::CPU), None);
    }

    #[test]
    fn cooperative_attention_is_chosen_only_where_supported() {
        let device = Capabilities { software: false, subgroup: 32, cooperative: 16, half: true, workgroup_bytes: 48 * 1024, ..Capabilities::CPU };
        let name = |head, device| first(head, 197, MaskKind::None, Precision::F16, &device);
        assert_eq!(name(72, device), Some("attention_coop16_64x16"));
        assert_eq!(name(128, device), Some("attention_coop16_64x16"));
        assert_eq!(name(64, device), Some("attention_coop16_64x16"));
        assert_eq!(first(64, 1, MaskKind::None, Precision::F16, &device), Some("attention_coop16_16x16"));
        assert_eq!(name(66, device), Some("attention_tiled"));
        assert_eq!(name(64, Capabilities { cooperative: 0, ..device }), Some("attention_tiled"));
        assert_eq!(name(64, Capabilities { software: true, cooperative: 8, subgroup: 8, ..device }), Some("attention_tiled"));
        assert_eq!(name(64, Capabilities { workgroup_bytes: 16 * 1024, ..device }), Some("attention_coop16_64x16"));
        assert_eq!(first(64, 197, MaskKind::None, Precision::F32, &device), Some("attention_coop16_f32_64x16"));
        assert_eq!(name(64, Capabilities { scalar_tiles: true, ..device }), Some("attention_tiled"));
        assert_eq!(first(64, 197, MaskKind::Keys, Precision::F16, &device), Some("attention_coop16_64x16_masked"));
        assert_eq!(first(66, 197, MaskKind::Keys, Precision::F16, &device), Some("attention_tiled_masked"));
    }
}

//! Products of bf16 by AMX, whose `tdpbf16ps` multiplies a tile of 16 rows by 32 numbers with one of 32 by 16 numbers. In assembly, because
//! Rust's intrinsics for it are unstable; and on Linux, where a process asks for the tile registers.

use crate::data::bf16::words;
use crate::data::panels::PANEL;
use crate::execution::cpu::product::{MultiplyWords, ROWS};
use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::LazyLock;

/// Rows of a tile, and words of each.
const SIDE: usize = 16;

/// Words of K per pass over the rows: few enough that this much of a panel stays in the first-level cache.
const DEPTH: usize = 8 * SIDE;

/// Returns the multiplication by AMX, if this processor has it and the system lends its registers.
pub fn detect() -> Option<MultiplyWords> {
    static DETECTED: LazyLock<bool> = LazyLock::new(|| has_instructions() && is_permitted());
    DETECTED.then_some(MULTIPLY)
}

// SAFETY: the function is handed out only where `DETECTED` is true.
const MULTIPLY: MultiplyWords = |x, panel, k, sums| unsafe { multiply(x, panel, words(k), sums) };

#[allow(unused_unsafe, reason = "these functions are unsafe in the oldest supported Rust, and safe in newer ones")]
fn has_instructions() -> bool {
    // AMX-BF16 and AMX-TILE (Intel 64 and IA-32 Architectures Software Developer's Manual, CPUID, leaf 7).
    const BITS: u32 = 1 << 22 | 1 << 24;
    // SAFETY: all processors of 64 bits have the instruction.
    unsafe { __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & BITS == BITS }
}

/// Asks Linux for the use of tile registers by this process (Documentation/arch/x86/xstate.rst).
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: this call takes two numbers, and changes only what the process may do.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// Multiplies up to [`ROWS`] rows of `stride` words by a panel, [`DEPTH`] words at a time.
///
/// # Safety
/// The processor must have AMX, and the process permission to use it.
unsafe fn multiply(x: &[u32], panel: &[u32], stride: usize, sums: &mut [f32; ROWS * PANEL]) {
    let sums = &mut sums[..x.len() / stride * PANEL];
    for (part, panel) in panel.chunks(DEPTH * PANEL).enumerate() {
        let (whole, rest) = panel.split_at(panel.len() / (SIDE * PANEL) * SIDE * PANEL);
        for (x, sums) in x.chunks(SIDE * stride).zip(sums.chunks_mut(SIDE * PANEL)) {
            let first = part * DEPTH;
            // SAFETY: the caller guarantees it.
            unsafe {
                multiply_tiles(x, stride, first, whole, SIDE, sums);
                multiply_tiles(x, stride, first + whole.len() / PANEL, rest, rest.len() / PANEL, sums);
            }
        }
    }
    // SAFETY: the caller guarantees it. Saved states of threads are smaller without tiles.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
}

/// Operand of `ldtilecfg`.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes of a row of each tile.
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Adds the products of some words of up to [`SIDE`] rows, from `first`, and these rows of a panel to `sums`, `depth` words at a time.
///
/// # Safety
/// See [`multiply`].
unsafe fn multiply_tiles(x: &[u32], stride: usize, first: usize, panel: &[u32], depth: usize, sums: &mut [f32]) {
    if panel.is_empty() {
        return;
    }
    let (rows, words) = (x.len() / stride, panel.len() / PANEL);
    assert!(rows <= SIDE && depth <= SIDE && words.is_multiple_of(depth) && first + words <= stride && rows * PANEL == sums.len());
    // Tiles 0 to 3 hold sums, 4 numbers of x, and 5 and 6 those of w.
    let (rows, depth) = (rows as u8, depth as u8);
    let mut configuration = Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    configuration.row_bytes[..7].copy_from_slice(&[64, 64, 64, 64, 4 * u16::from(depth), 64, 64]);
    configuration.rows[..7].copy_from_slice(&[rows, rows, rows, rows, rows, depth, depth]);
    // SAFETY: the asserts keep all rows inside the slices: those of x have `depth` words in each step, those of the panel and of the sums 64. No other
    // code uses tiles, so they are no clobbers, which would need an unstable feature.
    unsafe {
        asm!(
            "ldtilecfg [{configuration}]",
            "tileloadd tmm0, [{sums} + {panel_row}]",
            "tileloadd tmm1, [{sums} + {panel_row} + 64]",
            "tileloadd tmm2, [{sums} + {panel_row} + 128]",
            "tileloadd tmm3, [{sums} + {panel_row} + 192]",
            "2:",
            "tileloadd tmm4, [{x} + {x_row}]",
            "tileloadd tmm5, [{w} + {panel_row}]",
            "tileloadd tmm6, [{w} + {panel_row} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm5",
            "tileloadd tmm5, [{w} + {panel_row} + 128]",
            "tdpbf16ps tmm1, tmm4, tmm6",
            "tileloadd tmm6, [{w} + {panel_row} + 192]",
            "tdpbf16ps tmm2, tmm4, tmm5",
            "tdpbf16ps tmm3, tmm4, tmm6",
            "add {x}, {x_step}",
            "add {w}, {w_step}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {panel_row}], tmm0",
            "tilestored [{sums} + {panel_row} + 64], tmm1",
            "tilestored [{sums} + {panel_row} + 128], tmm2",
            "tilestored [{sums} + {panel_row} + 192], tmm3",
            configuration = in(reg) &raw const configuration,
            x = inout(reg) x.as_ptr().add(first) => _,
            w = inout(reg) panel.as_ptr() => _,
            sums = in(reg) sums.as_mut_ptr(),
            x_row = in(reg) 4 * stride,
            panel_row = in(reg) 4 * PANEL,
            x_step = in(reg) 4 * usize::from(depth),
            w_step = in(reg) 4 * PANEL * usize::from(depth),
            steps = inout(reg) words / usize::from(depth) => _,
            options(nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::cpu::instructions::bf16::tests::check;

    /// `tests/x86` sets the variable in an emulator that has AMX, of which its Linux knows nothing.
    #[test]
    fn amx_multiplies_bf16() {
        let is_emulated = std::env::var_os("VITRAUX_EMULATED_AMX").is_some() && has_instructions();
        detect().or(is_emulated.then_some(MULTIPLY)).map_or_else(|| println!("SKIPPED: the processor has no AMX"), check);
    }
}

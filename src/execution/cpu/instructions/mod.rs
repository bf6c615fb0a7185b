//! Products by special instructions: those of packed numbers (bf16, and integers of 8 and 16 bits), and of f32 where that is faster than `gemm`.

#![cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), expect(dead_code, reason = "no instructions of other processors are used"))]

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bf16;
#[cfg(target_arch = "x86_64")]
mod float;
#[cfg(target_arch = "aarch64")]
mod i8mm;
#[cfg(target_arch = "x86_64")]
mod int16;
mod int8;
#[cfg(target_arch = "aarch64")]
mod neon;

use super::product::{MultiplyWords, ROWS};
use crate::data::panels::PANEL;
#[cfg(target_arch = "x86_64")]
use avx::Avx;

/// Rows whose sums are held in registers at once.
pub const TILE: usize = 6;

/// Values of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 16;

/// Returns the fastest multiplication of 8-bit integers that this processor has.
pub fn for_int8() -> Option<MultiplyWords> {
    let found = None;
    #[cfg(target_arch = "x86_64")]
    let found = found.or_else(avx512::detect_int8).or_else(Avx::<true>::detect_int8).or_else(Avx::<false>::detect_int8);
    #[cfg(target_arch = "aarch64")]
    let found = found.or_else(i8mm::detect).or_else(neon::detect_int8);
    found
}

/// Returns the fastest multiplication of bf16 that this processor has.
pub fn for_bf16() -> Option<MultiplyWords> {
    let found = None;
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    let found = found.or_else(amx::detect);
    #[cfg(target_arch = "x86_64")]
    let found = found.or_else(avx512::detect_bf16);
    #[cfg(target_arch = "aarch64")]
    let found = found.or_else(neon::detect_bf16);
    found
}

/// Multiplies rows of `words` pairs of 16-bit integers by the first columns of a panel of such pairs. Behind the words of a row, and of a column, are the scales of
/// its blocks of `depth` words, within which sums in i32 must not overflow. Sums in f32 are written to rows that are `stride` apart; the number of columns
/// must be a multiple of [`COLUMNS`].
pub type MultiplyPairs = fn(x: &[u32], panel: &[u32], words: usize, depth: usize, columns: usize, sums: &mut [f32], stride: usize);

/// Divisor of the number of columns of a [`MultiplyPairs`].
pub const COLUMNS: usize = 16;

/// Returns the multiplication of 16-bit integers of this processor, if it has one.
pub fn for_int16() -> Option<MultiplyPairs> {
    let found = fast_int16();
    #[cfg(target_arch = "x86_64")]
    let found = found.or_else(Avx::<false>::detect_int16);
    found
}

/// Returns that multiplication if it is faster than that of f32: if one instruction multiplies and adds.
pub fn fast_int16() -> Option<MultiplyPairs> {
    let found = None;
    #[cfg(target_arch = "x86_64")]
    let found = found.or_else(avx512::detect_int16).or_else(Avx::<true>::detect_int16);
    found
}

/// Multiplies up to [`ROWS`](super::product::ROWS) rows of `k` values by a panel in strips. Overwrites the sums of these rows.
pub type MultiplyFloats = fn(x: &[f32], panel: &[f32], k: usize, sums: &mut [f32; ROWS * PANEL]);

/// Returns the multiplication of f32 of this processor, if it has one that is faster than `gemm`.
pub fn for_f32() -> Option<MultiplyFloats> {
    let found = None;
    #[cfg(target_arch = "x86_64")]
    let found = found.or_else(Avx::<false>::detect_f32);
    found
}

/// Quantises values as [`quantise_blocks`](crate::data::int8::quantise_blocks) does.
pub type Quantise = fn(values: &[f32], words: &mut [u32], scales: &mut [u32]);

/// Returns the quantisation by special instructions, if this processor has them.
pub fn for_quantising() -> Option<Quantise> {
    let found = None;
    #[cfg(target_arch = "x86_64")]
    let found = found.or_else(avx512::detect_quantisation);
    found
}

/// Has the cache fetch values that will be read or written soon, on processors for which there is an instruction.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "stable Rust has no instruction of others"))]
pub fn prefetch(values: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every processor of this architecture has the instruction, which accesses nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// Vectors of words.
///
/// # Safety
/// All functions, and those of [`bf16::Bf16`] and [`int8::Int8`], need a processor with the instructions of the implementation, and places in memory that
/// hold a vector.
trait Vector {
    /// Words per vector, and sums per vector of sums.
    const LANES: usize;
    type Words: Copy;

    unsafe fn load(words: *const u32) -> Self::Words;
    unsafe fn broadcast(word: u32) -> Self::Words;
}

/// Repeats a block for each `$i` below `$count`, which is at most [`TILE`]. Compilers do not unroll loops over assembly, and sums that are indexed by a
/// variable do not stay in registers.
macro_rules! unrolled {
    ($i:ident < $count:expr, $body:block) => { unrolled!(@each $i, $count, $body, 0 1 2 3 4 5) };
    (@each $i:ident, $count:expr, $body:block, $($value:literal)*) => {
        $(if $value < $count {
            let $i = $value;
            $body
        })*
    };
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use unrolled;

/// Adds the products of `depth` words of `R` rows of x, which are `stride` apart and of which the bits of `offset` are flipped, and as many rows of words
/// in a panel, to `sums`. `dot` adds the products of a vector of x and one of w.
///
/// # Safety
/// See [`Vector`]; x and w must have all these words.
#[inline(always)]
unsafe fn add_products<D: Vector, S: Copy, const V: usize, const R: usize>(
    mut sums: [[S; V]; R],
    (x, stride): (*const u32, usize),
    offset: u32,
    w: *const u32,
    depth: usize,
    dot: impl Fn(S, D::Words, D::Words) -> S,
) -> [[S; V]; R] {
    for k in 0..depth {
        // SAFETY: the caller guarantees it.
        sums = unsafe { add_row::<D, S, V, R>(sums, (x.add(k), stride), offset, w.add(k * PANEL), &dot) };
    }
    sums
}

/// Adds the products of one of these words of each row, and of a row of w.
///
/// # Safety
/// See [`Vector`].
#[inline(always)]
unsafe fn add_row<D: Vector, S: Copy, const V: usize, const R: usize>(
    mut sums: [[S; V]; R],
    (x, stride): (*const u32, usize),
    offset: u32,
    w: *const u32,
    dot: &impl Fn(S, D::Words, D::Words) -> S,
) -> [[S; V]; R] {
    // SAFETY: the caller guarantees it.
    unsafe {
        let w: [D::Words; V] = std::array::from_fn(|i| D::load(w.add(i * D::LANES)));
        unrolled!(row < R, {
            let x = D::broadcast(*x.add(row * stride) ^ offset);
            unrolled!(i < V, {
                sums[row][i] = dot(sums[row][i], x, w[i]);
            });
        });
    }
    sums
}

/// Evaluates `$body` for each [`TILE`] rows, and for the rest, with the first row and the number of rows, a constant.
macro_rules! in_tiles {
    ($rows:expr, |$first:ident, $R:ident| $body:expr) => {{
        let rows = $rows;
        let mut $first = 0;
        while rows - $first >= TILE {
            const $R: usize = TILE;
            $body;
            $first += TILE;
        }
        in_tiles!(@rest rows, $first, $R, $body, 1 2 3 4 5);
    }};
    (@rest $rows:ident, $first:ident, $R:ident, $body:expr, $($count:literal)*) => {
        match $rows - $first {
            $($count => { const $R: usize = $count; $body; })*
            _ => {}
        }
    };
}
use in_tiles;

#[cfg(test)]
mod tests {
    /// Returns sizes to test: the second ones under Miri, which takes a minute for what takes a millisecond.
    pub fn fewer_under_miri<const N: usize>(sizes: impl Into<Vec<[usize; N]>>, few: impl Into<Vec<[usize; N]>>) -> Vec<[usize; N]> {
        if cfg!(miri) { few.into() } else { sizes.into() }
    }
}

//! Matrix products in f32: safe wrappers around the `gemm` crate, and products by panels on all cores.

use super::instructions::{for_f32, prefetch};
use super::parallel::{Disjoint, for_each_number, threads, with_workspace};
use super::row_chunks::RowChunks;
use crate::data::integers::BLOCK;
use crate::data::panels::{PANEL, Panels, STRIP};
use crate::data::{bf16, int8, int16};
use gemm_common::Parallelism;
use half::slice::HalfFloatSliceExt;
use std::cell::RefCell;
use std::ops::Range;

/// Matrix over borrowed elements: `data[row · row_stride + column · column_stride]`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub data: &'a [f32],
    pub row_stride: usize,
    pub column_stride: usize,
}

/// Destination of a product: rows `row_stride` apart.
pub struct Target<'a> {
    pub data: &'a mut [f32],
    pub row_stride: usize,
}

/// Cores of a product: all of them, or the one that its caller's task runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cores {
    All,
    One,
}

/// Computes `y[m, n] = factor · Σ_k a[m, k] · b[k, n]`.
pub fn product([m, n, k]: [usize; 3], factor: f32, a: Matrix, b: Matrix, y: Target, cores: Cores) {
    let last = |rows: usize, columns: usize, row_stride: usize, column_stride: usize| {
        (rows - 1).saturating_mul(row_stride).saturating_add((columns - 1).saturating_mul(column_stride))
    };
    assert!(m > 0 && n > 0 && k > 0, "empty product {m} x {n} x {k}");
    assert!(last(m, k, a.row_stride, a.column_stride) < a.data.len(), "left factor {m} x {k} of {} elements", a.data.len());
    assert!(last(k, n, b.row_stride, b.column_stride) < b.data.len(), "right factor {k} x {n} of {} elements", b.data.len());
    assert!(n <= y.row_stride && last(m, n, y.row_stride, 1) < y.data.len(), "product {m} x {n} into {} elements", y.data.len());
    // SAFETY: the asserts above keep every element read or written inside its slice: the last one is, strides are not negative, and rows of `y` do not
    // overlap. `y` is borrowed exclusively, so it overlaps neither factor. `get_gemm_fn` chooses by the features of this processor.
    unsafe {
        // `gemm` expects results with contiguous columns, so compute yᵀ = bᵀ · aᵀ.
        gemm_f32::gemm::f32::get_gemm_fn()(
            n,
            m,
            k,
            y.data.as_mut_ptr(),
            y.row_stride as isize,
            1,
            false,
            b.data.as_ptr(),
            b.row_stride as isize,
            b.column_stride as isize,
            a.data.as_ptr(),
            a.row_stride as isize,
            a.column_stride as isize,
            1.0,
            factor,
            false,
            false,
            false,
            parallelism(cores),
        );
    }
}

/// Rows multiplied by a panel at a time: few enough that `gemm` reads the panel in place instead of packing it.
pub const ROWS: usize = 48;

/// Tasks per thread, given enough work, so that no thread waits long for the last task.
const TASKS: usize = 16;

/// Tasks per thread that convert their panel to f32 first.
const CONVERTING_TASKS: usize = 4;

/// Computes `x · wᵀ`, with x `[M, K]` and w `[N, K]` in panels, panel by panel on all cores. Calls `finish` on each row of sums while they are in
/// cache, with the row's index, the range of columns, the sums, and the matching elements of `y`.
pub fn product_in_panels(
    [m, n, k]: [usize; 3],
    x: &[f32],
    w: Panels,
    y: Target,
    finish: impl Fn(usize, Range<usize>, &mut [f32], &mut [f32]) + Sync,
) {
    let panel_rows = w.rows(k);
    let tasks = if let Panels::F32(_) | Panels::Strips(_) = w { TASKS } else { CONVERTING_TASKS };
    in_panels([m, n], Sharing::of(tasks, w.bytes()), y, finish, |number, tiles| {
        with_multiplication(w.part(number * panel_rows * PANEL, panel_rows * PANEL), k, |multiply| {
            tiles(&|rows, sums| multiply(&x[rows.start * k..rows.end * k], sums));
        });
    });
}

/// Computes the same for an x whose rows of K values `gather` writes, by their index. They are gathered once per panel, while they are in cache.
pub fn product_of_gathered(
    [m, n, k]: [usize; 3],
    gather: impl Fn(usize, &mut [f32]) + Sync,
    w: Panels,
    y: Target,
    finish: impl Fn(usize, Range<usize>, &mut [f32], &mut [f32]) + Sync,
) {
    let panel_rows = w.rows(k);
    in_panels([m, n], Sharing { tasks: CONVERTING_TASKS, by_rows: false }, y, finish, |number, tiles| {
        with_workspace(ROWS * k, |lines| {
            let lines = RefCell::new(lines);
            with_multiplication(w.part(number * panel_rows * PANEL, panel_rows * PANEL), k, |multiply| {
                tiles(&|rows, sums| {
                    let lines = &mut lines.borrow_mut()[..rows.len() * k];
                    lines.chunks_mut(k).zip(rows).for_each(|(line, row)| gather(row, line));
                    multiply(lines, sums);
                });
            });
        });
    });
}

/// Lends a function that multiplies up to [`ROWS`] rows of `k` values by a panel, and overwrites the sums of these rows.
fn with_multiplication(panel: Panels, k: usize, work: impl FnOnce(&dyn Fn(&[f32], &mut [f32; ROWS * PANEL]))) {
    match (panel, for_f32()) {
        (Panels::Strips(panel), Some(multiply)) => work(&|x, sums| multiply(x, panel, k, sums)),
        _ => with_panel(panel, k, |panel| {
            work(&|x, sums| {
                let x_matrix = Matrix { data: x, row_stride: k, column_stride: 1 };
                let w = Matrix { data: panel, row_stride: PANEL, column_stride: 1 };
                product([x.len() / k, PANEL, k], 1.0, x_matrix, w, Target { data: sums, row_stride: PANEL }, Cores::One);
            });
        }),
    }
}

/// Numbers that begin at a cache line: a vector in two lines takes twice as long, or ten times if it was just written.
#[repr(align(64))]
struct Lines<const N: usize>([f32; N]);

/// Multiplies a range of up to [`ROWS`] rows by a panel, and overwrites as many rows of [`PANEL`] sums.
type Multiply<'a> = dyn Fn(Range<usize>, &mut [f32; ROWS * PANEL]) + 'a;

/// Bytes that a core keeps in its own cache beside others. Data up to this size may be read by all cores, so that the rows of activations that a core reads
/// are those that it wrote: lines that another core wrote take as long as many products, most of all between processors that share no cache.
const OWN_CACHE: usize = 512 << 10;

/// How threads share a product.
#[derive(Clone, Copy)]
struct Sharing {
    /// Tasks per thread, if there is as much work.
    tasks: usize,
    /// Whether a thread has rows of its own, for which it reads all panels. Otherwise it has panels of its own, and reads all rows.
    by_rows: bool,
}

impl Sharing {
    /// Returns the sharing for panels of some bytes in all.
    fn of(tasks: usize, bytes: usize) -> Sharing {
        Sharing { tasks, by_rows: bytes <= OWN_CACHE }
    }
}

/// Splits a product `[M, N]` into tasks, each of some rows by one panel. `in_panel` is called for each task with the panel's number, and
/// with a function to which it passes how rows are multiplied by that panel. For `finish`, see [`product_in_panels`].
fn in_panels(
    [m, n]: [usize; 2],
    sharing: Sharing,
    y: Target,
    finish: impl Fn(usize, Range<usize>, &mut [f32], &mut [f32]) + Sync,
    in_panel: impl Fn(usize, &mut dyn FnMut(&Multiply)) + Sync,
) {
    assert!(n <= y.row_stride && (m - 1).saturating_mul(y.row_stride) <= y.data.len() - n, "product {m} x {n} into {} elements", y.data.len());
    let (row_stride, y) = (y.row_stride, Disjoint::new(y.data));
    let panels = n.div_ceil(PANEL);
    let parts = if sharing.by_rows { threads() } else { 1 };
    let chunks = RowChunks::new(m, parts);
    let group = chunks.count().div_ceil((sharing.tasks * threads()).div_ceil(panels * parts));
    let groups = chunks.count().div_ceil(group);
    // Groups of one panel follow each other, so that it stays in cache.
    for_each_number(parts * panels * groups, |task| {
        let (part, number, first) = (task / (panels * groups), task / groups % panels, task % groups * group);
        let rows = chunks.range(part, first..first + group);
        if rows.is_empty() {
            return;
        }
        let columns = number * PANEL..n.min((number + 1) * PANEL);
        in_panel(number, &mut |multiply| {
            let mut sums = Lines([0.0; ROWS * PANEL]);
            // SAFETY: a task is one group of rows in one panel of columns, and rows are at least N apart, so no two tasks have an element in common;
            // within a task, the stretch of a row ends before that of the next begins.
            let stretch = |row: usize| unsafe { y.stretch(row * row_stride + columns.start, columns.len()) };
            for top in rows.clone().step_by(chunks.len) {
                let rows = top..rows.end.min(top + chunks.len);
                rows.clone().for_each(|row| prefetch(stretch(row)));
                multiply(rows.clone(), &mut sums.0);
                for (row, sums) in rows.zip(sums.0.chunks_mut(PANEL)) {
                    finish(row, columns.clone(), &mut sums[..columns.len()], stretch(row));
                }
            }
        });
    });
}

/// Multiplies up to [`ROWS`] rows of words, of numbers in bf16 or of 8-bit integers with their scales, by a panel of such words of depth `k`.
/// Adds the products to `sums`.
pub type MultiplyWords = fn(x: &[u32], panel: &[u32], k: usize, sums: &mut [f32; ROWS * PANEL]);

/// Computes `x · wᵀ` as [`product_in_panels`] does, with `stride` words in a row of x and of w. For `multiply`, see [`MultiplyWords`].
pub fn product_of_words(
    [m, n, k]: [usize; 3],
    stride: usize,
    [x, w]: [&[u32]; 2],
    y: Target,
    finish: impl Fn(usize, Range<usize>, &mut [f32], &mut [f32]) + Sync,
    multiply: impl Fn(&[u32], &[u32], usize, &mut [f32; ROWS * PANEL]) + Sync,
) {
    in_panels([m, n], Sharing::of(TASKS, size_of_val(w)), y, finish, |number, tiles| {
        let panel = &w[number * stride * PANEL..][..stride * PANEL];
        tiles(&|rows, sums| {
            sums[..rows.len() * PANEL].fill(0.0);
            multiply(&x[rows.start * stride..rows.end * stride], panel, k, sums);
        });
    });
}

/// Lends a panel of depth `k`, converted to rows of f32.
pub fn with_panel(panel: Panels, k: usize, work: impl FnOnce(&[f32])) {
    let len = k * PANEL;
    match panel {
        Panels::F32(panel) => work(panel),
        Panels::Strips(panel) => with_workspace(len, |wide| {
            for (strip, values) in panel.chunks(k * STRIP).enumerate() {
                wide.chunks_mut(PANEL).zip(values.chunks(STRIP)).for_each(|(row, values)| row[strip * STRIP..][..STRIP].copy_from_slice(values));
            }
            work(wide);
        }),
        Panels::Int8(words) => with_workspace(len, |wide| {
            widen(words, int8::words(k), int8::integers, wide);
            work(wide);
        }),
        Panels::Int16 { words, .. } => with_workspace(len, |wide| {
            widen(words, int16::words(k), int16::integers, wide);
            work(wide);
        }),
        Panels::Bf16Pairs(words) => with_workspace(bf16::WORD * words.len(), |wide| {
            for (rows, words) in wide.chunks_mut(bf16::WORD * PANEL).zip(words.chunks(PANEL)) {
                let (first, second) = rows.split_at_mut(PANEL);
                for ((first, second), word) in first.iter_mut().zip(second).zip(words) {
                    [*first, *second] = bf16::numbers(*word);
                }
            }
            work(&wide[..len]);
        }),
        Panels::F16(panel) => with_workspace(len, |wide| {
            panel.convert_to_f32_slice(wide);
            work(wide);
        }),
        Panels::Bf16(panel) => with_workspace(len, |wide| {
            panel.convert_to_f32_slice(wide);
            work(wide);
        }),
    }
}

/// Converts a panel of integers, `count` rows of words and then the scales of blocks, to f32.
fn widen<const WORD: usize>(words: &[u32], count: usize, integers: fn(u32) -> [f32; WORD], wide: &mut [f32]) {
    let (words, scales) = words.split_at(count * PANEL);
    for (i, (rows, words)) in wide.chunks_mut(WORD * PANEL).zip(words.chunks(PANEL)).enumerate() {
        let scales = &scales[i * WORD / BLOCK * PANEL..][..PANEL];
        for (column, (word, scale)) in words.iter().zip(scales).enumerate() {
            let values = integers(*word).map(|value| value * f32::from_bits(*scale));
            rows.chunks_mut(PANEL).zip(values).for_each(|(row, value)| row[column] = value);
        }
    }
}

fn parallelism(cores: Cores) -> Parallelism {
    match cores {
        Cores::All => Parallelism::Rayon(0),
        Cores::One => Parallelism::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::capabilities::Precision;
    use crate::data::panels::Packed;
    use crate::execution::cpu::instructions::TILE;

    fn values(count: usize) -> Vec<f32> {
        (0..count).map(|i| (i * 7 % 11) as f32 - 5.0).collect()
    }

    #[test]
    fn products_are_shared_out_without_gaps() {
        for by_rows in [false, true] {
            for sizes @ [m, n] in [[1, 1], [5, 130], [TILE * threads() + 1, 64], [197, 70], [500, 65]] {
                for tasks in [1, 16] {
                    let mut y = vec![0.0; m * n];
                    let finish = |row: usize, columns: Range<usize>, sums: &mut [f32], y: &mut [f32]| {
                        assert!(columns.len() == y.len() && sums.iter().all(|sum| *sum == (row * n + columns.start / PANEL) as f32));
                        y.iter_mut().for_each(|y| *y += 1.0);
                    };
                    in_panels(sizes, Sharing { tasks, by_rows }, Target { data: &mut y, row_stride: n }, finish, |number, tiles| {
                        tiles(&|rows, sums| {
                            rows.zip(sums.chunks_mut(PANEL)).for_each(|(row, sums)| sums.fill((row * n + number) as f32));
                        });
                    });
                    assert!(y.iter().all(|count| *count == 1.0), "{m} x {n}, {tasks} tasks per thread, by rows: {by_rows}");
                }
            }
        }
    }

    /// Run by Miri, which sees reads and writes outside the slices.
    #[test]
    fn products_fill_exactly_their_target() {
        for [m, n, k] in [[1, 1, 1], [3, 5, 2], [ROWS + 1, PANEL + 3, 3]] {
            let (x, w) = (values(m * k), values(n * k));
            for packed in [Packed::new(&w, [n, k], Precision::F32), Packed::strips(&w, [n, k])] {
                // A row of the target has an element more than the product.
                let mut y = vec![-1.0; m * (n + 1)];
                let target = Target { data: &mut y[..m * (n + 1) - 1], row_stride: n + 1 };
                product_in_panels([m, n, k], &x, packed.panels(), target, |_, _, sums, y| y.copy_from_slice(sums));
                for (row, line) in y.chunks(n + 1).enumerate() {
                    let sum = |column: usize| (0..k).map(|i| x[row * k + i] * w[column * k + i]).sum::<f32>();
                    assert!(
                        line[..n].iter().enumerate().all(|(column, value)| *value == sum(column)) && line[n] == -1.0,
                        "row {row} of {m} x {n} x {k}"
                    );
                }
            }
        }
    }

    /// Processors without a multiplication for strips need this.
    #[test]
    fn strips_are_put_together() {
        let sizes = [70, 5];
        let (w, mut panels) = (values(70 * 5), Vec::new());
        let packed = Packed::strips(&w, sizes);
        (0..2).for_each(|number| with_panel(packed.panels().part(number * 5 * PANEL, 5 * PANEL), 5, |panel| panels.extend_from_slice(panel)));
        let Packed::F32(want) = Packed::new(&w, sizes, Precision::F32) else { panic!("f32") };
        assert_eq!(panels, *want);
    }
}

//! How the right factors of products lie, on every device: in panels.

/// Columns of a panel.
pub const PANEL: usize = 64;

/// Rows of a panel that are filled at a time: of each column they are a line of the cache.
const LINE: usize = 16;

/// The shape of a factor w `[N, K]` in panels of 64 columns of wᵀ, zeros behind the last column: `[ceil(N / 64), K, 64]`.
pub fn shape([n, k]: [usize; 2]) -> [usize; 3] {
    [n.div_ceil(PANEL), k, PANEL]
}

/// The factor w `[N, K]` in panels, each value converted by `narrow`.
pub fn pack<V: Copy + Default + Send + Sync>(w: &[f32], [n, k]: [usize; 2], narrow: impl Fn(f32) -> V + Sync) -> Vec<V> {
    let mut panels = vec![V::default(); n.next_multiple_of(PANEL) * k];
    for_each_panel(&mut panels, PANEL * k, |number, panel| {
        let columns = &w[number * PANEL * k..n.min((number + 1) * PANEL) * k];
        for (block, rows) in panel.chunks_mut(LINE * PANEL).enumerate() {
            for (column, values) in columns.chunks(k).enumerate() {
                for (row, value) in rows.chunks_mut(PANEL).zip(&values[block * LINE..]) {
                    row[column] = narrow(*value);
                }
            }
        }
    });
    panels
}

#[cfg(not(target_arch = "wasm32"))]
fn for_each_panel<V: Send>(panels: &mut [V], len: usize, work: impl Fn(usize, &mut [V]) + Sync) {
    use rayon::prelude::*;
    panels.par_chunks_mut(len).enumerate().for_each(|(number, panel)| work(number, panel));
}

#[cfg(target_arch = "wasm32")]
fn for_each_panel<V: Send>(panels: &mut [V], len: usize, work: impl Fn(usize, &mut [V]) + Sync) {
    panels.chunks_mut(len).enumerate().for_each(|(number, panel)| work(number, panel));
}

/// A factor in panels, in the bits that it was stored in if those are 16.
#[derive(Clone, Copy, Debug)]
pub enum Panels<'a> {
    /// 32 bits.
    F32(&'a [f32]),
    /// IEEE 754's 16 bits.
    F16(&'a [half::f16]),
    /// The upper 16 bits of f32.
    Bf16(&'a [half::bf16]),
}

impl<'a> Panels<'a> {
    /// `len` elements from `offset` on.
    pub fn part(self, offset: usize, len: usize) -> Panels<'a> {
        match self {
            Panels::F32(values) => Panels::F32(&values[offset..][..len]),
            Panels::F16(values) => Panels::F16(&values[offset..][..len]),
            Panels::Bf16(values) => Panels::Bf16(&values[offset..][..len]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_hold_every_element_and_zeros() {
        for (n, k) in [(70, 3), (64, 16), (1, 1), (130, 45)] {
            let w: Vec<f32> = (1..=n * k).map(|value| value as f32).collect();
            let panels = pack(&w, [n, k], |value| value);
            assert_eq!(panels.len(), shape([n, k]).iter().product::<usize>());
            for (i, value) in panels.iter().enumerate() {
                let (row, column) = (i / PANEL % k, i / (k * PANEL) * PANEL + i % PANEL);
                assert_eq!(*value, if column < n { w[column * k + row] } else { 0.0 });
            }
        }
    }
}

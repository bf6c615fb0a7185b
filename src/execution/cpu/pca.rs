//! Twins of the `pca` kernels.

use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

/// Number of directions that are iterated.
const BLOCK: usize = 8;

/// Sweeps of Jacobi's method.
const SWEEPS: usize = 8;

params! {
    /// Parameters of the `pca` kernels.
    Params {
        /// N, tokens per image.
        tokens: u32,
        /// C, width of a token.
        width: u32,
        /// Index of the first patch among the tokens.
        first: u32,
        /// P, patches per image.
        patches: u32,
    }
}

/// Patches of all images, minus their mean.
struct Centred<'a> {
    x: &'a [f32],
    mean: &'a [f32],
    params: Params,
}

impl<'a> Centred<'a> {
    /// Returns patch p of image b.
    fn patch(&self, b: usize, p: usize) -> impl Iterator<Item = f32> + 'a {
        let Params { tokens, width, first, .. } = self.params;
        let row = (b * tokens as usize + first as usize + p) * width as usize;
        let (x, mean) = (&self.x[row..][..width as usize], &self.mean[b * width as usize..][..width as usize]);
        x.iter().zip(mean).map(|(x, mean)| x - mean)
    }
}

fn sizes(params: &Params) -> [usize; 2] {
    [params.width as usize, params.patches as usize]
}

/// Twin of `pca_start`.
pub fn pca_start(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let &[x, mean] = call.reads else { panic!("x and mean") };
    let [width, patches] = sizes(&params);
    let centred = Centred { x, mean, params };
    for_each_chunk(call.write, width * BLOCK, |b, v| {
        for k in 0..BLOCK {
            v[k..].iter_mut().step_by(BLOCK).zip(centred.patch(b, k * patches / BLOCK)).for_each(|(v, value)| *v = value);
        }
    });
}

/// Twin of `pca_project`.
pub fn pca_project(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let &[x, mean, basis] = call.reads else { panic!("x, mean and basis") };
    let [width, patches] = sizes(&params);
    let centred = Centred { x, mean, params };
    for_each_chunk(call.write, BLOCK, |row, y| {
        let (b, p) = (row / patches, row % patches);
        y.fill(0.0);
        for (value, row) in centred.patch(b, p).zip(basis[b * width * BLOCK..].chunks(BLOCK)) {
            y.iter_mut().zip(row).for_each(|(sum, v)| *sum += value * v);
        }
    });
}

/// Twin of `pca_gather`.
pub fn pca_gather(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let &[x, mean, scores] = call.reads else { panic!("x, mean and scores") };
    let [width, patches] = sizes(&params);
    let centred = Centred { x, mean, params };
    for_each_chunk(call.write, width * BLOCK, |b, v| {
        v.fill(0.0);
        for (p, scores) in scores[b * patches * BLOCK..].chunks(BLOCK).take(patches).enumerate() {
            for (value, row) in centred.patch(b, p).zip(v.chunks_mut(BLOCK)) {
                row.iter_mut().zip(scores).for_each(|(sum, score)| *sum += value * score);
            }
        }
    });
}

/// Twin of `pca_orthonormalise`: Gram-Schmidt, each column twice.
pub fn pca_orthonormalise(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    for_each_chunk(call.write, params.width as usize * BLOCK, |_, v| {
        let dot = |v: &[f32], i: usize, j: usize| v.chunks(BLOCK).map(|row| f64::from(row[i]) * f64::from(row[j])).sum::<f64>() as f32;
        for k in 0..BLOCK {
            let before = dot(v, k, k);
            for j in (0..k).chain(0..k) {
                let share = dot(v, j, k);
                v.chunks_mut(BLOCK).for_each(|row| row[k] -= share * row[j]);
            }
            let left = dot(v, k, k);
            let factor = if left > 1e-10 * before { left.sqrt().recip() } else { 0.0 };
            v.chunks_mut(BLOCK).for_each(|row| row[k] *= factor);
        }
    });
}

/// Twin of `pca_colours`.
pub fn pca_colours(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let &[basis, scores] = call.reads else { panic!("basis and scores") };
    let [width, patches] = sizes(&params);
    for_each_chunk(call.write, patches * 3, |b, rgb| {
        let (basis, scores) = (&basis[b * width * BLOCK..][..width * BLOCK], &scores[b * patches * BLOCK..][..patches * BLOCK]);
        let directions = principal(scores);
        for (channel, direction) in directions.iter().enumerate() {
            let turned = |row: &[f32]| row.iter().zip(direction).map(|(value, u)| f64::from(*value) * u).sum::<f64>() as f32;
            let loadings = basis.chunks(BLOCK).map(turned);
            let (highest, lowest) = loadings.fold((0.0f32, 0.0f32), |(highest, lowest), loading| (highest.max(loading), lowest.max(-loading)));
            let sign = if highest >= lowest { 1.0 } else { -1.0 };
            let turned: Vec<f32> = scores.chunks(BLOCK).map(|row| sign * turned(row)).collect();
            let (bottom, top) = turned.iter().fold((f32::MAX, f32::MIN), |(bottom, top), score| (bottom.min(*score), top.max(*score)));
            for (pixel, score) in rgb.chunks_mut(3).zip(turned) {
                pixel[channel] = if top > bottom { (score - bottom) / (top - bottom) } else { 0.0 };
            }
        }
    });
}

/// Returns the three eigenvectors of yᵀ·y with the largest eigenvalues, in descending order, by Jacobi's method (Golub and Van Loan, section 8.5).
fn principal(y: &[f32]) -> [[f64; BLOCK]; 3] {
    let mut t = [[0.0; BLOCK]; BLOCK];
    // Eigenvectors are rows here and columns in the kernel.
    let mut u: [[f64; BLOCK]; BLOCK] = std::array::from_fn(|i| std::array::from_fn(|j| f64::from(u8::from(i == j))));
    for row in y.chunks(BLOCK) {
        for (i, j) in (0..BLOCK).flat_map(|i| (0..BLOCK).map(move |j| (i, j))) {
            t[i][j] += f64::from(row[i]) * f64::from(row[j]);
        }
    }
    for (i, j) in (0..SWEEPS).flat_map(|_| (0..BLOCK).flat_map(|i| (i + 1..BLOCK).map(move |j| (i, j)))) {
        if t[i][j] == 0.0 {
            continue;
        }
        let tau: f64 = (t[j][j] - t[i][i]) / (2.0 * t[i][j]);
        let tangent = tau.signum() / (tau.abs() + tau.hypot(1.0));
        let cosine = tangent.hypot(1.0).recip();
        let turn = |low: &mut f64, high: &mut f64| (*low, *high) = (cosine * (*low - tangent * *high), cosine * (tangent * *low + *high));
        for row in &mut t {
            let (low, high) = row.split_at_mut(j);
            turn(&mut low[i], &mut high[0]);
        }
        for matrix in [&mut t, &mut u] {
            let (low, high) = matrix.split_at_mut(j);
            low[i].iter_mut().zip(&mut high[0]).for_each(|(low, high)| turn(low, high));
        }
    }
    let mut order: [usize; BLOCK] = std::array::from_fn(|i| i);
    order.sort_by(|&i, &j| t[j][j].total_cmp(&t[i][i]));
    [u[order[0]], u[order[1]], u[order[2]]]
}

//! What the kernels compute, by brute force in f64: no tiles, no tricks, nothing shared with `src/`.

use vitraux::config::Activation;

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// x [m, k] times w [n, k] transposed, plus bias [n].
pub fn matmul(x: &[f64], w: &[f64], bias: &[f64], [m, n, k]: [usize; 3]) -> Vec<f64> {
    let element = |row: usize, column: usize| (0..k).map(|i| x[row * k + i] * w[column * k + i]).sum::<f64>() + bias[column];
    (0..m * n).map(|i| element(i / n, i % n)).collect()
}

pub fn activate(activation: Activation, x: f64) -> f64 {
    let tanh_inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    match activation {
        Activation::Gelu => 0.5 * x * libm::erfc(-x / std::f64::consts::SQRT_2),
        Activation::GeluTanh => 0.5 * x * (1.0 + tanh_inner.tanh()),
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
    }
}

/// The patches of pixels [batch, channels, height, width] as rows, in the order of a convolution's weights.
pub fn patches(pixels: &[f64], [batch, channels, height, width]: [usize; 4], [patch_height, patch_width]: [usize; 2]) -> Vec<f64> {
    let mut rows = Vec::new();
    for b in 0..batch {
        for top in (0..=height - patch_height).step_by(patch_height) {
            for left in (0..=width - patch_width).step_by(patch_width) {
                for channel in 0..channels {
                    for y in top..top + patch_height {
                        for x in left..left + patch_width {
                            rows.push(pixels[((b * channels + channel) * height + y) * width + x]);
                        }
                    }
                }
            }
        }
    }
    rows
}

pub fn layernorm(x: &[f64], weight: &[f64], bias: &[f64], epsilon: f64) -> Vec<f64> {
    let width = weight.len();
    let row = |row: &[f64]| {
        let mean = row.iter().sum::<f64>() / width as f64;
        let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / width as f64;
        let normal: Vec<f64> = row.iter().map(|value| (value - mean) / (variance + epsilon).sqrt()).collect();
        normal.iter().zip(weight).zip(bias).map(|((value, weight), bias)| value * weight + bias).collect::<Vec<_>>()
    };
    x.chunks(width).flat_map(row).collect()
}

pub fn softmax(x: &[f64], width: usize) -> Vec<f64> {
    let row = |row: &[f64]| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = row.iter().map(|value| (value - largest).exp()).collect();
        let total: f64 = powers.iter().sum();
        powers.into_iter().map(move |power| power / total).collect::<Vec<_>>()
    };
    x.chunks(width).flat_map(row).collect()
}

/// Probabilities [batch, heads, tokens, tokens] from packed qkv [batch, tokens, 3, heads, head].
pub fn probabilities(qkv: &[f64], [batch, tokens, heads, head]: [usize; 4]) -> Vec<f64> {
    let at = |b: usize, n: usize, part: usize, h: usize| (((b * tokens + n) * 3 + part) * heads + h) * head;
    let mut scores = Vec::with_capacity(batch * heads * tokens * tokens);
    for b in 0..batch {
        for h in 0..heads {
            for i in 0..tokens {
                for j in 0..tokens {
                    let (query, key) = (at(b, i, 0, h), at(b, j, 1, h));
                    scores.push((0..head).map(|d| qkv[query + d] * qkv[key + d]).sum::<f64>() / (head as f64).sqrt());
                }
            }
        }
    }
    softmax(&scores, tokens)
}

/// Values weighted by `p`, [batch, tokens, heads, head].
pub fn weighted_values(qkv: &[f64], p: &[f64], [batch, tokens, heads, head]: [usize; 4]) -> Vec<f64> {
    let mut y = Vec::with_capacity(batch * tokens * heads * head);
    for b in 0..batch {
        for i in 0..tokens {
            for h in 0..heads {
                for d in 0..head {
                    let row = &p[((b * heads + h) * tokens + i) * tokens..][..tokens];
                    y.push(row.iter().enumerate().map(|(j, weight)| weight * qkv[(((b * tokens + j) * 3 + 2) * heads + h) * head + d]).sum());
                }
            }
        }
    }
    y
}

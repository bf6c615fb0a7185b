//! Brute-force references in f64: no tiles, no tricks, and no code shared with the kernels or their twins.

use crate::data::config::Activation;

/// Widens values to f64.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// x `[m, k]` times w `[n, k]` transposed, plus bias `[n]`.
pub fn matmul(x: &[f64], w: &[f64], bias: &[f64], [m, n, k]: [usize; 3]) -> Vec<f64> {
    let element = |row: usize, column: usize| (0..k).map(|i| x[row * k + i] * w[column * k + i]).sum::<f64>() + bias[column];
    (0..m * n).map(|i| element(i / n, i % n)).collect()
}

/// Rounds blocks of 32 in rows of x `[m, k]` to multiples of 1/127 of their largest magnitude.
pub fn quantised(x: &[f64], k: usize) -> Vec<f64> {
    let block = |block: &[f64]| {
        let scale = block.iter().fold(0.0, |largest: f64, value| largest.max(value.abs())) / 127.0;
        block.iter().map(|value| (value / scale).round() * scale).collect::<Vec<_>>()
    };
    x.chunks(k).flat_map(|row| row.chunks(32)).flat_map(block).collect()
}

/// Rounds values to the 8 significant bits of bf16.
pub fn rounded_to_bf16(x: &[f64]) -> Vec<f64> {
    let round = |value: &f64| {
        let unit = (value.abs().log2().floor() - 7.0).exp2();
        (value / unit).round_ties_even() * unit
    };
    x.iter().map(round).collect()
}

/// Applies an activation; GELU by the error function.
pub fn activate(activation: Activation, x: f64) -> f64 {
    let tanh_inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    match activation {
        Activation::Gelu => 0.5 * x * libm::erfc(-x / std::f64::consts::SQRT_2),
        Activation::GeluTanh => 0.5 * x * (1.0 + tanh_inner.tanh()),
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
    }
}

/// Patches of pixels `[batch, channels, height, width]` as rows, in the order of convolution weights; zero beyond the edge.
pub fn patches(pixels: &[f64], [batch, channels, height, width]: [usize; 4], patch: [usize; 2], grid: [usize; 2]) -> Vec<f64> {
    let mut rows = Vec::new();
    for b in 0..batch {
        for (down, across) in (0..grid[0]).flat_map(|down| (0..grid[1]).map(move |across| (down, across))) {
            for channel in 0..channels {
                for y in down * patch[0]..(down + 1) * patch[0] {
                    for x in across * patch[1]..(across + 1) * patch[1] {
                        rows.push(if y < height && x < width { pixels[((b * channels + channel) * height + y) * width + x] } else { 0.0 });
                    }
                }
            }
        }
    }
    rows
}

/// Pixel at `offset` in the window of `place`, with TensorFlow SAME padding; `None` in the padding.
fn same(length: usize, [size, stride]: [usize; 2], place: usize, offset: usize) -> Option<usize> {
    let padding = ((length.div_ceil(stride) - 1) * stride + size).saturating_sub(length);
    (place * stride + offset).checked_sub(padding / 2).filter(|&pixel| pixel < length)
}

/// Convolution of x `[batch, channels, height, width]` with w `[outputs, channels, size, size]` and TensorFlow SAME padding.
pub fn convolution(x: &[f64], [batch, channels, height, width]: [usize; 4], w: &[f64], outputs: usize, window: [usize; 2]) -> Vec<f64> {
    let [size, stride] = window;
    let mut y = Vec::new();
    for b in 0..batch {
        for o in 0..outputs {
            for down in 0..height.div_ceil(stride) {
                for across in 0..width.div_ceil(stride) {
                    let mut sum = 0.0;
                    for (channel, u, v) in (0..channels * size * size).map(|i| (i / (size * size), i / size % size, i % size)) {
                        if let (Some(row), Some(column)) = (same(height, window, down, u), same(width, window, across, v)) {
                            let pixel = x[((b * channels + channel) * height + row) * width + column];
                            sum += pixel * w[((o * channels + channel) * size + u) * size + v];
                        }
                    }
                    y.push(sum);
                }
            }
        }
    }
    y
}

/// Convolution of x `[batch, height, width, channels]` with w `[outputs, 3, 3, channels]` and a pixel of zeros at each edge: y `[batch, rows, columns,
/// outputs]`.
pub fn conv3x3(x: &[f64], [batch, height, width, channels]: [usize; 4], w: &[f64], outputs: usize, stride: usize) -> Vec<f64> {
    let mut y = Vec::new();
    for b in 0..batch {
        for (row, column) in (0..height).step_by(stride).flat_map(|row| (0..width).step_by(stride).map(move |column| (row, column))) {
            for o in 0..outputs {
                let mut sum = 0.0;
                for (u, v) in (0..9).map(|place| (place / 3, place % 3)) {
                    if (1..=height).contains(&(row + u)) && (1..=width).contains(&(column + v)) {
                        let pixel = &x[((b * height + row + u - 1) * width + column + v - 1) * channels..][..channels];
                        sum += pixel.iter().zip(&w[((o * 3 + u) * 3 + v) * channels..]).map(|(x, w)| x * w).sum::<f64>();
                    }
                }
                y.push(sum);
            }
        }
    }
    y
}

/// Bilinear interpolation of x `[batch, height, width, channels]`, between the centres of the corner pixels or between their edges.
pub fn bilinear(x: &[f64], [batch, height, width, channels]: [usize; 4], to: [usize; 2], has_corners: bool) -> Vec<f64> {
    let weights = |i: usize, from: usize, to: usize| {
        let place = match has_corners {
            true => i as f64 * (from - 1) as f64 / (to - 1).max(1) as f64,
            false => ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64),
        };
        (0..from).map(|pixel| (1.0 - (place - pixel as f64).abs()).max(0.0)).collect::<Vec<f64>>()
    };
    let mut y = Vec::new();
    for b in 0..batch {
        for row in 0..to[0] {
            for column in 0..to[1] {
                for c in 0..channels {
                    let (rows, columns) = (weights(row, height, to[0]), weights(column, width, to[1]));
                    let pixels = (0..height * width).map(|i| rows[i / width] * columns[i % width] * x[(b * height * width + i) * channels + c]);
                    y.push(pixels.sum());
                }
            }
        }
    }
    y
}

/// Maximum of each window of x `[batch, channels, height, width]`, with TensorFlow SAME padding.
pub fn max_pool(x: &[f64], [batch, channels, height, width]: [usize; 4], window: [usize; 2]) -> Vec<f64> {
    let [size, stride] = window;
    let mut y = Vec::new();
    for plane in 0..batch * channels {
        for down in 0..height.div_ceil(stride) {
            for across in 0..width.div_ceil(stride) {
                let places = (0..size * size).filter_map(|i| same(height, window, down, i / size).zip(same(width, window, across, i % size)));
                y.push(places.map(|(row, column)| x[(plane * height + row) * width + column]).fold(f64::NEG_INFINITY, f64::max));
            }
        }
    }
    y
}

/// Normalises x `[batch, channels, height, width]` over each of `groups` channel groups, then applies weight and bias `[channels]`.
pub fn groupnorm(x: &[f64], [_, channels, height, width]: [usize; 4], weight: &[f64], bias: &[f64], groups: usize) -> Vec<f64> {
    let size = channels / groups * height * width;
    let normal = x.chunks(size).flat_map(|group| layernorm(group, &vec![1.0; size], &vec![0.0; size], 1e-5));
    normal.enumerate().map(|(i, value)| value * weight[i / (height * width) % channels] + bias[i / (height * width) % channels]).collect()
}

/// Divides rows of x, as wide as weight, by their root mean square, then applies weight.
pub fn rmsnorm(x: &[f64], weight: &[f64], epsilon: f64) -> Vec<f64> {
    let row = |row: &[f64]| {
        let factor = (row.iter().map(|value| value * value).sum::<f64>() / row.len() as f64 + epsilon).sqrt().recip();
        row.iter().zip(weight).map(|(value, weight)| value * factor * weight).collect::<Vec<_>>()
    };
    x.chunks(weight.len()).flat_map(row).collect()
}

/// Normalises rows of x, as wide as weight and bias.
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

/// Softmax of each row.
pub fn softmax(x: &[f64], width: usize) -> Vec<f64> {
    let row = |row: &[f64]| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = row.iter().map(|value| (value - largest).exp()).collect();
        let total: f64 = powers.iter().sum();
        powers.into_iter().map(move |power| power / total).collect::<Vec<_>>()
    };
    x.chunks(width).flat_map(row).collect()
}

/// Probabilities `[batch, heads, tokens, tokens]` from packed qkv `[batch, tokens, 3, heads, head]`. `bias` returns what is added to the score of an
/// image, a head, and a query and a key.
pub fn probabilities(qkv: &[f64], [batch, tokens, heads, head]: [usize; 4], bias: impl Fn(usize, usize, [usize; 2]) -> f64) -> Vec<f64> {
    let at = |b: usize, n: usize, part: usize, h: usize| (((b * tokens + n) * 3 + part) * heads + h) * head;
    let mut scores = Vec::with_capacity(batch * heads * tokens * tokens);
    for b in 0..batch {
        for h in 0..heads {
            for i in 0..tokens {
                for j in 0..tokens {
                    let (query, key) = (at(b, i, 0, h), at(b, j, 1, h));
                    let score = (0..head).map(|d| qkv[query + d] * qkv[key + d]).sum::<f64>() / (head as f64).sqrt();
                    scores.push(score + bias(b, h, [i, j]));
                }
            }
        }
    }
    softmax(&scores, tokens)
}

/// Values weighted by `p`: `[batch, tokens, heads, head]`.
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

/// Attention of one query `[heads, head]`, shared by all images, over packed keys and values `[batch, tokens, 2, heads, head]`: y `[batch, heads,
/// head]`.
pub fn attention_pool(q: &[f64], kv: &[f64], [batch, tokens, heads, head]: [usize; 4], first: usize, bias: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let at = |b: usize, n: usize, part: usize, h: usize| (((b * tokens + n) * 2 + part) * heads + h) * head;
    let mut y = Vec::new();
    for (b, h) in (0..batch).flat_map(|b| (0..heads).map(move |h| (b, h))) {
        let score = |n: usize| (0..head).map(|d| q[h * head + d] * kv[at(b, n, 0, h) + d]).sum::<f64>() / (head as f64).sqrt() + bias(b, n);
        let weights = softmax(&(first..tokens).map(score).collect::<Vec<_>>(), tokens - first);
        y.extend((0..head).map(|d| (first..tokens).zip(&weights).map(|(n, weight)| weight * kv[at(b, n, 1, h) + d]).sum::<f64>()));
    }
    y
}

/// Orthonormalises the columns of a matrix `[rows, count]` in order, by projecting out the earlier ones three times in f64.
pub fn orthonormalised(matrix: &[f64], count: usize) -> Vec<f64> {
    let rows = matrix.len() / count;
    let mut columns: Vec<Vec<f64>> = (0..count).map(|k| (0..rows).map(|row| matrix[row * count + k]).collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for k in 0..count {
        for j in (0..3).flat_map(|_| 0..k) {
            let share = dot(&columns[j], &columns[k]);
            let other = columns[j].clone();
            columns[k].iter_mut().zip(other).for_each(|(value, other)| *value -= share * other);
        }
        let norm = dot(&columns[k], &columns[k]).sqrt();
        columns[k].iter_mut().for_each(|value| *value /= norm);
    }
    (0..rows * count).map(|i| columns[i % count][i / count]).collect()
}

/// Eigenvector of the largest eigenvalue of a symmetric matrix, by power iteration until convergence.
fn leading(matrix: &[Vec<f64>]) -> Vec<f64> {
    let mut vector: Vec<f64> = (0..matrix.len()).map(|i| 1.0 + 0.1 * i as f64).collect();
    for _ in 0..20_000 {
        let next: Vec<f64> = matrix.iter().map(|row| row.iter().zip(&vector).map(|(a, b)| a * b).sum()).collect();
        let norm = next.iter().map(|value| value * value).sum::<f64>().sqrt();
        let next: Vec<f64> = next.iter().map(|value| value / norm).collect();
        let moved = next.iter().zip(&vector).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        vector = next;
        if moved < 1e-15 {
            break;
        }
    }
    vector
}

/// The three principal components, about 0, of scores [P, count] as colours. The components are combinations of the columns of `basis` [C, count];
/// their entry of the largest magnitude is made positive.
pub fn colours(basis: &[f64], scores: &[f64], count: usize) -> Vec<f64> {
    let mut matrix: Vec<Vec<f64>> = (0..count).map(|i| (0..count).map(|j| scores.chunks(count).map(|row| row[i] * row[j]).sum()).collect()).collect();
    let mut rgb = vec![0.0; scores.len() / count * 3];
    for channel in 0..3 {
        let direction = leading(&matrix);
        let times = |row: &[f64]| row.iter().zip(&direction).map(|(a, b)| a * b).sum::<f64>();
        let value = (0..count).map(|i| direction[i] * times(&matrix[i])).sum::<f64>();
        // Deflation: the next eigenvalue becomes the largest.
        for i in 0..count {
            for j in 0..count {
                matrix[i][j] -= value * direction[i] * direction[j];
            }
        }
        let largest = basis.chunks(count).map(times).max_by(|a, b| a.abs().total_cmp(&b.abs())).expect("a row");
        let turned: Vec<f64> = scores.chunks(count).map(|row| largest.signum() * times(row)).collect();
        let (bottom, top) = turned.iter().fold((f64::MAX, f64::MIN), |(bottom, top), value| (bottom.min(*value), top.max(*value)));
        rgb[channel..].iter_mut().step_by(3).zip(turned).for_each(|(pixel, value)| *pixel = (value - bottom) / (top - bottom));
    }
    rgb
}

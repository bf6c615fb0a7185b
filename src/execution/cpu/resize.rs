//! Twin of `resize`: bilinear interpolation of channels-last maps.

use super::parallel::for_each_chunk;
use crate::data::record::{Call, params};

params! {
    /// Parameters of `resize`.
    Params {
        /// B, images.
        batch: u32,
        /// Height of x in pixels.
        height: u32,
        /// Width of x in pixels.
        width: u32,
        /// Height of y in pixels.
        rows: u32,
        /// Width of y in pixels.
        columns: u32,
        /// Channels of both.
        channels: u32,
    }
}

/// Twin of `resize`.
pub fn resize(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x] = call.reads else { panic!("x") };
    let [height, width, rows, columns, channels] =
        [params.height, params.width, params.rows, params.columns, params.channels].map(|size| size as usize);
    let (has_corners, adds) = (call.spec.get("CORNERS") == 1, call.spec.get("ADDED") == 1);
    for_each_chunk(call.write, columns * channels, |line, y| {
        let (image, down) = (line / rows * height, place(line % rows, [height, rows], has_corners));
        let [upper, lower] = [down.first, down.second].map(|row| &x[(image + row) * width * channels..][..width * channels]);
        for (i, y) in y.chunks_mut(channels).enumerate() {
            let across = place(i, [width, columns], has_corners);
            let [left, right] = [across.first, across.second].map(|column| column * channels..(column + 1) * channels);
            let sides = upper[left.clone()].iter().zip(&lower[left]).zip(upper[right.clone()].iter().zip(&lower[right]));
            for (y, ((top_left, low_left), (top_right, low_right))) in y.iter_mut().zip(sides) {
                let [left, right] = [mix(*top_left, *low_left, down.weight), mix(*top_right, *low_right, down.weight)];
                *y = mix(left, right, across.weight) + if adds { *y } else { 0.0 };
            }
        }
    });
}

/// Two neighbours along an axis, and the second one's weight.
struct Place {
    first: usize,
    second: usize,
    weight: f32,
}

/// Returns the place in `from` pixels of pixel `i` of `to`.
fn place(i: usize, [from, to]: [usize; 2], has_corners: bool) -> Place {
    let (at, over) = match has_corners {
        true => (i * (from - 1), (to - 1).max(1)),
        // (i + 0.5) · from / to - 0.5, but not below 0.
        false => (((2 * i + 1) * from).saturating_sub(to), 2 * to),
    };
    let first = at / over;
    Place { first, second: (first + 1).min(from - 1), weight: (at % over) as f32 / over as f32 }
}

fn mix(a: f32, b: f32, weight: f32) -> f32 {
    a * (1.0 - weight) + b * weight
}

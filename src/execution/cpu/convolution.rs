//! Twin of `convolution`: the kernel's weights times the image's windows, with one column per output pixel.

use super::parallel::{for_each_chunk, with_workspace};
use super::product::{Cores, Matrix, Target, product};
use crate::data::record::{Call, params};

params! {
    /// Parameters of `convolution`.
    Params {
        /// B, images.
        batch: u32,
        /// Input channels.
        channels: u32,
        /// Input height in pixels.
        height: u32,
        /// Input width in pixels.
        width: u32,
        /// Output channels.
        outputs: u32,
        /// Output height in pixels.
        output_height: u32,
        /// Output width in pixels.
        output_width: u32,
        /// Height and width of the kernel in pixels.
        size: u32,
        /// Stride between windows in pixels.
        stride: u32,
        /// Rows of zero padding above the image.
        top: u32,
        /// Columns of zero padding left of the image.
        left: u32,
    }
}

/// Twin of `convolution`.
pub fn convolution(call: Call<'_>) {
    let params: Params = *bytemuck::from_bytes(call.params);
    let [x, w] = call.reads else { panic!("x and w") };
    let [channels, height, width, outputs] = [params.channels, params.height, params.width, params.outputs].map(|size| size as usize);
    let [output_width, size, stride] = [params.output_width, params.size, params.stride].map(|size| size as usize);
    let (top, left) = (params.top as usize, params.left as usize);
    let pixels = params.output_height as usize * output_width;
    let values = channels * size * size;
    let w = Matrix { data: w, row_stride: values, column_stride: 1 };
    for (image, y) in call.write.chunks_mut(outputs * pixels).enumerate() {
        let x = &x[image * channels * height * width..][..channels * height * width];
        let y = Target { data: y, row_stride: pixels };
        if size == 1 && stride == 1 {
            let columns = Matrix { data: x, row_stride: pixels, column_stride: 1 };
            product([outputs, pixels, values], 1.0, w, columns, y, Cores::All);
            continue;
        }
        with_workspace(values * pixels, |columns| {
            for_each_chunk(columns, pixels, |value, line| {
                let (channel, u, v) = (value / (size * size), value / size % size, value % size);
                for (down, run) in line.chunks_mut(output_width).enumerate() {
                    let row = (down * stride + u).checked_sub(top).filter(|&row| row < height);
                    for (across, pixel) in run.iter_mut().enumerate() {
                        let column = (across * stride + v).checked_sub(left).filter(|&column| column < width);
                        *pixel = row.zip(column).map_or(0.0, |(row, column)| x[(channel * height + row) * width + column]);
                    }
                }
            });
            let columns = Matrix { data: columns, row_stride: pixels, column_stride: 1 };
            product([outputs, pixels, values], 1.0, w, columns, y, Cores::All);
        });
    }
}

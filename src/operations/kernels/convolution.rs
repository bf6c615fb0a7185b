use super::size;
use super::windows::Windows;
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::convolution::{self as twin, Params};

pub static CONVOLUTION: Kernel =
    Kernel::new("convolution", shader!("image/convolution"), Params::FIELDS, &[read(1, "x"), read(2, "w"), write(3, "y")], twin::convolution);

/// Records a convolution without bias, with TensorFlow `SAME` padding: x `[B, channels, height, width]`, w `[O, channels, size, size]`, y `[B, O,
/// ceil(height / stride), ceil(width / stride)]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn convolution(recording: &mut Recording, label: String, x: Buf, w: Buf, stride: usize, y: Buf) -> Result<()> {
    let &[batch, channels, height, width] = recording.shape(x) else { panic!("{label}: x is [B, channels, height, width]") };
    let &[outputs, _, window, _] = recording.shape(w) else { panic!("{label}: w is [O, channels, size, size]") };
    let rows = Windows::same(height, window, stride);
    let columns = Windows::same(width, window, stride);
    assert_eq!(recording.shape(w), [outputs, channels, window, window], "{label}: w");
    assert_eq!(recording.shape(y), [batch, outputs, rows.count, columns.count], "{label}: y");
    let params = Params {
        batch: size(batch),
        channels: size(channels),
        height: size(height),
        width: size(width),
        outputs: size(outputs),
        output_height: size(rows.count),
        output_width: size(columns.count),
        size: size(window),
        stride: size(stride),
        top: size(rows.before),
        left: size(columns.before),
    };
    recording.dispatch(Dispatch {
        kernel: &CONVOLUTION,
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 2 * (batch * outputs * rows.count * columns.count * channels * window * window) as u64,
        views: [x, w, y].map(|buf| recording.all(buf)).to_vec(),
        grid: [size((batch * rows.count * columns.count).div_ceil(64)), size(outputs.div_ceil(64)), 1],
        label,
    })
}

use super::size;
use super::windows::Windows;
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::max_pool::{self as twin, Params};

pub static MAX_POOL: Kernel = Kernel::new("max_pool", shader!("image/max_pool"), Params::FIELDS, &[read(1, "x"), write(2, "y")], twin::max_pool);

/// Records the maximum over square windows, with TensorFlow `SAME` padding: x `[B, channels, height, width]`, y `[B, channels, ceil(height / stride),
/// ceil(width / stride)]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn max_pool(recording: &mut Recording, label: String, x: Buf, [window, stride]: [usize; 2], y: Buf) -> Result<()> {
    let &[batch, channels, height, width] = recording.shape(x) else { panic!("{label}: x is [B, channels, height, width]") };
    let rows = Windows::same(height, window, stride);
    let columns = Windows::same(width, window, stride);
    assert_eq!(recording.shape(y), [batch, channels, rows.count, columns.count], "{label}: y");
    let params = Params {
        planes: size(batch * channels),
        height: size(height),
        width: size(width),
        output_height: size(rows.count),
        output_width: size(columns.count),
        size: size(window),
        stride: size(stride),
        top: size(rows.before),
        left: size(columns.before),
    };
    recording.dispatch(Dispatch {
        kernel: &MAX_POOL,
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 0,
        views: [x, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded((batch * channels * rows.count * columns.count).div_ceil(64)),
        label,
    })
}

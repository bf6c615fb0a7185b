use super::size;
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::unfold::{self as twin, Params};

/// Extracts flattened patches, which a product then projects.
pub static UNFOLD: Kernel = Kernel::new("unfold", shader!("image/unfold"), Params::FIELDS, &[read(1, "pixels"), write(2, "y")], twin::unfold);

/// Records the flattened patches: pixels `[B, channels, height, width]`, y `[B, P, channels · patch height · patch width]`, P = patches in the grid. Pixels at the
/// lower and right edge outside the grid are ignored, as in a strided convolution; where the grid extends beyond the image, pixels are zero.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn unfold(recording: &mut Recording, label: String, pixels: Buf, patch: [usize; 2], grid: [usize; 2], y: Buf) -> Result<()> {
    let &[batch, channels, image_height, image_width] = recording.shape(pixels) else { panic!("{label}: pixels are [B, channels, height, width]") };
    let values = channels * patch[0] * patch[1];
    assert_eq!(recording.shape(y), [batch, grid[0] * grid[1], values], "{label}: y");
    let [[grid_height, grid_width], [patch_height, patch_width]] = [grid, patch].map(|sides| sides.map(size));
    let [images, channels, image_height, image_width] = [batch, channels, image_height, image_width].map(size);
    let constants = [("CHANNELS", channels), ("PATCH_HEIGHT", patch_height), ("PATCH_WIDTH", patch_width)];
    let params = Params { batch: images, image_height, image_width, grid_height, grid_width };
    recording.dispatch(Dispatch {
        kernel: &UNFOLD,
        spec: Spec::NONE.with(constants).writing(recording.precision_of(y)),
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 0,
        views: [pixels, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded(batch * grid[0] * grid[1]),
        label,
    })
}

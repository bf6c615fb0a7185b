use super::size;
use crate::capabilities::{Needs, Precision};
use crate::cpu::patchify::{self as twin, Params};
use crate::error::Result;
use crate::panels;
use crate::record::{Buf, Dispatch, Kernel, Recording, Spec, read, write};

pub static PATCHIFY: Kernel = Kernel {
    name: "patchify",
    wgsl: include_str!("../../shaders/patchify.wgsl"),
    params: Params::FIELDS,
    bindings: &[read(1, "pixels"), read(2, "w"), read(3, "bias"), write(4, "y")],
    needs: Needs::NOTHING,
    twin: twin::patchify,
};

pub static PATCHIFY_SUBGROUP: Kernel =
    Kernel { name: "patchify_subgroup", wgsl: include_str!("../../shaders/patchify_subgroup.wgsl"), needs: Needs::LLVMPIPE, ..PATCHIFY };

/// Records the projection of the flattened patches (Dosovitskiy et al. 2021, equation 1): pixels
/// `[B, channels, height, width]`, w
/// `[C, channels · patch height · patch width]` in [`panels`], bias `[C]`, y `[B, P, C]`, P = the
/// patches of the grid. Pixels at the lower and right edge that the grid does not cover are ignored, as a strided
/// convolution does; where it reaches beyond the image there are zeros. The flattening happens while the pixels are loaded; no matrix of patches is stored.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn patchify(
    recording: &mut Recording,
    label: String,
    pixels: Buf,
    [w, bias]: [Buf; 2],
    patch: [usize; 2],
    grid: [usize; 2],
    y: Buf,
) -> Result<()> {
    let &[batch, channels, height, image_width] = recording.shape(pixels) else { panic!("{label}: pixels are [B, channels, height, width]") };
    let &[_, patches, width] = recording.shape(y) else { panic!("{label}: y is [B, P, C]") };
    assert_eq!(recording.shape(y), [batch, grid[0] * grid[1], width], "{label}: y");
    assert_eq!(recording.shape(w), panels::shape([width, channels * patch[0] * patch[1]], Precision::F32), "{label}: w");
    assert_eq!(recording.shape(bias), [width], "{label}: bias");
    let params = Params {
        batch: size(batch),
        channels: size(channels),
        image_height: size(height),
        image_width: size(image_width),
        grid_height: size(grid[0]),
        grid_width: size(grid[1]),
        patch_height: size(patch[0]),
        patch_width: size(patch[1]),
        width: size(width),
    };
    let is_inside = grid[0] * patch[0] <= height && grid[1] * patch[1] <= image_width;
    let ladder = if is_inside { &[&PATCHIFY_SUBGROUP, &PATCHIFY][..] } else { &[&PATCHIFY] };
    let kernel = recording.choose_kernel(None, ladder);
    let tile_rows = if std::ptr::eq(kernel, &PATCHIFY_SUBGROUP) { 40 } else { 64 };
    recording.dispatch(Dispatch {
        kernel,
        spec: Spec::default(),
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 2 * (batch * patches * width * channels * patch[0] * patch[1]) as u64,
        views: [pixels, w, bias, y].map(|buf| recording.all(buf)).to_vec(),
        grid: [size(width.div_ceil(64)), size((batch * patches).div_ceil(tile_rows)), 1],
        label,
    })
}

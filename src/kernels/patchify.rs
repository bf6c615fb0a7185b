use super::matmul::{Epilogue, matmul};
use super::size;
use crate::capabilities::{Needs, Precision};
use crate::cpu::patchify::{self as twin, Params};
use crate::error::Result;
use crate::panels;
use crate::record::{Binding, Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};

pub static PATCHIFY: Kernel = Kernel::new("patchify", shader!("image/patchify"), Params::FIELDS, BINDINGS, twin::patchify);

pub static PATCHIFY_SOFTWARE: Kernel =
    Kernel::new("patchify_software", shader!("software/patchify"), Params::FIELDS, BINDINGS, twin::patchify).needing(Needs::LLVMPIPE);

const BINDINGS: &[Binding] = &[read(1, "pixels"), read(2, "w"), read(3, "bias"), write(4, "y")];

/// The patches by themselves, for devices on which a product of its own projects them.
pub static UNFOLD: Kernel = Kernel::new("unfold", shader!("image/unfold"), Params::FIELDS, &[read(1, "pixels"), write(2, "y")], twin::unfold);

/// Records the projection of the flattened patches (Dosovitskiy et al. 2021, equation 1): pixels
/// `[B, channels, height, width]`, w
/// `[C, channels · patch height · patch width]` in [`panels`], bias `[C]`, y `[B, P, C]`, P = the
/// patches of the grid. Pixels at the lower and right edge that the grid does not cover are ignored, as a strided
/// convolution does; where it reaches beyond the image there are zeros. Where a processor computes, the flattening happens while the pixels are
/// loaded; a GPU has products that are much faster, and is given a matrix of patches.
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
    let values = channels * patch[0] * patch[1];
    let factor = recording.precision_of(w);
    assert_eq!(recording.shape(y), [batch, grid[0] * grid[1], width], "{label}: y");
    assert_eq!(recording.shape(w), panels::shape([width, values], factor), "{label}: w");
    assert_eq!(recording.shape(bias), [width], "{label}: bias");
    if !recording.capabilities().software {
        let flat = recording.scratch_in("flat patches", &[batch, patches, values], recording.activations())?;
        unfold(recording, format!("{label}.unfold"), pixels, patch, grid, flat)?;
        return matmul(recording, label, flat, [w, bias], Epilogue::Bias, y);
    }
    assert_eq!(factor, Precision::F32, "{label}: w");
    let params = params(recording, pixels, patch, grid, width);
    let is_inside = grid[0] * patch[0] <= height && grid[1] * patch[1] <= image_width;
    // Each with the rows of a workgroup's tile.
    let variants = if is_inside { &[(&PATCHIFY_SOFTWARE, 40), (&PATCHIFY, 64)][..] } else { &[(&PATCHIFY, 64)] };
    let (kernel, tile_rows) = variants[recording.choose(None, variants.iter().map(|(kernel, _)| *kernel))];
    recording.dispatch(Dispatch {
        kernel,
        spec: Spec::NONE,
        params,
        flops: 2 * (batch * patches * width * values) as u64,
        views: [pixels, w, bias, y].map(|buf| recording.all(buf)).to_vec(),
        grid: [size(width.div_ceil(64)), size((batch * patches).div_ceil(tile_rows)), 1],
        label,
    })
}

/// Records the flattened patches: pixels `[B, channels, height, width]`, y `[B, P, channels · patch height · patch width]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn unfold(recording: &mut Recording, label: String, pixels: Buf, patch: [usize; 2], grid: [usize; 2], y: Buf) -> Result<()> {
    let &[batch, channels, ..] = recording.shape(pixels) else { panic!("{label}: pixels are [B, channels, height, width]") };
    let values = channels * patch[0] * patch[1];
    assert_eq!(recording.shape(y), [batch, grid[0] * grid[1], values], "{label}: y");
    let params = params(recording, pixels, patch, grid, 0);
    recording.dispatch(Dispatch {
        kernel: &UNFOLD,
        spec: Spec::NONE.writing(recording.precision_of(y)),
        params,
        flops: 0,
        views: [pixels, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded((batch * grid[0] * grid[1] * values).div_ceil(64)),
        label,
    })
}

/// The bytes of the parameters; the width is that of a projected token.
fn params(recording: &Recording, pixels: Buf, patch: [usize; 2], grid: [usize; 2], width: usize) -> Vec<u8> {
    let &[batch, channels, image_height, image_width] = recording.shape(pixels) else { panic!("pixels are [B, channels, height, width]") };
    let [batch, channels, image_height, image_width] = [batch, channels, image_height, image_width].map(size);
    let [[grid_height, grid_width], [patch_height, patch_width]] = [grid, patch].map(|sides| sides.map(size));
    let width = size(width);
    let params = Params { batch, channels, image_height, image_width, grid_height, grid_width, patch_height, patch_width, width };
    bytemuck::bytes_of(&params).to_vec()
}

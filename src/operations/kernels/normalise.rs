use super::{in_blocks, size};
use crate::data::error::Result;
use crate::data::levels::{LEVELS, WORD};
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::normalise::{self as twin, Params};

pub static NORMALISE: Kernel =
    Kernel::new("normalise", shader!("image/normalise"), Params::FIELDS, &[read(1, "levels"), read(2, "values"), write(3, "y")], twin::normalise);

/// Records the lookup of 8-bit levels: levels `[B, ceil(channels · height · width / 4)]` words of four, values `[channels, 256]`, y `[B, channels,
/// height, width]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn normalise(recording: &mut Recording, label: String, levels: Buf, values: Buf, y: Buf) -> Result<()> {
    let &[batch, channels, height, width] = recording.shape(y) else { panic!("{label}: y is [B, channels, height, width]") };
    let image = channels * height * width;
    assert_eq!(recording.shape(levels), [batch, image.div_ceil(WORD)], "{label}: levels");
    assert_eq!(recording.shape(values), [channels, LEVELS], "{label}: values");
    recording.dispatch(Dispatch {
        kernel: &NORMALISE,
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&Params { batch: size(batch), image: size(image), pixels: size(height * width) }).to_vec(),
        flops: 0,
        views: [levels, values, y].map(|buf| recording.all(buf)).to_vec(),
        grid: in_blocks(recording, batch * image),
        label,
    })
}

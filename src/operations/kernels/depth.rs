use super::{rows, size};
use crate::data::config::Activation;
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::depth::{self as twin, Params};

pub static DEPTH: Kernel =
    Kernel::new("depth", shader!("image/depth"), Params::FIELDS, &[read(1, "x"), read(2, "w"), read(3, "bias"), write(4, "y")], twin::depth);

/// Records y = scale · activation(x · w + bias) for a single output channel: x `[.., channels]`, w `[channels]`, bias `[1]`, y with a value per pixel.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn depth(recording: &mut Recording, label: String, x: Buf, [w, bias]: [Buf; 2], (activation, scale): (Activation, f32), y: Buf) -> Result<()> {
    let (pixels, channels) = rows(recording.shape(x));
    assert_eq!(recording.shape(w), [channels], "{label}: w");
    assert_eq!(recording.shape(bias), [1], "{label}: bias");
    assert_eq!(recording.all(y).len, pixels, "{label}: y");
    recording.dispatch(Dispatch {
        kernel: &DEPTH,
        spec: Spec::NONE.with([("ACTIVATION", activation as u32)]).reading(recording.precision_of(x)),
        params: bytemuck::bytes_of(&Params { pixels: size(pixels), channels: size(channels), scale }).to_vec(),
        flops: 2 * (pixels * channels) as u64,
        views: [x, w, bias, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded(pixels.div_ceil(64)),
        label,
    })
}

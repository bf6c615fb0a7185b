use super::{in_blocks, size};
use crate::data::config::Readout;
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::readout::{self as twin, Params};

pub static READOUT: Kernel = Kernel::new("readout", shader!("image/readout"), Params::FIELDS, &[read(1, "x"), write(2, "y")], twin::readout);

/// Records the patches of tokens, which start at token `skip`, with the class token: x `[B, N, C]`, y `[B, N - skip, C]`, or `[B, N - skip, 2·C]` with both
/// side by side.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn readout(recording: &mut Recording, label: String, x: Buf, skip: usize, readout: Readout, y: Buf) -> Result<()> {
    let &[batch, tokens, channels] = recording.shape(x) else { panic!("{label}: x is [B, N, C]") };
    let width = if readout == Readout::Project { 2 * channels } else { channels };
    assert_eq!(recording.shape(y), [batch, tokens - skip, width], "{label}: y");
    let params = Params { batch: size(batch), tokens: size(tokens), skip: size(skip), channels: size(channels) };
    recording.dispatch(Dispatch {
        kernel: &READOUT,
        spec: Spec::NONE.with([("READOUT", readout as u32)]).reading(recording.precision_of(x)).writing(recording.precision_of(y)),
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 0,
        views: [x, y].map(|buf| recording.all(buf)).to_vec(),
        grid: in_blocks(recording, batch * (tokens - skip) * width),
        label,
    })
}

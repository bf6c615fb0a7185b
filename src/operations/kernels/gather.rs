use super::size;
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::gather::{self as twin, Params};

pub static GATHER: Kernel = Kernel::new("gather", shader!("gather"), Params::FIELDS, &[read(1, "x"), read(2, "index"), write(3, "y")], twin::gather);

/// Records the selection of one token of each sequence: x `[B, N, C]`, index `[B]` with whole numbers below N, y `[B, C]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn gather(recording: &mut Recording, label: String, x: Buf, index: Buf, y: Buf) -> Result<()> {
    let &[batch, tokens, width] = recording.shape(x) else { panic!("{label}: x is [B, N, C]") };
    assert_eq!(recording.shape(index), [batch], "{label}: index");
    assert_eq!(recording.shape(y), [batch, width], "{label}: y");
    recording.dispatch(Dispatch {
        kernel: &GATHER,
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&Params { batch: size(batch), tokens: size(tokens), width: size(width) }).to_vec(),
        flops: 0,
        views: [x, index, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded((batch * width).div_ceil(64)),
        label,
    })
}

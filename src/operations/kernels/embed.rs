use super::{in_blocks, size};
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::embed::{self as twin, Params};

pub static EMBED: Kernel =
    Kernel::new("embed", shader!("embed"), Params::FIELDS, &[read(1, "patches"), read(2, "prefix"), read(3, "position"), write(4, "y")], twin::embed);

/// Records the token sequence (Dosovitskiy et al. 2021, equation 1): prefix tokens `[T, C]`, then patches `[B, P, C]`, plus positions for the last
/// rows `[N - skip, C]`; y `[B, N, C]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn embed(recording: &mut Recording, label: String, patches: Buf, prefix: Option<Buf>, position: Option<Buf>, y: Buf) -> Result<()> {
    let &[batch, tokens, width] = recording.shape(y) else { panic!("{label}: y is [B, N, C]") };
    let &[_, patch_count, _] = recording.shape(patches) else { panic!("{label}: patches are [B, P, C]") };
    let front = tokens - patch_count;
    let rows = |buf: Option<Buf>| buf.map_or(0, |buf| recording.shape(buf)[0]);
    let positions = rows(position);
    assert_eq!(recording.shape(patches), [batch, patch_count, width], "{label}: patches");
    assert_eq!(rows(prefix), front, "{label}: prefix tokens");
    assert!(prefix.into_iter().chain(position).all(|buf| recording.shape(buf)[1] == width), "{label}: prefix tokens and positions");
    assert!(positions <= tokens, "{label}: {positions} positions for {tokens} tokens");
    let params = Params { batch: size(batch), tokens: size(tokens), width: size(width), prefix: size(front), skip: size(tokens - positions) };
    // Missing inputs are not read, but a buffer must be bound.
    let (prefix, position) = (prefix.unwrap_or(patches), position.unwrap_or(patches));
    recording.dispatch(Dispatch {
        kernel: &EMBED,
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 0,
        views: [patches, prefix, position, y].map(|buf| recording.all(buf)).to_vec(),
        grid: in_blocks(recording, batch * tokens * width),
        label,
    })
}

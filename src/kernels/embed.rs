use super::size;
use crate::cpu::embed::{self as twin, Params};
use crate::error::Result;
use crate::record::{Buf, Dispatch, Kernel, Recording, Spec, read, write};

pub static EMBED: Kernel = Kernel {
    name: "embed",
    wgsl: include_str!("../../shaders/embed.wgsl"),
    params: Params::FIELDS,
    bindings: &[read(1, "patches"), read(2, "prefix"), read(3, "position"), write(4, "y")],
    twin: twin::embed,
};

/// Records the token sequence (Dosovitskiy et al. 2021, equation 1): prefix tokens `[T, C]` (one row of
/// anything if T = N - P is 0) in front of patches `[B, P, C]`, plus positions for the last rows `[N - skip, C]`; y `[B, N, C]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn embed(recording: &mut Recording, label: String, patches: Buf, prefix: Buf, position: Buf, y: Buf) -> Result<()> {
    let &[batch, tokens, width] = recording.shape(y) else { panic!("{label}: y is [B, N, C]") };
    let &[_, patch_count, _] = recording.shape(patches) else { panic!("{label}: patches are [B, P, C]") };
    let front = tokens - patch_count;
    let positions = recording.shape(position)[0];
    assert_eq!(recording.shape(patches), [batch, patch_count, width], "{label}: patches");
    assert_eq!(recording.shape(prefix), [front.max(1), width], "{label}: prefix tokens");
    assert_eq!(recording.shape(position), [positions, width], "{label}: positions");
    assert!(positions <= tokens, "{label}: {positions} positions for {tokens} tokens");
    let params = Params { batch: size(batch), tokens: size(tokens), width: size(width), prefix: size(front), skip: size(tokens - positions) };
    recording.dispatch(Dispatch {
        kernel: &EMBED,
        spec: Spec::default(),
        params: bytemuck::bytes_of(&params).to_vec(),
        views: [patches, prefix, position, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded((batch * tokens * width).div_ceil(64)),
        label,
    })
}

use super::size;
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::rotary::{self as twin, Params};

pub static ROTARY: Kernel = Kernel::new("rotary", shader!("rotary"), Params::FIELDS, &[read(1, "angles"), write(2, "qkv")], twin::rotary);

/// Records rotary positions on queries and keys, in place (Su et al. 2021, with the two halves of a head rotated against each other): qkv `[B, N,
/// 3·C]`, angles `[P, D / 2, 2]` as cosine and sine. The first N - P tokens have no position.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn rotary(recording: &mut Recording, label: String, qkv: Buf, angles: Buf, heads: usize) -> Result<()> {
    let &[batch, tokens, packed] = recording.shape(qkv) else { panic!("{label}: qkv is [B, N, 3·C]") };
    let &[patches, half, 2] = recording.shape(angles) else { panic!("{label}: angles are [P, D / 2, 2]") };
    assert_eq!(packed, 3 * heads * 2 * half, "{label}: {heads} heads of {packed}");
    assert!(patches <= tokens, "{label}: {patches} positions for {tokens} tokens");
    let params = Params { batch: size(batch), tokens: size(tokens), heads: size(heads), head: size(2 * half), skip: size(tokens - patches) };
    recording.dispatch(Dispatch {
        kernel: &ROTARY,
        spec: Spec::NONE.writing(recording.precision_of(qkv)),
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 0,
        views: [angles, qkv].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded((batch * patches * 2 * heads * half).div_ceil(64)),
        label,
    })
}

use super::size;
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::rotary::{self as twin, Params};

pub static ROTARY: Kernel = Kernel::new("rotary", shader!("rotary"), Params::FIELDS, &[read(1, "angles"), write(2, "qkv")], twin::rotary);

/// Elements of a head's vector that are rotated against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// i and i + D / 2.
    Halves,
    /// 2·i and 2·i + 1.
    Neighbours,
}

/// Records rotary positions on queries and keys, in place (Su et al. 2021): qkv `[B, N, 3·C]`, angles `[P, 1, D / 2, 2]`, or `[P, H, D / 2, 2]` for
/// angles that differ from head to head, as cosine and sine. The first N - P tokens have no position.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn rotary(recording: &mut Recording, label: String, qkv: Buf, angles: Buf, heads: usize, pairs: Pairs) -> Result<()> {
    let &[batch, tokens, packed] = recording.shape(qkv) else { panic!("{label}: qkv is [B, N, 3·C]") };
    let &[patches, turns, half, 2] = recording.shape(angles) else { panic!("{label}: angles are [P, 1 or H, D / 2, 2]") };
    assert_eq!(packed, 3 * heads * 2 * half, "{label}: {heads} heads of {packed}");
    assert!(turns == 1 || turns == heads, "{label}: angles for {turns} of {heads} heads");
    assert!(patches <= tokens, "{label}: {patches} positions for {tokens} tokens");
    let (step, gap) = match pairs {
        Pairs::Halves => (1, size(half)),
        Pairs::Neighbours => (2, 1),
    };
    let params = Params {
        batch: size(batch),
        tokens: size(tokens),
        heads: size(heads),
        head: size(2 * half),
        skip: size(tokens - patches),
        step,
        gap,
        turns: size(turns),
    };
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

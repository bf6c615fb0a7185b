use super::size;
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::rollout::{self as twin, Params};

const SHADER: (&str, &str) = shader!("rollout");

pub static ROLLOUT_MIX: Kernel = Kernel::new("rollout_mix", SHADER, Params::FIELDS, &[read(1, "p"), write(2, "a")], twin::rollout_mix);

pub static ROLLOUT_PRODUCT: Kernel =
    Kernel::new("rollout_product", SHADER, Params::FIELDS, &[read(3, "mixed"), read(4, "x"), write(5, "y")], twin::rollout_product);

/// Records the mixing matrix of a block (Abnar and Zuidema 2020, section 3): half the attention, averaged over heads, plus half the identity for the
/// residual stream. p `[B, H, N, N]`, a `[B, N, N]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn rollout_mix(recording: &mut Recording, label: String, p: Buf, a: Buf) -> Result<()> {
    let &[batch, heads, tokens, _] = recording.shape(p) else { panic!("{label}: p is [B, H, N, N]") };
    assert_eq!(recording.shape(p), [batch, heads, tokens, tokens], "{label}: p");
    record(recording, label, &ROLLOUT_MIX, heads, 0, &[p, a])
}

/// Records y = a·x for each image, all `[B, N, N]`: the rollout through one more block.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn rollout_product(recording: &mut Recording, label: String, a: Buf, x: Buf, y: Buf) -> Result<()> {
    let &[batch, tokens, _] = recording.shape(y) else { panic!("{label}: y is [B, N, N]") };
    assert_eq!([recording.shape(a), recording.shape(x)], [recording.shape(y); 2], "{label}: a, x and y");
    record(recording, label, &ROLLOUT_PRODUCT, 1, 2 * (batch * tokens.pow(3)) as u64, &[a, x, y])
}

fn record(recording: &mut Recording, label: String, kernel: &'static Kernel, heads: usize, flops: u64, bufs: &[Buf]) -> Result<()> {
    let &[batch, tokens, columns] = recording.shape(*bufs.last().expect("the result")) else { panic!("{label}: the result is [B, N, N]") };
    assert_eq!(tokens, columns, "{label}: the result is square");
    recording.dispatch(Dispatch {
        kernel,
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&Params { batch: size(batch), tokens: size(tokens), heads: size(heads) }).to_vec(),
        flops,
        views: bufs.iter().map(|buf| recording.all(*buf)).collect(),
        grid: recording.folded((batch * tokens * tokens).div_ceil(64)),
        label,
    })
}

use super::attention::mask::MaskKind;
use super::size;
use crate::data::error::Result;
use crate::data::record::{Binding, Buf, Dispatch, Kernel, Recording, read, shader, write};
use crate::execution::cpu::attention_pool::{self as twin, Params};
use std::sync::LazyLock;

pub static ATTENTION_POOL: Kernel =
    Kernel::new("attention_pool", shader!("attention/pool"), Params::FIELDS, &[read(1, "q"), read(2, "kv"), write(3, "y")], twin::attention_pool);

const MASKED: &[Binding] = &[read(1, "q"), read(2, "kv"), write(3, "y"), read(5, "mask")];

pub static ATTENTION_POOL_MASKED: LazyLock<Kernel> = LazyLock::new(|| Kernel {
    entry: "attention_pool",
    spec: MaskKind::Keys.spec(),
    ..Kernel::new("attention_pool_masked", shader!("attention/pool"), Params::FIELDS, MASKED, twin::attention_pool_masked)
});

/// Records attention of one query `[1, C]` over the tokens from `first` on, with packed keys and values kv `[B, N, 2·C]` (Lee et al. 2019, pooling by
/// multi-head attention): y `[B, C]`, C = heads · D. Tokens whose value in the mask `[B, N]` is not 0 are no keys.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn attention_pool(
    recording: &mut Recording,
    label: String,
    [q, kv]: [Buf; 2],
    heads: usize,
    first: usize,
    mask: Option<Buf>,
    y: Buf,
) -> Result<()> {
    let &[batch, width] = recording.shape(y) else { panic!("{label}: y is [B, C]") };
    let &[_, tokens, _] = recording.shape(kv) else { panic!("{label}: kv is [B, N, 2·C]") };
    assert_eq!(recording.shape(q), [1, width], "{label}: q");
    assert_eq!(recording.shape(kv), [batch, tokens, 2 * width], "{label}: kv");
    assert_eq!(width % heads, 0, "{label}: {heads} heads of {width}");
    assert!(first < tokens, "{label}: tokens from {first} on of {tokens}");
    assert!(mask.is_none_or(|mask| recording.shape(mask) == [batch, tokens]), "{label}: mask");
    let head = width / heads;
    let kernel: &'static Kernel = if mask.is_some() { &ATTENTION_POOL_MASKED } else { &ATTENTION_POOL };
    let params = Params { tokens: size(tokens), heads: size(heads), first: size(first), scale: (head as f32).sqrt().recip() };
    recording.dispatch(Dispatch {
        kernel,
        spec: kernel.spec.clone().with([("HEAD", size(head))]),
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 4 * (batch * (tokens - first) * width) as u64,
        views: [Some(q), Some(kv), Some(y), mask].into_iter().flatten().map(|buf| recording.all(buf)).collect(),
        grid: [size(heads), size(batch), 1],
        label,
    })
}

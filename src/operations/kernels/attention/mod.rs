pub(crate) mod mask;
pub(crate) mod variants;

pub use mask::Mask;

use super::size;
use super::variant::Variant;
use crate::data::capabilities::Precision;
use crate::data::error::{Error, Limit, Result};
use crate::data::record::{Buf, Dispatch, Recording, Spec, TuningKey};
use crate::execution::cpu::attention::Params;
use mask::MaskKind;
use variants::{ATTENTION_POWERS, Sizes, suitable};

/// Records multi-head attention (Vaswani et al. 2017, section 3.2) on packed queries, keys and values, with the chosen variant: qkv `[B, N, 3·C]`, y
/// `[B, queries, C]`, C = heads · D. The number of queries is that of y; they are the first tokens.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn attention(recording: &mut Recording, label: String, qkv: Buf, heads: usize, mask: Mask, y: Buf) -> Result<()> {
    let &[batch, queries, width] = recording.shape(y) else { panic!("{label}: y is [B, queries, C]") };
    let tokens = recording.shape(qkv)[1];
    assert_eq!(recording.shape(qkv), [batch, tokens, 3 * width], "{label}: qkv");
    assert!(queries <= tokens, "{label}: {queries} queries of {tokens} tokens");
    assert_eq!(width % heads, 0, "{label}: {heads} heads of {width}");
    let head = width / heads;
    mask.check(recording, &label, [batch, tokens, heads]);
    let capabilities = *recording.capabilities();
    let sizes = Sizes { queries, head, mask: mask.kind(), qkv: recording.precision_of(qkv) };
    let variants = suitable(&sizes, &capabilities);
    if variants.is_empty() {
        return Err(Error::Limit {
            what: format!("{label}, for a key and a value of head width {head},"),
            limit: Limit::WorkgroupMemory,
            needed: 2 * head.div_ceil(4) as u64 * 16,
            allowed: u64::from(capabilities.workgroup_bytes),
        });
    }
    let key = (mask.kind() == MaskKind::None).then(|| TuningKey::attention(batch * heads, [tokens, queries], head, sizes.qkv, &capabilities));
    let Variant { kernel, shape } = variants[recording.choose(key, variants.iter().map(|variant| &variant.kernel))];
    let spec = shape.specialised(mask.constants(kernel.spec.clone()), head, &capabilities).writing(recording.precision_of(y));
    let spec = if kernel.imports("common/x_f32") { spec.reading(sizes.qkv) } else { spec };
    let params = Params { tokens: size(tokens), queries: size(queries), heads: size(heads), scale: (head as f32).sqrt().recip(), batch: size(batch) };
    let powers = match shape.reads_powers() {
        true => {
            let found = recording.shared_scratch("powers of two of heads", &[batch, heads, 3], Precision::F32)?;
            powers(recording, format!("{label}.powers"), qkv, [batch, tokens], head, found)?;
            Some(found)
        }
        false => None,
    };
    recording.dispatch(Dispatch {
        kernel,
        spec,
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 4 * (batch * heads * queries * tokens * head) as u64,
        views: [Some(qkv), Some(y), powers, mask.buf()].into_iter().flatten().map(|buf| recording.all(buf)).collect(),
        grid: [size(queries.div_ceil(shape.queries() as usize)), size(heads), size(batch)],
        label,
    })
}

/// Records the powers of two that scale the queries, keys and values of each head: qkv of `[B, N]` tokens with heads of width D, y `[B, H, 3]`.
///
/// # Errors
/// [`Error::Limit`] if it does not fit the device.
pub fn powers(recording: &mut Recording, label: String, qkv: Buf, [batch, tokens]: [usize; 2], head: usize, y: Buf) -> Result<()> {
    let heads = recording.shape(y)[1];
    assert_eq!(recording.shape(y), [batch, heads, 3], "{label}: y");
    assert_eq!(recording.all(qkv).len, batch * tokens * 3 * heads * head, "{label}: qkv");
    let params = Params { tokens: size(tokens), queries: size(tokens), heads: size(heads), scale: 1.0, batch: size(batch) };
    recording.dispatch(Dispatch {
        kernel: &ATTENTION_POWERS,
        spec: Spec::NONE.with([("HEAD", size(head)), ("WORKGROUP", 256)]),
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 0,
        views: [qkv, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded(3 * batch * heads),
        label,
    })
}

pub(crate) mod variants;

use super::size;
use super::variant::Variant;
use crate::cpu::attention::Params;
use crate::error::{Error, Result};
use crate::record::{Buf, Class, Dispatch, Recording};
use variants::{Sizes, suitable};

/// Records multi-head attention (Vaswani et al. 2017, section 3.2) by the variant that suits the device, from packed queries, keys and
/// values: qkv `[B, N, 3·C]`, y `[B, queries, C]`, C = heads · D, for as many of the first tokens as y has rows. With a
/// mask `[B, N]`, tokens whose mask is not 0 are no keys; each sequence needs one that is.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn attention(recording: &mut Recording, label: String, qkv: Buf, heads: usize, mask: Option<Buf>, y: Buf) -> Result<()> {
    let &[batch, queries, width] = recording.shape(y) else { panic!("{label}: y is [B, queries, C]") };
    let tokens = recording.shape(qkv)[1];
    assert_eq!(recording.shape(qkv), [batch, tokens, 3 * width], "{label}: qkv");
    assert!(queries <= tokens, "{label}: {queries} queries of {tokens} tokens");
    assert_eq!(width % heads, 0, "{label}: {heads} heads of {width}");
    let head = width / heads;
    if let Some(mask) = mask {
        assert_eq!(recording.shape(mask), [batch, tokens], "{label}: mask");
    }
    let capabilities = *recording.capabilities();
    let sizes = Sizes { queries, head, is_masked: mask.is_some(), qkv: recording.precision_of(qkv) };
    let variants = suitable(&sizes, &capabilities);
    if variants.is_empty() {
        return Err(Error::Limit(format!(
            "{label}: heads of width {head} need {} bytes of workgroup memory for a key and a value, this device has {}; use --device cpu",
            2 * head.div_ceil(4) * 16,
            capabilities.workgroup_bytes
        )));
    }
    let class = mask.is_none().then(|| Class::attention(batch * heads, [tokens, queries], head, sizes.qkv, &capabilities));
    let Variant { kernel, shape } = variants[recording.choose(class, variants.iter().map(|variant| &variant.kernel))];
    let spec = shape.specialised(kernel.spec.clone(), head, &capabilities).writing(recording.precision_of(y));
    let spec = if kernel.imports("common/x_f32") { spec.reading(sizes.qkv) } else { spec };
    let params = Params { tokens: size(tokens), queries: size(queries), heads: size(heads), scale: (head as f32).sqrt().recip() };
    recording.dispatch(Dispatch {
        kernel,
        spec,
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 4 * (batch * heads * queries * tokens * head) as u64,
        views: [Some(qkv), Some(y), mask].into_iter().flatten().map(|buf| recording.all(buf)).collect(),
        grid: [size(queries.div_ceil(shape.queries() as usize)), size(heads), size(batch)],
        label,
    })
}

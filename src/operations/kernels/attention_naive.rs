use super::attention::mask::{Mask, MaskKind};
use super::size;
use crate::data::error::Result;
use crate::data::record::{Binding, Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::attention_naive::{self as twin, Params};
use std::sync::LazyLock;

const SHADER: (&str, &str) = shader!("attention/naive");

/// A kernel for each kind of mask.
pub static ATTENTION_NAIVE_PROBABILITIES: LazyLock<Vec<Kernel>> = LazyLock::new(|| MaskKind::ALL.map(probabilities).into());

fn probabilities(mask: MaskKind) -> Kernel {
    let twin = match mask {
        MaskKind::None => twin::attention_naive_probabilities,
        MaskKind::Keys => twin::attention_naive_probabilities_masked,
        MaskKind::Causal => twin::attention_naive_probabilities_causal,
        MaskKind::CausalKeys => twin::attention_naive_probabilities_causal_masked,
        MaskKind::Relative => twin::attention_naive_probabilities_relative,
    };
    let name = format!("attention_naive_probabilities{}", mask.suffix()).leak();
    const BINDINGS: &[Binding] = &[read(1, "qkv"), write(2, "p")];
    Kernel { entry: "attention_naive_probabilities", spec: mask.spec(), ..Kernel::new(name, SHADER, Params::FIELDS, mask.bindings(BINDINGS), twin) }
}

pub static ATTENTION_NAIVE_VALUES: Kernel =
    Kernel::new("attention_naive_values", SHADER, Params::FIELDS, &[read(1, "qkv"), read(3, "weights"), write(4, "y")], twin::attention_naive_values);

/// Records the attention probabilities of the Q tokens from `first` on: qkv `[B, N, 3·C]`, p `[B, H, Q, N]`, each row a distribution over keys.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn attention_naive_probabilities(recording: &mut Recording, label: String, qkv: Buf, mask: Mask, first: usize, p: Buf) -> Result<()> {
    let &[batch, heads, queries, tokens] = recording.shape(p) else { panic!("{label}: p is [B, H, Q, N]") };
    let head = recording.shape(qkv)[2] / (3 * heads);
    assert_eq!(recording.shape(qkv), [batch, tokens, 3 * heads * head], "{label}: qkv");
    assert!(first + queries <= tokens, "{label}: {queries} queries from {first} on, of {tokens} tokens");
    mask.check(recording, &label, [batch, tokens, heads]);
    let kernel = &ATTENTION_NAIVE_PROBABILITIES[mask.kind() as usize];
    recording.dispatch(Dispatch {
        kernel,
        spec: mask.constants(kernel.spec.clone()).reading(recording.precision_of(qkv)),
        params: params([batch, tokens, heads, head], first, queries),
        flops: 2 * (batch * heads * queries * tokens * head) as u64,
        views: [Some(qkv), Some(p), mask.buf()].into_iter().flatten().map(|buf| recording.all(buf)).collect(),
        grid: recording.folded(batch * heads * queries),
        label,
    })
}

/// Records the sum of values weighted by stored probabilities: qkv `[B, N, 3·C]`, p `[B, H, N, N]`, y `[B, N, C]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn attention_naive_values(recording: &mut Recording, label: String, qkv: Buf, p: Buf, y: Buf) -> Result<()> {
    let &[batch, heads, tokens, _] = recording.shape(p) else { panic!("{label}: p is [B, H, N, N]") };
    let &[_, _, width] = recording.shape(y) else { panic!("{label}: y is [B, N, C]") };
    assert_eq!(recording.shape(y), [batch, tokens, width], "{label}: y");
    assert_eq!(recording.shape(p), [batch, heads, tokens, tokens], "{label}: p");
    assert_eq!(recording.shape(qkv), [batch, tokens, 3 * width], "{label}: qkv");
    recording.dispatch(Dispatch {
        kernel: &ATTENTION_NAIVE_VALUES,
        spec: Spec::NONE.reading(recording.precision_of(qkv)),
        params: params([batch, tokens, heads, width / heads], 0, tokens),
        flops: 2 * (batch * tokens * tokens * width) as u64,
        views: [qkv, p, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded((batch * tokens * width).div_ceil(64)),
        label,
    })
}

fn params([batch, tokens, heads, head]: [usize; 4], first: usize, queries: usize) -> Vec<u8> {
    let scale = (head as f32).sqrt().recip();
    let [batch, tokens, heads, head] = [batch, tokens, heads, head].map(size);
    bytemuck::bytes_of(&Params { batch, tokens, heads, head, first: size(first), queries: size(queries), scale }).to_vec()
}

use super::size;
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::qk_norm::{self as twin, Params};

pub static QK_NORM: Kernel = Kernel::new(
    "qk_norm",
    shader!("qk_norm"),
    Params::FIELDS,
    &[read(1, "q_weight"), read(2, "q_bias"), read(3, "k_weight"), read(4, "k_bias"), write(5, "qkv")],
    twin::qk_norm,
);

pub static QK_RMSNORM: Kernel =
    Kernel::new("qk_rmsnorm", shader!("qk_norm"), Params::FIELDS, &[read(1, "q_weight"), read(3, "k_weight"), write(5, "qkv")], twin::qk_rmsnorm);

/// Records LayerNorm on each head's queries and keys, in place (Dehghani et al. 2023, section 2.2): qkv `[B, N, 3·C]`, weights and biases `[D]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn qk_norm(recording: &mut Recording, label: String, qkv: Buf, query: [Buf; 2], key: [Buf; 2], heads: usize, epsilon: f32) -> Result<()> {
    record(recording, label, &QK_NORM, qkv, &[query, key].concat(), heads, epsilon)
}

/// Records RMSNorm on each head's queries and keys, in place: qkv `[B, N, 3·C]`, the weights of both `[D]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn qk_rmsnorm(recording: &mut Recording, label: String, qkv: Buf, weights: [Buf; 2], heads: usize, epsilon: f32) -> Result<()> {
    record(recording, label, &QK_RMSNORM, qkv, &weights, heads, epsilon)
}

fn record(recording: &mut Recording, label: String, kernel: &'static Kernel, qkv: Buf, factors: &[Buf], heads: usize, epsilon: f32) -> Result<()> {
    let &[batch, tokens, packed] = recording.shape(qkv) else { panic!("{label}: qkv is [B, N, 3·C]") };
    let head = packed / (3 * heads);
    assert_eq!(packed, 3 * heads * head, "{label}: {heads} heads of {packed}");
    assert!(factors.iter().all(|&buf| recording.shape(buf) == [head]), "{label}: weights and biases");
    let params = Params { rows: size(batch * tokens), heads: size(heads), head: size(head), epsilon };
    recording.dispatch(Dispatch {
        kernel,
        spec: Spec::NONE.writing(recording.precision_of(qkv)),
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 0,
        views: factors.iter().chain([&qkv]).map(|&buf| recording.all(buf)).collect(),
        grid: recording.folded((2 * batch * tokens * heads).div_ceil(64)),
        label,
    })
}

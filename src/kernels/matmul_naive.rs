use super::{rows, size};
use crate::cpu::matmul::{self as twin, Params};
use crate::error::Result;
use crate::record::{Buf, Dispatch, Kernel, Recording, Spec, read, write};

pub static MATMUL_NAIVE: Kernel = Kernel {
    name: "matmul_naive",
    wgsl: include_str!("../../shaders/matmul_naive.wgsl"),
    params: Params::FIELDS,
    bindings: &[read(1, "x"), read(2, "w"), read(3, "bias"), write(4, "y")],
    twin: twin::matmul_bias,
};

/// Records y = x · wᵀ + bias by the textbook's loop: x `[.., K]`, w `[N, K]`, bias `[N]`, y `[.., N]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn matmul_naive(recording: &mut Recording, label: String, x: Buf, [w, bias]: [Buf; 2], y: Buf) -> Result<()> {
    let (m, k) = rows(recording.shape(x));
    let (m_out, n) = rows(recording.shape(y));
    assert_eq!(m, m_out, "{label}: rows of x and y");
    assert_eq!(recording.shape(w), [n, k], "{label}: w");
    assert_eq!(recording.shape(bias), [n], "{label}: bias");
    recording.dispatch(Dispatch {
        kernel: &MATMUL_NAIVE,
        spec: Spec::default(),
        params: bytemuck::bytes_of(&Params { m: size(m), n: size(n), k: size(k), stride: size(n), first: 0 }).to_vec(),
        views: [x, w, bias, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded((m * n).div_ceil(64)),
        label,
    })
}

use super::{in_blocks, rows, size};
use crate::data::bf16;
use crate::data::capabilities::Precision;
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::to_bf16::{self as twin, Params};

pub static TO_BF16: Kernel = Kernel::new("to_bf16", shader!("to_bf16"), Params::FIELDS, &[read(1, "x"), write(2, "y")], twin::to_bf16);

/// Records the rounding of x `[.., K]` to bf16. Returns the result, in words of two: `[M, ceil(K / 2)]`.
pub fn to_bf16(recording: &mut Recording, label: &str, x: Buf) -> Result<Buf> {
    let (m, k) = rows(recording.shape(x));
    let words = bf16::words(k);
    let y = recording.shared_scratch("rounded", &[m, words], Precision::Bf16)?;
    recording.dispatch(Dispatch {
        kernel: &TO_BF16,
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&Params { rows: size(m), width: size(k) }).to_vec(),
        flops: 0,
        views: vec![recording.all(x), recording.all(y)],
        grid: in_blocks(recording, m * words),
        label: format!("{label}.to_bf16"),
    })?;
    Ok(y)
}

use super::{in_blocks, rows, size};
use crate::data::capabilities::Precision;
use crate::data::error::Result;
use crate::data::int8;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::quantise::{self as twin, Params};

pub static QUANTISE: Kernel = Kernel::new("quantise", shader!("quantise"), Params::FIELDS, &[read(1, "x"), write(2, "y")], twin::quantise);

/// Records the quantisation of x `[.., K]` to 8-bit integers with a scale per block of 32. Returns the result: words of four, and behind those of each
/// row its scales, `[M, ceil(K / 4) + ceil(K / 32)]`.
pub fn quantise(recording: &mut Recording, label: &str, x: Buf) -> Result<Buf> {
    let (m, k) = rows(recording.shape(x));
    let y = recording.shared_scratch("quantised", &[m, int8::row_words(k)], Precision::Int8)?;
    recording.dispatch(Dispatch {
        kernel: &QUANTISE,
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&Params { rows: size(m), width: size(k) }).to_vec(),
        flops: 0,
        views: vec![recording.all(x), recording.all(y)],
        grid: in_blocks(recording, m * k.div_ceil(int8::BLOCK)),
        label: format!("{label}.quantise"),
    })?;
    Ok(y)
}

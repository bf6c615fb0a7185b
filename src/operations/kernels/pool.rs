use super::size;
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::pool::{self as twin, Params};
use std::ops::Range;

pub static POOL: Kernel = Kernel::new("pool", shader!("pool"), Params::FIELDS, &[read(1, "x"), write(2, "y")], twin::pool);

/// Records the mean over a range of tokens: x `[B, N, C]`, y `[B, ..]`. Writes C values per row of y, from `column` on. A range of one token selects
/// it.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn pool(recording: &mut Recording, label: String, x: Buf, tokens: Range<usize>, y: Buf, column: usize) -> Result<()> {
    let &[batch, count, width] = recording.shape(x) else { panic!("{label}: x is [B, N, C]") };
    let stride = recording.shape(y)[1..].iter().product();
    assert_eq!(recording.shape(y)[0], batch, "{label}: images of x and y");
    assert!(column + width <= stride, "{label}: columns from {column} on of {stride}");
    assert!(!tokens.is_empty() && tokens.end <= count, "{label}: tokens {tokens:?} of {count}");
    let params = Params {
        batch: size(batch),
        tokens: size(count),
        width: size(width),
        first: size(tokens.start),
        count: size(tokens.len()),
        stride: size(stride),
        column: size(column),
    };
    recording.dispatch(Dispatch {
        kernel: &POOL,
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 0,
        views: [x, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded((batch * width).div_ceil(64)),
        label,
    })
}

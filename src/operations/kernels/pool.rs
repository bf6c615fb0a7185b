use super::size;
use crate::data::error::Result;
use crate::data::record::{Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::pool::{self as twin, Params};
use std::ops::Range;

pub static POOL: Kernel = Kernel::new("pool", shader!("pool"), Params::FIELDS, &[read(1, "x"), write(2, "y")], twin::pool);

pub static POOL_MAX: Kernel = Kernel::new("pool_max", shader!("pool"), Params::FIELDS, &[read(1, "x"), write(2, "y")], twin::pool_max);

/// Records the mean over a range of tokens: x `[B, N, C]`, y `[B, ..]`. Writes C values per row of y, from `column` on. A range of one token selects
/// it.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn pool(recording: &mut Recording, label: String, x: Buf, tokens: Range<usize>, y: Buf, column: usize) -> Result<()> {
    record(recording, label, &POOL, x, tokens, y, column)
}

/// Records the maximum over a range of tokens, as [`pool`] the mean.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn pool_max(recording: &mut Recording, label: String, x: Buf, tokens: Range<usize>, y: Buf) -> Result<()> {
    record(recording, label, &POOL_MAX, x, tokens, y, 0)
}

fn record(recording: &mut Recording, label: String, kernel: &'static Kernel, x: Buf, tokens: Range<usize>, y: Buf, column: usize) -> Result<()> {
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
        kernel,
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 0,
        views: [x, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded((batch * width).div_ceil(64)),
        label,
    })
}

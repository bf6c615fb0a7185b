use super::{rows, size};
use crate::data::capabilities::Needs;
use crate::data::error::Result;
use crate::data::record::{Binding, Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::layernorm::{self as twin, Params};

pub static LAYERNORM: Kernel = Kernel::new("layernorm", shader!("layernorm"), Params::FIELDS, BINDINGS, twin::layernorm);

pub static LAYERNORM_SUBGROUP: Kernel =
    Kernel::new("layernorm_subgroup", shader!("layernorm_subgroup"), Params::FIELDS, BINDINGS, twin::layernorm).needing(Needs::subgroups(MOST_ROWS));

pub static RMSNORM: Kernel = Kernel::new("rmsnorm", shader!("layernorm"), Params::FIELDS, UNBIASED, twin::rmsnorm);

pub static RMSNORM_SUBGROUP: Kernel =
    Kernel::new("rmsnorm_subgroup", shader!("layernorm_subgroup"), Params::FIELDS, UNBIASED, twin::rmsnorm).needing(Needs::subgroups(MOST_ROWS));

/// Rows per workgroup of the kernels on subgroups, if there are enough rows for all multiprocessors.
const MOST_ROWS: u32 = 4;

/// Number of rows that is enough.
const MANY_ROWS: usize = 1024;

const BINDINGS: &[Binding] = &[read(1, "x"), read(2, "weight"), read(3, "bias"), write(4, "y")];

const UNBIASED: &[Binding] = &[read(1, "x"), read(2, "weight"), write(4, "y")];

/// Records LayerNorm over the last axis: x and y `[.., C]`, weight and bias `[C]` (Ba, Kiros and Hinton 2016).
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn layernorm(recording: &mut Recording, label: String, x: Buf, [weight, bias]: [Buf; 2], y: Buf, epsilon: f32) -> Result<()> {
    record(recording, label, [&LAYERNORM_SUBGROUP, &LAYERNORM], x, &[weight, bias], y, epsilon)
}

/// Records RMSNorm over the last axis: x and y `[.., C]`, weight `[C]` (Zhang and Sennrich 2019).
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn rmsnorm(recording: &mut Recording, label: String, x: Buf, weight: Buf, y: Buf, epsilon: f32) -> Result<()> {
    record(recording, label, [&RMSNORM_SUBGROUP, &RMSNORM], x, &[weight], y, epsilon)
}

/// Records one of two variants: with four elements per invocation, and with any number of them.
fn record(recording: &mut Recording, label: String, variants: [&'static Kernel; 2], x: Buf, factors: &[Buf], y: Buf, epsilon: f32) -> Result<()> {
    let (count, width) = rows(recording.shape(x));
    assert_eq!(recording.shape(x), recording.shape(y), "{label}: x and y");
    assert!(factors.iter().all(|&factor| recording.shape(factor) == [width]), "{label}: weight and bias");
    let written = recording.precision_of(y);
    let variants = if width.is_multiple_of(4) { &variants[..] } else { &variants[1..] };
    let kernel = variants[recording.choose(None, variants.iter().copied())];
    let rows_of = if count < MANY_ROWS { 1 } else { MOST_ROWS };
    let (spec, grid) = match kernel.needs.subgroups {
        0 => (Spec::NONE, count),
        _ => (Spec::NONE.with([("LANES", recording.capabilities().subgroup), ("ROWS", rows_of)]), count.div_ceil(rows_of as usize)),
    };
    recording.dispatch(Dispatch {
        kernel,
        spec: spec.writing(written),
        params: bytemuck::bytes_of(&Params { rows: size(count), width: size(width), epsilon }).to_vec(),
        flops: 0,
        views: [&[x], factors, &[y]].concat().into_iter().map(|buf| recording.all(buf)).collect(),
        grid: recording.folded(grid),
        label,
    })
}

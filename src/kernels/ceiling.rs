use super::size;
use crate::capabilities::Needs;
use crate::cpu::ceiling::{self as twin, Params};
use crate::error::Result;
use crate::record::{Buf, Dispatch, Kernel, Recording, Spec, read, write};

pub static CEILING_COPY: Kernel = Kernel {
    name: "ceiling_copy",
    wgsl: include_str!("../../shaders/ceiling.wgsl"),
    params: Params::FIELDS,
    bindings: &[read(1, "x"), write(2, "y")],
    needs: Needs::NOTHING,
    twin: twin::ceiling_copy,
};

pub static CEILING_MULTIPLY: Kernel = Kernel { name: "ceiling_multiply", twin: twin::ceiling_multiply, ..CEILING_COPY };

pub static CEILING_COOP8: Kernel = Kernel {
    name: "ceiling_coop8",
    wgsl: include_str!("../../shaders/ceiling_coop8.wgsl"),
    needs: Needs::cooperative(8),
    twin: twin::ceiling_coop::<8>,
    ..CEILING_COPY
};

pub static CEILING_COOP16: Kernel = Kernel {
    name: "ceiling_coop16",
    wgsl: include_str!("../../shaders/ceiling_coop16.wgsl"),
    needs: Needs::cooperative(16),
    twin: twin::ceiling_coop::<16>,
    ..CEILING_COPY
};

/// Records y = x, both of one shape with a multiple of 4 elements: how many bytes a second the device moves.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn ceiling_copy(recording: &mut Recording, label: String, x: Buf, y: Buf) -> Result<()> {
    record(&CEILING_COPY, recording, label, x, y, 4, 0)
}

/// Records a long chain of multiplications and additions for each element of x and y, as [`ceiling_copy`] takes them: how many of
/// them the device does in a second.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn ceiling_multiply(recording: &mut Recording, label: String, x: Buf, y: Buf) -> Result<()> {
    record(&CEILING_MULTIPLY, recording, label, x, y, 4, 2 * 4 * twin::STEPS)
}

/// Records a long chain of products of the cooperative matrices that x is made of, y being of the same shape: how much the device
/// multiplies in a second by them.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
///
/// # Panics
/// If the device has no cooperative matrices.
pub fn ceiling_coop(recording: &mut Recording, label: String, x: Buf, y: Buf) -> Result<()> {
    let side = recording.capabilities().cooperative as usize;
    let kernel = if side == 16 { &CEILING_COOP16 } else { &CEILING_COOP8 };
    record(kernel, recording, label, x, y, side * side, 2 * 4 * twin::STEPS * side)
}

fn record(kernel: &'static Kernel, recording: &mut Recording, label: String, x: Buf, y: Buf, unit: usize, flops: usize) -> Result<()> {
    let len = recording.all(x).len;
    assert_eq!(recording.shape(x), recording.shape(y), "{label}: x and y");
    assert_eq!(len % unit, 0, "{label}: {len} elements");
    let is_cooperative = kernel.needs.cooperative > 0;
    recording.dispatch(Dispatch {
        kernel,
        spec: Spec(is_cooperative.then_some(("LANES", recording.capabilities().subgroup)).into_iter().collect()),
        params: bytemuck::bytes_of(&Params { len: size(len) }).to_vec(),
        flops: (flops * len) as u64,
        views: [x, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded(len.div_ceil(if is_cooperative { unit } else { 256 })),
        label,
    })
}

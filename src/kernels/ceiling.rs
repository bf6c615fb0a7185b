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

/// Records y = x, both of one shape with a multiple of 4 elements: how many bytes a second the device moves.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn ceiling_copy(recording: &mut Recording, label: String, x: Buf, y: Buf) -> Result<()> {
    record(&CEILING_COPY, recording, label, x, y, 0)
}

/// Records a long chain of multiplications and additions for each element of x and y, as [`ceiling_copy`] takes them: how many of
/// them the device does in a second.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn ceiling_multiply(recording: &mut Recording, label: String, x: Buf, y: Buf) -> Result<()> {
    record(&CEILING_MULTIPLY, recording, label, x, y, 2 * 4 * twin::STEPS)
}

fn record(kernel: &'static Kernel, recording: &mut Recording, label: String, x: Buf, y: Buf, flops: usize) -> Result<()> {
    let len = recording.all(x).len;
    assert_eq!(recording.shape(x), recording.shape(y), "{label}: x and y");
    assert_eq!(len % 4, 0, "{label}: {len} elements");
    recording.dispatch(Dispatch {
        kernel,
        spec: Spec::default(),
        params: bytemuck::bytes_of(&Params { len: size(len) }).to_vec(),
        flops: (flops * len) as u64,
        views: [x, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded(len.div_ceil(256)),
        label,
    })
}

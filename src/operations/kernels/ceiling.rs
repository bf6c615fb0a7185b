use super::size;
use crate::data::capabilities::Needs;
use crate::data::error::Result;
use crate::data::record::{Binding, Buf, Dispatch, Kernel, Recording, Spec, read, shader, write};
use crate::execution::cpu::ceiling::{self as twin, Params};
use std::sync::LazyLock;

const BINDINGS: &[Binding] = &[read(1, "x"), write(2, "y")];

pub static CEILING_COPY: Kernel = Kernel::new("ceiling_copy", shader!("ceiling"), Params::FIELDS, BINDINGS, twin::ceiling_copy);

pub static CEILING_MULTIPLY: Kernel = Kernel::new("ceiling_multiply", shader!("ceiling"), Params::FIELDS, BINDINGS, twin::ceiling_multiply);

/// Variants on 16 × 16 and 8 × 8 cooperative matrices.
pub static COOPERATIVE: LazyLock<[Kernel; 2]> = LazyLock::new(|| {
    let kernel = |name, side: u32, spec, twin| Kernel {
        entry: "ceiling_cooperative",
        spec,
        needs: Needs { vector_tiles: true, ..Needs::cooperative(side, 1, 6 * side * side) },
        ..Kernel::new(name, shader!("ceiling_cooperative"), Params::FIELDS, BINDINGS, twin)
    };
    let of_8 = Spec::NONE.with_piece("common/coop_16", "common/coop_8");
    [kernel("ceiling_coop16", 16, Spec::NONE, twin::ceiling_coop::<16>), kernel("ceiling_coop8", 8, of_8, twin::ceiling_coop::<8>)]
});

/// Records y = x, both of the same shape with a multiple of 4 elements. Measures memory bandwidth.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn ceiling_copy(recording: &mut Recording, label: String, x: Buf, y: Buf) -> Result<()> {
    record(&CEILING_COPY, recording, label, x, y, 4, 0)
}

/// Records a long chain of multiply-adds per element, with x and y as in [`ceiling_copy`]. Measures arithmetic throughput.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn ceiling_multiply(recording: &mut Recording, label: String, x: Buf, y: Buf) -> Result<()> {
    record(&CEILING_MULTIPLY, recording, label, x, y, 4, 2 * 4 * twin::STEPS)
}

/// Records a long chain of products of the cooperative matrices in x; y has the same shape. Measures cooperative-matrix throughput.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
///
/// # Panics
/// If the device has no cooperative matrices.
pub fn ceiling_coop(recording: &mut Recording, label: String, x: Buf, y: Buf) -> Result<()> {
    let capabilities = *recording.capabilities();
    let side = capabilities.cooperative as usize;
    let kernel = COOPERATIVE.iter().find(|kernel| kernel.needs.met_by(&capabilities)).expect("the device has cooperative matrices");
    record(kernel, recording, label, x, y, side * side, 2 * 4 * twin::STEPS * side)
}

fn record(kernel: &'static Kernel, recording: &mut Recording, label: String, x: Buf, y: Buf, unit: usize, flops: usize) -> Result<()> {
    let len = recording.all(x).len;
    assert_eq!(recording.shape(x), recording.shape(y), "{label}: x and y");
    assert_eq!(len % unit, 0, "{label}: {len} elements");
    let is_cooperative = kernel.needs.cooperative > 0;
    recording.dispatch(Dispatch {
        kernel,
        spec: kernel.spec.clone().with(is_cooperative.then_some(("LANES", recording.capabilities().subgroup))),
        params: bytemuck::bytes_of(&Params { len: size(len) }).to_vec(),
        flops: (flops * len) as u64,
        views: [x, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded(len.div_ceil(if is_cooperative { unit } else { 1024 })),
        label,
    })
}

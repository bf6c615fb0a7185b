use super::{rows, size};
use crate::capabilities::Needs;
use crate::cpu::layernorm::{self as twin, Params};
use crate::error::Result;
use crate::record::{Buf, Dispatch, Kernel, Recording, Spec, read, write};

pub static LAYERNORM: Kernel = Kernel {
    name: "layernorm",
    wgsl: include_str!("../../shaders/layernorm.wgsl"),
    params: Params::FIELDS,
    bindings: &[read(1, "x"), read(2, "weight"), read(3, "bias"), write(4, "y")],
    needs: Needs::NOTHING,
    twin: twin::layernorm,
};

pub static LAYERNORM_SUBGROUP: Kernel =
    Kernel { name: "layernorm_subgroup", wgsl: include_str!("../../shaders/layernorm_subgroup.wgsl"), needs: Needs::LLVMPIPE, ..LAYERNORM };

/// Records LayerNorm over the last axis: x and y `[.., C]`, weight and bias `[C]` (Ba, Kiros and Hinton 2016).
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn layernorm(recording: &mut Recording, label: String, x: Buf, [weight, bias]: [Buf; 2], y: Buf, epsilon: f32) -> Result<()> {
    let (count, width) = rows(recording.shape(x));
    assert_eq!(recording.shape(x), recording.shape(y), "{label}: x and y");
    assert_eq!([recording.shape(weight), recording.shape(bias)], [[width]; 2], "{label}: weight and bias");
    let ladder = if width.is_multiple_of(4) { &[&LAYERNORM_SUBGROUP, &LAYERNORM][..] } else { &[&LAYERNORM] };
    let kernel = recording.choose_kernel(None, ladder);
    recording.dispatch(Dispatch {
        kernel,
        spec: Spec::default(),
        params: bytemuck::bytes_of(&Params { rows: size(count), width: size(width), epsilon }).to_vec(),
        flops: 0,
        views: [x, weight, bias, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded(count),
        label,
    })
}

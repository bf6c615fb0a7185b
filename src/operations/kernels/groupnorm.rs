use super::size;
use crate::data::error::Result;
use crate::data::record::{Binding, Buf, Dispatch, Kernel, Recording, Spec, Twin, read, shader, write};
use crate::execution::cpu::groupnorm::{self as twin, Params};

pub static GROUPNORM: Kernel = kernel("groupnorm", twin::groupnorm);
pub static GROUPNORM_RELU: Kernel = kernel("groupnorm_relu", twin::groupnorm_relu);
pub static GROUPNORM_RESIDUAL_RELU: Kernel = kernel("groupnorm_residual_relu", twin::groupnorm_residual_relu);

const BINDINGS: &[Binding] = &[read(1, "x"), read(2, "weight"), read(3, "bias"), write(4, "y")];

const fn kernel(name: &'static str, twin: Twin) -> Kernel {
    Kernel::new(name, shader!("image/groupnorm"), Params::FIELDS, BINDINGS, twin)
}

/// Epilogue applied to the normalised values v.
#[derive(Clone, Copy, Debug)]
pub enum After {
    /// y = v.
    Nothing,
    /// y = max(v, 0).
    Relu,
    /// y = max(y + v, 0): the end of a residual block, with the shortcut in y.
    ResidualRelu,
}

/// Epsilon added to the variance; the same in every supported network.
const EPSILON: f32 = 1e-5;

/// Records GroupNorm (Wu and He 2018): x and y `[B, channels, height, width]`, weight and bias `[channels]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn groupnorm(recording: &mut Recording, label: String, x: Buf, [weight, bias]: [Buf; 2], groups: usize, after: After, y: Buf) -> Result<()> {
    let &[batch, channels, height, width] = recording.shape(x) else { panic!("{label}: x is [B, channels, height, width]") };
    assert_eq!(recording.shape(x), recording.shape(y), "{label}: x and y");
    assert_eq!([recording.shape(weight), recording.shape(bias)], [[channels]; 2], "{label}: weight and bias");
    assert_eq!(channels % groups, 0, "{label}: {groups} groups of {channels} channels");
    let params = Params {
        rows: size(batch * groups),
        groups: size(groups),
        channels: size(channels / groups),
        pixels: size(height * width),
        epsilon: EPSILON,
    };
    recording.dispatch(Dispatch {
        kernel: match after {
            After::Nothing => &GROUPNORM,
            After::Relu => &GROUPNORM_RELU,
            After::ResidualRelu => &GROUPNORM_RESIDUAL_RELU,
        },
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 0,
        views: [x, weight, bias, y].map(|buf| recording.all(buf)).to_vec(),
        grid: recording.folded(batch * groups),
        label,
    })
}

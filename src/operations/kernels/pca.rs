use super::{pool, size};
use crate::data::error::Result;
use crate::data::record::{Binding, Buf, Dispatch, Kernel, Recording, Spec, Twin, read, shader, write};
use crate::execution::cpu::pca::{self as twin, Params};

/// Number of directions iterated on, as in `shaders/pca.wgsl`.
const BLOCK: usize = 8;

/// Number of iterations. Each shrinks what the first three directions contain of the others by the ratio of the variances of the ninth direction to
/// the third; squared, in terms of explained variance.
const ROUNDS: usize = 8;

const fn kernel(name: &'static str, bindings: &'static [Binding], twin: Twin) -> Kernel {
    Kernel::new(name, shader!("pca"), Params::FIELDS, bindings, twin)
}

pub static PCA_START: Kernel = kernel("pca_start", &[read(1, "x"), read(2, "mean"), write(5, "v")], twin::pca_start);
pub static PCA_PROJECT: Kernel = kernel("pca_project", &[read(1, "x"), read(2, "mean"), read(3, "basis"), write(6, "y")], twin::pca_project);
pub static PCA_GATHER: Kernel = kernel("pca_gather", &[read(1, "x"), read(2, "mean"), read(4, "scores"), write(5, "v")], twin::pca_gather);
pub static PCA_ORTHONORMALISE: Kernel = kernel("pca_orthonormalise", &[write(5, "v")], twin::pca_orthonormalise);
pub static PCA_COLOURS: Kernel = kernel("pca_colours", &[read(3, "basis"), read(4, "scores"), write(7, "rgb")], twin::pca_colours);

/// Records the first three principal components of each image's patches as colours: x `[B, N, C]`, with patches from token `first` on, rgb `[B, P,
/// 3]` with values from 0 to 1. Signs are those of scikit-learn's `PCA(3)`, and each component is stretched to its range over the image. Uses block
/// power iteration (Halko, Martinsson and Tropp 2011, algorithm 4.4).
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn pca(recording: &mut Recording, label: &str, x: Buf, first: usize, rgb: Buf) -> Result<()> {
    let &[batch, tokens, width] = recording.shape(x) else { panic!("{label}: x is [B, N, C]") };
    let patches = tokens - first;
    assert_eq!(recording.shape(rgb), [batch, patches, 3], "{label}: rgb");
    let named = |step: &str| format!("{label}.{step}");
    let mean = recording.scratch(named("mean"), &[batch, width])?;
    let v = recording.scratch(named("v"), &[batch, width, BLOCK])?;
    let y = recording.scratch(named("y"), &[batch, patches, BLOCK])?;
    pool(recording, named("mean"), x, first..tokens, mean, 0)?;
    pca_start(recording, named("start"), [x, mean, v], first)?;
    for _ in 0..ROUNDS {
        pca_orthonormalise(recording, named("orthonormalise"), v)?;
        pca_project(recording, named("project"), [x, mean, v, y], first)?;
        pca_gather(recording, named("gather"), [x, mean, y, v], first)?;
    }
    pca_orthonormalise(recording, named("orthonormalise"), v)?;
    pca_project(recording, named("project"), [x, mean, v, y], first)?;
    pca_colours(recording, named("colours"), [v, y, rgb])
}

/// Records the initial directions: evenly spaced patches, minus the mean. x `[B, N, C]`, mean `[B, C]`, v `[B, C, 8]`.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device; the same for each step of [`pca`].
pub fn pca_start(recording: &mut Recording, label: String, bufs: [Buf; 3], first: usize) -> Result<()> {
    let sizes = of_tokens(recording, bufs[0], first);
    let columns = sizes.width * BLOCK;
    step(recording, label, &PCA_START, sizes, &bufs, 0, [columns.div_ceil(64), sizes.batch])
}

/// Records y = (x - mean)·v: x `[B, N, C]`, mean `[B, C]`, v `[B, C, 8]`, y `[B, P, 8]`.
///
/// # Errors
/// See [`pca_start`].
pub fn pca_project(recording: &mut Recording, label: String, bufs: [Buf; 4], first: usize) -> Result<()> {
    let sizes = of_tokens(recording, bufs[0], first);
    step(recording, label, &PCA_PROJECT, sizes, &bufs, sizes.products(), [sizes.patches, sizes.batch])
}

/// Records v = (x - mean)ᵀ·y: x `[B, N, C]`, mean `[B, C]`, y `[B, P, 8]`, v `[B, C, 8]`.
///
/// # Errors
/// See [`pca_start`].
pub fn pca_gather(recording: &mut Recording, label: String, bufs: [Buf; 4], first: usize) -> Result<()> {
    let sizes = of_tokens(recording, bufs[0], first);
    step(recording, label, &PCA_GATHER, sizes, &bufs, sizes.products(), [sizes.width.div_ceil(64), sizes.batch])
}

/// Records orthonormalisation of the columns of each image's v `[B, C, 8]`, in place. Columns that depend on earlier ones become 0.
///
/// # Errors
/// See [`pca_start`].
pub fn pca_orthonormalise(recording: &mut Recording, label: String, v: Buf) -> Result<()> {
    let &[batch, width, _] = recording.shape(v) else { panic!("{label}: v is [B, C, 8]") };
    let sizes = Sizes { batch, tokens: 0, width, first: 0, patches: 0 };
    step(recording, label, &PCA_ORTHONORMALISE, sizes, &[v], 4 * (batch * width * BLOCK * BLOCK) as u64, [batch, 1])
}

/// Records the colours from v `[B, C, 8]` and y `[B, P, 8]`: rgb `[B, P, 3]`.
///
/// # Errors
/// See [`pca_start`].
pub fn pca_colours(recording: &mut Recording, label: String, bufs: [Buf; 3]) -> Result<()> {
    let (&[batch, width, _], &[_, patches, _]) = (recording.shape(bufs[0]), recording.shape(bufs[1])) else { panic!("{label}: v and y") };
    let sizes = Sizes { batch, tokens: 0, width, first: 0, patches };
    step(recording, label, &PCA_COLOURS, sizes, &bufs, 2 * (batch * patches * BLOCK * BLOCK) as u64, [batch, 1])
}

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    tokens: usize,
    width: usize,
    first: usize,
    patches: usize,
}

impl Sizes {
    /// Floating-point operations of a product with 8 columns.
    fn products(&self) -> u64 {
        2 * (self.batch * self.patches * self.width * BLOCK) as u64
    }
}

fn of_tokens(recording: &Recording, x: Buf, first: usize) -> Sizes {
    let &[batch, tokens, width] = recording.shape(x) else { panic!("x is [B, N, C]") };
    Sizes { batch, tokens, width, first, patches: tokens - first }
}

/// Records one step. Checks the buffers' shapes by the names of the kernel's bindings.
fn step(
    recording: &mut Recording,
    label: String,
    kernel: &'static Kernel,
    sizes: Sizes,
    bufs: &[Buf],
    flops: u64,
    [columns, rows]: [usize; 2],
) -> Result<()> {
    let Sizes { batch, tokens, width, first, patches } = sizes;
    for (binding, buf) in kernel.bindings.iter().zip(bufs) {
        let expected = match binding.name {
            "x" => vec![batch, tokens, width],
            "mean" => vec![batch, width],
            "v" | "basis" => vec![batch, width, BLOCK],
            "rgb" => vec![batch, patches, 3],
            _ => vec![batch, patches, BLOCK],
        };
        assert_eq!(recording.shape(*buf), expected, "{label}: {}", binding.name);
    }
    let params = Params { tokens: size(tokens), width: size(width), first: size(first), patches: size(patches) };
    recording.dispatch(Dispatch {
        kernel,
        spec: Spec::NONE,
        params: bytemuck::bytes_of(&params).to_vec(),
        flops,
        views: bufs.iter().map(|buf| recording.all(*buf)).collect(),
        grid: [size(columns), size(rows), 1],
        label,
    })
}

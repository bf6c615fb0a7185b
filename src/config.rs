//! Plain data that describes an encoder of the family, and how pictures are made ready for it.
//!
//! The legend of every shape in this crate: B batch, N tokens, P patches, C width, H heads,
//! D head width (C = H·D), F MLP width.

use crate::error::{Error, Result};
use std::path::Path;

/// The most patches of an image: 256 x 256. A made-up image size must not make tables of its own size.
const LARGEST_GRID: usize = 65_536;

/// The most values of one image's widest activation, 1 GiB of f32; ViT-G at 4097 tokens has a tenth.
const LARGEST_ACTIVATION: u64 = 1 << 28;

/// Everything that decides what is computed. A family is a set of values, not a trait.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the checkpoint calls itself, such as `vit_base_patch16_224`.
    pub name: String,
    /// The library whose layout the checkpoint has.
    pub layout: Layout,
    /// Input channels.
    pub channels: usize,
    /// Height and width of the input, in pixels.
    pub image: [usize; 2],
    /// Height and width of a patch, in pixels.
    pub patch: [usize; 2],
    /// C, the width of the residual stream.
    pub width: usize,
    /// Number of encoder blocks.
    pub depth: usize,
    /// H, the number of attention heads.
    pub heads: usize,
    /// F, the width inside the MLP.
    pub mlp_width: usize,
    /// What LayerNorm adds to the variance.
    pub epsilon: f32,
    /// The MLP's activation.
    pub activation: Activation,
    /// Tokens in front of the patches: class token, registers.
    pub prefix_tokens: usize,
    /// How many of the prefix tokens have a row in the position table (the last ones, if not all).
    pub prefix_positions: usize,
    /// LayerNorm between the embeddings and the first block (CLIP).
    pub pre_norm: bool,
    /// Learned factors on what each half of a block adds to the stream (LayerScale).
    pub layer_scale: bool,
    /// LayerNorm on all tokens after the last block.
    pub final_norm: bool,
    /// How the tokens become one vector.
    pub pooling: Pooling,
    /// LayerNorm on the pooled vector (timm's `fc_norm`).
    pub pool_norm: bool,
    /// A dense layer and an activation on the pooled vector (transformers' pooler).
    pub pooler: Option<Pooler>,
    /// Number of classes; 0 without a head.
    pub classes: usize,
    /// A name for each class, or none at all.
    pub labels: Vec<String>,
}

/// The library whose tensor names and configuration a checkpoint follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// timm.
    Timm,
    /// transformers.
    Transformers,
}

/// Functions that are applied element by element; the numbers are those of `shaders/common/activation.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Activation {
    /// x·Φ(x), with the error function (Hendrycks and Gimpel 2016).
    Gelu = 0,
    /// GELU's approximation with tanh.
    GeluTanh = 1,
    /// x·sigmoid(1.702·x).
    QuickGelu = 2,
    /// max(x, 0).
    Relu = 3,
    /// tanh(x).
    Tanh = 4,
}

/// How the tokens of an image become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The first token.
    First,
    /// The mean over the tokens from this one on.
    MeanFrom(usize),
}

/// A dense layer with an activation on the pooled vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pooler {
    /// Width of its result.
    pub width: usize,
    /// Its activation.
    pub activation: Activation,
}

impl Config {
    /// Patches along the height and the width.
    pub fn grid(&self) -> [usize; 2] {
        [self.image[0] / self.patch[0], self.image[1] / self.patch[1]]
    }

    /// P, the number of patches.
    pub fn patches(&self) -> usize {
        self.grid()[0] * self.grid()[1]
    }

    /// N, the number of tokens.
    pub fn tokens(&self) -> usize {
        self.prefix_tokens + self.patches()
    }

    /// D, the width of a head.
    pub fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// Values of one patch: channels × height × width.
    pub fn patch_values(&self) -> usize {
        self.channels * self.patch[0] * self.patch[1]
    }

    /// Checks what a configuration file can get wrong about sizes.
    pub(crate) fn validate(&self, path: &Path) -> Result<()> {
        let wrong = |message: String| Err(Error::file(path, message));
        if !self.width.is_multiple_of(self.heads) {
            return wrong(format!("{} heads do not divide a width of {}", self.heads, self.width));
        }
        if self.patch[0] > self.image[0] || self.patch[1] > self.image[1] {
            return wrong(format!(
                "a patch of {} x {} is larger than the image of {} x {}",
                self.patch[0], self.patch[1], self.image[0], self.image[1]
            ));
        }
        if self.patches() > LARGEST_GRID {
            return wrong(format!(
                "an image of {} x {} has {} patches; at most {LARGEST_GRID} are supported",
                self.image[0],
                self.image[1],
                self.patches()
            ));
        }
        if self.tokens() as u64 * self.width.max(self.mlp_width) as u64 > LARGEST_ACTIVATION {
            return wrong(format!("{} tokens of width {} are more than is supported", self.tokens(), self.width.max(self.mlp_width)));
        }
        if !(self.epsilon.is_finite() && self.epsilon >= 0.0) {
            return wrong(format!("LayerNorm's epsilon is {}, expected a small positive number", self.epsilon));
        }
        Ok(())
    }

    /// Floating-point operations of the matrix products for one image; a multiply-add counts as two.
    pub fn flops(&self) -> u64 {
        let [n, p, c, f, depth] = [self.tokens(), self.patches(), self.width, self.mlp_width, self.depth].map(|size| size as u64);
        let block = n * (4 * c * c + 2 * c * f) + 2 * n * n * c;
        let pooler = c * self.pooler.map_or(0, |pooler| pooler.width as u64);
        2 * (p * self.patch_values() as u64 * c + depth * block + pooler + c * self.classes as u64)
    }
}

/// How a decoded picture becomes `pixel_values`: resize, crop, scale, normalise.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Channels of the result: 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// The resize, if any.
    pub resize: Resize,
    /// The resize's filter.
    pub filter: Filter,
    /// The crop or padding to the final size, if any.
    pub crop: Option<Crop>,
    /// Factor on the 8-bit values.
    pub scale: f64,
    /// What is subtracted from the scaled values, for each channel.
    pub mean: Vec<f32>,
    /// What the result is divided by, for each channel.
    pub std: Vec<f32>,
}

/// The size a picture is resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// It keeps its size.
    Keep,
    /// Height and width, whatever the picture's shape.
    Exact([usize; 2]),
    /// The shorter edge; the longer follows, rounded down (torchvision's `Resize(int)`).
    ShortestEdge(usize),
    /// The smallest size of the picture's shape that covers height × width (timm's `ResizeKeepRatio`).
    Cover([usize; 2]),
    /// The largest size of the picture's shape within height × width.
    Fit([usize; 2]),
}

/// A window of the final size in the middle; what lies outside the picture is filled.
#[derive(Clone, Debug, PartialEq)]
pub struct Crop {
    /// Height and width.
    pub size: [usize; 2],
    /// How half a pixel is rounded.
    pub rounding: CropRounding,
    /// The value outside the picture, for each of R, G and B.
    pub fill: [u8; 3],
}

/// How crop offsets are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CropRounding {
    /// Python's `round((size - crop) / 2)`: half to even (torchvision, timm).
    HalfEven,
    /// `(size - crop) // 2` (transformers).
    Down,
}

/// Resampling filters, as Pillow defines them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// Average over the box.
    Box,
    /// Triangle.
    Bilinear,
    /// Hamming-windowed sinc of width 1.
    Hamming,
    /// Cubic with coefficient -0.5.
    Bicubic,
    /// Sinc windowed by sinc, three lobes.
    Lanczos,
}

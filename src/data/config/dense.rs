//! Plain data that describes heads with a result for each pixel.

use super::{Activation, Patches};

/// A head of convolutions on the tokens of several blocks (DPT, Ranftl et al. 2021; Depth Anything, Yang et al. 2024).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Dense {
    /// Feature maps to fuse, in the order of the blocks.
    pub(crate) features: Vec<Feature>,
    /// Use of the class token.
    pub(crate) readout: Readout,
    /// Activation of the layer that projects it ([`Readout::Project`]).
    pub(crate) readout_activation: Activation,
    /// Whether the final norm is applied to the tokens of each feature.
    pub(crate) normed: bool,
    /// Channels of the fused maps.
    pub(crate) width: usize,
    /// Sizes of the fused maps.
    pub(crate) upsampling: Upsampling,
    /// The fused map that the head reads, counted from the deepest.
    pub(crate) reads: usize,
    /// The layers after fusion.
    pub head: DenseHead,
}

impl std::fmt::Display for DenseHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DenseHead::Depth { activation: Activation::Sigmoid, .. } => "depth of each pixel in metres",
            DenseHead::Depth { .. } => "relative depth of each pixel",
            DenseHead::Segmentation { .. } => "class of each pixel",
        })
    }
}

/// A feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// The tokens after so many blocks, as a map.
    Tokens {
        /// Number of blocks before; 0 for the embeddings.
        blocks: usize,
        /// Channels of the map.
        channels: usize,
        /// Its size relative to the grid of patches.
        factor: Factor,
    },
    /// The output of a stage of the convolutional backbone.
    Stage(usize),
}

/// Size of a map relative to the grid of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Factor {
    /// Larger, by a transposed convolution whose kernel is as large as its stride.
    Up(usize),
    /// The same.
    Same,
    /// Smaller, by a 3 × 3 convolution with this stride.
    Down(usize),
}

impl Factor {
    /// Returns the size of the map of a grid.
    fn of(self, grid: [usize; 2]) -> [usize; 2] {
        grid.map(|side| match self {
            Factor::Up(by) => side.saturating_mul(by),
            Factor::Same => side,
            Factor::Down(by) => (side - 1) / by + 1,
        })
    }
}

/// Heights and widths of a head's maps, in pixels.
pub(crate) struct DenseSizes {
    /// Those of the features.
    pub features: Vec<[usize; 2]>,
    /// Those of the fused maps, the deepest first.
    pub fused: Vec<[usize; 2]>,
    /// That of the result.
    pub result: [usize; 2],
}

impl Dense {
    /// Returns the largest depth that the head can predict, in metres, if it predicts metres and not relative depth, which is larger for what is nearer.
    pub fn metres(&self) -> Option<f32> {
        match self.head {
            DenseHead::Depth { activation: Activation::Sigmoid, scale, .. } => Some(scale),
            _ => None,
        }
    }

    /// Returns the sizes of the maps of an image.
    pub(crate) fn sizes(&self, patches: &Patches, image: [usize; 2]) -> DenseSizes {
        let grid = patches.grid(image);
        let feature = |feature: &Feature| match *feature {
            Feature::Tokens { factor, .. } => factor.of(grid),
            Feature::Stage(stage) => patches.stage_map(image, stage),
        };
        let twice = |size: [usize; 2]| size.map(|side| side.saturating_mul(2));
        let features: Vec<[usize; 2]> = self.features.iter().map(feature).collect();
        let mut fused: Vec<[usize; 2]> = Vec::new();
        for (i, size) in features.iter().rev().enumerate() {
            let next = features.iter().rev().nth(i + 1);
            fused.push(match self.upsampling {
                Upsampling::Twice => twice(*fused.last().unwrap_or(size)),
                Upsampling::ToNext => next.copied().unwrap_or_else(|| twice(*size)),
            });
        }
        let result = match self.head {
            DenseHead::Depth { patch: Some(patch), .. } => grid.map(|side| side.saturating_mul(patch)),
            DenseHead::Depth { patch: None, .. } | DenseHead::Segmentation { .. } => twice(fused[self.reads]),
        };
        DenseSizes { features, fused, result }
    }

    /// Returns the number of values of the largest map of an image.
    pub(super) fn largest_map(&self, patches: &Patches, image: [usize; 2]) -> u64 {
        let sizes = self.sizes(patches, image);
        let values =
            |[height, width]: [usize; 2], channels: usize| [height, width, channels].iter().fold(1u64, |all, side| all.saturating_mul(*side as u64));
        let widest = |feature: &Feature| match *feature {
            Feature::Tokens { channels, .. } => channels,
            Feature::Stage(_) => 0,
        };
        let features = sizes.features.iter().zip(&self.features).map(|(size, feature)| values(*size, widest(feature).max(self.width)));
        let result = match &self.head {
            DenseHead::Depth { hidden, .. } => values(sizes.result, (*hidden).max(self.width / 2)),
            DenseHead::Segmentation { labels } => values(sizes.result, labels.len()),
        };
        features.chain(sizes.fused.iter().map(|size| values(*size, self.width))).chain([result]).max().unwrap_or(0)
    }

    /// Returns the multiply-adds for one image, with tokens of width `tokens`.
    pub(super) fn products(&self, patches: &Patches, image: [usize; 2], tokens: usize) -> u64 {
        let sizes = self.sizes(patches, image);
        let area = |[height, width]: [usize; 2]| (height * width) as u64;
        let (grid, width) = (area(patches.grid(image)), self.width as u64);
        let feature = |(size, feature): (&[usize; 2], &Feature)| {
            let (channels, reassembly) = match *feature {
                Feature::Stage(stage) => (patches.stage_channels(stage) as u64, 0),
                Feature::Tokens { channels, factor, .. } => {
                    let (tokens, channels) = (tokens as u64, channels as u64);
                    let readout = if self.readout == Readout::Project { 2 * tokens * tokens } else { 0 };
                    let resize = match factor {
                        Factor::Up(_) => area(*size) * channels * channels,
                        Factor::Same => 0,
                        Factor::Down(_) => area(*size) * 9 * channels * channels,
                    };
                    (channels, grid * (readout + tokens * channels) + resize)
                }
            };
            reassembly + area(*size) * 9 * channels * width
        };
        // Residual units work at the size of the map before, and so does the projection.
        let before = std::iter::once(sizes.features.last().expect("a feature")).chain(&sizes.fused);
        let fusion = |(i, size): (usize, &[usize; 2])| area(*size) * (if i == 0 { 19 } else { 37 }) * width * width;
        let (read, result) = (area(sizes.fused[self.reads]), area(sizes.result));
        let head = match &self.head {
            DenseHead::Depth { has_projection, hidden, .. } => {
                let (half, hidden) = (width / 2, *hidden as u64);
                let projection = if *has_projection { 9 * width * width } else { 0 };
                read * (projection + 9 * width * half) + result * (9 * half * hidden + hidden)
            }
            DenseHead::Segmentation { labels } => read * (9 * width * width + width * labels.len() as u64),
        };
        let features: u64 = sizes.features.iter().zip(&self.features).map(feature).sum();
        features + before.take(sizes.fused.len()).enumerate().map(fusion).sum::<u64>() + head
    }
}

/// Use of the class token for a feature map (Ranftl et al. 2021, section 3.1); numbered as in `shaders/image/readout.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum Readout {
    /// Ignored.
    Ignore = 0,
    /// Added to each patch.
    Add = 1,
    /// Concatenated with each patch, and projected back to C by a layer with an activation.
    Project = 2,
}

/// Sizes that fused maps are resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Upsampling {
    /// Twice their own (DPT). The next feature is resized to match.
    Twice,
    /// That of the next feature; the last one twice its own (Depth Anything).
    ToNext,
}

/// The layers after fusion.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DenseHead {
    /// Two 3 × 3 convolutions, with a resize between them, and a layer with one channel: `predicted_depth`, `[B, height, width]`.
    Depth {
        /// Whether another 3 × 3 convolution with a ReLU is in front of them.
        has_projection: bool,
        /// Channels after the second one.
        hidden: usize,
        /// Pixels of the result for each patch, along both axes; `None` for twice the size of the fused map.
        patch: Option<usize>,
        /// Activation of the last layer.
        activation: Activation,
        /// Factor on it: the largest depth in metres, if the model predicts metres.
        scale: f32,
    },
    /// A 3 × 3 convolution with a ReLU, a layer with a channel per class, and a resize to twice the size: `logits`, `[B, classes, height, width]`.
    Segmentation {
        /// One name per class.
        labels: Vec<String>,
    },
}

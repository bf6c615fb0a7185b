//! Convolutional backbone of hybrids, in the three layouts that have one. Sizes are read from the tensors, because timm's
//! and Google's configurations do not give them.

use super::files::Files;
use super::source::{Part, Source};
use super::weights::{Backbone as BackboneWeights, Bottleneck, Convolution, Norm};
use crate::data::config::{Backbone, Stage};
use crate::data::error::{Error, Result};

/// Naming scheme of the backbone's tensors.
#[derive(Clone, Debug)]
pub enum Naming {
    /// timm's `ResNetV2`; `stem_only` drops the `stem` component from the names.
    Timm { stem_only: bool },
    /// transformers' `BitBackbone`, with names that begin with this.
    Transformers { bit: String },
    /// Google's npz files, with kernels stored as `[height, width, in, out]`.
    Jax { prefix: &'static str },
}

/// A convolution of the backbone.
#[derive(Clone, Copy)]
enum Place {
    Stem,
    /// Convolution 1, 2 or 3 of a block; 0 is its shortcut.
    Block {
        stage: usize,
        block: usize,
        part: usize,
    },
}

impl Naming {
    /// Returns the names of the convolution's weight and of the norm's weight and bias.
    fn names(&self, place: Place) -> [String; 3] {
        let named = |convolution: String, norm: String| [convolution + ".weight", norm.clone() + ".weight", norm + ".bias"];
        let parts = |block: String, part: usize| match part {
            0 => named(format!("{block}.downsample.conv"), format!("{block}.downsample.norm")),
            part => named(format!("{block}.conv{part}"), format!("{block}.norm{part}")),
        };
        match (self, place) {
            (Naming::Timm { stem_only }, Place::Stem) => {
                let stem = if *stem_only { "patch_embed.backbone" } else { "patch_embed.backbone.stem" };
                named(format!("{stem}.conv"), format!("{stem}.norm"))
            }
            (Naming::Timm { .. }, Place::Block { stage, block, part }) => parts(format!("patch_embed.backbone.stages.{stage}.blocks.{block}"), part),
            (Naming::Transformers { bit }, Place::Stem) => named(format!("{bit}.embedder.convolution"), format!("{bit}.embedder.norm")),
            (Naming::Transformers { bit }, Place::Block { stage, block, part }) => {
                parts(format!("{bit}.encoder.stages.{stage}.layers.{block}"), part)
            }
            (Naming::Jax { prefix }, place) => {
                let (unit, which) = match place {
                    Place::Stem => (String::new(), "_root".to_owned()),
                    Place::Block { stage, block, part: 0 } => (format!("block{}/unit{}/", stage + 1, block + 1), "_proj".to_owned()),
                    Place::Block { stage, block, part } => (format!("block{}/unit{}/", stage + 1, block + 1), part.to_string()),
                };
                [format!("conv{which}/kernel"), format!("gn{which}/scale"), format!("gn{which}/bias")].map(|name| format!("{prefix}{unit}{name}"))
            }
        }
    }

    /// Returns the output channels of a stored convolution.
    fn outputs(&self, files: &Files, place: Place, groups: usize) -> Result<usize> {
        let [name, ..] = self.names(place);
        let shape = files.shape(&name)?;
        let out = match (self, shape) {
            (Naming::Jax { .. }, &[_, _, _, out]) | (Naming::Timm { .. } | Naming::Transformers { .. }, &[out, _, _, _]) => out,
            _ => return Err(Error::tensor(name, format!("expected a convolution's four axes, found {shape:?}"))),
        };
        match out > 0 && out.is_multiple_of(groups) {
            true => Ok(out),
            false => Err(Error::tensor(name, format!("expected output channels in {groups} groups, found {out}"))),
        }
    }

    /// Reads the backbone's sizes from its tensors, for GroupNorms of so many groups.
    pub fn sizes(&self, files: &Files, groups: usize) -> Result<Backbone> {
        let has = |stage, block| files.has(&self.names(Place::Block { stage, block, part: 1 })[0]);
        let stage = |stage: usize| {
            Ok(Stage {
                depth: (0..).take_while(|&block| has(stage, block)).count(),
                inner: self.outputs(files, Place::Block { stage, block: 0, part: 1 }, groups)?,
                outer: self.outputs(files, Place::Block { stage, block: 0, part: 3 }, groups)?,
            })
        };
        let stages = (0..).take_while(|&number| has(number, 0)).map(stage).collect::<Result<_>>()?;
        Ok(Backbone { stem: self.outputs(files, Place::Stem, groups)?, groups, stages })
    }

    fn convolution(&self, place: Place, [out, input, size]: [usize; 3]) -> Convolution<Source> {
        let [weight, norm_weight, norm_bias] = self.names(place);
        let part = match self {
            Naming::Jax { .. } => Part::permuted(weight, &[size, size, input, out], &[3, 2, 0, 1]),
            Naming::Timm { .. } | Naming::Transformers { .. } => Part::new(weight, &[out, input, size, size]),
        };
        Convolution {
            weight: Source::standardised(part, [out, input, size, size]),
            norm: Norm { weight: Source::stored(norm_weight, &[out]), bias: Some(Source::stored(norm_bias, &[out])) },
        }
    }

    /// Returns the sources of the backbone's weights.
    pub fn weights(&self, backbone: &Backbone, channels: usize) -> BackboneWeights<Source> {
        let mut input = backbone.stem;
        let mut stages = Vec::new();
        for (number, &Stage { depth, inner, outer }) in backbone.stages.iter().enumerate() {
            let mut blocks = Vec::new();
            for block in 0..depth {
                let convolution = |part, sizes| self.convolution(Place::Block { stage: number, block, part }, sizes);
                blocks.push(Bottleneck {
                    conv1: convolution(1, [inner, input, 1]),
                    conv2: convolution(2, [inner, inner, 3]),
                    conv3: convolution(3, [outer, inner, 1]),
                    downsample: (block == 0).then(|| convolution(0, [outer, input, 1])),
                });
                input = outer;
            }
            stages.push(blocks);
        }
        BackboneWeights { stem: self.convolution(Place::Stem, [backbone.stem, channels, 7]), stages }
    }
}

//! Plain data that describes an encoder of the family and the preparation of its images.
//!
//! Axes in every shape of this crate: B batch, N tokens, P patches, C width, H heads,
//! D head width (C = H·D), F MLP width.

mod block;
mod dense;
mod map;
mod patches;

pub(crate) use block::{Angles, Branches, NormOrder, Rotary};
pub use dense::{Dense, DenseHead};
pub(crate) use dense::{DenseSizes, Factor, Feature, Readout, Upsampling};
pub use map::{Attention, Map, MapKind};
pub use patches::{BACKBONE_GROUPS, Backbone, Patches};
pub(crate) use patches::{Edge, Stage};

use crate::data::error::{Error, Result};
use std::path::Path;

/// Maximum values in the widest activation of one input, 1 GiB of f32. ViT-G at 4097 tokens needs an eighth of that.
const LARGEST_ACTIVATION: u64 = 1 << 28;

/// Everything that determines the computation. A family is a set of values, not a trait.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The checkpoint's name for itself, such as `vit_base_patch16_224`.
    pub name: String,
    /// Library whose layout the checkpoint follows.
    pub layout: Layout,
    /// Kind of input.
    pub input: Input,
    /// C, the width of the residual stream.
    pub width: usize,
    /// Number of encoder blocks.
    pub depth: usize,
    /// H, the number of attention heads.
    pub heads: usize,
    /// F, the hidden width of the MLP.
    pub mlp_width: usize,
    /// Whether the MLP is gated: the activation multiplies a second projection (SwiGLU, Shazeer 2020).
    pub gated: bool,
    /// Whether the norms are RMSNorms, without mean and bias (Zhang and Sennrich 2019), rather than LayerNorms.
    pub rms_norm: bool,
    /// Epsilon of the norms, added to the variance or to the mean of the squares.
    pub epsilon: f32,
    /// Activation of the MLP.
    pub activation: Activation,
    /// Position of the norms in a block.
    pub(crate) norm_order: NormOrder,
    /// Arrangement of attention and MLP in a block.
    pub(crate) branches: Branches,
    /// Number of tokens before the patches: class token, distillation token, registers.
    pub prefix_tokens: usize,
    /// Whether the first prefix token is a class token.
    pub class_token: bool,
    /// Whether images keep their aspect ratio, so that each has a grid of its own; a batch is then a padded sequence of patches (Tschannen et al. 2025,
    /// SigLIP 2's NaFlex).
    pub native_grids: bool,
    /// Whether a token attends only to those before it and to itself (CLIP's texts).
    pub causal: bool,
    /// Whether the vector of an image and that of a text can be compared: CLIP and SigLIP.
    pub joint: bool,
    /// Rotary positions of the patches.
    pub(crate) rotary: Option<Rotary>,
    /// Biases of attention scores by the offset between two patches (Bao et al. 2022, BEiT).
    pub relative_positions: bool,
    /// Norm on the projected patches, before positions are added (AIMv2).
    pub patch_norm: bool,
    /// Norm between the embeddings and the first block (CLIP).
    pub pre_norm: bool,
    /// Norm on each head's queries and keys.
    pub qk_norm: bool,
    /// Norm on the output of attention, before its projection (Wang et al. 2022, Sub-LN).
    pub attention_norm: bool,
    /// Norm on the hidden layer of the MLP (Wang et al. 2022, Sub-LN).
    pub mlp_norm: bool,
    /// Learned factors on the output of each half of a block (LayerScale).
    pub layer_scale: bool,
    /// Norm on all tokens after the last block.
    pub final_norm: bool,
    /// Pooling of the tokens into one vector, if any.
    pub pooling: Option<Pooling>,
    /// Number of heads of attention pooling.
    pub pool_heads: usize,
    /// Norm on the pooled vector (timm's `fc_norm`, CLIP's `post_layernorm`).
    pub pool_norm: bool,
    /// A dense layer and an activation on the pooled vector (transformers' pooler).
    pub pooler: Option<Pooler>,
    /// Width of the projection of the pooled vector into the space that CLIP shares with text.
    pub projection: Option<usize>,
    /// A dense layer and an activation between the features and a separate classifier: the pre-training head of Google's
    /// ImageNet-21k checkpoints.
    pub pre_logits: Option<Pooler>,
    /// Classifiers.
    pub classifiers: Vec<Classifier>,
    /// A head that predicts a value or a class for each pixel.
    pub dense: Option<Dense>,
}

/// The input of a model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Input {
    /// `pixel_values` `[B, channels, height, width]`, cut into patches.
    Image(Patches),
    /// Token ids `[B, N]`, whose embeddings the host looks up.
    Text {
        /// Number of tokens in the vocabulary.
        vocabulary: usize,
        /// Maximum tokens per text.
        longest: usize,
    },
    /// `input` `[B, N, C]`: precomputed embeddings that include positions.
    Embeddings {
        /// Maximum tokens per sequence.
        longest: usize,
    },
}

/// The size of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// An image of this height and width, in pixels.
    Image([usize; 2]),
    /// A sequence of this many embeddings, or of tokens of a text.
    Sequence(usize),
    /// A padded sequence of this many patches, each image with a grid of its own ([`Config::native_grids`]).
    Patches(usize),
}

/// Library whose tensor names and configuration a checkpoint follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// timm.
    Timm,
    /// transformers.
    Transformers,
    /// Google's npz files, written by JAX.
    Jax,
    /// open_clip.
    OpenClip,
    /// Facebook's own DINOv2 files.
    Facebook,
    /// `torch.nn.TransformerEncoder`.
    Torch,
}

/// Elementwise activation functions, numbered as in `shaders/common/activation.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum Activation {
    /// x·Φ(x), with the error function (Hendrycks and Gimpel 2016).
    Gelu = 0,
    /// The tanh approximation of GELU.
    GeluTanh = 1,
    /// x·sigmoid(1.702·x).
    QuickGelu = 2,
    /// max(x, 0).
    Relu = 3,
    /// tanh(x).
    Tanh = 4,
    /// x·sigmoid(x), also called swish.
    Silu = 5,
    /// 1 / (1 + exp(-x)).
    Sigmoid = 6,
}

impl Activation {
    /// All activations, ordered by number.
    pub const ALL: [Activation; 7] =
        [Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu, Activation::Relu, Activation::Tanh, Activation::Silu, Activation::Sigmoid];
}

/// Pooling of an image's tokens into one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooling {
    /// The first token.
    First,
    /// The mean over the tokens from this index on.
    MeanFrom(usize),
    /// The mean of the first two tokens, class and distillation (timm's DeiT).
    MeanOfTwo,
    /// The first token concatenated with the mean over the tokens from this index on: width 2·C (DINOv2's classifier).
    FirstAndMeanFrom(usize),
    /// The maximum over the tokens from this index on.
    MaxFrom(usize),
    /// Half the sum of the mean and the maximum over the tokens from this index on.
    MeanAndMaxFrom(usize),
    /// The last token of a text, which may be padding (SigLIP).
    Last,
    /// The token at the end of a text: the first with this id; without one, the token with the largest id (CLIP).
    EndOfText(Option<usize>),
    /// Attention of a learned query over the tokens from this index on; in most models, an MLP follows (SigLIP).
    Attention(usize),
}

/// A dense layer with an activation on the pooled vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pooler {
    /// Output width.
    pub width: usize,
    /// Activation.
    pub activation: Activation,
}

/// A dense layer that scores each class.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Classifier {
    /// Name in the output `logits_NAME`; an empty name gives `logits`.
    pub name: String,
    /// Source of its input.
    pub reads: Reads,
    /// Number of classes.
    pub classes: usize,
    /// One name per class, or empty.
    pub labels: Vec<String>,
    /// Function that gives the output `probabilities`.
    pub probabilities: Probabilities,
}

/// Probabilities of classes, from their logits (transformers' `problem_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Probabilities {
    /// The softmax: an image is of one class.
    Softmax,
    /// Each logit's 1 / (1 + exp(-x)): an image may be of several classes, or of none.
    Sigmoid,
    /// There are none: the logits are quantities (regression), and the model classifies nothing.
    None,
}

/// The input of a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reads {
    /// The features.
    Features,
    /// A token after the last norm. Models with such classifiers (distilled DeiT) average their logits into `logits`.
    Token(usize),
    /// The output of [`Config::pre_logits`].
    PreLogits,
}

impl Classifier {
    /// Returns the suffix of `logits` and `probabilities` in its output names.
    pub fn suffix(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!("_{}", self.name) }
    }
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Layout::Timm => "Vision Transformer, timm's layout",
            Layout::Transformers => "Vision Transformer, transformers' layout",
            Layout::Jax => "Vision Transformer, Google's layout",
            Layout::OpenClip => "Vision Transformer, open_clip's layout",
            Layout::Facebook => "Vision Transformer, Facebook's layout",
            Layout::Torch => "Transformer encoder, torch's layout",
        })
    }
}

impl std::fmt::Display for Pooling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Pooling::First => "first token",
            Pooling::MeanFrom(_) => "mean of the tokens",
            Pooling::MaxFrom(_) => "maximum of the tokens",
            Pooling::MeanAndMaxFrom(_) => "mean and maximum of the tokens",
            Pooling::Last => "last token",
            Pooling::EndOfText(_) => "token at the end of the text",
            Pooling::MeanOfTwo => "mean of class and distillation token",
            Pooling::FirstAndMeanFrom(_) => "first token and mean of the patches",
            Pooling::Attention(_) => "attention pooling",
        })
    }
}

impl Config {
    /// Returns the encoder of ViT-B (Dosovitskiy et al. 2021, table 1) without a classifier: the defaults for every family.
    pub(crate) fn plain(name: &str, layout: Layout, input: Input) -> Config {
        Config {
            name: name.to_owned(),
            layout,
            input,
            width: 768,
            depth: 12,
            heads: 12,
            mlp_width: 3072,
            gated: false,
            rms_norm: false,
            epsilon: 1e-6,
            activation: Activation::Gelu,
            norm_order: NormOrder::Pre,
            branches: Branches::Sequential,
            prefix_tokens: 1,
            class_token: true,
            native_grids: false,
            causal: false,
            joint: false,
            rotary: None,
            relative_positions: false,
            patch_norm: false,
            pre_norm: false,
            qk_norm: false,
            attention_norm: false,
            mlp_norm: false,
            layer_scale: false,
            final_norm: true,
            pooling: Some(Pooling::First),
            pool_heads: 12,
            pool_norm: false,
            pooler: None,
            projection: None,
            pre_logits: None,
            classifiers: Vec::new(),
            dense: None,
        }
    }

    /// Returns the description of the patches, if the model takes images.
    pub fn patches(&self) -> Option<&Patches> {
        match &self.input {
            Input::Image(patches) => Some(patches),
            Input::Text { .. } | Input::Embeddings { .. } => None,
        }
    }

    /// Returns the default input size; for sequences, the longest.
    pub fn native_size(&self) -> Size {
        match &self.input {
            Input::Image(patches) => Size::Image(patches.image),
            Input::Text { longest, .. } | Input::Embeddings { longest } => Size::Sequence(*longest),
        }
    }

    /// Returns the shape of `batch` inputs: `pixel_values` `[B, channels, height, width]`, or embeddings `[B, N, C]`.
    ///
    /// # Errors
    /// See [`Config::tokens`].
    pub fn input_shape(&self, batch: usize, size: Size) -> Result<Vec<usize>> {
        let tokens = self.tokens(size)?;
        Ok(match (self.patches(), size) {
            (Some(patches), Size::Image([height, width])) => vec![batch, patches.channels, height, width],
            (Some(patches), Size::Patches(_)) => vec![batch, tokens, patches.values()],
            _ => vec![batch, tokens, self.width],
        })
    }

    /// Returns the size of inputs, from their shape `[B, channels, height, width]` or `[B, N, C]`.
    ///
    /// # Errors
    /// [`Error::Argument`] if the model does not take inputs of this shape.
    pub fn input_size(&self, shape: &[usize]) -> Result<Size> {
        let size = match (&self.input, shape) {
            (Input::Image(patches), &[batch, channels, height, width]) if channels == patches.channels && batch > 0 => Size::Image([height, width]),
            (Input::Image(patches), &[batch, count, values]) if self.native_grids && values == patches.values() && batch > 0 => Size::Patches(count),
            (Input::Image(patches), _) => {
                let expected = format!("expected [B, {}, height, width] with B > 0, found {shape:?}", patches.channels);
                return Err(Error::argument("pixel_values", expected));
            }
            (Input::Text { .. } | Input::Embeddings { .. }, &[batch, tokens, width]) if width == self.width && batch > 0 => Size::Sequence(tokens),
            (Input::Text { .. } | Input::Embeddings { .. }, _) => {
                return Err(Error::argument("input", format!("expected [B, N, {}] with B > 0, found {shape:?}", self.width)));
            }
        };
        self.tokens(size)?;
        Ok(size)
    }

    /// Returns N, the number of tokens of an input.
    ///
    /// # Errors
    /// [`Error::Argument`] if the size is too small or too large, if the patches do not divide it, or if the
    /// model does not take this kind of input.
    pub fn tokens(&self, size: Size) -> Result<usize> {
        let tokens = match (&self.input, size) {
            (Input::Image(patches), Size::Image(image)) => {
                if let Some(refusal) = patches.refusal(image) {
                    return Err(Error::argument("image", refusal));
                }
                patches.grid(image).iter().fold(1, |product: usize, &side| product.saturating_mul(side)).saturating_add(self.prefix_tokens)
            }
            (Input::Image(_), Size::Patches(count)) if self.native_grids && count > 0 => count.saturating_add(self.prefix_tokens),
            (Input::Text { longest, .. } | Input::Embeddings { longest }, Size::Sequence(tokens)) if (1..=*longest).contains(&tokens) => tokens,
            (Input::Text { longest, .. } | Input::Embeddings { longest }, Size::Sequence(tokens)) => {
                return Err(Error::argument("input", format!("expected 1 to {longest} tokens, found {tokens}")));
            }
            (Input::Image(_), _) => return Err(Error::argument("input", format!("{} takes images as pixel_values", self.name))),
            (Input::Text { .. }, _) => return Err(Error::argument("input", format!("{} takes texts, not images", self.name))),
            (Input::Embeddings { .. }, _) => return Err(Error::argument("input", format!("{} takes embeddings, not images", self.name))),
        };
        if (tokens as u64).saturating_mul(self.widest() as u64) > LARGEST_ACTIVATION {
            return Err(Error::argument("input", format!("{tokens} tokens of width {} are more than the supported maximum", self.widest())));
        }
        match (&self.dense, &self.input, size) {
            (Some(dense), Input::Image(patches), Size::Image(image)) if dense.largest_map(patches, image) > LARGEST_ACTIVATION => {
                let [height, width] = image;
                Err(Error::argument("image", format!("an image of {height} x {width} gives larger maps than the supported maximum")))
            }
            _ => Ok(tokens),
        }
    }

    /// Returns D, the width of a head.
    pub fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// Returns the output width of the MLP's first layer: F, or 2·F if the MLP is gated.
    pub fn mlp_outputs(&self) -> usize {
        if self.gated { 2 * self.mlp_width } else { self.mlp_width }
    }

    fn widest(&self) -> usize {
        self.width.max(self.mlp_outputs())
    }

    /// Returns the output with a vector for each image, and the vector's width: the projection if the model has one, else the features.
    pub fn vector_output(&self) -> Option<(&'static str, usize)> {
        match (self.projection, self.pooling) {
            (Some(width), _) => Some((if self.is_text() { "text_embeds" } else { "image_embeds" }, width)),
            (None, Some(_)) => Some((if self.is_text() { "text.pooled" } else { "features" }, self.feature_width())),
            (None, None) => None,
        }
    }

    /// Returns whether the model takes texts.
    pub fn is_text(&self) -> bool {
        matches!(self.input, Input::Text { .. })
    }

    /// Returns the width of the features, which classifiers read; 0 if the tokens are not pooled.
    pub fn feature_width(&self) -> usize {
        match (self.pooler, self.pooling) {
            (Some(pooler), _) => pooler.width,
            (None, Some(Pooling::FirstAndMeanFrom(_))) => 2 * self.width,
            (None, Some(_)) => self.width,
            (None, None) => 0,
        }
    }

    /// Returns the width of a classifier's input.
    pub fn read_width(&self, reads: Reads) -> usize {
        match reads {
            Reads::Features => self.feature_width(),
            Reads::Token(_) => self.width,
            Reads::PreLogits => self.pre_logits.map_or(0, |layer| layer.width),
        }
    }

    /// Returns whether the logits are the mean of two classifiers' (distilled DeiT).
    pub fn is_distilled(&self) -> bool {
        self.classifiers.iter().any(|classifier| matches!(classifier.reads, Reads::Token(_)))
    }

    /// Returns the classifiers used for classification, each with its suffix of `logits` and `probabilities`. The classifiers of
    /// a distilled model count as one. The one on [`Config::pre_logits`] was trained with the model and replaces the one that
    /// skips that layer.
    pub fn default_classifiers(&self) -> Vec<(String, &Classifier)> {
        let trained = self.classifiers.iter().any(|classifier| classifier.reads == Reads::PreLogits);
        let is_part = |classifier: &Classifier| match classifier.reads {
            _ if classifier.probabilities == Probabilities::None => true,
            Reads::Token(_) => true,
            Reads::Features => trained && classifier.name.is_empty(),
            Reads::PreLogits => false,
        };
        let together = self.classifiers.iter().find(|classifier| matches!(classifier.reads, Reads::Token(_)));
        let alone = self.classifiers.iter().filter(|classifier| !is_part(classifier)).map(|classifier| (classifier.suffix(), classifier));
        together.map(|classifier| (String::new(), classifier)).into_iter().chain(alone).collect()
    }

    /// Checks the sizes that a configuration file can get wrong.
    pub(crate) fn validate(&self, path: &Path) -> Result<()> {
        let wrong = |message: String| Err(Error::file(path, message));
        if self.depth == 0 {
            return wrong("no encoder block; expected at least one".to_owned());
        }
        if !self.width.is_multiple_of(self.heads) {
            return wrong(format!("{} heads do not divide a width of {}", self.heads, self.width));
        }
        if self.rotary.is_some() && !self.head_width().is_multiple_of(4) {
            return wrong(format!("rotary positions over two axes need a head width that is a multiple of 4, found {}", self.head_width()));
        }
        if matches!(self.pooling, Some(Pooling::Attention(_))) && !self.width.is_multiple_of(self.pool_heads) {
            return wrong(format!("{} heads of attention pooling do not divide a width of {}", self.pool_heads, self.width));
        }
        if let Some(dense) = self.dense.as_ref().filter(|dense| dense.width < 2) {
            return wrong(format!("fused maps have {} channel; expected at least 2", dense.width));
        }
        if let Err(Error::Argument { message: refusal, .. }) = self.tokens(self.native_size()) {
            return wrong(refusal);
        }
        if !(self.epsilon.is_finite() && self.epsilon >= 0.0) {
            return wrong(format!("the norms' epsilon is {}, expected a small positive number", self.epsilon));
        }
        Ok(())
    }

    /// Returns the floating-point operations of the matrix products for one input; a multiply-add counts as two.
    ///
    /// # Errors
    /// See [`Config::tokens`].
    pub fn flops(&self, size: Size) -> Result<u64> {
        let n = self.tokens(size)? as u64;
        let [c, f, depth, outputs] = [self.width, self.mlp_width, self.depth, self.mlp_outputs()].map(|size| size as u64);
        let embedding = match (&self.input, size) {
            (Input::Image(patches), Size::Image(image)) => {
                (n - self.prefix_tokens as u64) * patches.projection_products(self.width) + patches.backbone_products(image)
            }
            _ => 0,
        };
        let pairs = if self.branches == Branches::Pairs { 2 } else { 1 };
        let block = pairs * (n * (4 * c * c + c * outputs + f * c) + 2 * n * n * c);
        let pooled = match self.pooling {
            // Keys and values of all tokens, one query, its projection, and the MLP.
            Some(Pooling::Attention(_)) => n * 2 * c * c + 2 * n * c + 2 * c * c + 2 * c * f,
            _ => 0,
        };
        let layer = |width: Option<usize>| self.feature_width() as u64 * width.unwrap_or(0) as u64;
        let pooler = c * self.pooler.map_or(0, |pooler| pooler.width as u64);
        let heads: u64 = self.classifiers.iter().map(|head| (self.read_width(head.reads) * head.classes) as u64).sum();
        let top = pooler + layer(self.projection) + layer(self.pre_logits.map(|layer| layer.width)) + heads;
        let dense = match (&self.dense, &self.input, size) {
            (Some(dense), Input::Image(patches), Size::Image(image)) => dense.products(patches, image, self.width),
            _ => 0,
        };
        Ok(2 * (embedding + depth * block + pooled + top + dense))
    }
}

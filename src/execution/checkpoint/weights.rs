//! Weights of an encoder, generic over the representation of a tensor: its source, its values, its shape, or its
//! handle in a recording.

use crate::data::capabilities::{Capabilities, Precision};
use crate::data::error;
use crate::data::tensor::Tensor;
use std::collections::HashMap;

/// A loaded weight.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Name in the file, for messages.
    pub name: String,
    /// Values.
    pub tensor: Tensor,
    /// Number of learned values, without the zeros in place of a bias that the model lacks.
    pub learned: usize,
}

/// Name and shape of a weight.
#[derive(Clone, Debug)]
pub struct WeightInfo {
    /// Name in the file, for messages.
    pub name: String,
    /// Sizes of the axes, outermost first.
    pub shape: Vec<usize>,
}

/// Dense layer: weight `[out, in]`, bias `[out]`.
#[derive(Clone, Debug)]
pub struct Linear<T> {
    /// `[out, in]`, as PyTorch stores it.
    pub weight: T,
    /// `[out]`.
    pub bias: T,
}

/// LayerNorm, GroupNorm or RMSNorm: scale and bias per channel.
#[derive(Clone, Debug)]
pub struct Norm<T> {
    /// `[C]`.
    pub weight: T,
    /// `[C]`; RMSNorm has none.
    pub bias: Option<T>,
}

/// Norms on queries and keys, each over the D values of a head.
#[derive(Clone, Debug)]
pub struct QkNorm<T> {
    /// Norm of the queries, `[D]`.
    pub query: Norm<T>,
    /// Norm of the keys, `[D]`.
    pub key: Norm<T>,
}

/// Encoder block (Dosovitskiy et al. 2021, equations 2 and 3).
#[derive(Clone, Debug)]
pub struct Block<T> {
    /// Norm before attention, or after its residual sum.
    pub norm1: Norm<T>,
    /// Packed query, key and value: weight `[3·C, C]`, with the rows of q, then k, then v, each head by head.
    pub qkv: Linear<T>,
    /// Norms of queries and keys.
    pub qk_norm: Option<QkNorm<T>>,
    /// Norm before the projection after attention.
    pub attention_norm: Option<Norm<T>>,
    /// Projection after attention: weight `[C, C]`.
    pub projection: Linear<T>,
    /// LayerScale of the attention branch, `[C]`.
    pub scale1: Option<T>,
    /// Norm before the MLP, or after its residual sum; `None` if the MLP reads what attention reads.
    pub norm2: Option<Norm<T>>,
    /// First MLP layer: weight `[F, C]`, or with a gate `[2·F, C]`, the gate's rows first.
    pub mlp1: Linear<T>,
    /// Norm before the second MLP layer, `[F]`.
    pub mlp_norm: Option<Norm<T>>,
    /// Second MLP layer: weight `[C, F]`.
    pub mlp2: Linear<T>,
    /// LayerScale of the MLP branch, `[C]`.
    pub scale2: Option<T>,
}

/// Convolution without bias, weight-standardised at load time, and its GroupNorm.
#[derive(Clone, Debug)]
pub struct Convolution<T> {
    /// `[out, in, height, width]`.
    pub weight: T,
    /// GroupNorm over the `out` channels.
    pub norm: Norm<T>,
}

/// Residual block of the backbone (He et al. 2016, figure 5): 1×1, 3×3 and 1×1 convolutions.
#[derive(Clone, Debug)]
pub struct Bottleneck<T> {
    /// 1×1 convolution to the inner channels.
    pub conv1: Convolution<T>,
    /// 3×3 convolution with the stage's stride.
    pub conv2: Convolution<T>,
    /// 1×1 convolution to the outer channels.
    pub conv3: Convolution<T>,
    /// 1×1 convolution in the shortcut, where sizes change.
    pub downsample: Option<Convolution<T>>,
}

/// Convolutional backbone of a hybrid.
#[derive(Clone, Debug)]
pub struct Backbone<T> {
    /// 7×7 convolution.
    pub stem: Convolution<T>,
    /// Blocks of each stage.
    pub stages: Vec<Vec<Bottleneck<T>>>,
}

/// Attention pooling: one learned query attends to all tokens (Lee et al. 2019; SigLIP's head).
#[derive(Clone, Debug)]
pub struct AttentionPool<T> {
    /// Learned query before its projection, `[1, C]`.
    pub latent: T,
    /// Query projection: weight `[C, C]`; `None` if the learned query is used as it is.
    pub query: Option<Linear<T>>,
    /// Packed key and value projections: weight `[2·C, C]`.
    pub key_value: Linear<T>,
    /// Projection after attention: weight `[C, C]`.
    pub projection: Linear<T>,
    /// MLP, whose output is added.
    pub mlp: Option<PoolMlp<T>>,
}

/// MLP after attention pooling.
#[derive(Clone, Debug)]
pub struct PoolMlp<T> {
    /// Norm before the first layer.
    pub norm: Norm<T>,
    /// First layer: weight `[F, C]`.
    pub linear1: Linear<T>,
    /// Second layer: weight `[C, F]`.
    pub linear2: Linear<T>,
}

/// All weights of an encoder except the position table, which depends on the image size.
#[derive(Clone, Debug)]
pub struct Weights<T> {
    /// Convolutional backbone before the patch projection.
    pub backbone: Option<Backbone<T>>,
    /// Layers between a patch's pixels and its projection: weights `[stem width, inputs]`.
    pub stem: Vec<Linear<T>>,
    /// Patch projection: weight `[C, channels · patch height · patch width]`, or `[C, stem width]`.
    pub patch: Option<Linear<T>>,
    /// Class token, distillation token and registers, with positions added: `[T, C]`.
    pub prefix: Option<T>,
    /// Norm of the projected patches.
    pub patch_norm: Option<Norm<T>>,
    /// Norm before the first block.
    pub pre_norm: Option<Norm<T>>,
    /// Encoder blocks.
    pub blocks: Vec<Block<T>>,
    /// Second attention and MLP of each block, if they come in pairs.
    pub beside: Vec<Block<T>>,
    /// Norm after the last block.
    pub norm: Option<Norm<T>>,
    /// Attention pooling of the tokens.
    pub attention_pool: Option<AttentionPool<T>>,
    /// Norm of the pooled vector.
    pub pool_norm: Option<Norm<T>>,
    /// Dense layer on the pooled vector: weight `[pooler width, C]`.
    pub pooler: Option<Linear<T>>,
    /// Projection into the space shared with text: weight `[projection, C]`.
    pub projection: Option<Linear<T>>,
    /// Dense layer between features and classifier: weight `[width, C]`.
    pub pre_logits: Option<Linear<T>>,
    /// Classifiers, in the configuration's order: weight `[classes, inputs]`.
    pub heads: Vec<Linear<T>>,
    /// Head with a result for each pixel.
    pub dense: Option<Dense<T>>,
}

/// Implements `try_map` for a structure. Each field is a tensor (`leaf`), a structure (`node`), or an option or list of these.
macro_rules! try_map {
    ($name:ident { $($field:ident: $kind:ident),* $(,)? }) => {
        impl<T> $name<T> {
            pub(super) fn try_map<U, E>(self, f: &mut impl FnMut(T) -> Result<U, E>) -> Result<$name<U>, E> {
                Ok($name { $($field: try_map!($kind f, self.$field)),* })
            }
        }
    };
    (leaf $f:ident, $value:expr) => { $f($value)? };
    (node $f:ident, $value:expr) => { $value.try_map($f)? };
    (maybe_leaf $f:ident, $value:expr) => { $value.map(&mut *$f).transpose()? };
    (maybe $f:ident, $value:expr) => { $value.map(|node| node.try_map($f)).transpose()? };
    (list $f:ident, $value:expr) => { $value.into_iter().map(|node| node.try_map($f)).collect::<Result<_, E>>()? };
    (lists $f:ident, $value:expr) => {
        $value.into_iter().map(|nodes| nodes.into_iter().map(|node| node.try_map($f)).collect()).collect::<Result<_, E>>()?
    };
}

mod dense;

pub use dense::{Dense, Fusion, Reassembly, ResidualUnit};

try_map!(Linear { weight: leaf, bias: leaf });
try_map!(Norm { weight: leaf, bias: maybe_leaf });
try_map!(QkNorm { query: node, key: node });
try_map!(Block {
    norm1: node,
    qkv: node,
    qk_norm: maybe,
    attention_norm: maybe,
    projection: node,
    scale1: maybe_leaf,
    norm2: maybe,
    mlp1: node,
    mlp_norm: maybe,
    mlp2: node,
    scale2: maybe_leaf,
});
try_map!(Convolution { weight: leaf, norm: node });
try_map!(Bottleneck { conv1: node, conv2: node, conv3: node, downsample: maybe });
try_map!(Backbone { stem: node, stages: lists });
try_map!(AttentionPool { latent: leaf, query: maybe, key_value: node, projection: node, mlp: maybe });
try_map!(PoolMlp { norm: node, linear1: node, linear2: node });
try_map!(Weights {
    backbone: maybe,
    stem: list,
    patch: maybe,
    prefix: maybe_leaf,
    patch_norm: maybe,
    pre_norm: maybe,
    blocks: list,
    beside: list,
    norm: maybe,
    attention_pool: maybe,
    pool_norm: maybe,
    pooler: maybe,
    projection: maybe,
    pre_logits: maybe,
    heads: list,
    dense: maybe,
});

impl<T: Copy> Linear<T> {
    /// Returns weight and bias.
    pub fn pair(&self) -> [T; 2] {
        [self.weight, self.bias]
    }
}

impl Weight {
    /// Returns the name and shape.
    pub fn info(&self) -> WeightInfo {
        WeightInfo { name: self.name.clone(), shape: self.tensor.shape().to_vec() }
    }

    /// Returns some of the values, which tell one model from another without reading all of it: of each stored tensor 8 runs of 64, or all if it has no
    /// more.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if they cannot be read.
    pub fn sample(&self) -> error::Result<Vec<f32>> {
        self.tensor.sample()
    }
}

impl Weights<WeightInfo> {
    /// Maps the name of every right-hand factor of a matrix product, all `[out, in]`, to the precision it is stored in when `precision` is
    /// requested. The patch projection has that of activations: in bf16, trained patches move the first block's attention by 4 %. Only layers of blocks become
    /// integers, and none of the first and the last block, whose errors weigh most: those of the first pass through all others, and those of the last reach
    /// the result undamped. These stay in f16; on processors that multiply bf16, all but qkv of the last in that.
    pub fn factors(&self, precision: Precision, capabilities: &Capabilities) -> HashMap<String, Precision> {
        let named = |linear: &Linear<WeightInfo>, precision| (linear.weight.name.clone(), precision);
        let patch = self.stem.iter().chain(&self.patch).map(|linear| named(linear, capabilities.activations(precision)));
        let outside = if precision == Precision::Int8 { Precision::F32 } else { precision };
        let all = self.linears().map(|linear| named(linear, outside)).chain(patch);
        let last = self.blocks.len().saturating_sub(1);
        let blocks = self.blocks.iter().enumerate().chain(self.beside.iter().enumerate()).flat_map(|(i, block)| {
            // The first block's errors, and those of scores, which are exponents, weigh more than what bf16 saves.
            let [of_qkv, of_others] = match precision {
                Precision::Int8 if i == last && i > 0 && capabilities.bf16 => [Precision::F16, Precision::Bf16],
                Precision::Int8 if i == 0 || i == last => [Precision::F16; 2],
                precision => [precision; 2],
            };
            let others = [&block.projection, &block.mlp1, &block.mlp2].map(|linear| named(linear, of_others));
            others.into_iter().chain([named(&block.qkv, of_qkv)])
        });
        // Windows are gathered from maps in f32 or f16.
        let windows = self.dense.iter().flat_map(Dense::windows);
        let windows = windows.map(|linear| named(linear, if precision == Precision::F16 { precision } else { Precision::F32 }));
        all.chain(blocks).chain(windows).collect()
    }
}

impl<T> Weights<T> {
    /// Weights with encoder blocks only.
    pub(super) fn of_blocks(blocks: Vec<Block<T>>) -> Weights<T> {
        Weights {
            backbone: None,
            stem: Vec::new(),
            patch: None,
            prefix: None,
            patch_norm: None,
            pre_norm: None,
            blocks,
            beside: Vec::new(),
            norm: None,
            attention_pool: None,
            pool_norm: None,
            pooler: None,
            projection: None,
            pre_logits: None,
            heads: Vec::new(),
            dense: None,
        }
    }

    /// Returns all dense layers, without those on windows of maps.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<T>> {
        let blocks = self.blocks.iter().chain(&self.beside).flat_map(|block| [&block.qkv, &block.projection, &block.mlp1, &block.mlp2]);
        let top = self.pooler.iter().chain(&self.projection).chain(&self.pre_logits).chain(&self.heads);
        let pool = self.attention_pool.iter().flat_map(|pool| {
            let mlp = pool.mlp.iter().flat_map(|mlp| [&mlp.linear1, &mlp.linear2]);
            pool.query.iter().chain([&pool.key_value, &pool.projection]).chain(mlp)
        });
        self.patch.iter().chain(blocks).chain(pool).chain(top).chain(self.dense.iter().flat_map(Dense::layers))
    }

    /// Maps each tensor, in the fixed order in which the weights are numbered.
    ///
    /// # Errors
    /// The first error that `f` returns.
    pub fn try_map_all<U, E>(self, mut f: impl FnMut(T) -> Result<U, E>) -> Result<Weights<U>, E> {
        self.try_map(&mut f)
    }
}

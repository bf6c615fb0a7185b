//! The weights of an encoder, as a structure over whatever stands for a tensor: where to find it, its
//! values, its shape, or its handle in a recording.

use crate::data::capabilities::{Capabilities, Precision};
use crate::data::tensor::Tensor;
use std::collections::HashMap;

/// A weight as it was found.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Its name in the file, for messages.
    pub name: String,
    /// Its values.
    pub tensor: Tensor,
    /// How many of them were learned; a bias that the model does not have is all zeros, and none of it was.
    pub learned: usize,
}

/// A weight without its values.
#[derive(Clone, Debug)]
pub struct WeightInfo {
    /// Its name in the file, for messages.
    pub name: String,
    /// Sizes of its axes, outermost first.
    pub shape: Vec<usize>,
}

/// A dense layer: weight `[out, in]`, bias `[out]`.
#[derive(Clone, Debug)]
pub struct Linear<T> {
    /// `[out, in]`, as PyTorch stores it.
    pub weight: T,
    /// `[out]`.
    pub bias: T,
}

/// A LayerNorm or GroupNorm: a factor and a term for each channel.
#[derive(Clone, Debug)]
pub struct Norm<T> {
    /// `[C]`.
    pub weight: T,
    /// `[C]`.
    pub bias: T,
}

/// LayerNorms on the queries and the keys, each over the D values of a head.
#[derive(Clone, Debug)]
pub struct QkNorm<T> {
    /// On queries, `[D]`.
    pub query: Norm<T>,
    /// On keys, `[D]`.
    pub key: Norm<T>,
}

/// An encoder block (Dosovitskiy et al. 2021, equations 2 and 3).
#[derive(Clone, Debug)]
pub struct Block<T> {
    /// Of attention: in front of it, or after its residual sum.
    pub norm1: Norm<T>,
    /// Packed query, key and value: weight `[3·C, C]`, rows q, then k, then v, each head by head.
    pub qkv: Linear<T>,
    /// On queries and keys.
    pub qk_norm: Option<QkNorm<T>>,
    /// After attention: weight `[C, C]`.
    pub projection: Linear<T>,
    /// LayerScale on the attention's half, `[C]`.
    pub scale1: Option<T>,
    /// Of the MLP: in front of it, or after its residual sum.
    pub norm2: Norm<T>,
    /// Weight `[F, C]`; `[2·F, C]` with the gate's rows first if there is a gate.
    pub mlp1: Linear<T>,
    /// Weight `[C, F]`.
    pub mlp2: Linear<T>,
    /// LayerScale on the MLP's half, `[C]`.
    pub scale2: Option<T>,
}

/// A convolution without bias, weight-standardised when it was loaded, and its GroupNorm.
#[derive(Clone, Debug)]
pub struct Convolution<T> {
    /// `[out, in, height, width]`.
    pub weight: T,
    /// Over groups of the `out` channels.
    pub norm: Norm<T>,
}

/// A residual block of the backbone (He et al. 2016, figure 5): 1×1, 3×3 and 1×1.
#[derive(Clone, Debug)]
pub struct Bottleneck<T> {
    /// 1×1, to the inner channels.
    pub conv1: Convolution<T>,
    /// 3×3, with the stage's stride.
    pub conv2: Convolution<T>,
    /// 1×1, to the outer channels.
    pub conv3: Convolution<T>,
    /// A 1×1 convolution in the shortcut, where sizes change.
    pub downsample: Option<Convolution<T>>,
}

/// The convolutional network in front of a hybrid.
#[derive(Clone, Debug)]
pub struct Backbone<T> {
    /// 7×7.
    pub stem: Convolution<T>,
    /// The blocks of each stage.
    pub stages: Vec<Vec<Bottleneck<T>>>,
}

/// Attention of one learned query to all tokens (Lee et al. 2019; SigLIP's head).
#[derive(Clone, Debug)]
pub struct AttentionPool<T> {
    /// The learned query before its projection, `[1, C]`.
    pub latent: T,
    /// Weight `[C, C]`.
    pub query: Linear<T>,
    /// Packed key and value: weight `[2·C, C]`.
    pub key_value: Linear<T>,
    /// After attention: weight `[C, C]`.
    pub projection: Linear<T>,
    /// Before the MLP.
    pub norm: Norm<T>,
    /// Weight `[F, C]`.
    pub mlp1: Linear<T>,
    /// Weight `[C, F]`.
    pub mlp2: Linear<T>,
}

/// All weights of an encoder but for its position table, which depends on the image's size.
#[derive(Clone, Debug)]
pub struct Weights<T> {
    /// In front of the patches.
    pub backbone: Option<Backbone<T>>,
    /// The patch projection: weight `[C, channels · patch height · patch width]`.
    pub patch: Option<Linear<T>>,
    /// Class token, distillation token, registers, with their positions added: `[T, C]`.
    pub prefix: Option<T>,
    /// Before the first block.
    pub pre_norm: Option<Norm<T>>,
    /// The encoder blocks.
    pub blocks: Vec<Block<T>>,
    /// After the last block.
    pub norm: Option<Norm<T>>,
    /// Pools the tokens.
    pub attention_pool: Option<AttentionPool<T>>,
    /// On the pooled vector.
    pub pool_norm: Option<Norm<T>>,
    /// Dense layer on the pooled vector: weight `[pooler width, C]`.
    pub pooler: Option<Linear<T>>,
    /// Into the space shared with texts: weight `[projection, C]`.
    pub projection: Option<Linear<T>>,
    /// Between the features and a classifier: weight `[width, C]`.
    pub pre_logits: Option<Linear<T>>,
    /// The classifiers, in the configuration's order: weight `[classes, what it reads]`.
    pub heads: Vec<Linear<T>>,
}

/// Writes `try_map` of a structure: for each field what it is, a tensor (`leaf`), a structure (`node`), or several.
macro_rules! try_map {
    ($name:ident { $($field:ident: $kind:ident),* $(,)? }) => {
        impl<T> $name<T> {
            fn try_map<U, E>(self, f: &mut impl FnMut(T) -> Result<U, E>) -> Result<$name<U>, E> {
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

try_map!(Linear { weight: leaf, bias: leaf });
try_map!(Norm { weight: leaf, bias: leaf });
try_map!(QkNorm { query: node, key: node });
try_map!(Block {
    norm1: node,
    qkv: node,
    qk_norm: maybe,
    projection: node,
    scale1: maybe_leaf,
    norm2: node,
    mlp1: node,
    mlp2: node,
    scale2: maybe_leaf,
});
try_map!(Convolution { weight: leaf, norm: node });
try_map!(Bottleneck { conv1: node, conv2: node, conv3: node, downsample: maybe });
try_map!(Backbone { stem: node, stages: lists });
try_map!(AttentionPool { latent: leaf, query: node, key_value: node, projection: node, norm: node, mlp1: node, mlp2: node });
try_map!(Weights {
    backbone: maybe,
    patch: maybe,
    prefix: maybe_leaf,
    pre_norm: maybe,
    blocks: list,
    norm: maybe,
    attention_pool: maybe,
    pool_norm: maybe,
    pooler: maybe,
    projection: maybe,
    pre_logits: maybe,
    heads: list,
});

impl<T: Copy> Linear<T> {
    /// Weight and bias.
    pub fn pair(&self) -> [T; 2] {
        [self.weight, self.bias]
    }
}

impl<T: Copy> Norm<T> {
    /// Weight and bias.
    pub fn pair(&self) -> [T; 2] {
        [self.weight, self.bias]
    }
}

impl Weight {
    /// What is known of it without its values.
    pub fn info(&self) -> WeightInfo {
        WeightInfo { name: self.name.clone(), shape: self.tensor.shape().to_vec() }
    }
}

impl Weights<WeightInfo> {
    /// The weights that are right factors of products, all `[out, in]`, by their names, and in what precision they are kept if
    /// `precision` is asked for: that of the patches is what activations are, and only the blocks' become integers.
    pub fn factors(&self, precision: Precision, capabilities: &Capabilities) -> HashMap<String, Precision> {
        let named = |linear: &Linear<WeightInfo>, precision| (linear.weight.name.clone(), precision);
        // Patches are projected in what activations are kept in.
        let patch = self.patch.iter().map(|linear| named(linear, capabilities.activations(precision)));
        let outside = if precision == Precision::Int8 { Precision::F32 } else { precision };
        let all = self.linears().map(|linear| named(linear, outside)).chain(patch);
        let blocks = self.blocks.iter().flat_map(|block| [&block.qkv, &block.projection, &block.mlp1, &block.mlp2]);
        all.chain(blocks.map(|linear| named(linear, precision))).collect()
    }
}

impl<T> Weights<T> {
    /// Encoder blocks and nothing else.
    pub(super) fn of_blocks(blocks: Vec<Block<T>>) -> Weights<T> {
        Weights {
            backbone: None,
            patch: None,
            prefix: None,
            pre_norm: None,
            blocks,
            norm: None,
            attention_pool: None,
            pool_norm: None,
            pooler: None,
            projection: None,
            pre_logits: None,
            heads: Vec::new(),
        }
    }

    /// All dense layers.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<T>> {
        let blocks = self.blocks.iter().flat_map(|block| [&block.qkv, &block.projection, &block.mlp1, &block.mlp2]);
        let pool = self.attention_pool.iter().flat_map(|pool| [&pool.query, &pool.key_value, &pool.projection, &pool.mlp1, &pool.mlp2]);
        let top = self.pooler.iter().chain(&self.projection).chain(&self.pre_logits).chain(&self.heads);
        self.patch.iter().chain(blocks).chain(pool).chain(top)
    }

    /// Replaces each tensor, in a fixed order: the order in which the weights are numbered.
    ///
    /// # Errors
    /// The first that `f` gives.
    pub fn try_map_all<U, E>(self, mut f: impl FnMut(T) -> Result<U, E>) -> Result<Weights<U>, E> {
        self.try_map(&mut f)
    }
}

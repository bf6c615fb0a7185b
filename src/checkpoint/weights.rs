//! The weights of an encoder, as a structure over whatever stands for a tensor: where to find it, its
//! values, or its handle in a recording.

use crate::tensor::Tensor;

/// A weight as it was found.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Its name in the file, for messages.
    pub name: String,
    /// Its values.
    pub tensor: Tensor,
    /// Whether it comes from the file; a bias that the model does not have is all zeros and does not.
    pub stored: bool,
}

/// A dense layer: weight `[out, in]`, bias `[out]`.
#[derive(Clone, Debug)]
pub struct Linear<T> {
    /// `[out, in]`, as PyTorch stores it.
    pub weight: T,
    /// `[out]`.
    pub bias: T,
}

/// A LayerNorm over C values.
#[derive(Clone, Debug)]
pub struct Norm<T> {
    /// `[C]`.
    pub weight: T,
    /// `[C]`.
    pub bias: T,
}

/// An encoder block (Dosovitskiy et al. 2021, equations 2 and 3).
#[derive(Clone, Debug)]
pub struct Block<T> {
    /// Before attention.
    pub norm1: Norm<T>,
    /// Packed query, key and value: weight `[3·C, C]`, rows q, then k, then v, each head by head.
    pub qkv: Linear<T>,
    /// After attention: weight `[C, C]`.
    pub projection: Linear<T>,
    /// LayerScale on the attention's half, `[C]`.
    pub scale1: Option<T>,
    /// Before the MLP.
    pub norm2: Norm<T>,
    /// Weight `[F, C]`.
    pub mlp1: Linear<T>,
    /// Weight `[C, F]`.
    pub mlp2: Linear<T>,
    /// LayerScale on the MLP's half, `[C]`.
    pub scale2: Option<T>,
}

/// All weights of an encoder.
#[derive(Clone, Debug)]
pub struct Weights<T> {
    /// The patch projection: weight `[C, channels · patch height · patch width]`.
    pub patch: Linear<T>,
    /// Class token and registers, `[T, C]`; one row of zeros if there are none.
    pub prefix: T,
    /// Positions of the last rows of the sequence, `[up to N, C]`.
    pub position: T,
    /// Before the first block.
    pub pre_norm: Option<Norm<T>>,
    /// The encoder blocks.
    pub blocks: Vec<Block<T>>,
    /// After the last block.
    pub norm: Option<Norm<T>>,
    /// On the pooled vector.
    pub pool_norm: Option<Norm<T>>,
    /// Dense layer on the pooled vector: weight `[pooler width, C]`.
    pub pooler: Option<Linear<T>>,
    /// The classifier: weight `[classes, C]`.
    pub head: Option<Linear<T>>,
}

impl<T> Linear<T> {
    fn try_map<U, E>(self, f: &mut impl FnMut(T) -> Result<U, E>) -> Result<Linear<U>, E> {
        Ok(Linear { weight: f(self.weight)?, bias: f(self.bias)? })
    }
}

impl<T: Copy> Linear<T> {
    /// Weight and bias.
    pub fn pair(&self) -> [T; 2] {
        [self.weight, self.bias]
    }
}

impl<T> Norm<T> {
    fn try_map<U, E>(self, f: &mut impl FnMut(T) -> Result<U, E>) -> Result<Norm<U>, E> {
        Ok(Norm { weight: f(self.weight)?, bias: f(self.bias)? })
    }
}

impl<T: Copy> Norm<T> {
    /// Weight and bias.
    pub fn pair(&self) -> [T; 2] {
        [self.weight, self.bias]
    }
}

impl<T> Block<T> {
    fn try_map<U, E>(self, f: &mut impl FnMut(T) -> Result<U, E>) -> Result<Block<U>, E> {
        Ok(Block {
            norm1: self.norm1.try_map(f)?,
            qkv: self.qkv.try_map(f)?,
            projection: self.projection.try_map(f)?,
            scale1: self.scale1.map(&mut *f).transpose()?,
            norm2: self.norm2.try_map(f)?,
            mlp1: self.mlp1.try_map(f)?,
            mlp2: self.mlp2.try_map(f)?,
            scale2: self.scale2.map(&mut *f).transpose()?,
        })
    }
}

impl<T> Weights<T> {
    /// All dense layers.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<T>> {
        let blocks = self.blocks.iter().flat_map(|block| [&block.qkv, &block.projection, &block.mlp1, &block.mlp2]);
        std::iter::once(&self.patch).chain(blocks).chain(&self.pooler).chain(&self.head)
    }

    /// Replaces each tensor, in a fixed order: the order in which the weights are numbered.
    pub fn try_map<U, E>(self, mut f: impl FnMut(T) -> Result<U, E>) -> Result<Weights<U>, E> {
        let f = &mut f;
        Ok(Weights {
            patch: self.patch.try_map(f)?,
            prefix: f(self.prefix)?,
            position: f(self.position)?,
            pre_norm: self.pre_norm.map(|norm| norm.try_map(f)).transpose()?,
            blocks: self.blocks.into_iter().map(|block| block.try_map(f)).collect::<Result<_, E>>()?,
            norm: self.norm.map(|norm| norm.try_map(f)).transpose()?,
            pool_norm: self.pool_norm.map(|norm| norm.try_map(f)).transpose()?,
            pooler: self.pooler.map(|linear| linear.try_map(f)).transpose()?,
            head: self.head.map(|linear| linear.try_map(f)).transpose()?,
        })
    }
}

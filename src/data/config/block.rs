//! Plain data for what differs between the blocks of one family and another, and for rotary positions.

/// Position of the norms in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NormOrder {
    /// Before attention and before the MLP (Dosovitskiy et al. 2021).
    Pre,
    /// After each residual sum (Vaswani et al. 2017).
    Post,
    /// After attention and after the MLP, before the residual sum (Liu et al. 2022, Swin Transformer V2).
    ResidualPost,
}

/// Arrangement of attention and MLP in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Branches {
    /// The MLP follows attention (Vaswani et al. 2017).
    Sequential,
    /// Both read the same norm, and their sum is added to the stream (Dehghani et al. 2023, ViT-22B).
    Parallel,
    /// Two attentions side by side, then two MLPs side by side, each with its own norm (Touvron et al. 2022, "Three things").
    Pairs,
}

/// Rotary positions over both axes of the grid of patches (Su et al. 2021).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rotary {
    /// Angles of a patch.
    pub angles: Angles,
    /// Whether the elements 2·i and 2·i + 1 of a head's vector are rotated against each other, rather than i and i + D / 2.
    pub interleaved: bool,
}

/// Rotary angles of a patch.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Angles {
    /// 2π · coordinate / base^(4 j / D), with the coordinates of patch centres from -1 to 1 (Siméoni et al. 2025, DINOv3).
    Centred {
        /// The base.
        base: f64,
    },
    /// index / base^(4 j / D), with patches numbered along each axis (Fang et al. 2023, EVA-02; Bolya et al. 2025, Perception Encoder).
    Indexed {
        /// The base.
        base: f64,
        /// Added to each index.
        offset: f64,
        /// Grid to whose rows and columns the indices are scaled.
        reference: Option<[usize; 2]>,
        /// Whether the first angles are those of columns, rather than of rows.
        columns_first: bool,
    },
    /// Sum of both indices times frequencies that are learned for each block and head (Heo et al. 2024, RoPE-Mixed).
    Learned {
        /// Whether the first frequencies are those of columns, rather than of rows.
        columns_first: bool,
    },
}

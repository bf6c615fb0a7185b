//! Tuning keys: classes of calls that share their fastest variant.

use crate::data::capabilities::{Capabilities, Precision};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A class of calls of similar shape, which share their fastest variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TuningKey {
    /// Product x · wᵀ: x `[M, K]`, w `[N, K]`.
    Product {
        /// M, rounded up in steps of an eighth of a power of two, and capped.
        m: usize,
        /// N.
        n: usize,
        /// K.
        k: usize,
        /// Precision of x.
        x: Precision,
        /// Precision of w.
        w: Precision,
    },
    /// Attention over `[B, N, 3, H, D]`.
    Attention {
        /// B · H, rounded up in steps of an eighth of a power of two, and capped.
        heads: usize,
        /// N, rounded up in steps of an eighth of a power of two, and capped.
        tokens: usize,
        /// Number of queries: 1, or as many as tokens.
        queries: usize,
        /// D.
        head: usize,
        /// Precision of queries, keys and values.
        qkv: Precision,
    },
}

/// Returns the number of rows beyond which more rows change only the time: far more than a GPU, or a CPU, processes at once.
fn most_rows(capabilities: &Capabilities) -> usize {
    if capabilities.software { 128 } else { 16384 }
}

/// Rounds up in steps of an eighth of a power of two. Finer than whole powers, because the size decides which tiles fill a
/// GPU to the last workgroup.
fn rounded(size: usize) -> usize {
    size.next_multiple_of((size.next_power_of_two() / 16).max(1))
}

impl TuningKey {
    /// Returns the key of a product.
    pub fn product([m, n, k]: [usize; 3], [x, w]: [Precision; 2], capabilities: &Capabilities) -> TuningKey {
        TuningKey::Product { m: rounded(m).min(most_rows(capabilities)), n, k, x, w }
    }

    /// Returns the key of attention over `heads` heads (B · H) of width `head`.
    pub fn attention(heads: usize, [tokens, queries]: [usize; 2], head: usize, qkv: Precision, capabilities: &Capabilities) -> TuningKey {
        let tokens = rounded(tokens).min(most_rows(capabilities));
        let heads = rounded(heads).min((16 * most_rows(capabilities) / tokens).max(1));
        TuningKey::Attention { heads, tokens, queries: if queries == 1 { 1 } else { tokens }, head, qkv }
    }
}

impl std::fmt::Display for TuningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TuningKey::Product { m, n, k, x, w } => write!(f, "product {x}x{w} M={m} N={n} K={k}"),
            TuningKey::Attention { heads, tokens, queries, head, qkv } => {
                write!(f, "attention {qkv} BH={heads} N={tokens} queries={queries} D={head}")
            }
        }
    }
}

/// The chosen variant for each key, both by name. Missing keys use the default variant.
pub type Choices = Arc<BTreeMap<String, String>>;

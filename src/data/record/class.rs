//! Classes of calls that the same variant suits, and which one is chosen for each.

use crate::data::capabilities::{Capabilities, Precision};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Calls of about the same shape: what takes many rows takes more of them in about the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Products x · wᵀ, x `[M, K]`, w `[N, K]`.
    Product {
        /// M, in eighths of a power of two.
        m: usize,
        /// N.
        n: usize,
        /// K.
        k: usize,
        /// What x is kept in.
        x: Precision,
        /// What w is kept in.
        w: Precision,
    },
    /// Attention over `[B, N, 3, H, D]`.
    Attention {
        /// B · H, in eighths of a power of two.
        heads: usize,
        /// N, in eighths of a power of two.
        tokens: usize,
        /// Queries: one, or as many as tokens.
        queries: usize,
        /// D.
        head: usize,
        /// What queries, keys and values are kept in.
        qkv: Precision,
    },
}

/// Rows behind which more of them change nothing but the time: far more than a GPU has work for at a time, or a processor.
fn most_rows(capabilities: &Capabilities) -> usize {
    if capabilities.software { 128 } else { 16384 }
}

/// The next power of two, or the next eighth of the way to it: which tiles fill a GPU to the last workgroup depends on the size.
fn rounded(size: usize) -> usize {
    size.next_multiple_of((size.next_power_of_two() / 16).max(1))
}

impl Class {
    /// That of products.
    pub fn product([m, n, k]: [usize; 3], [x, w]: [Precision; 2], capabilities: &Capabilities) -> Class {
        Class::Product { m: rounded(m).min(most_rows(capabilities)), n, k, x, w }
    }

    /// That of attention of `heads` heads, B · H, of width `head`.
    pub fn attention(heads: usize, [tokens, queries]: [usize; 2], head: usize, qkv: Precision, capabilities: &Capabilities) -> Class {
        let tokens = rounded(tokens).min(most_rows(capabilities));
        let heads = rounded(heads).min((16 * most_rows(capabilities) / tokens).max(1));
        Class::Attention { heads, tokens, queries: if queries == 1 { 1 } else { tokens }, head, qkv }
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Class::Product { m, n, k, x, w } => write!(f, "product {x}x{w} M={m} N={n} K={k}"),
            Class::Attention { heads, tokens, queries, head, qkv } => write!(f, "attention {qkv} BH={heads} N={tokens} queries={queries} D={head}"),
        }
    }
}

/// Which variant to take for which class, both by name; what is not in it is chosen by rule.
pub type Choices = Arc<BTreeMap<String, String>>;

//! Keys that a query attends to, and biases of scores.

use crate::data::record::{Binding, Buf, Recording, Spec, read};
use crate::operations::kernels::size;

/// Restriction or bias of an attention call.
#[derive(Clone, Copy, Debug)]
pub enum Mask {
    /// Every token is a key of every query.
    None,
    /// Tokens whose value in a mask `[B, N]` is not 0 are no keys; each sequence needs at least one key.
    Keys(Buf),
    /// The keys of a query are the tokens up to its own.
    Causal,
    /// The same without tokens whose value in a mask `[B, N]` is not 0. The first token of each sequence must be a key.
    CausalKeys(Buf),
    /// Scores have a bias by the offset between two patches of a grid, the last tokens: a table `[H, (2·rows - 1)·(2·columns - 1) + 3]`, whose last
    /// three columns are those of the class token to a patch, of a patch to it, and of it to itself (Bao et al. 2022, BEiT).
    Relative {
        /// The table.
        table: Buf,
        /// Rows and columns of the grid.
        grid: [usize; 2],
    },
}

/// A mask without its values: what a variant is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskKind {
    None,
    Keys,
    Causal,
    CausalKeys,
    Relative,
}

/// The piece that defines the mask in shaders of attention.
const PIECE: &str = "attention/unmasked";

impl Mask {
    /// Returns the kind.
    pub fn kind(&self) -> MaskKind {
        match self {
            Mask::None => MaskKind::None,
            Mask::Keys(_) => MaskKind::Keys,
            Mask::Causal => MaskKind::Causal,
            Mask::CausalKeys(_) => MaskKind::CausalKeys,
            Mask::Relative { .. } => MaskKind::Relative,
        }
    }

    /// Returns the buffer that it reads.
    pub fn buf(&self) -> Option<Buf> {
        match *self {
            Mask::None | Mask::Causal => None,
            Mask::Keys(buf) | Mask::CausalKeys(buf) | Mask::Relative { table: buf, .. } => Some(buf),
        }
    }

    /// Adds its constants to a spec.
    pub(crate) fn constants(&self, spec: Spec) -> Spec {
        match *self {
            Mask::Relative { grid: [rows, columns], .. } => spec.with([("ROWS", size(rows)), ("COLUMNS", size(columns))]),
            _ => spec,
        }
    }

    pub(crate) fn check(&self, recording: &Recording, label: &str, [batch, tokens, heads]: [usize; 3]) {
        match *self {
            Mask::None | Mask::Causal => {}
            Mask::Keys(mask) | Mask::CausalKeys(mask) => assert_eq!(recording.shape(mask), [batch, tokens], "{label}: mask"),
            Mask::Relative { table, grid: [rows, columns] } => {
                assert_eq!(recording.shape(table), [heads, (2 * rows - 1) * (2 * columns - 1) + 3], "{label}: relative positions");
                assert!(rows * columns <= tokens && tokens <= rows * columns + 1, "{label}: {tokens} tokens for {rows} x {columns} patches");
            }
        }
    }
}

impl MaskKind {
    pub const ALL: [MaskKind; 5] = [MaskKind::None, MaskKind::Keys, MaskKind::Causal, MaskKind::CausalKeys, MaskKind::Relative];

    /// Returns the suffix of a kernel's name.
    pub fn suffix(self) -> &'static str {
        match self {
            MaskKind::None => "",
            MaskKind::Keys => "_masked",
            MaskKind::Causal => "_causal",
            MaskKind::CausalKeys => "_causal_masked",
            MaskKind::Relative => "_relative",
        }
    }

    /// Returns the spec with its piece.
    pub fn spec(self) -> Spec {
        let piece = match self {
            MaskKind::None => return Spec::NONE,
            MaskKind::Keys => "attention/masked",
            MaskKind::Causal => "attention/causal",
            MaskKind::CausalKeys => "attention/causal_masked",
            MaskKind::Relative => "attention/relative",
        };
        Spec::NONE.with_piece(PIECE, piece)
    }

    /// Returns the bindings of a kernel that has `others` without a mask.
    pub fn bindings(self, others: &'static [Binding]) -> &'static [Binding] {
        let name = match self {
            MaskKind::None | MaskKind::Causal => return others,
            MaskKind::Keys | MaskKind::CausalKeys => "mask",
            MaskKind::Relative => "relative",
        };
        [others, &[read(5, name)]].concat().leak()
    }
}

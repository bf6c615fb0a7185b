//! Attention maps, rollout and principal components of patches.

use super::Forward;
use crate::data::config::Attention;
use crate::data::error::Result;
use crate::data::record::Buf;
use crate::operations::kernels;
use std::collections::BTreeSet;

/// Rollout buffers, `[B, N, N]` each.
pub(super) struct Rollout {
    /// Rollout over the blocks so far.
    reached: Buf,
    /// Double buffer of `reached`.
    spare: Buf,
    /// Mixing matrix of the current block.
    mixed: Buf,
}

impl Forward<'_> {
    /// Saves the requested attention maps of block `i`. Its queries and keys must already be computed.
    pub(super) fn attention_maps(&mut self, i: usize) -> Result<()> {
        let wanted: Vec<Attention> = self.request.wanted.iter().filter_map(|name| Attention::named(name)).collect();
        let row = |name: &Attention| match *name {
            Attention::Block(of, Some(query)) if of == i => Some(query),
            _ => None,
        };
        let rows: BTreeSet<usize> = wanted.iter().filter_map(row).collect();
        for query in rows {
            let row = self.probabilities_of(i, query, 1)?;
            self.recording.save(format!("attn.{i}.{query}"), row);
        }
        let rolls_out = wanted.iter().any(|name| matches!(name, Attention::Rollout(_)));
        if !rolls_out && !wanted.contains(&Attention::Block(i, None)) {
            return Ok(());
        }
        let p = self.probabilities_of(i, 0, self.tokens)?;
        self.save(&format!("attn.{i}"), p);
        if rolls_out { self.roll_out(i, p) } else { Ok(()) }
    }

    /// Records the attention probabilities of `queries` tokens, starting at `first`, in a buffer shared by all blocks.
    fn probabilities_of(&mut self, i: usize, first: usize, queries: usize) -> Result<Buf> {
        let shape = [self.request.batch, self.config.heads, queries, self.tokens];
        let known = self.probabilities.iter().copied().find(|p| self.recording.shape(*p) == shape);
        let p = match known {
            Some(p) => p,
            None => {
                let made = self.recording.scratch("attention probabilities", &shape)?;
                self.probabilities.push(made);
                made
            }
        };
        let mask = self.mask_of(i);
        kernels::attention_naive_probabilities(&mut self.recording, format!("block{i}.probabilities"), self.qkv, mask, first, p)?;
        Ok(p)
    }

    /// Multiplies a block's attention into the rollout. Saves the rollout after the last block.
    fn roll_out(&mut self, i: usize, p: Buf) -> Result<()> {
        let (batch, tokens) = (self.request.batch, self.tokens);
        let recording = &mut self.recording;
        let mut buffer = |label| recording.scratch(label, &[batch, tokens, tokens]);
        let rollout = match self.rollout.take() {
            None => {
                let rollout = Rollout { reached: buffer("rollout")?, spare: buffer("rollout")?, mixed: buffer("rollout.mixed")? };
                kernels::rollout_mix(recording, format!("block{i}.rollout"), p, rollout.reached)?;
                rollout
            }
            Some(Rollout { reached, spare, mixed }) => {
                kernels::rollout_mix(recording, format!("block{i}.rollout"), p, mixed)?;
                kernels::rollout_product(recording, format!("block{i}.rollout"), mixed, reached, spare)?;
                Rollout { reached: spare, spare: reached, mixed }
            }
        };
        let reached = self.rollout.insert(rollout).reached;
        if i + 1 < self.config.depth {
            return Ok(());
        }
        self.save("rollout", reached);
        for query in (0..tokens).filter(|query| self.wants(&format!("rollout.{query}"))).collect::<Vec<_>>() {
            let name = format!("rollout.{query}");
            let row = self.vector(&name, tokens)?;
            kernels::pool(&mut self.recording, name.clone(), reached, query..query + 1, row, 0)?;
            self.recording.save(name, row);
        }
        Ok(())
    }

    /// Saves the principal components of the patches as colours, if requested.
    pub(super) fn components(&mut self, tokens: Buf) -> Result<()> {
        if !self.wants("pca") {
            return Ok(());
        }
        let first = self.config.prefix_tokens;
        let rgb = self.recording.scratch("pca", &[self.request.batch, self.tokens - first, 3])?;
        kernels::pca(&mut self.recording, "pca", tokens, first, rgb)?;
        self.save("pca", rgb);
        Ok(())
    }
}

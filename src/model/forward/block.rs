//! Encoder blocks.

use super::{Forward, Scratch, norm};
use crate::data::config::NormOrder;
use crate::data::error::Result;
use crate::data::record::Buf;
use crate::execution::checkpoint::{Block, Norm};
use crate::operations::kernels::{self, Epilogue, Mask, Pairs};

/// An attention and an MLP of a block.
#[derive(Clone, Copy)]
struct Half<'a> {
    /// Number of the block.
    block: usize,
    /// Name of its steps.
    name: &'a str,
    weights: &'a Block<Buf>,
}

impl Half<'_> {
    fn label(&self, step: &str) -> String {
        format!("{}.{step}", self.name)
    }
}

impl Forward<'_> {
    /// Records one encoder block on the residual stream: pre-norm (Dosovitskiy et al. 2021, equations 2 and 3), post-norm (Vaswani et al. 2017, section
    /// 3.1), or with norms on what is added (Liu et al. 2022, figure 1).
    pub(super) fn block(&mut self, i: usize, weights: &Block<Buf>, beside: Option<&Block<Buf>>) -> Result<()> {
        let (name, name_beside) = (format!("block{i}"), format!("block{i}.beside"));
        let half = Half { block: i, name: &name, weights };
        let beside = beside.map(|weights| Half { block: i, name: &name_beside, weights });
        match self.config.norm_order {
            NormOrder::Pre => self.pre_norm_block(half, beside)?,
            NormOrder::Post => {
                let Scratch { stream, normed, .. } = self.scratch;
                self.attention(half, stream, None)?;
                self.norm(half, "norm1", stream, &weights.norm1, normed)?;
                self.mlp(half, normed, normed, residual(weights.scale2))?;
                self.norm2(half, normed, stream)?;
            }
            NormOrder::ResidualPost => {
                let Scratch { stream, normed, attended, .. } = self.scratch;
                self.attention(half, stream, Some(normed))?;
                self.norm(half, "norm1", normed, &weights.norm1, attended)?;
                kernels::accumulate(&mut self.recording, half.label("sum1"), attended, stream)?;
                self.mlp(half, stream, normed, Epilogue::Bias)?;
                self.norm2(half, normed, attended)?;
                kernels::accumulate(&mut self.recording, half.label("sum2"), attended, stream)?;
            }
        }
        self.save(&format!("hidden.{i}"), self.scratch.stream);
        Ok(())
    }

    /// Records a pre-norm block. Halves side by side read the stream before either of them changes it.
    fn pre_norm_block(&mut self, half: Half<'_>, beside: Option<Half<'_>>) -> Result<()> {
        let Scratch { stream, normed, beside: normed_beside, .. } = self.scratch;
        let beside = beside.zip(normed_beside);
        self.norm(half, "norm1", stream, &half.weights.norm1, normed)?;
        if let Some((beside, normed)) = beside {
            self.norm(beside, "norm1", stream, &beside.weights.norm1, normed)?;
        }
        self.attention(half, normed, None)?;
        if let Some((beside, normed)) = beside {
            self.attention(beside, normed, None)?;
        }
        let Scratch { stream, normed, .. } = self.scratch;
        self.norm2(half, stream, normed)?;
        if let Some((beside, normed)) = beside {
            self.norm2(beside, stream, normed)?;
        }
        self.mlp(half, normed, stream, residual(half.weights.scale2))?;
        match beside {
            Some((beside, normed)) => self.mlp(beside, normed, stream, residual(beside.weights.scale2)),
            None => Ok(()),
        }
    }

    fn norm(&mut self, half: Half<'_>, step: &str, x: Buf, weights: &Norm<Buf>, y: Buf) -> Result<()> {
        norm(&mut self.recording, half.label(step), x, weights, y, self.config.epsilon)
    }

    /// Records the norm before the MLP. Without one, the MLP reads what attention has read.
    fn norm2(&mut self, half: Half<'_>, x: Buf, y: Buf) -> Result<()> {
        half.weights.norm2.as_ref().map_or(Ok(()), |weights| self.norm(half, "norm2", x, weights, y))
    }

    /// Adds the attention of `from` to the stream, or writes it to `into`.
    fn attention(&mut self, half: Half<'_>, from: Buf, into: Option<Buf>) -> Result<()> {
        let Half { block, weights, .. } = half;
        let (config, recording, qkv) = (self.config, &mut self.recording, self.qkv);
        kernels::matmul(recording, half.label("qkv"), from, weights.qkv.pair(), Epilogue::Bias, qkv)?;
        if let Some(norm) = &weights.qk_norm {
            let label = half.label("qk_norm");
            match (norm.query.bias, norm.key.bias) {
                (Some(of_query), Some(of_key)) => {
                    let (query, key) = ([norm.query.weight, of_query], [norm.key.weight, of_key]);
                    kernels::qk_norm(recording, label, qkv, query, key, config.heads, config.epsilon)?;
                }
                _ => kernels::qk_rmsnorm(recording, label, qkv, [norm.query.weight, norm.key.weight], config.heads, config.epsilon)?,
            }
        }
        if let (Some(rotary), Some(angles)) = (config.rotary, self.tables.rotary_of(block)) {
            let pairs = if rotary.interleaved { Pairs::Neighbours } else { Pairs::Halves };
            kernels::rotary(recording, half.label("rotary"), qkv, angles, config.heads, pairs)?;
        }
        self.attention_maps(block)?;
        if block + 1 == config.depth && self.rows < self.tokens {
            self.narrow()?;
        }
        let Scratch { mut attended, attended_normed, stream, .. } = self.scratch;
        let mask = self.mask_of(block);
        kernels::attention(&mut self.recording, half.label("attention"), qkv, config.heads, mask, attended)?;
        if let (Some(weights), Some(normed)) = (&weights.attention_norm, attended_normed) {
            self.norm(half, "attention_norm", attended, weights, normed)?;
            attended = normed;
        }
        let epilogue = if into.is_some() { Epilogue::Bias } else { residual(weights.scale1) };
        kernels::matmul(&mut self.recording, half.label("projection"), attended, weights.projection.pair(), epilogue, into.unwrap_or(stream))
    }

    /// Returns the mask of a block's attention.
    pub(super) fn mask_of(&self, block: usize) -> Mask {
        match self.tables.relative_of(block) {
            Some(table) => Mask::Relative { table, grid: self.tables.grid },
            None => self.mask,
        }
    }

    /// Copies the first `rows` tokens to a smaller stream and shrinks the other scratch buffers to match.
    fn narrow(&mut self) -> Result<()> {
        let (config, all) = (self.config, self.scratch.stream);
        self.scratch = Scratch::new(&mut self.recording, config, self.request.batch, self.rows)?;
        for row in 0..self.rows {
            kernels::pool(&mut self.recording, format!("token{row}"), all, row..row + 1, self.scratch.stream, row * config.width)?;
        }
        Ok(())
    }

    /// Records the MLP of `from`.
    fn mlp(&mut self, half: Half<'_>, from: Buf, onto: Buf, epilogue: Epilogue) -> Result<()> {
        let (activation, recording, weights) = (self.config.activation, &mut self.recording, half.weights);
        let Scratch { gated, mut hidden, hidden_normed, .. } = self.scratch;
        match gated {
            None => kernels::matmul(recording, half.label("mlp1"), from, weights.mlp1.pair(), Epilogue::Activation(activation), hidden)?,
            Some(gated) => {
                kernels::matmul(recording, half.label("mlp1"), from, weights.mlp1.pair(), Epilogue::Bias, gated)?;
                kernels::gate(recording, half.label("gate"), gated, activation, hidden)?;
            }
        }
        if let (Some(weights), Some(normed)) = (&weights.mlp_norm, hidden_normed) {
            self.norm(half, "mlp_norm", hidden, weights, normed)?;
            hidden = normed;
        }
        kernels::matmul(&mut self.recording, half.label("mlp2"), hidden, weights.mlp2.pair(), epilogue, onto)
    }
}

fn residual(scale: Option<Buf>) -> Epilogue {
    scale.map_or(Epilogue::Residual, Epilogue::ScaledResidual)
}

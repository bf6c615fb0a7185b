//! Final norm, pooling and classification heads.

use super::{Forward, Scratch, norm};
use crate::data::config::{Activation, Pooling, Probabilities, Reads};
use crate::data::error::Result;
use crate::data::record::Buf;
use crate::execution::checkpoint::{AttentionPool, Linear, Weights};
use crate::operations::kernels::{self, Epilogue, Mask};

impl Forward<'_> {
    /// Records the final norm, pooling, projection and classifiers (Dosovitskiy et al. 2021, equation 4).
    pub(super) fn head(&mut self, weights: &Weights<Buf>) -> Result<()> {
        let config = self.config;
        if config.dense.is_some() && !["tokens", "pca"].iter().any(|name| self.wants(name)) {
            return Ok(());
        }
        let Scratch { stream, normed, .. } = self.scratch;
        let tokens = match &weights.norm {
            None => stream,
            Some(weights) => {
                let normed = super::wide(&mut self.recording, "tokens", normed)?;
                norm(&mut self.recording, "norm", stream, weights, normed, config.epsilon)?;
                normed
            }
        };
        self.save("tokens", tokens);
        self.save("output", tokens);
        self.components(tokens)?;
        let Some(pooling) = config.pooling else { return Ok(()) };
        let features = self.features(pooling, weights, tokens)?;
        self.save("features", features);
        if weights.projection.is_some() || config.joint {
            let embeds = match &weights.projection {
                None => features,
                Some(projection) => self.dense("projection", features, projection, Epilogue::Bias)?,
            };
            self.save("image_embeds", embeds);
            if self.wants("image_embeds_l2") {
                let normalized = self.vector("l2_normalize", self.recording.shape(embeds)[1])?;
                kernels::l2_normalize(&mut self.recording, "l2_normalize".to_owned(), embeds, normalized)?;
                self.save("image_embeds_l2", normalized);
            }
        }
        self.classifiers(weights, tokens, features)
    }

    /// Records pooling and the layers applied to the pooled vector.
    fn features(&mut self, pooling: Pooling, weights: &Weights<Buf>, tokens: Buf) -> Result<Buf> {
        let (config, all) = (self.config, self.tokens);
        let mut features = match (pooling, &weights.attention_pool) {
            (Pooling::Attention(first), Some(pool)) => self.attention_pool(pool, tokens, first)?,
            _ => {
                let (range, beside) = match pooling {
                    Pooling::First | Pooling::Attention(_) => (Some(0..1), None),
                    Pooling::MeanFrom(first) | Pooling::MeanAndMaxFrom(first) => (Some(first..all), None),
                    Pooling::MeanOfTwo => (Some(0..2), None),
                    Pooling::FirstAndMeanFrom(first) => (Some(0..1), Some(first..all)),
                    Pooling::Last => (Some(all - 1..all), None),
                    Pooling::MaxFrom(_) | Pooling::EndOfText(_) => (None, None),
                };
                let pooled = self.vector("pooled", config.width * if beside.is_some() { 2 } else { 1 })?;
                for (column, range) in [range, beside].into_iter().flatten().enumerate() {
                    kernels::pool(&mut self.recording, "pool".to_owned(), tokens, range, pooled, column * config.width)?;
                }
                match pooling {
                    Pooling::EndOfText(_) => {
                        let ends = self.ends.expect("texts come with their ends");
                        kernels::gather(&mut self.recording, "pool".to_owned(), tokens, ends, pooled)?;
                        pooled
                    }
                    Pooling::MaxFrom(first) => {
                        kernels::pool_max(&mut self.recording, "pool".to_owned(), tokens, first..all, pooled)?;
                        pooled
                    }
                    Pooling::MeanAndMaxFrom(first) => {
                        let [largest, half] = [self.vector("largest", config.width)?, self.vector("mean and largest", config.width)?];
                        kernels::pool_max(&mut self.recording, "pool.max".to_owned(), tokens, first..all, largest)?;
                        kernels::average(&mut self.recording, "pool.average".to_owned(), [pooled, largest], half)?;
                        half
                    }
                    _ => pooled,
                }
            }
        };
        if let Some(weights) = &weights.pool_norm {
            let pooled = std::mem::replace(&mut features, self.vector("pool_norm", config.width)?);
            norm(&mut self.recording, "pool_norm", pooled, weights, features, config.epsilon)?;
        }
        if let (Some(dense), Some(pooler)) = (&weights.pooler, config.pooler) {
            features = self.dense("pooler", features, dense, Epilogue::Activation(pooler.activation))?;
        }
        Ok(features)
    }

    /// Records attention of a learned query over the tokens, in most models followed by an MLP (SigLIP; big_vision's `MAPHead`).
    fn attention_pool(&mut self, weights: &AttentionPool<Buf>, tokens: Buf, first: usize) -> Result<Buf> {
        let (config, batch) = (self.config, self.request.batch);
        let padding = if let Mask::Keys(mask) = self.mask { Some(mask) } else { None };
        let recording = &mut self.recording;
        let query = match &weights.query {
            None => weights.latent,
            Some(weights_of_query) => {
                let query = recording.scratch("pool.query", &[1, config.width])?;
                kernels::matmul(recording, "pool.query".to_owned(), weights.latent, weights_of_query.pair(), Epilogue::Bias, query)?;
                query
            }
        };
        let key_value = recording.scratch("pool.key_value", &[batch, self.tokens, 2 * config.width])?;
        kernels::matmul(recording, "pool.key_value".to_owned(), tokens, weights.key_value.pair(), Epilogue::Bias, key_value)?;
        let attended = recording.scratch("pool.attended", &[batch, config.width])?;
        kernels::attention_pool(recording, "pool.attention".to_owned(), [query, key_value], config.pool_heads, first, padding, attended)?;
        let pooled = self.dense("pool.projection", attended, &weights.projection, Epilogue::Bias)?;
        if let Some(mlp) = &weights.mlp {
            let normed = self.vector("pool.norm", config.width)?;
            norm(&mut self.recording, "pool.norm", pooled, &mlp.norm, normed, config.epsilon)?;
            let hidden = self.dense("pool.mlp1", normed, &mlp.linear1, Epilogue::Activation(config.activation))?;
            kernels::matmul(&mut self.recording, "pool.mlp2".to_owned(), hidden, mlp.linear2.pair(), Epilogue::Residual, pooled)?;
        }
        Ok(pooled)
    }

    /// Records the logits of each classifier and, for a distilled model, their mean (Touvron et al. 2021, section 5.1).
    fn classifiers(&mut self, weights: &Weights<Buf>, tokens: Buf, features: Buf) -> Result<()> {
        let config = self.config;
        let pre_logits = match (&weights.pre_logits, config.pre_logits) {
            (Some(dense), Some(layer)) => {
                let pre_logits = self.dense("pre_logits", features, dense, Epilogue::Activation(layer.activation))?;
                self.save("pre_logits_jax", pre_logits);
                Some(pre_logits)
            }
            _ => None,
        };
        let mut of_tokens = Vec::new();
        for (classifier, head) in config.classifiers.iter().zip(&weights.heads) {
            let label = format!("head{}", classifier.suffix());
            let read = match classifier.reads {
                Reads::Features => features,
                Reads::PreLogits => pre_logits.expect("a classifier on pre_logits comes with them"),
                Reads::Token(token) => {
                    let read = self.vector(&format!("token{token}"), config.width)?;
                    kernels::pool(&mut self.recording, format!("{label}.token"), tokens, token..token + 1, read, 0)?;
                    read
                }
            };
            let logits = self.dense(&label, read, head, Epilogue::Bias)?;
            if matches!(classifier.reads, Reads::Token(_)) {
                of_tokens.push(logits);
            }
            let alone = (classifier.probabilities == Probabilities::Sigmoid).then_some((read, head));
            self.scores(&classifier.suffix(), logits, alone)?;
        }
        if let &[a, b] = of_tokens.as_slice() {
            let logits = self.vector("logits", self.recording.shape(a)[1])?;
            kernels::average(&mut self.recording, "average".to_owned(), [a, b], logits)?;
            self.scores("", logits, None)?;
        }
        Ok(())
    }

    /// Saves logits and their probabilities, if requested: the softmax or, of classes that are scored `alone` by a layer that reads a vector, their sigmoid.
    fn scores(&mut self, suffix: &str, logits: Buf, alone: Option<(Buf, &Linear<Buf>)>) -> Result<()> {
        self.save(&format!("logits{suffix}"), logits);
        let name = format!("probabilities{suffix}");
        if self.wants(&name) {
            let probabilities = match alone {
                // The layer again, because activations are parts of products.
                Some((read, head)) => self.dense(&name, read, head, Epilogue::Activation(Activation::Sigmoid))?,
                None => {
                    let probabilities = self.vector(&name, self.recording.shape(logits)[1])?;
                    kernels::softmax(&mut self.recording, format!("softmax{suffix}"), logits, probabilities)?;
                    probabilities
                }
            };
            self.save(&name, probabilities);
        }
        Ok(())
    }

    /// Allocates a scratch buffer with one vector per image.
    pub(super) fn vector(&mut self, label: &str, width: usize) -> Result<Buf> {
        self.recording.scratch(label, &[self.request.batch, width])
    }

    /// Records a dense layer on one vector per image.
    fn dense(&mut self, label: &str, x: Buf, weights: &Linear<Buf>, epilogue: Epilogue) -> Result<Buf> {
        let y = self.vector(label, self.recording.shape(weights.bias)[0])?;
        kernels::matmul(&mut self.recording, label.to_owned(), x, weights.pair(), epilogue, y)?;
        Ok(y)
    }
}

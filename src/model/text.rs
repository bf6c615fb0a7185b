//! Texts: encoding by a text tower, and comparison with images.

use super::{Model, Outputs, Session};
use crate::data::config::{Config, Input, Pooling, Size};
use crate::data::error::{Error, Result};
use crate::data::tensor::Tensor;
use crate::data::tokens::Tokens;
use crate::execution::checkpoint::{Checkpoint, Similarity, Weight};
#[cfg(feature = "text")]
use crate::execution::text::Tokenizer;
use std::sync::OnceLock;

/// What a model has for texts.
#[derive(Default)]
pub(super) struct Texts {
    /// Token embeddings `[vocabulary, C]`, if the model is a text tower. They stay on the host: a text needs a few rows of them.
    pub tokens: Option<Weight>,
    /// Comparison with images.
    pub similarity: Option<Similarity>,
    /// Text tower next to an image tower.
    pub tower: Option<Box<Checkpoint>>,
    /// The text tower on the device, once a text has been encoded.
    pub loaded: OnceLock<Model>,
    /// The tokenizer, once it has been read.
    #[cfg(feature = "text")]
    pub tokenizer: OnceLock<Tokenizer>,
}

impl Model {
    /// Returns the text tower, which is this model or belongs to it. The latter's weights are loaded on first use.
    ///
    /// # Errors
    /// [`Error::Argument`] if the model has no text tower; otherwise as [`ModelBuilder::load`](super::ModelBuilder::load).
    pub(crate) async fn text_tower(&self) -> Result<Model> {
        let texts = &self.0.texts;
        if self.config().is_text() {
            return Ok(self.clone());
        }
        if let Some(model) = texts.loaded.get() {
            return Ok(model.clone());
        }
        let Some(tower) = &texts.tower else {
            return Err(Error::argument("model", format!("{} has no text tower; expected a model of CLIP or SigLIP", self.config().name)));
        };
        let builder = Model::builder((**tower).clone()).device(self.device().clone()).precision(self.precision()).tuning(self.tuning());
        let model = builder.load_here().await?;
        Ok(texts.loaded.get_or_init(|| model).clone())
    }

    /// Returns the configuration of the text tower, which is this model or belongs to it.
    pub fn text_config(&self) -> Option<&Config> {
        let tower = self.0.texts.tower.as_ref().map(|tower| &tower.config);
        if self.config().is_text() { Some(self.config()) } else { tower }
    }

    /// Returns the scores of image-text pairs, `[M, N]`, from the vectors of M images and N texts, `[M, P]` and `[N, P]`: scale · cosine, plus a bias for
    /// SigLIP (transformers' `logits_per_image`). The vectors need not be normalised.
    ///
    /// # Errors
    /// [`Error::Argument`] if the model does not compare images with texts, or the vectors' widths differ.
    pub fn similarity(&self, images: &Tensor, texts: &Tensor) -> Result<Tensor> {
        let Similarity { scale, bias } = self.pairs()?;
        let (&[count, width], &[others, other_width]) = (images.shape(), texts.shape()) else {
            return Err(Error::argument("embeds", format!("expected [M, P] and [N, P], found {:?} and {:?}", images.shape(), texts.shape())));
        };
        if width != other_width || width == 0 {
            return Err(Error::argument("embeds", format!("vectors of {width} and {other_width} values cannot be compared")));
        }
        let [images, texts] = [unit_rows(images, width)?, unit_rows(texts, width)?];
        let score = |i: usize| {
            let (image, text) = (&images[i / others * width..][..width], &texts[i % others * width..][..width]);
            let cosine: f64 = image.iter().zip(text).map(|(a, b)| a * b).sum();
            (f64::from(scale) * cosine + f64::from(bias.unwrap_or(0.0))) as f32
        };
        Tensor::new([count, others], (0..count * others).map(score).collect())
    }

    /// Returns the probabilities of scores `[M, N]`: for each image, a distribution over the texts (CLIP), or for each pair, the probability that they
    /// match (SigLIP).
    ///
    /// # Errors
    /// [`Error::Argument`] if the model does not compare images with texts, or the scores are not `[M, N]`; [`Error::Tensor`] if one is not finite.
    pub fn pair_probabilities(&self, scores: &Tensor) -> Result<Tensor> {
        let &[_, texts] = scores.shape() else {
            return Err(Error::argument("scores", format!("expected [M, N], found {:?}", scores.shape())));
        };
        let values = scores.finite_values("scores")?;
        let softmax = |row: &[f32]| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let powers: Vec<f64> = row.iter().map(|score| f64::from(score - largest).exp()).collect();
            let total: f64 = powers.iter().sum();
            powers.into_iter().map(move |power| (power / total) as f32).collect::<Vec<_>>()
        };
        let probabilities = match self.pairs()?.bias {
            None => values.chunks(texts.max(1)).flat_map(softmax).collect(),
            Some(_) => values.iter().map(|score| (1.0 / (1.0 + f64::from(-score).exp())) as f32).collect(),
        };
        Tensor::new(scores.shape(), probabilities)
    }

    fn pairs(&self) -> Result<Similarity> {
        let missing = || Error::argument("model", format!("{} does not compare images with texts", self.config().name));
        self.0.texts.similarity.ok_or_else(missing)
    }

    /// Reads the tokenizer.
    #[cfg(feature = "text")]
    pub(crate) fn tokenizer(&self) -> Result<&Tokenizer> {
        let texts = &self.0.texts;
        if let Some(tokenizer) = texts.tokenizer.get() {
            return Ok(tokenizer);
        }
        let Some(folder) = &self.0.folder else {
            return Err(Error::argument("model", format!("{} has no tokenizer", self.config().name)));
        };
        let tokenizer = Tokenizer::read(folder)?;
        Ok(texts.tokenizer.get_or_init(|| tokenizer))
    }
}

/// Returns rows of length 1.
fn unit_rows(vectors: &Tensor, width: usize) -> Result<Vec<f64>> {
    let values = vectors.finite_values("embeds")?;
    let unit = |row: &[f32]| {
        let length = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        row.iter().map(move |value| f64::from(*value) / length).collect::<Vec<_>>()
    };
    Ok(values.chunks(width.max(1)).flat_map(unit).collect())
}

impl Session {
    /// Encodes texts with the model's text tower. Returns a vector of length 1 for each, `[B, P]`, to be compared with `image_embeds`
    /// ([`Model::similarity`]). Texts are cut at the tower's longest.
    ///
    /// # Errors
    /// [`Error::Argument`] if the model has no text tower; [`Error::File`] if its tokenizer is missing or damaged; otherwise as [`Session::forward`].
    #[cfg(feature = "text")]
    pub async fn encode_text(&mut self, texts: &[impl AsRef<str>]) -> Result<Tensor> {
        let texts = super::session::owned(texts);
        self.off_executor(async move |session: &mut Session| session.encode_text_here(&texts).await).await
    }

    /// Blocking version of [`Session::encode_text`].
    ///
    /// # Errors
    /// Same as [`Session::encode_text`].
    #[cfg(all(feature = "text", not(target_arch = "wasm32")))]
    pub fn encode_text_blocking(&mut self, texts: &[impl AsRef<str>]) -> Result<Tensor> {
        pollster::block_on(self.encode_text_here(&super::session::owned(texts)))
    }

    #[cfg(feature = "text")]
    pub(super) async fn encode_text_here(&mut self, texts: &[String]) -> Result<Tensor> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        // A missing tower says more than a missing tokenizer.
        self.model().text_tower().await?;
        let tokens = self.model().tokenizer()?.encode(&texts)?;
        self.encode_tokens_here(tokens).await
    }

    /// Encodes texts of which the tokens are known; the mask tells which are padding. Returns a vector of length 1 for each, `[B, P]`, to be compared
    /// with `image_embeds` ([`Model::similarity`]).
    ///
    /// # Errors
    /// [`Error::Argument`] if the model has no text tower, an id is not in its vocabulary, or a text is too long; otherwise as [`Session::forward`].
    pub async fn encode_tokens(&mut self, tokens: &Tokens) -> Result<Tensor> {
        let tokens = tokens.clone();
        self.off_executor(async move |session: &mut Session| session.encode_tokens_here(tokens).await).await
    }

    /// Blocking version of [`Session::encode_tokens`].
    ///
    /// # Errors
    /// Same as [`Session::encode_tokens`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn encode_tokens_blocking(&mut self, tokens: &Tokens) -> Result<Tensor> {
        pollster::block_on(self.encode_tokens_here(tokens.clone()))
    }

    async fn encode_tokens_here(&mut self, mut tokens: Tokens) -> Result<Tensor> {
        let tower = self.model().text_tower().await?;
        check_tokens(&tokens, tower.config())?;
        match (tower.config().causal, tower.config().pooling) {
            // No token attends to those after the end of its text.
            (true, Some(Pooling::EndOfText(end))) => tokens = shortened(&tokens, end)?,
            (true, _) => {}
            // SigLIP was trained without a mask.
            (false, _) => tokens.mask.fill(true),
        }
        let mut outputs = self.forward_text_here(&tokens, &["text_embeds_l2".to_owned()]).await?;
        Ok(outputs.remove("text_embeds_l2").expect("it was requested"))
    }

    /// Runs the model's text tower on token ids. Returns the named outputs, those of [`Model::text_output_names`].
    ///
    /// # Errors
    /// [`Error::Argument`] if the model has no text tower, an id is not in its vocabulary, or a text is too long; otherwise as [`Session::forward`].
    pub async fn forward_text(&mut self, tokens: &Tokens, outputs: &[&str]) -> Result<Outputs> {
        let (tokens, outputs) = (tokens.clone(), super::session::owned(outputs));
        self.off_executor(async move |session: &mut Session| session.forward_text_here(&tokens, &outputs).await).await
    }

    /// Blocking version of [`Session::forward_text`].
    ///
    /// # Errors
    /// Same as [`Session::forward_text`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward_text_blocking(&mut self, tokens: &Tokens, outputs: &[&str]) -> Result<Outputs> {
        pollster::block_on(self.forward_text_here(tokens, &super::session::owned(outputs)))
    }

    async fn forward_text_here(&mut self, tokens: &Tokens, outputs: &[String]) -> Result<Outputs> {
        let tower = self.model().text_tower().await?;
        check_tokens(tokens, tower.config())?;
        check_mask(tokens, tower.config().causal)?;
        let [batch, count] = tokens.shape;
        let size = Size::Sequence(count);
        let mut inputs = vec![tower.embedded(tokens)?];
        if let Some(Pooling::EndOfText(end)) = tower.config().pooling {
            inputs.push(Tensor::new([batch], tokens.rows().map(|(ids, _)| end_of(ids, end) as f32).collect())?);
        }
        let masked = tokens.mask.contains(&false);
        if masked {
            inputs.push(Tensor::new([batch, count], tokens.mask.iter().map(|&attended| f32::from(u8::from(!attended))).collect())?);
        }
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        match tower.is_same(self.model()) {
            true => self.run(&inputs, size, masked, outputs).await,
            false => self.text_session(&tower).run(&inputs, size, masked, outputs).await,
        }
    }
}

impl Model {
    /// Looks up the embeddings of tokens, `[B, N, C]`.
    fn embedded(&self, tokens: &Tokens) -> Result<Tensor> {
        let table = self.0.texts.tokens.as_ref().expect("a text tower has token embeddings");
        let mut values = Vec::with_capacity(tokens.ids.len() * self.config().width);
        for &id in &tokens.ids {
            let row = table.tensor.clone().rows(id as usize..id as usize + 1);
            values.extend_from_slice(&row.finite_values(&table.name)?);
        }
        Tensor::new([tokens.shape[0], tokens.shape[1], self.config().width], values)
    }
}

/// Returns the index of the token at the end of a text: the first with the id, else the first token; without an id, the first with the largest id.
fn end_of(ids: &[u32], end: Option<usize>) -> usize {
    let is_end = |id: &u32| match end {
        Some(end) => *id as usize == end,
        None => Some(id) == ids.iter().max(),
    };
    ids.iter().position(is_end).unwrap_or(0)
}

/// Numbers of tokens are multiples of this, so that few plans serve texts of all lengths.
const STEP: usize = 16;

/// Cuts the tokens after the ends of all texts.
fn shortened(tokens: &Tokens, end: Option<usize>) -> Result<Tokens> {
    let longest = tokens.rows().map(|(ids, _)| end_of(ids, end) + 1).max().unwrap_or(1);
    let [batch, count] = tokens.shape;
    let kept = longest.next_multiple_of(STEP).min(count);
    let (ids, mask): (Vec<_>, Vec<_>) = tokens.rows().map(|(ids, mask)| (&ids[..kept], &mask[..kept])).unzip();
    Tokens::new([batch, kept], ids.concat(), Some(mask.concat()))
}

/// Checks that a tower takes this many tokens, with these ids.
fn check_tokens(tokens: &Tokens, tower: &Config) -> Result<()> {
    let Input::Text { vocabulary, .. } = tower.input else { panic!("a text tower takes texts") };
    tokens.check()?;
    tower.tokens(Size::Sequence(tokens.shape[1]))?;
    match tokens.ids.iter().find(|&&id| id as usize >= vocabulary) {
        Some(id) => Err(Error::argument("input_ids", format!("expected ids below {vocabulary}, found {id}"))),
        None => Ok(()),
    }
}

/// Checks that each token attends to at least one.
fn check_mask(tokens: &Tokens, causal: bool) -> Result<()> {
    let is_empty = |mask: &[bool]| if causal { !mask[0] } else { !mask.contains(&true) };
    match tokens.rows().position(|(_, mask)| is_empty(mask)) {
        None => Ok(()),
        Some(text) => Err(Error::argument("attention_mask", format!("text {text} has no token to attend to; expected a 1 at its beginning"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_a_text_is_its_first_end_or_its_largest_id() {
        assert_eq!(end_of(&[1, 7, 3, 7, 9], Some(7)), 1);
        assert_eq!(end_of(&[1, 7, 3], Some(8)), 0);
        assert_eq!(end_of(&[1, 7, 3, 7], None), 1);
    }

    #[test]
    fn shortened_texts_keep_their_ends() {
        let count = 3 * STEP + 5;
        let text = |end: usize| (0..count).map(move |i| if i == end { 7 } else { 1 });
        let shortened = |ends: [usize; 2]| {
            let tokens = Tokens::new([2, count], ends.into_iter().flat_map(text).collect(), None).expect("two texts");
            shortened(&tokens, Some(7)).expect("two texts")
        };
        for (ends, kept) in [([3, STEP - 1], STEP), ([STEP, 2], 2 * STEP), ([0, count - 1], count)] {
            let tokens = shortened(ends);
            assert_eq!((tokens.shape, tokens.mask.len()), ([2, kept], 2 * kept));
            assert!(tokens.rows().zip(ends).all(|((ids, _), end)| end_of(ids, Some(7)) == end));
        }
    }
}

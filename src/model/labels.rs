//! Classification by descriptions of the classes (zero-shot; Radford et al. 2021, section 3.1).

use super::classify::ranked;
use super::{Classification, Model, Session};
use crate::data::error::{Error, Result};
use crate::data::tensor::Tensor;

/// Placeholder of a class's name in a template.
const NAME: &str = "{}";

/// Classes that are described by texts.
#[derive(Clone, Debug)]
pub struct Labels {
    names: Vec<String>,
    /// A vector of length 1 for each class, `[classes, P]`.
    vectors: Tensor,
}

impl Session {
    /// Encodes the names of classes, each in all templates, such as `a photo of a {}`. The vectors of a class's texts are averaged.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no name, or a template has no `{}`; otherwise as [`Session::encode_text`].
    pub async fn encode_labels(&mut self, names: &[impl AsRef<str>], templates: &[impl AsRef<str>]) -> Result<Labels> {
        let (names, templates) = (super::session::owned(names), super::session::owned(templates));
        self.off_executor(async move |session: &mut Session| session.encode_labels_here(names, &templates).await).await
    }

    /// Blocking version of [`Session::encode_labels`].
    ///
    /// # Errors
    /// Same as [`Session::encode_labels`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn encode_labels_blocking(&mut self, names: &[impl AsRef<str>], templates: &[impl AsRef<str>]) -> Result<Labels> {
        pollster::block_on(self.encode_labels_here(super::session::owned(names), &super::session::owned(templates)))
    }

    async fn encode_labels_here(&mut self, names: Vec<String>, templates: &[String]) -> Result<Labels> {
        if names.is_empty() || templates.is_empty() {
            return Err(Error::argument("labels", "expected at least one name and one template"));
        }
        if let Some(template) = templates.iter().find(|template| !template.contains(NAME)) {
            return Err(Error::argument("template", format!("expected {NAME} in place of a label, found {template:?}")));
        }
        let texts: Vec<String> = names.iter().flat_map(|name| templates.iter().map(move |template| template.replace(NAME, name))).collect();
        let encoded = self.encode_text_here(&texts).await?;
        let width = encoded.shape()[1];
        let mean = |of_class: &[f32]| {
            let sums: Vec<f64> = (0..width).map(|i| of_class.iter().skip(i).step_by(width).map(|value| f64::from(*value)).sum()).collect();
            let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
            sums.into_iter().map(move |sum| (sum / length) as f32).collect::<Vec<_>>()
        };
        let vectors = encoded.values().chunks(templates.len() * width).flat_map(mean).collect();
        Ok(Labels { vectors: Tensor::new([names.len(), width], vectors)?, names })
    }
}

impl Labels {
    /// Returns the number of classes.
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Ranks the classes for each of the `image_embeds` `[B, P]` of the same model. Returns the `top` most probable ones, in descending order.
    ///
    /// # Errors
    /// As [`Model::similarity`].
    pub fn classify(&self, model: &Model, image_embeds: &Tensor, top: usize) -> Result<Vec<Classification>> {
        let scores = model.similarity(image_embeds, &self.vectors)?;
        let probabilities = model.pair_probabilities(&scores)?;
        let (scores, probabilities) = (scores.values(), probabilities.values());
        let rows = scores.chunks(self.len()).zip(probabilities.chunks(self.len()));
        Ok(rows.map(|(scores, probabilities)| Classification { head: String::new(), top: ranked(&self.names, scores, probabilities, top) }).collect())
    }
}

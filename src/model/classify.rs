//! What a classifier says of images.

use super::Session;
use super::session::owned;
use crate::data::config::Classifier;
use crate::data::error::{Error, Result};
use crate::data::tensor::Tensor;
use crate::execution::image::Image;

/// A class with its score.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// The class's number.
    pub index: usize,
    /// Its name, if the checkpoint has names.
    pub label: Option<String>,
    /// Softmax of the logits.
    pub probability: f32,
    /// Raw score.
    pub logit: f32,
}

/// The predictions of a classifier for an image.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Classification {
    /// The classifier's name; empty for the model's own.
    pub head: String,
    /// Its most probable classes, the most probable first.
    pub top: Vec<Prediction>,
}

impl Session {
    /// The `top` most probable classes of an image, the most probable first, by each classifier of the model ([`Config::answers`]), in one forward pass.
    ///
    /// # Errors
    /// As [`Session::forward`]; [`Error::Argument`] if the model has no classifier, or takes no images.
    ///
    /// [`Config::answers`]: crate::data::config::Config::answers
    pub async fn classify(&mut self, image: &Image, top: usize) -> Result<Vec<Classification>> {
        let image = image.clone();
        self.off_executor(async move |session: &mut Session| session.classify_here(&image, top).await).await
    }

    /// [`Session::classify`], blocking.
    ///
    /// # Errors
    /// As [`Session::classify`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn classify_blocking(&mut self, image: &Image, top: usize) -> Result<Vec<Classification>> {
        pollster::block_on(self.classify_here(image, top))
    }

    /// [`Session::classify`] for each image of `pixel_values` `[B, channels, height, width]`.
    ///
    /// # Errors
    /// As [`Session::classify`].
    pub async fn classify_batch(&mut self, pixel_values: &Tensor, top: usize) -> Result<Vec<Vec<Classification>>> {
        let pixel_values = pixel_values.clone();
        self.off_executor(async move |session: &mut Session| session.classify_batch_here(&pixel_values, top).await).await
    }

    /// [`Session::classify_batch`], blocking.
    ///
    /// # Errors
    /// As [`Session::classify`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn classify_batch_blocking(&mut self, pixel_values: &Tensor, top: usize) -> Result<Vec<Vec<Classification>>> {
        pollster::block_on(self.classify_batch_here(pixel_values, top))
    }

    async fn classify_here(&mut self, image: &Image, top: usize) -> Result<Vec<Classification>> {
        let Some(preprocess) = self.model().preprocess() else {
            return Err(Error::argument("image", format!("{} takes no images", self.model().config().name)));
        };
        let pixel_values = preprocess.apply(image)?;
        Ok(self.classify_batch_here(&pixel_values, top).await?.remove(0))
    }

    async fn classify_batch_here(&mut self, pixel_values: &Tensor, top: usize) -> Result<Vec<Vec<Classification>>> {
        let model = self.model().clone();
        let classifiers = model.config().answers();
        if classifiers.is_empty() {
            return Err(Error::argument("model", format!("{} has no classifier; give it one, or ask for its features", model.config().name)));
        }
        let names: Vec<String> =
            classifiers.iter().flat_map(|(suffix, _)| ["logits", "probabilities"].map(|name| format!("{name}{suffix}"))).collect();
        let outputs = self.forward_here(pixel_values, &owned(&names)).await?;
        let classification = |image: usize, suffix: &str, classifier: &Classifier| {
            let [logits, probabilities] = ["logits", "probabilities"].map(|name| outputs[&format!("{name}{suffix}")].values());
            let [logits, probabilities] = [&logits, &probabilities].map(|values| &values[image * classifier.classes..][..classifier.classes]);
            Classification { head: suffix.trim_start_matches('_').to_owned(), top: ranked(classifier, logits, probabilities, top) }
        };
        let of_image = |image| classifiers.iter().map(|(suffix, classifier)| classification(image, suffix, classifier)).collect();
        Ok((0..pixel_values.shape()[0]).map(of_image).collect())
    }
}

/// The most probable classes of a classifier, the most probable first.
fn ranked(classifier: &Classifier, logits: &[f32], probabilities: &[f32], top: usize) -> Vec<Prediction> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let prediction =
        |index: usize| Prediction { index, label: classifier.labels.get(index).cloned(), probability: probabilities[index], logit: logits[index] };
    order.into_iter().take(top).map(prediction).collect()
}

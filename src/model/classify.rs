//! Image classification.

use super::{Outputs, Session};
use crate::data::config::{Classifier, Config};
use crate::data::error::{Error, Result};
use crate::data::tensor::Tensor;
use crate::execution::image::Image;

/// A class and its score.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// Class index.
    pub index: usize,
    /// Class name, if the checkpoint provides names.
    pub label: Option<String>,
    /// Softmax probability.
    pub probability: f32,
    /// Raw logit.
    pub logit: f32,
}

/// Predictions of one classifier for one image.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Classification {
    /// Name of the classifier; empty for the model's main one.
    pub head: String,
    /// Most probable classes, in descending order of probability.
    pub top: Vec<Prediction>,
}

impl Session {
    /// Classifies an image with every classifier of the model ([`Config::default_classifiers`]) in one forward pass. Returns the `top` most probable classes of
    /// each classifier, in descending order.
    ///
    /// # Errors
    /// Same as [`Session::forward`]; also [`Error::Argument`] if the model has no classifier or does not take images.
    ///
    /// [`Config::default_classifiers`]: crate::data::config::Config::default_classifiers
    pub async fn classify(&mut self, image: &Image, top: usize) -> Result<Vec<Classification>> {
        let image = image.clone();
        self.off_executor(async move |session: &mut Session| session.classify_here(&image, top).await).await
    }

    /// Blocking version of [`Session::classify`].
    ///
    /// # Errors
    /// Same as [`Session::classify`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn classify_blocking(&mut self, image: &Image, top: usize) -> Result<Vec<Classification>> {
        pollster::block_on(self.classify_here(image, top))
    }

    /// Runs [`Session::classify`] on each image of `pixel_values` `[B, channels, height, width]`.
    ///
    /// # Errors
    /// Same as [`Session::classify`].
    pub async fn classify_batch(&mut self, pixel_values: &Tensor, top: usize) -> Result<Vec<Vec<Classification>>> {
        let pixel_values = pixel_values.clone();
        self.off_executor(async move |session: &mut Session| session.classify_batch_here(&pixel_values, top).await).await
    }

    /// Blocking version of [`Session::classify_batch`].
    ///
    /// # Errors
    /// Same as [`Session::classify`].
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
        let names = Classification::outputs(model.config());
        if names.is_empty() {
            let instead = match model.config().classifiers.is_empty() {
                true => "has no classifier; add one, or request its features",
                false => "predicts quantities (problem_type is regression), not classes; request its logits",
            };
            return Err(Error::argument("model", format!("{} {instead}", model.config().name)));
        }
        let outputs = self.forward_here(pixel_values, &names).await?;
        Ok((0..pixel_values.shape()[0]).map(|image| Classification::of(model.config(), &outputs, image, top)).collect())
    }
}

impl Classification {
    /// Returns the names of the outputs that [`Classification::of`] reads.
    pub fn outputs(config: &Config) -> Vec<String> {
        let of_classifier = |(suffix, _): (String, _)| ["logits", "probabilities"].map(|name| format!("{name}{suffix}"));
        config.default_classifiers().into_iter().flat_map(of_classifier).collect()
    }

    /// Ranks the classes of an image of a batch by the outputs of a forward pass. Returns the `top` most probable classes of each classifier, in
    /// descending order.
    ///
    /// # Panics
    /// If an output of [`Classification::outputs`] is missing, or if the batch is smaller.
    pub fn of(config: &Config, outputs: &Outputs, image: usize, top: usize) -> Vec<Classification> {
        let of_classifier = |(suffix, classifier): (String, &Classifier)| {
            let [logits, probabilities] = ["logits", "probabilities"].map(|name| outputs[&format!("{name}{suffix}")].values());
            let [logits, probabilities] = [&logits, &probabilities].map(|values| &values[image * classifier.classes..][..classifier.classes]);
            Classification { head: suffix.trim_start_matches('_').to_owned(), top: ranked(&classifier.labels, logits, probabilities, top) }
        };
        config.default_classifiers().into_iter().map(of_classifier).collect()
    }
}

/// Returns the `top` most probable classes, in descending order.
pub(super) fn ranked(labels: &[String], logits: &[f32], probabilities: &[f32], top: usize) -> Vec<Prediction> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let prediction = |index: usize| Prediction { index, label: labels.get(index).cloned(), probability: probabilities[index], logit: logits[index] };
    order.into_iter().take(top).map(prediction).collect()
}

//! The class `vitraux.Model`.

use crate::arguments::Arguments;
use crate::arrays::array;
use crate::error::{invalid, raised};
use crate::images::{Source, each_source, no_images, prepared, sources, values};
use crate::parts::{Parts, joined, part};
use crate::texts::strings;
use crate::threads::detached;
use numpy::PyArrayDyn;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySlice, PyTuple};
use std::sync::{Mutex, PoisonError};
use vitraux::config::{Classifier, Input, Size};
use vitraux::{Labels, Prediction, Session, Tensor};

/// A Vision Transformer on a device, made by `vitraux.load`. Threads may share it.
///
/// model(images) is model.classify(images) for a model with a classifier, else model.embed(images).
#[pyclass(frozen, weakref, module = "vitraux")]
pub struct Model {
    pub model: vitraux::Model,
    arguments: Arguments,
    /// Sessions that no call uses at the moment. Each has buffers of its own; all share the weights.
    pub sessions: Mutex<Vec<Session>>,
    /// The process that loaded it.
    pub process: u32,
}

/// Classes of images.
enum Classes<'a> {
    /// Those of a classifier, with the suffix of its outputs.
    Trained { suffix: String, classifier: &'a Classifier },
    /// Those that texts describe.
    Described(Labels),
}

impl Model {
    pub fn new(model: vitraux::Model, arguments: Arguments) -> Model {
        Model { model, arguments, sessions: Mutex::default(), process: std::process::id() }
    }

    /// Returns the classes of a classifier.
    fn classifier(&self, py: Python<'_>, head: Option<&str>) -> PyResult<Classes<'_>> {
        let all = self.model.config().default_classifiers();
        let names: Vec<&str> = all.iter().map(|(suffix, _)| suffix.trim_start_matches('_')).collect();
        let Some(first) = names.first() else {
            let message = match self.model.text_config() {
                None => format!("{} has no classifier; use embed, forward, or a model that has one", self.model.config().name),
                Some(_) => format!("{} has no classifier; give labels", self.model.config().name),
            };
            return Err(invalid(py, "model", message));
        };
        let wanted = head.unwrap_or(first);
        match names.iter().position(|name| *name == wanted) {
            Some(place) => Ok(Classes::Trained { suffix: all[place].0.clone(), classifier: all[place].1 }),
            None => Err(invalid(py, "head", format!("expected one of {names:?}, found {wanted:?}"))),
        }
    }

    /// Returns the `top` most probable classes of each image, with their probabilities.
    fn ranked(&self, py: Python<'_>, images: &[Source], classes: &Classes, top: usize) -> PyResult<Vec<Vec<(String, f32)>>> {
        match classes {
            Classes::Described(labels) => {
                let vectors = self.output(py, images, "image_embeds".to_owned())?;
                let found = detached(py, || labels.classify(&self.model, &vectors, top)).map_err(|error| raised(py, &error))?;
                let named = |class: Prediction| (class.label.unwrap_or_default(), class.probability);
                Ok(found.into_iter().map(|image| image.top.into_iter().map(named).collect()).collect())
            }
            Classes::Trained { suffix, classifier } => {
                let probabilities = self.output(py, images, format!("probabilities{suffix}"))?;
                let ranked = |probabilities: &[f32]| {
                    let mut order: Vec<usize> = (0..classifier.classes).collect();
                    order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
                    order.into_iter().take(top).map(|class| (label(classifier, class), probabilities[class])).collect()
                };
                Ok(probabilities.values().chunks(classifier.classes).map(ranked).collect())
            }
        }
    }

    /// Returns the number of a block, of which a negative one counts from the end.
    fn block(&self, py: Python<'_>, argument: &'static str, layer: isize) -> PyResult<usize> {
        let depth = self.model.config().depth as isize;
        match layer {
            layer if (-depth..depth).contains(&layer) => Ok(layer.rem_euclid(depth) as usize),
            other => Err(invalid(py, argument, format!("expected -{depth} to {}, found {other}", depth - 1))),
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        if self.is_of_parent() {
            // To free it would wait for the driver's threads, which a fork does not have.
            std::mem::forget(self.model.clone());
            std::mem::forget(std::mem::take(self.sessions.get_mut().unwrap_or_else(PoisonError::into_inner)));
        }
    }
}

#[pymethods]
impl Model {
    /// Classify or embed images, whichever the model is made for.
    ///
    /// The same as `classify(images)` for a model with a classifier, else as `embed(images)`.
    fn __call__<'py>(&self, py: Python<'py>, images: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match self.model.config().default_classifiers().is_empty() {
            true => self.embed(py, images, false, false),
            false => self.classify(py, images, 5, None, None, None),
        }
    }

    /// Return the most probable classes of images, in the form of transformers' pipeline("image-classification").
    ///
    /// Scores are the softmax of the logits, also where the pipeline takes the sigmoid: for models with several labels per image.
    /// With labels, a model of images and texts compares the images with descriptions of the classes (zero-shot). Scores are then CLIP's softmax over
    /// the labels, or SigLIP's sigmoid of each.
    ///
    /// images: a path, the bytes of a file, a PIL image, an array (uint8 levels [height, width, channels], or float32 pixel_values
    ///     [channels, height, width]), or a list of these.
    /// top_k: number of classes.
    /// head: name of the classifier, one of `heads`; by default the first.
    /// labels: classes in words, instead of those that the model was trained on.
    /// template: text for each label, with {} in its place; of several, the vectors are averaged. By default "a photo of a {}".
    ///
    /// Returns a list of {"label": str, "score": float}, most probable first; for several images, a list of such lists.
    #[pyo3(
        signature = (images, top_k=5, *, head=None, labels=None, template=None),
        text_signature = "($self, images, top_k=5, *, head=None, labels=None, template=None)"
    )]
    fn classify<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<'py, PyAny>,
        top_k: isize,
        head: Option<&str>,
        labels: Option<&Bound<'py, PyAny>>,
        template: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Ok(top_k) = usize::try_from(top_k) else { return Err(invalid(py, "top_k", format!("expected 0 or more, found {top_k}"))) };
        let classes = match (labels, head, template) {
            (Some(labels), None, template) => Classes::Described(self.described(py, labels, template)?),
            (None, head, None) => self.classifier(py, head)?,
            (Some(_), Some(_), _) => return Err(invalid(py, "head", "expected either head or labels, found both".to_owned())),
            (None, _, Some(_)) => return Err(invalid(py, "template", "expected labels to put into it, found none".to_owned())),
        };
        let images = sources(images)?;
        let is_single = images.is_single;
        let images = images.list;
        if images.is_empty() {
            return Ok(PyList::empty(py).into_any());
        }
        let answers = PyList::empty(py);
        for classes in self.ranked(py, &images, &classes, top_k)? {
            let answer = PyList::empty(py);
            for (label, score) in classes {
                let entry = PyDict::new(py);
                entry.set_item("label", label)?;
                entry.set_item("score", score)?;
                answer.append(entry)?;
            }
            answers.append(answer)?;
        }
        if is_single { answers.get_item(0) } else { Ok(answers.into_any()) }
    }

    /// Return a vector of length 1 for each text, [B, P] float32, to be compared with those of `embed` by `similarity` (CLIP, SigLIP).
    ///
    /// Texts are tokenised, and cut at the model's longest, as transformers does. One text gives [1, P].
    ///
    /// texts: a string, or a list of strings.
    fn encode_text<'py>(&self, py: Python<'py>, texts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        array(py, self.text_vectors(py, &strings(texts, "texts")?)?)
    }

    /// Return the scores of all pairs of images and texts, [M, N] float32: transformers' logits_per_image.
    ///
    /// images: vectors of `embed`, float32 [M, P].
    /// texts: vectors of `encode_text`, float32 [N, P].
    fn similarity<'py>(&self, py: Python<'py>, images: &Bound<'py, PyAny>, texts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let vectors = |object, argument| {
            let (shape, values) = values(object, argument)?;
            Tensor::new(shape, values).map_err(|error| raised(py, &error))
        };
        let (images, texts) = (vectors(images, "images")?, vectors(texts, "texts")?);
        let scores = detached(py, || self.model.similarity(&images, &texts));
        array(py, scores.map_err(|error| raised(py, &error))?)
    }

    /// Return one vector for each image, [B, C] float32.
    ///
    /// The pooled features, or their projection if the model has one (CLIP, SigLIP). One image gives [1, C].
    ///
    /// images: see `classify`.
    /// normalize: divide each vector by its Euclidean norm.
    /// return_errors: do not raise for images that cannot be read. Returns the vectors, of NaN for these, and a list with the message of each image, or
    ///     None.
    #[pyo3(signature = (images, *, normalize=false, return_errors=false))]
    fn embed<'py>(&self, py: Python<'py>, images: &Bound<'py, PyAny>, normalize: bool, return_errors: bool) -> PyResult<Bound<'py, PyAny>> {
        let config = self.model.config();
        let Some((output, width)) = config.vector_output() else {
            let others = if config.patches().is_some() { "features or forward" } else { "forward" };
            return Err(invalid(py, "model", format!("{} has no pooled features; use {others}", config.name)));
        };
        let mut values = Vec::new();
        let mut errors: Vec<Option<String>> = Vec::new();
        // Without `return_errors`, nothing is computed if an element is no image.
        let list = if return_errors { each_source(images)?.list } else { sources(images)?.list.into_iter().map(Ok).collect() };
        let mut images = list.into_iter().peekable();
        while images.peek().is_some() {
            py.check_signals()?;
            let chunk: Vec<Result<Source, String>> = images.by_ref().take(self.chunk()).collect();
            let prepared = if return_errors { self.each_readable(py, chunk) } else { chunk };
            let (readable, messages): (Vec<_>, Vec<_>) =
                prepared.into_iter().map(|image| image.map_or_else(|message| (None, Some(message)), |image| (Some(image), None))).unzip();
            let readable: Vec<Source> = readable.into_iter().flatten().collect();
            let found = if readable.is_empty() { Tensor::zeros([0, width]) } else { self.output(py, &readable, output.to_owned())? };
            let found = found.values();
            let mut vectors = found.chunks(width);
            for message in messages {
                match message {
                    None => values.extend_from_slice(vectors.next().expect("a vector")),
                    Some(_) => values.resize(values.len() + width, f32::NAN),
                }
                errors.push(message);
            }
        }
        if normalize {
            values.chunks_mut(width).for_each(divide_by_norm);
        }
        let vectors = array(py, Tensor::new([errors.len(), width], values).map_err(|error| raised(py, &error))?)?;
        if return_errors { Ok((vectors, errors).into_pyobject(py)?.into_any()) } else { Ok(vectors.into_any()) }
    }

    /// Return the features of all patches after some blocks, as timm's forward_intermediates does.
    ///
    /// images: see `classify`; all of one size after preprocessing.
    /// layers: numbers of the blocks, negative ones from the end; by default the last.
    /// reshape: return [B, C, height, width] of the grid of patches, else [B, P, C].
    ///
    /// Returns a list with an array for each layer. Class token and registers are left out.
    #[pyo3(signature = (images, layers=None, *, reshape=true))]
    fn features<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<'py, PyAny>,
        layers: Option<&Bound<'py, PyAny>>,
        reshape: bool,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let name = |layer| self.block(py, "layers", layer).map(|block| format!("hidden.{block}"));
        let names = match layers {
            None => vec![name(-1)?],
            Some(layers) => layers.try_iter()?.map(|layer| name(layer?.extract()?)).collect::<PyResult<_>>()?,
        };
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let (mut outputs, size) = self.run(py, &sources(images)?.list, &names)?;
        let size = size.ok_or_else(|| self.several_sizes(py))?;
        let (config, shape) = (self.model.config(), outputs[&names[0]].shape().to_vec());
        let grid = config.patches().filter(|_| reshape).map(|patches| patches.grid(size));
        let mut features = Vec::with_capacity(names.len());
        for (i, name) in names.iter().enumerate() {
            // A block may be asked for twice, but no two arrays share memory.
            let tensor = match names[i + 1..].contains(name) {
                true => Tensor::new(shape.clone(), outputs[name].values().to_vec()).map_err(|error| raised(py, &error))?,
                false => outputs.remove(name).expect("the requested output"),
            };
            let slice = PySlice::new(py, config.prefix_tokens as isize, shape[1] as isize, 1);
            let patches = array(py, tensor)?.get_item((PySlice::full(py), slice))?;
            features.push(match grid {
                None => patches,
                Some([height, width]) => {
                    let grid = patches.call_method1("reshape", (shape[0], height, width, shape[2]))?;
                    grid.call_method1("transpose", (0, 3, 1, 2))?
                }
            });
        }
        Ok(features)
    }

    /// Return attention probabilities of one block.
    ///
    /// images: see `classify`; all of one size after preprocessing.
    /// layer: number of the block, negative ones from the end.
    /// query: return only this token's row; 0 is the class token, if there is one.
    ///
    /// Returns [B, heads, N, N] float32, or [B, heads, N] with a query.
    #[pyo3(signature = (images, layer=-1, *, query=None), text_signature = "($self, images, layer=-1, *, query=None)")]
    fn attention<'py>(&self, py: Python<'py>, images: &Bound<'py, PyAny>, layer: isize, query: Option<isize>) -> PyResult<Bound<'py, PyAny>> {
        let block = self.block(py, "layer", layer)?;
        let name = match query {
            None => format!("attn.{block}"),
            Some(query @ 0..) => format!("attn.{block}.{query}"),
            Some(query) => return Err(invalid(py, "query", format!("expected the number of a token, found {query}"))),
        };
        let (mut outputs, size) = self.run(py, &sources(images)?.list, std::slice::from_ref(&name))?;
        size.ok_or_else(|| self.several_sizes(py))?;
        let probabilities = array(py, outputs.remove(&name).expect("the requested output"))?;
        if query.is_some() { probabilities.call_method1("squeeze", (2,)) } else { Ok(probabilities.into_any()) }
    }

    /// Run the model on preprocessed images and return outputs by name.
    ///
    /// pixel_values: float32 [B, channels, height, width], as `preprocess` returns; for encoders of embeddings, float32 [B, N, C].
    /// outputs: names from `outputs`; maps such as "attn.11.0", "rollout" and "pca" too.
    /// key_padding_mask: for encoders of embeddings, float32 or bool [B, N], not 0 for tokens to ignore.
    #[pyo3(signature = (pixel_values, outputs, *, key_padding_mask=None))]
    fn forward<'py>(
        &self,
        py: Python<'py>,
        pixel_values: &Bound<'py, PyAny>,
        outputs: &Bound<'py, PyAny>,
        key_padding_mask: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        self.check_process(py)?;
        let outputs = strings(outputs, "outputs")?;
        let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let tensor = |object, argument| {
            let (shape, values) = values(object, argument)?;
            Tensor::new(shape, values).map_err(|error| raised(py, &error))
        };
        let input = tensor(pixel_values, "pixel_values")?;
        let mask = key_padding_mask.map(|mask| tensor(mask, "key_padding_mask")).transpose()?;
        let batch = input.shape()[0];
        if mask.as_ref().is_some_and(|mask| mask.shape()[0] != batch) {
            return Err(invalid(py, "key_padding_mask", format!("expected {batch} rows")));
        }
        let mut parts = Parts::default();
        for first in (0..batch.max(1)).step_by(self.chunk()) {
            py.check_signals()?;
            let rows = first..batch.min(first + self.chunk());
            let pass = |session: &mut Session| match &mask {
                Some(mask) => session.forward_masked_blocking(&part(&input, rows.clone())?, &part(mask, rows.clone())?, &names),
                None => session.forward_blocking(&part(&input, rows.clone())?, &names),
            };
            parts.add(detached(py, || self.with_session(pass)).map_err(|error| raised(py, &error))?);
        }
        let mut found = parts.joined().map_err(|error| raised(py, &error))?;
        let named = PyDict::new(py);
        for name in outputs {
            if let Some(tensor) = found.remove(&name) {
                named.set_item(name, array(py, tensor)?)?;
            }
        }
        Ok(named)
    }

    /// Run the text tower on token ids and return outputs by name.
    ///
    /// input_ids: integers [B, N], as transformers' tokenizers return.
    /// outputs: names from `text_outputs`.
    /// attention_mask: integers or bool [B, N], 0 for padding.
    #[pyo3(signature = (input_ids, outputs, *, attention_mask=None))]
    fn forward_text<'py>(
        &self,
        py: Python<'py>,
        input_ids: &Bound<'py, PyAny>,
        outputs: &Bound<'py, PyAny>,
        attention_mask: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        self.run_tokens(py, input_ids, attention_mask, &strings(outputs, "outputs")?)
    }

    /// Return the pixel values that the model takes of images: float32 [B, channels, height, width].
    ///
    /// images: see `classify`.
    fn preprocess<'py>(&self, py: Python<'py>, images: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let images = sources(images)?.list;
        if images.is_empty() {
            return Err(no_images(py));
        }
        let mut values = Vec::new();
        for images in images.chunks(self.chunk()) {
            py.check_signals()?;
            values.extend(detached(py, || prepared(images, self.model.preprocess())).map_err(|error| raised(py, &error))?);
        }
        array(py, joined("pixel_values", values).map_err(|error| raised(py, &error))?)
    }

    /// Names of the classifiers; "" is the main one's, which has none.
    #[getter]
    fn heads(&self) -> Vec<String> {
        self.model.config().default_classifiers().iter().map(|(suffix, _)| suffix.trim_start_matches('_').to_owned()).collect()
    }

    /// Names of the first classifier's classes.
    #[getter]
    fn labels(&self) -> Vec<String> {
        let classifiers = self.model.config().default_classifiers();
        classifiers.first().map_or_else(Vec::new, |(_, classifier)| (0..classifier.classes).map(|class| label(classifier, class)).collect())
    }

    /// Names of the outputs that `forward` can return.
    #[getter(outputs)]
    fn output_names(&self) -> Vec<String> {
        if self.model.config().is_text() { Vec::new() } else { self.model.output_names() }
    }

    /// Names of the outputs that `forward_text` can return; none if the model has no text tower.
    #[getter]
    fn text_outputs(&self) -> Vec<String> {
        self.model.text_output_names()
    }

    /// Sizes of the model.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let config = self.model.config();
        let named = PyDict::new(py);
        named.set_item("name", &config.name)?;
        if let (Input::Image(patches), Size::Image([height, width])) = (&config.input, config.native_size()) {
            named.set_item("image_size", (height, width))?;
            let [rows, columns] = patches.grid([height, width]);
            named.set_item("grid", (rows, columns))?;
            named.set_item("patch_size", (height / rows, width / columns))?;
            named.set_item("channels", patches.channels)?;
        }
        let sizes = [
            ("width", config.width),
            ("depth", config.depth),
            ("heads", config.heads),
            ("mlp_width", config.mlp_width),
            ("prefix_tokens", config.prefix_tokens),
            ("embedding_width", config.projection.unwrap_or_else(|| config.feature_width())),
        ];
        sizes.into_iter().try_for_each(|(name, size)| named.set_item(name, size))?;
        Ok(named)
    }

    /// The device that it runs on.
    #[getter]
    fn device(&self) -> String {
        self.model.device().to_string()
    }

    /// The precision of its weights.
    #[getter]
    fn precision(&self) -> String {
        self.model.precision().to_string()
    }

    fn __repr__(&self) -> String {
        format!("<vitraux.Model {} on {} in {}>", self.model.config().name, self.model.device(), self.model.precision())
    }

    /// A copy in another process loads the model again.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let Arguments { model, device, precision } = &self.arguments;
        // As a string: a path of Windows would change the slash of a name on the hub.
        Ok((py.import("vitraux")?.getattr("load")?, (model.as_os_str(), device, precision).into_pyobject(py)?))
    }
}

fn divide_by_norm(vector: &mut [f32]) {
    let norm = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    vector.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
}

/// Returns the name of a class, as transformers names those without one.
fn label(classifier: &Classifier, class: usize) -> String {
    classifier.labels.get(class).cloned().unwrap_or_else(|| format!("LABEL_{class}"))
}

//! Checkpoints in the hub's layout: configuration, preprocessing and weights of a folder.
//!
//! Each layout has a module with a reader of its configuration and a table of its tensor names.

mod adapter;
mod backbone;
mod batch_norm;
mod builder;
mod facebook;
mod families;
mod files;
mod folder;
mod head;
mod header;
mod jax;
mod json;
mod kind;
mod labels;
mod lone;
mod low_rank;
mod memory;
mod npz;
mod open_clip;
mod position;
mod positions;
#[cfg(test)]
mod published_parameters;
mod pytorch;
mod random;
mod refusal;
mod relative;
mod rotary;
mod source;
mod stem;
mod strides;
mod timm;
mod torch;
mod transformers;
mod weights;

pub use builder::CheckpointBuilder;
pub use families::{FAMILIES, Family};
pub use files::names_in_folder;
pub use head::Head;
#[cfg(any(feature = "text", all(feature = "hub", not(target_arch = "wasm32"))))]
pub(in crate::execution) use json::LARGEST_JSON;
pub(in crate::execution) use open_clip::CONFIG as OPEN_CLIP_CONFIG;
pub use position::{PositionTable, Resampling, sinusoidal};
pub use positions::Positions;
pub use random::random_of;
pub use weights::{
    AttentionPool, Backbone, Block, Bottleneck, Convolution, Dense, Fusion, Linear, Norm, PoolMlp, QkNorm, Reassembly, ResidualUnit, Weight,
    WeightInfo, Weights,
};

use crate::data::config::{Config, Size};
use crate::data::error::{Error, Result};
use crate::data::tensor::Tensor;
use crate::execution::image::Preprocess;
use files::Files;
pub(crate) use folder::Folder;
pub(in crate::execution) use json::Object;
use labels::labels;
use lone::LoneFile;
use positions::PositionSources;
use refusal::{nearest, refusal};
use source::{Part, Source};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek};
use std::path::Path;

/// Configuration of a model.
pub(in crate::execution) const CONFIG: &str = "config.json";
/// Preprocessing file of transformers.
const PROCESSOR: &str = "preprocessor_config.json";
/// Preprocessing file of transformers 5, which holds it as `image_processor` next to a model's other processors.
const PROCESSORS: &str = "processor_config.json";

/// An opened model. Weights keep their stored type until they are loaded to a device, and those of large files stay in the mapped file; see
/// [`CheckpointBuilder::mapped_from`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Checkpoint {
    pub(crate) config: Config,
    /// Preprocessing of images, if the model takes images. May be changed before the model is loaded.
    pub preprocess: Option<Preprocess>,
    /// Weights.
    pub weights: Weights<Weight>,
    /// Learned positions of the patches.
    pub positions: Positions,
    /// Token embeddings `[vocabulary, C]`, if the model takes texts.
    pub tokens: Option<Weight>,
    /// Comparison of images with texts, if the model is of both.
    pub(crate) similarity: Option<Similarity>,
    /// Text tower that belongs to a model of images.
    pub(crate) text: Option<Box<Checkpoint>>,
    /// Folder with the tokenizer of a model that takes texts.
    pub(crate) folder: Option<Folder>,
    /// Number of learned values that are used only in training, or never: a mask token, an auxiliary head.
    unused: usize,
}

/// Scale and bias of the scores of image-text pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// Factor of the cosine.
    pub scale: f32,
    /// Added to it (SigLIP, whose scores are those of a sigmoid); `None` for CLIP, whose scores are those of a softmax.
    pub bias: Option<f32>,
}

/// A model as its configuration describes it: the computation, and the sources of the weights.
struct Outline {
    config: Config,
    weights: Weights<Source>,
    positions: PositionSources,
    /// Text parts of the model.
    text: TextSources,
    /// Name prefixes of the encoder's tensors outside its blocks. An unused tensor with one of them is an error.
    own: Vec<String>,
}

/// Sources of what a model needs for texts.
#[derive(Default)]
struct TextSources {
    /// Token embeddings.
    tokens: Option<Source>,
    /// Logarithm of the scale of similarities, and their bias.
    similarity: Option<(Part, Option<Part>)>,
    /// Text tower next to an image tower.
    tower: Option<Box<Outline>>,
}

impl Checkpoint {
    /// Opens a folder with `config.json` and `model.safetensors` or `pytorch_model.bin` (or shards with an index), in the layout of
    /// timm, transformers, open_clip or torch's `TransformerEncoder`; or one of Google's npz files or Facebook's `.pth` files of DINOv2. Of a PyTorch file, only tensors are read:
    /// nothing in it is run.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`] if a file is missing or damaged; [`Error::Unsupported`] if vitraux does not run
    /// the model's family; [`Error::Tensor`] if a tensor does not have the shape that the configuration implies.
    pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint> {
        Checkpoint::builder(path).open()
    }

    /// Starts opening a checkpoint with options.
    pub fn builder(path: impl AsRef<Path>) -> CheckpointBuilder {
        CheckpointBuilder::new(path.as_ref())
    }

    /// Starts opening a checkpoint of given files, by their names in the hub: `config.json`, `model.safetensors`, `pytorch_model.bin` or shards with their index, and
    /// `preprocessor_config.json` if the model has one. They may be in memory (`Cursor<Vec<u8>>`) or anywhere else; each weight is read when it is loaded to a device. Errors
    /// refer to the checkpoint as `name`. For programs that bring a model with them, and for browsers, which have no file system.
    pub fn builder_from_files<F: Read + Seek + Send + 'static>(
        name: impl AsRef<Path>,
        files: impl IntoIterator<Item = (String, F)>,
    ) -> CheckpointBuilder {
        CheckpointBuilder::from_files(name.as_ref(), files)
    }

    /// Returns the built-in model: a small Vision Transformer that reads one printed or handwritten digit. Its training and
    /// accuracy are in `examples/digits/`.
    pub fn digits() -> Checkpoint {
        const CONFIG: &[u8] = include_bytes!("../../../examples/digits/config.json");
        static WEIGHTS: &[u8] = include_bytes!("../../../examples/digits/model.safetensors");
        let root = Object::parse(Path::new("digits/config.json"), CONFIG).expect("the embedded configuration is valid");
        let files = Files::embedded("digits/model.safetensors", WEIGHTS).expect("the embedded weights are valid");
        let load = || timm::read(&root, Some(&files))?.load(root.path(), Some(timm::preprocess(&root, None)?), &files);
        let mut checkpoint = load().expect("the embedded model is valid");
        "digits".clone_into(&mut checkpoint.config.name);
        checkpoint
    }

    /// Returns the configuration of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the text tower alone, which encodes texts without the image tower; `None` if the model has none.
    pub fn into_text_tower(self) -> Option<Checkpoint> {
        if self.config.is_text() {
            return Some(self);
        }
        let tower = *self.text?;
        Some(Checkpoint { similarity: self.similarity, folder: self.folder, ..tower })
    }

    /// Returns the configuration of the text tower, if the model is of images and texts.
    pub fn text_config(&self) -> Option<&Config> {
        self.text.as_ref().map(|text| &text.config)
    }

    /// Number of learned values, as a reference implementation counts them: those of a text tower too.
    pub fn parameters(&self) -> usize {
        let mut counted = HashSet::new();
        let weights: usize = self.numbered_weights().iter().filter(|weight| counted.insert(&weight.name)).map(|weight| weight.learned).sum();
        let tokens = self.tokens.as_ref().map_or(0, |tokens| tokens.learned);
        let of_texts = self.text.as_ref().map_or(0, |text| text.parameters());
        let of_pairs = self.similarity.map_or(0, |similarity| 1 + usize::from(similarity.bias.is_some()));
        weights + self.positions.learned() + tokens + of_texts + of_pairs + self.unused
    }

    /// Returns all weights in the order in which a recording numbers them.
    pub fn numbered_weights(&self) -> Vec<Weight> {
        let mut numbered = Vec::new();
        let Ok(_) = self.weights.clone().try_map_all(|weight| {
            numbered.push(weight);
            Ok::<(), std::convert::Infallible>(())
        });
        numbered
    }
}

impl Outline {
    /// Number of learned values, as a reference implementation counts them.
    #[cfg(test)]
    fn parameters(&self) -> usize {
        let mut counted = HashSet::new();
        let mut sum = self.positions.parameters();
        let Ok(_) = self.weights.clone().try_map_all(|source| {
            sum += if counted.insert(source.name()) { source.parameters() } else { 0 };
            Ok::<(), std::convert::Infallible>(())
        });
        sum
    }

    /// Checks that the model can run at this size, or at its native size.
    fn checked_at(self, image: Option<[usize; 2]>) -> Result<Outline> {
        self.config.tokens(image.map_or(self.config.native_size(), Size::Image))?;
        Ok(self)
    }

    /// Loads the weights.
    fn load(self, path: &Path, preprocess: Option<Preprocess>, files: &Files) -> Result<Checkpoint> {
        self.check_unused(path, files)?;
        let positions = self.positions.load(files)?;
        let TextSources { tokens, similarity, tower } = self.text;
        let similarity = similarity.map(|(scale, bias)| Similarity::load(&scale, bias.as_ref(), files)).transpose()?;
        let is_unused = |name: &&str| {
            *name == "mask_token" || ["embeddings.mask_token", "vision_encoder.mask_token"].iter().any(|end| name.ends_with(end)) || is_unread(name)
        };
        let learned = files.names().filter(is_unused).filter(|name| !BUFFERS.iter().any(|ending| name.ends_with(ending)));
        let unused = learned.map(|name| files.shape(name).map_or(0, |shape| shape.iter().product::<usize>())).sum();
        Ok(Checkpoint {
            weights: self.weights.load(files)?,
            config: self.config,
            preprocess,
            positions,
            tokens: tokens.map(|source| source.load(files)).transpose()?,
            similarity,
            text: tower.map(|tower| tower.load(path, None, files).map(Box::new)).transpose()?,
            folder: None,
            unused,
        })
    }

    /// Rejects a checkpoint with encoder tensors that this model lacks: it belongs to another model, or to a deeper one.
    /// Tensors outside the encoder, such as those of a text tower or a decoder, may go unused.
    fn check_unused(&self, path: &Path, files: &Files) -> Result<()> {
        let used = self.names();
        let blocks: HashSet<&str> = used.iter().filter_map(|name| before_number(name)).collect();
        let is_buffer = |name: &str| BUFFERS.iter().any(|ending| name.ends_with(ending));
        let is_own = |name: &str| self.own.iter().any(|own| name.starts_with(own.as_str()));
        // DINOv3 without registers stores an empty tensor for them.
        let is_empty = |name: &str| files.shape(name).is_ok_and(|shape| shape.contains(&0));
        let belongs = |name: &str| is_own(name) || before_number(name).is_some_and(|place| blocks.contains(place));
        let is_ignored = |name: &str| is_buffer(name) || is_empty(name) || is_unread(name);
        match files.names().filter(|name| !used.contains(*name) && belongs(name) && !is_ignored(name)).min() {
            None => Ok(()),
            Some(name) => Err(Error::unsupported(
                path,
                format!("tensor {name} is in the checkpoint, but not in {} as configured; no tensor is ignored silently", self.config.name),
            )),
        }
    }

    /// Names of the tensors used.
    fn names(&self) -> HashSet<String> {
        let mut names: HashSet<String> = self.positions.names().map(str::to_owned).collect();
        let Ok(_) = self.weights.clone().try_map_all(|source| {
            names.extend(source.names().map(str::to_owned));
            Ok::<(), std::convert::Infallible>(())
        });
        names.extend(self.text.tokens.iter().flat_map(Source::names).map(str::to_owned));
        names
    }
}

impl Similarity {
    fn load(scale: &Part, bias: Option<&Part>, files: &Files) -> Result<Similarity> {
        let number = |part: &Part| Ok::<f32, Error>(part.load(files)?.finite_values(part.name().unwrap_or_default())?[0]);
        Ok(Similarity { scale: number(scale)?.exp(), bias: bias.map(number).transpose()? })
    }
}

/// Name endings of buffers that libraries store in blocks although they are not learned.
const BUFFERS: &[&str] =
    &["inv_freq", "rope.periods", "relative_position_index", "attn.k_bias", "num_batches_tracked", "running_mean", "running_var"];

/// Name beginnings of tensors that are read only in training, or never: the deepest map of a dense head has none to be added to.
const UNREAD: &[&str] = &["auxiliary_head.", "neck.fusion_stage.layers.0.residual_layer1."];

fn is_unread(name: &str) -> bool {
    UNREAD.iter().any(|beginning| name.starts_with(beginning))
}

/// Returns the part of a tensor's name before the block number, such as `blocks.`.
fn before_number(name: &str) -> Option<&str> {
    let digit = |(place, pair): (usize, &[u8])| (b"._".contains(&pair[0]) && pair[1].is_ascii_digit()).then_some(place + 1);
    name.as_bytes().windows(2).enumerate().find_map(digit).map(|end| &name[..end])
}

/// Reads the preprocessing of a folder, or of a file without a configuration. A folder's weights need not be there. `image` overrides the
/// configured height and width.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`] if the configuration is missing or damaged, or if the model takes no images;
/// [`Error::Unsupported`] if the configuration is not supported; [`Error::Tensor`] if a tensor of such a file has the wrong shape.
pub fn open_preprocess(path: impl AsRef<Path>, image: Option<[usize; 2]>) -> Result<Preprocess> {
    let path = path.as_ref();
    if let Some(kind) = LoneFile::of(path) {
        return kind.preprocess(path, &kind.outline(path, &kind.open(path, u64::MAX)?)?.config, image);
    }
    let folder = Folder::Stored(path.to_owned());
    preprocess(&root(&folder)?, processor(&folder)?, image)
}

/// Whether a path is that of a model in one file without a configuration: Google's npz, or Facebook's pth of DINOv2.
pub fn is_lone_file(path: impl AsRef<Path>) -> bool {
    LoneFile::of(path.as_ref()).is_some()
}

/// Returns the names of the tensors in a safetensors file.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`] if the file is missing or damaged.
pub fn tensor_names(path: impl AsRef<Path>) -> Result<Vec<String>> {
    Ok(Files::open_file(path.as_ref())?.names().map(str::to_owned).collect())
}

/// Checks that a file of PyTorch is whole, without loading its tensors.
#[cfg(all(feature = "hub", not(target_arch = "wasm32")))]
pub(in crate::execution) fn check_pytorch(path: &Path) -> Result<()> {
    pytorch::read(path, &memory::Contents::open(path, memory::MAPPED_FROM)?, false).map(drop)
}

/// Returns the metadata of a safetensors file, of which only the header is read.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`] if the file is missing or damaged.
pub fn metadata(path: impl AsRef<Path>) -> Result<HashMap<String, String>> {
    Ok(Files::open_file(path.as_ref())?.into_metadata())
}

/// Reads a boolean tensor from a safetensors file: BOOL, U8, I64 or F32, where nonzero is true.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`] if the file is missing or damaged; [`Error::Tensor`] if it has no such tensor.
pub fn open_mask(path: impl AsRef<Path>, name: &str) -> Result<Tensor> {
    Files::open_file(path.as_ref())?.mask(name)
}

/// Reads a tensor of 64-bit integers from a safetensors file. Numbers of 2^24 and more are rounded.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`] if the file is missing or damaged; [`Error::Tensor`] if it has no such tensor.
pub fn open_integers(path: impl AsRef<Path>, name: &str) -> Result<Tensor> {
    Files::open_file(path.as_ref())?.integers(name)
}

/// Reads a floating-point tensor from a safetensors file.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`] if the file is missing or damaged; [`Error::Tensor`] if it has no such tensor.
pub fn open_tensor(path: impl AsRef<Path>, name: &str) -> Result<Tensor> {
    Files::open_file(path.as_ref())?.tensor(name)
}

/// Parses the configuration in a folder, if it has one.
pub(in crate::execution) fn configuration(folder: &Folder) -> Result<Option<Object>> {
    match folder.object(CONFIG)? {
        None => folder.object(OPEN_CLIP_CONFIG),
        found => Ok(found),
    }
}

fn root(folder: &Folder) -> Result<Object> {
    match configuration(folder)? {
        Some(root) => Ok(root),
        None if folder.exists() => Err(Error::file(folder.path().join(CONFIG), "no such file; expected the hub's config.json next to the weights")),
        None => Err(Error::file(folder.path(), "no such folder; expected one with config.json and model.safetensors")),
    }
}

/// Interprets a `config.json`; without `files`, as far as possible.
fn outline(root: &Object, files: Option<&Files>) -> Result<Outline> {
    match root.string("model_type")? {
        _ if root.has("architecture") => timm::read(root, files),
        _ if open_clip::is_config(root) => open_clip::read(root, files),
        Some(torch::MODEL_TYPE) => torch::read(root, files),
        _ => transformers::read(root, files),
    }
}

/// Reads a folder's preprocessing file, if any. The newer format takes precedence.
fn processor(folder: &Folder) -> Result<Option<Object>> {
    let nested = match folder.object(PROCESSORS)? {
        Some(processors) => processors.object("image_processor")?,
        None => None,
    };
    match nested {
        Some(processor) => Ok(Some(processor)),
        None => folder.object(PROCESSOR),
    }
}

fn preprocess(root: &Object, processor: Option<Object>, image: Option<[usize; 2]>) -> Result<Preprocess> {
    match root.string("model_type")? {
        _ if root.has("architecture") => timm::preprocess(root, image),
        _ if open_clip::is_config(root) => open_clip::preprocess(root, image),
        Some(torch::MODEL_TYPE) => Err(root.error("this model takes embeddings, not images")),
        _ => transformers::preprocess(root, processor, image),
    }
}

/// Maximum number of blocks if no tensors bound it. No published model has a tenth of this.
const DEEPEST: usize = 1000;

/// Returns the number of blocks, unless there are fewer tensors. Each block has tensors of its own, so a bogus depth is
/// caught before it sizes any allocation.
fn checked_depth(root: &Object, depth: usize, files: Option<&Files>) -> Result<usize> {
    match files.map(Files::len) {
        Some(tensors) if depth > tensors => Err(root.error(format!("depth {depth} is more than the {tensors} tensors of the checkpoint allow"))),
        None if depth > DEEPEST => Err(root.error(format!("depth {depth} is more than the {DEEPEST} that are supported"))),
        _ => Ok(depth),
    }
}

/// Reads a value for each channel, or one for all; `default` if the field is absent.
fn channel_values(object: &Object, key: &str, channels: usize, default: [f64; 3]) -> Result<Vec<f32>> {
    let values = object.numbers(key)?.unwrap_or(default.to_vec());
    // Checked as f32, which the arithmetic uses: 1e-300 would divide by 0.
    let usable = |value: &f64| (*value as f32).is_finite() && (!key.ends_with("std") || (*value as f32).is_normal());
    if !values.iter().all(usable) || values.is_empty() {
        return Err(object.wrong(key, "finite numbers, nonzero for standard deviations"));
    }
    match values.len() {
        count if count == channels => Ok(values.iter().map(|&value| value as f32).collect()),
        // Published configurations of models without three channels still list three values, for RGB; their mean is used.
        count @ (1 | 3) => Ok(vec![(values.iter().sum::<f64>() / count as f64) as f32; channels]),
        _ => Err(object.wrong(key, &format!("a value for each of {channels} channels, or one"))),
    }
}

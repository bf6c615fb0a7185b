//! Which model a command runs.

use super::settings::Settings;
use super::{AnyError, Result, hub, note};
use clap::Args;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;
use vitraux::low_level::checkpoint::{self, FAMILIES};
use vitraux::low_level::{read, text};
use vitraux::preprocess::Preprocess;
use vitraux::{Checkpoint, CheckpointBuilder, Tokenizer};

/// Name of the built-in model.
pub const BUILT_IN: &str = "digits";

/// End of the name of an index of shards.
const INDEX: &str = ".index.json";

/// Maximum bytes of an index.
const LARGEST_INDEX: u64 = 8 << 20;

/// Which model.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model options")]
pub struct ModelArgs {
    /// Model: owner/name[@revision] on the Hugging Face hub, a timm name, a folder with config.json and model.safetensors or pytorch_model.bin, an npz file from
    /// google-research, a pth file of DINOv2, or digits (built in); `vitraux models` recommends some
    #[arg(long, short, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// LoRA adapter to merge into the model's weights: a folder with adapter_config.json and adapter_model.safetensors or .bin, as peft saves it
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    #[command(flatten)]
    opening: OpeningArgs,
    /// Place of the model, once it is found.
    #[arg(skip)]
    place: OnceLock<Option<Place>>,
}

/// How a model is opened.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Model options")]
pub struct OpeningArgs {
    /// Input size in pixels: one number, or HEIGHTxWIDTH such as 448x336 [default: the model's own]
    #[arg(long, value_name = "SIZE")]
    image_size: Option<ImageSize>,
    /// Read weight files of 256 MiB and more into memory, instead of mapping them: for files that may be changed during the run, which maps do not
    /// survive
    #[arg(long)]
    no_mmap: bool,
}

impl OpeningArgs {
    /// Returns these options for a model.
    pub fn of(self, model: Option<PathBuf>) -> ModelArgs {
        ModelArgs { model, adapter: None, opening: self, place: OnceLock::new() }
    }

    /// Returns the requested `[height, width]`.
    pub fn image_size(self) -> Option<[usize; 2]> {
        self.image_size.map(|ImageSize(size)| size)
    }
}

/// Height and width in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ImageSize([usize; 2]);

impl FromStr for ImageSize {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<ImageSize, String> {
        let number = |text: &str| text.parse().ok().filter(|edge| (1..=1 << 20).contains(edge));
        let (height, width) = text.split_once('x').unwrap_or((text, text));
        let size = number(height).zip(number(width)).map(|(height, width)| ImageSize([height, width]));
        size.ok_or_else(|| "expected a number of pixels such as 448, or HEIGHTxWIDTH such as 448x336".to_owned())
    }
}

/// Joins the two values of `--image-size 448 336` to one, so that images may follow a single number.
///
/// # Errors
/// If the second may be an image or a folder too, such as one for a year.
pub fn with_joined_size(arguments: impl Iterator<Item = std::ffi::OsString>) -> std::result::Result<Vec<std::ffi::OsString>, String> {
    let mut joined: Vec<std::ffi::OsString> = Vec::new();
    for argument in arguments {
        // Behind two dashes there are no options.
        if joined.iter().any(|known| known == "--") {
            joined.push(argument);
            continue;
        }
        let is_number = |text: &std::ffi::OsStr| text.to_str().is_some_and(|text| text.parse::<usize>().is_ok());
        match joined.as_mut_slice() {
            [.., option, height] if option == "--image-size" && is_number(height) && is_number(&argument) => {
                if Path::new(&argument).exists() {
                    let (height, argument) = (height.display(), argument.display());
                    return Err(format!(
                        "--image-size {height} {argument}: {argument} is a file or a folder too; write {height}x{argument}, or {height} ./{argument}"
                    ));
                }
                height.push("x");
                height.push(argument);
            }
            _ => joined.push(argument),
        }
    }
    Ok(joined)
}

/// A model by its place.
#[derive(Clone, Debug)]
enum Place {
    BuiltIn,
    Path(PathBuf),
}

impl ModelArgs {
    /// Uses `model` if no other is given.
    pub fn or(self, model: Option<PathBuf>) -> ModelArgs {
        ModelArgs { model: self.model.or(model), ..self }
    }

    /// Returns true unless the built-in model is used as it is.
    pub fn is_given(&self) -> bool {
        self.model.is_some() || self.adapter.is_some() || self.opening.image_size.is_some()
    }

    /// Opens the model; without one, the built-in model, which a note says.
    pub fn open(&self) -> Result<Checkpoint> {
        self.open_at(self.place_or_default()?)
    }

    /// Opens the model for a command that is of no use with the built-in one.
    pub fn open_required(&self, command: &str) -> Result<Checkpoint> {
        match self.place()? {
            Some(place) => self.open_at(place),
            None => Err(missing(command)),
        }
    }

    /// Opens the model for a command that reads texts. Returns the folder of its tokenizer too.
    pub fn open_for_texts(&self, command: &str) -> Result<(Checkpoint, PathBuf)> {
        let folder = self.with_tokenizer(command)?;
        Ok((self.open_required(command)?, folder))
    }

    /// Opens the tokenizer of the model, without its weights.
    pub fn tokenizer(&self, command: &str) -> Result<Tokenizer> {
        Ok(Tokenizer::open(self.with_tokenizer(command)?)?)
    }

    /// Returns the folder of the model, with its tokenizer.
    fn with_tokenizer(&self, command: &str) -> Result<PathBuf> {
        match self.chosen()?.map(|model| located(&model, hub::local_tokenizer)).transpose()? {
            Some(Place::Path(path)) => Ok(path),
            Some(Place::BuiltIn) => Err("the built-in model reads no texts; choose another --model, such as openai/clip-vit-base-patch32".into()),
            None => Err(missing(command)),
        }
    }

    /// Returns the preprocessing of images, without loading weights.
    pub fn preprocess(&self) -> Result<Preprocess> {
        if self.adapter.is_some() {
            return Err("--adapter: preprocessing has no weights to adapt; leave it out".into());
        }
        match self.place_or_default()? {
            Place::BuiltIn => Ok(self.built_in()?.preprocess.expect("it takes images")),
            Place::Path(path) => Ok(checkpoint::open_preprocess(path, self.image_size())?),
        }
    }

    /// Returns the requested `[height, width]`.
    pub fn image_size(&self) -> Option<[usize; 2]> {
        self.opening.image_size()
    }

    fn open_at(&self, place: Place) -> Result<Checkpoint> {
        match place {
            Place::BuiltIn => self.built_in(),
            Place::Path(path) => {
                let builder = Checkpoint::builder(path);
                let builder = self.image_size().into_iter().fold(builder, CheckpointBuilder::image_size);
                let builder = self.adapter.iter().fold(builder, CheckpointBuilder::adapter);
                Ok(if self.opening.no_mmap { builder.mapped_from(u64::MAX) } else { builder }.open()?)
            }
        }
    }

    fn built_in(&self) -> Result<Checkpoint> {
        match (self.opening.image_size, &self.adapter) {
            (None, None) => Ok(Checkpoint::digits()),
            (Some(_), _) => Err("--image-size: the built-in model has one size; omit this option, or choose another --model".into()),
            (None, Some(_)) => Err("--adapter: expected the --model that the adapter was trained for, found the built-in model".into()),
        }
    }

    fn place_or_default(&self) -> Result<Place> {
        let is_first = self.place.get().is_none();
        Ok(self.place()?.unwrap_or_else(|| {
            if is_first {
                note("model: built-in, reads one handwritten or printed digit; choose another with --model (`vitraux models` recommends some)");
            }
            Place::BuiltIn
        }))
    }

    /// Returns the files of the model and its adapter, once they are opened.
    pub fn files(&self) -> Vec<PathBuf> {
        let place = match self.place.get() {
            Some(Some(Place::Path(path))) => Some(path),
            _ => None,
        };
        let files = |path: &PathBuf| match path.read_dir() {
            Ok(entries) => entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|file| is_of_model(file))
                .flat_map(|file| shards(&file).into_iter().chain([file]))
                .collect(),
            Err(_) => vec![path.clone()],
        };
        place.into_iter().chain(&self.adapter).flat_map(files).collect()
    }

    /// Returns the place of the chosen model, after downloading it if necessary, or `None` if none is chosen.
    fn place(&self) -> Result<Option<Place>> {
        if let Some(place) = self.place.get() {
            return Ok(place.clone());
        }
        let place = self.chosen()?.map(|model| located(&model, hub::local)).transpose()?;
        Ok(self.place.get_or_init(|| place).clone())
    }

    /// Returns the chosen model, a folder by its absolute path.
    pub fn source(&self) -> Result<Option<String>> {
        Ok(self.chosen()?.map(|model| model.canonicalize().unwrap_or(model).display().to_string()))
    }

    /// Returns the model that was chosen by an option, the environment or the user's settings.
    pub fn chosen(&self) -> Result<Option<PathBuf>> {
        // Not by clap, for which it would conflict with --architecture.
        match self.model.clone().or_else(|| std::env::var_os("VITRAUX_MODEL").filter(|model| !model.is_empty()).map(Into::into)) {
            None => Ok(Settings::read()?.model.filter(|model| !model.as_os_str().is_empty())),
            chosen => Ok(chosen),
        }
    }
}

/// Returns whether a file in a model's folder belongs to the model, by its name: other files there may be earlier results.
fn is_of_model(file: &Path) -> bool {
    let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    if text::names_in_folder().any(|known| known == name) {
        return true;
    }
    let name = name.trim_end_matches(INDEX);
    // `model-00001-of-00002.safetensors` is a shard of `model.safetensors`.
    let is_like = |(start, end): (&str, &str)| name.starts_with(start) && name.ends_with(end);
    checkpoint::names_in_folder().filter_map(|known| known.split_once('.')).any(is_like)
}

/// Returns the files that an index of shards names; none if the file is no index.
fn shards(index: &Path) -> Vec<PathBuf> {
    if !index.to_string_lossy().ends_with(INDEX) {
        return Vec::new();
    }
    let index_of = read(index, LARGEST_INDEX).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    let map = index_of.as_ref().and_then(|index| index.get("weight_map")?.as_object());
    let names: BTreeSet<&str> = map.into_iter().flat_map(|map| map.values()).filter_map(|name| name.as_str()).collect();
    names.into_iter().map(|name| index.with_file_name(name)).collect()
}

fn missing(command: &str) -> AnyError {
    let file = Settings::file().map_or("a configuration file".to_owned(), |file| file.display().to_string());
    format!("{command} needs a model: give --model MODEL, or set VITRAUX_MODEL, or model = \"MODEL\" in {file}; `vitraux models` recommends some")
        .into()
}

/// Returns the place of a model. One on the hub is downloaded by `local`.
fn located(model: &Path, local: fn(&Path) -> vitraux::Result<PathBuf>) -> Result<Place> {
    let text = model.to_string_lossy();
    if model.is_file() {
        return match model.file_name().and_then(|name| name.to_str()) {
            Some(name) if checkpoint::names_in_folder().any(|known| known == name) => {
                Ok(Place::Path(model.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()))
            }
            _ if checkpoint::is_lone_file(model) => Ok(Place::Path(model.to_owned())),
            _ => {
                Err(format!("{text}: expected a model folder, its model.safetensors or pytorch_model.bin, or an npz or pth file, found another file")
                    .into())
            }
        };
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err(format!("{text}: expected the name of a model, found a URL; use owner/name, as in --model facebook/dinov2-small").into());
    }
    match model.to_str() {
        Some(BUILT_IN) if !model.exists() => Ok(Place::BuiltIn),
        Some(name) if !model.exists() && !name.contains(['/', '\\']) && !is_of_timm(name) => Err(format!(
            "{name}: expected a folder, owner/name on the Hugging Face hub, a model of timm's or {BUILT_IN}, found none of these; `vitraux models` recommends some"
        )
        .into()),
        Some(name) if !model.exists() && is_of_timm(name) => Ok(Place::Path(local(Path::new(&format!("timm/{name}")))?)),
        _ => Ok(Place::Path(local(model)?)),
    }
}

/// Returns whether a bare name is that of a model in timm.
fn is_of_timm(name: &str) -> bool {
    let is_like = |pattern: &str| globset::Glob::new(pattern).is_ok_and(|pattern| pattern.compile_matcher().is_match(name));
    !name.contains(['/', '\\']) && FAMILIES.iter().flat_map(|family| family.timm).any(|pattern| is_like(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_size_takes_one_number_or_two() {
        let parsed = |text: &str| text.parse::<ImageSize>().ok().map(|ImageSize(size)| size);
        assert_eq!([parsed("224"), parsed("448x336")], [Some([224, 224]), Some([448, 336])]);
        assert!(["", "x", "0", "224x", "224x0", "cat.jpg", "-1", "1x2x3", "2000000"].iter().all(|text| parsed(text).is_none()));
    }

    #[test]
    fn separate_image_sizes_join_without_swallowing_paths() {
        let joined = |text: &str| with_joined_size(text.split(' ').map(Into::into)).expect("no folders").join(std::ffi::OsStr::new(" "));
        assert_eq!(joined("a --image-size 448 336 cat.jpg"), "a --image-size 448x336 cat.jpg");
        assert_eq!(joined("a --image-size 448 cat.jpg 7"), "a --image-size 448 cat.jpg 7");
        assert_eq!(joined("a --image-size 448 336 7"), "a --image-size 448x336 7");
        assert_eq!(joined("a -- --image-size 448 336"), "a -- --image-size 448 336");
        assert_eq!(joined("a --top 3 4"), "a --top 3 4");
    }

    #[test]
    fn bare_timm_names_are_recognised() {
        assert!(is_of_timm("vit_base_patch16_224.augreg2_in21k_ft_in1k") && is_of_timm("deit3_small_patch16_224.fb_in1k"));
        assert!(!is_of_timm("timm/vit_base_patch16_224") && !is_of_timm("resnet50") && !is_of_timm("photos"));
    }
}

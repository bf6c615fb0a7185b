//! Files that are made of each image: in a folder, with names like the images', or one that the user names. A resumed run recognises those of the earlier run by the
//! description in a PNG.

use super::images::stamp;
use super::output::{identity, replace_with};
use super::{AnyError, Result, chain, npy, of_file};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::{Component, Path, PathBuf};

/// A file to write for an image.
pub struct Target<T> {
    pub file: PathBuf,
    /// What of the image it shows.
    pub shows: T,
    /// Description of the map, by which a resumed run recognises those of the earlier run.
    pub about: String,
}

/// Where the files of images go.
pub struct Places {
    output: PathBuf,
    /// Whether the output is the one file.
    is_file: bool,
    common: PathBuf,
    /// How many images have this path but for the extension.
    stems: HashMap<PathBuf, usize>,
    /// Stamps of the images before any is read, so that one that changes meanwhile is drawn again by the next run.
    stamps: HashMap<PathBuf, String>,
}

impl Places {
    /// Checks `output`, and creates it if it is a folder. It may be a file with one of these extensions if there is a `single` file to write. Drops what an earlier
    /// run has made from `paths`; see [`drop_made`].
    pub fn new(output: &Path, extensions: &[&str], is_single: bool, paths: &mut Vec<PathBuf>) -> Result<Places> {
        let is_file = is_file(output, extensions);
        let common = common_folder(paths);
        if is_file && (paths.len() > 1 || !is_single) {
            return Err(format!("{}: expected a folder for more than one map, found the name of one file", output.display()).into());
        }
        if !is_file {
            if output.exists() && !output.is_dir() {
                return Err(format!("{}: expected a folder, found something else; choose another --output", output.display()).into());
            }
            std::fs::create_dir_all(output).map_err(of_file(output))?;
            let folder = output.canonicalize().map_err(of_file(output))?;
            drop_made(paths, &folder);
        }
        // Images that differ by extension only keep theirs in the names of their maps.
        let mut stems: HashMap<PathBuf, usize> = HashMap::new();
        paths.iter().for_each(|path| *stems.entry(path.with_extension("")).or_default() += 1);
        let stamps = paths.iter().map(|path| (path.clone(), stamp(path).unwrap_or_default())).collect();
        Ok(Places { output: output.to_owned(), is_file, common, stems, stamps })
    }

    /// Returns the description of a map of an image.
    pub fn described(&self, about: &str, image: &Path) -> String {
        format!("{about}{IMAGE}{}", self.stamps.get(image).map_or("", String::as_str))
    }

    /// Returns the file of an image with this ending: `a/cat.depth.png` for `a/cat.jpg`, below the folder.
    pub fn file(&self, image: &Path, ending: &str) -> PathBuf {
        if self.is_file {
            return self.output.clone();
        }
        let below = image.strip_prefix(&self.common).unwrap_or(image);
        let stem = if self.stems.get(&image.with_extension("")) == Some(&1) { Cow::Owned(below.with_extension("")) } else { Cow::Borrowed(below) };
        let mut file = self.output.clone();
        file.extend(stem.components().filter(|part| matches!(part, Component::Normal(_))));
        file.as_mut_os_string().push(ending);
        file
    }
}

/// Drops what an earlier run has made: images in the output folder with the description of a map. Folders are compared by their places, which may be spelled in
/// several ways.
fn drop_made(paths: &mut Vec<PathBuf>, output: &Path) {
    let is_below = |path: &Path| path.canonicalize().is_ok_and(|path| path.starts_with(output));
    let is_made = |path: &Path| is_below(path) && path.is_file() && is_file(path, &["png"]) && is_own(path);
    let kept: Vec<PathBuf> = paths.iter().filter(|path| !is_made(path)).cloned().collect();
    if !kept.is_empty() {
        *paths = kept;
    }
}

/// Returns whether an output is one file with one of these extensions, and not a folder.
pub fn is_file(output: &Path, extensions: &[&str]) -> bool {
    let has = |own: &std::ffi::OsStr| extensions.iter().any(|extension| own.eq_ignore_ascii_case(extension));
    output.extension().is_some_and(has) && !output.is_dir()
}

/// Checks that no file of an image is an input, that of another image or, unless the user has named it, one that no earlier run has made.
pub fn check_apart<T>(places: Option<&Places>, paths: &[PathBuf], inputs: &[PathBuf], targets: impl Fn(&Path) -> Vec<Target<T>>) -> Result<()> {
    let images: HashSet<_> = paths.iter().chain(inputs).filter_map(|path| identity(path)).collect();
    let mut taken = HashSet::new();
    for path in paths {
        let targets = targets(path);
        let is_taken =
            |target: &&Target<T>| identity(&target.file).is_some_and(|target| images.contains(&target)) || !taken.insert(target.file.clone());
        if let Some(Target { file, .. }) = targets.iter().find(is_taken) {
            let (path, file) = (path.display(), file.display());
            return Err(
                format!("{path}: its map {file} would overwrite an input or another map; choose another --output, or name fewer images").into()
            );
        }
        let is_foreign = |target: &&Target<T>| places.is_some_and(|places| !places.is_file) && !is_own(&target.file);
        if let Some(Target { file, .. }) = targets.iter().find(is_foreign) {
            return Err(format!("{}: would overwrite this file, which is not from an earlier run; choose another --output", file.display()).into());
        }
    }
    Ok(())
}

/// Whether a file may be replaced: it is not there, is empty as what other versions left on a full disk, or is a map.
fn is_own(file: &Path) -> bool {
    let is_empty = file.metadata().map_or(true, |metadata| metadata.is_file() && metadata.len() == 0);
    is_empty || if is_file(file, &["npy"]) { npy::is(file) } else { description_of(file).is_some() }
}

/// Between the description of a map, and the stamp of the image that it is of.
const IMAGE: &str = "; image ";

/// Returns the images of which an earlier run has made all files.
pub fn made<T>(paths: &[PathBuf], targets: impl Fn(&Path) -> Vec<Target<T>>) -> Result<HashSet<PathBuf>> {
    let mut done = HashSet::new();
    for path in paths {
        if are_made(&targets(path))? {
            done.insert(path.clone());
        }
    }
    Ok(done)
}

/// Returns whether all files are there, of these images. A PNG of another run is an error; other files have no description.
fn are_made<T>(targets: &[Target<T>]) -> Result<bool> {
    for Target { file, about, .. } in targets {
        // An empty file is what other versions left on a full disk.
        if !file.metadata().is_ok_and(|metadata| metadata.len() > 0) {
            return Ok(false);
        }
        if !is_file(file, &["png"]) {
            continue;
        }
        let without_image = |about: &str| about.rsplit_once(IMAGE).map_or(about, |(about, _)| about).to_owned();
        match description_of(file) {
            Some(known) if known == *about => {}
            // Of another image, of this one before it changed, or of an earlier version, which did not say.
            Some(known) if without_image(&known) == without_image(about) => return Ok(false),
            _ => return Err(format!("{}: not from an earlier run with this model and these options; choose another --output", file.display()).into()),
        }
    }
    Ok(true)
}

/// Why maps were not made.
pub enum Unmade {
    /// The image is at fault; others may succeed.
    Image(String),
    /// The output cannot be written.
    Output(String),
}

impl Unmade {
    /// Returns why a file could not be written. A name that is too long is that of one image.
    pub fn unwritten(error: &AnyError) -> Unmade {
        let kind = match (error.downcast_ref::<vitraux::Error>(), error.downcast_ref::<std::io::Error>()) {
            (Some(vitraux::Error::Io { source, .. }), _) | (_, Some(source)) => Some(source.kind()),
            _ => None,
        };
        let message = chain(&**error);
        if kind == Some(ErrorKind::InvalidFilename) { Unmade::Image(message) } else { Unmade::Output(message) }
    }
}

/// Returns the errors of images, or the first error of an output.
pub fn failures(results: Vec<std::result::Result<(), Unmade>>) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(()) => {}
            Err(Unmade::Image(error)) => failures.push(error),
            Err(Unmade::Output(error)) => return Err(error.into()),
        }
    }
    Ok(failures)
}

/// Formats an error of an image, naming the image once.
pub fn of_image(path: &Path, error: &(dyn Error + 'static)) -> String {
    let (name, error) = (path.display().to_string(), chain(error));
    if error.starts_with(&name) { error } else { format!("{name}: {error}") }
}

/// Keyword of the text in a PNG that describes its map.
const KEYWORD: &str = "vitraux";

/// Pixels of a PNG.
pub struct Pixels<'a> {
    pub width: u32,
    pub height: u32,
    pub colour: png::ColorType,
    pub depth: png::BitDepth,
    /// Red, green and blue of each entry, for indexed pixels.
    pub palette: Option<Vec<u8>>,
    /// More texts: keywords and values.
    pub texts: Vec<(&'static str, String)>,
    pub data: &'a [u8],
}

/// Writes a PNG with the description of its map, and creates its folder if necessary. No file is ever visible half-written.
pub fn write_png(pixels: Pixels<'_>, about: &str, file: &Path) -> Result<()> {
    create_folder_of(file)?;
    replace_with(file, |out| {
        let mut encoder = png::Encoder::new(out, pixels.width, pixels.height);
        encoder.set_color(pixels.colour);
        encoder.set_depth(pixels.depth);
        if let Some(palette) = pixels.palette {
            encoder.set_palette(palette);
        }
        encoder.add_itxt_chunk(KEYWORD.to_owned(), about.to_owned())?;
        for (keyword, text) in pixels.texts {
            encoder.add_itxt_chunk(keyword.to_owned(), text)?;
        }
        let written = encoder.write_header().and_then(|mut image| image.write_image_data(pixels.data).and_then(|()| image.finish()));
        written.map_err(|error| match error {
            png::EncodingError::IoError(error) => of_file(file)(error),
            other => format!("{}: {other}", file.display()).into(),
        })
    })
}

/// Creates the folder of a file if necessary.
pub fn create_folder_of(file: &Path) -> Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(of_file(folder))
}

/// Returns the description in a PNG by [`write_png`].
pub fn description_of(file: &Path) -> Option<String> {
    let reader = png::Decoder::new(BufReader::new(File::open(file).ok()?)).read_info().ok()?;
    reader.info().utf8_text.iter().find(|text| text.keyword == KEYWORD)?.get_text().ok()
}

/// Returns the deepest folder that contains all images.
fn common_folder(paths: &[PathBuf]) -> PathBuf {
    let folder = |path: &PathBuf| path.parent().map(Path::to_owned).unwrap_or_default();
    let in_both = |a: PathBuf, b: PathBuf| a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(part, _)| part).collect();
    paths.iter().map(folder).reduce(in_both).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_folder_is_the_deepest_shared_parent() {
        let common = |paths: &[&str]| common_folder(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(common(&["/photos/a/x.png", "/photos/a/b/y.png"]), Path::new("/photos/a"));
        assert_eq!(common(&["a/x.png", "b/x.png"]), Path::new(""));
        assert_eq!(common(&["a/x.png"]), Path::new("a"));
        assert_eq!(common(&[]), Path::new(""));
    }
}

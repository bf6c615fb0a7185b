use super::images::{PassArgs, has_image_extension, identity, preprocess_of};
use super::{Result, chain, note};
use clap::Args;
use image::RgbImage;
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Component, Path, PathBuf};
use vitraux::config::{Config, Map, Size};
use vitraux::host::{Painted, Painting};
use vitraux::preprocess::Preprocess;
use vitraux::{Image, Tensor};

/// Opacity of the heat map over the image.
const OPACITY: f32 = 0.6;

#[derive(Debug, Args)]
pub struct Attention {
    #[command(flatten)]
    pass: PassArgs,
    /// Folder for the maps, cat.attention.png for cat.jpg; or, for a single image, a PNG file
    #[arg(long, short, value_name = "FOLDER|FILE.png")]
    output: PathBuf,
    /// Skip images that already have their PNG
    #[arg(long)]
    resume: bool,
    /// Encoder block whose attention is shown, counted from 0 [default: the last]
    #[arg(long, value_name = "I")]
    block: Option<usize>,
    /// Show one head's attention, counted from 0, instead of the mean of all; `all` writes one PNG per head: cat.attention.head0.png and so on
    #[arg(long, value_name = "H|all", conflicts_with_all = ["rollout", "pca"])]
    head: Option<Heads>,
    /// Show what the patch at this pixel attends to, instead of the class token
    #[arg(long, value_name = "X,Y", value_parser = pixel, conflicts_with = "pca")]
    query: Option<[u32; 2]>,
    /// Show attention rollout through all blocks (Abnar and Zuidema 2020), instead of one block's attention
    #[arg(long, conflicts_with_all = ["block", "pca"])]
    rollout: bool,
    /// Show the first three principal components of the patches after the last block as red, green and blue
    #[arg(long, conflicts_with = "block")]
    pca: bool,
}

/// Heads whose attention is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Heads {
    All,
    One(usize),
}

impl std::str::FromStr for Heads {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Heads, String> {
        match text.parse() {
            _ if text == "all" => Ok(Heads::All),
            Ok(head) => Ok(Heads::One(head)),
            Err(_) => Err("expected the number of a head, counted from 0, or all".to_owned()),
        }
    }
}

/// PNG to write for an image: its file, and the head that it shows, or `None` for the mean of all heads.
struct Target {
    file: PathBuf,
    head: Option<usize>,
}

fn pixel(text: &str) -> std::result::Result<[u32; 2], String> {
    let number = |text: &str| text.trim().parse().ok();
    let both = text.split_once(',').and_then(|(x, y)| Some([number(x)?, number(y)?]));
    both.ok_or_else(|| "expected the column and row of a pixel, such as 120,80".to_owned())
}

impl Attention {
    pub fn run(self) -> Result<()> {
        let checkpoint = self.pass.model.open_required("attention")?;
        let config = checkpoint.config.clone();
        let preprocess = preprocess_of(&checkpoint)?;
        if !self.pca && self.query.is_none() && !config.class_token {
            return Err(format!("{} has no class token; use --query X,Y for a patch, or --pca", config.name).into());
        }
        self.check_numbers(&config)?;
        if !self.output.is_dir() && has_image_extension(&self.output) && self.file().is_none() {
            return Err(format!("{}: expected a folder or a PNG file", self.output.display()).into());
        }
        let mut paths = self.pass.images.sources()?;
        let common = common_folder(&paths);
        match self.file() {
            Some(file) if paths.len() > 1 || self.head == Some(Heads::All) => {
                return Err(format!("{}: expected a folder for more than one map, found a file", file.display()).into());
            }
            Some(_) => {}
            None => {
                std::fs::create_dir_all(&self.output).map_err(|error| format!("{}: {error}", self.output.display()))?;
                // Heat maps among the images are not inputs.
                paths.retain(|path| !path.starts_with(&self.output) || common.starts_with(&self.output));
            }
        }
        // Images that differ by extension only keep theirs in the names of their maps.
        let mut stems: HashMap<PathBuf, usize> = HashMap::new();
        paths.iter().for_each(|path| *stems.entry(path.with_extension("")).or_default() += 1);
        let targets = |path: &Path| {
            let below = path.strip_prefix(&common).unwrap_or(path);
            let stem = if stems.get(&path.with_extension("")) == Some(&1) { below.with_extension("") } else { below.to_owned() };
            self.targets(&stem, config.heads)
        };
        let (images, mut taken): (HashSet<_>, _) = (paths.iter().filter_map(|path| identity(path)).collect(), HashSet::new());
        for path in &paths {
            if let Some(Target { file, .. }) = targets(path)
                .into_iter()
                .find(|target| identity(&target.file).is_some_and(|target| images.contains(&target)) || !taken.insert(target.file.clone()))
            {
                return Err(format!(
                    "{}: its map {} would overwrite another image or its map; choose another --output",
                    path.display(),
                    file.display()
                )
                .into());
            }
        }
        let is_done = |path: &Path| self.resume && targets(path).iter().all(|target| target.file.exists());
        let Some((images, mut session)) = self.pass.start(checkpoint, paths, is_done)? else { return Ok(()) };
        images.for_each_batch(|paths, pixel_values| {
            let &[.., height, width] = pixel_values.shape() else { unreachable!("pixel_values have four axes") };
            let size = Size::Image([height, width]);
            // With --query, the output to show depends on the image's size.
            let (mut shown, mut failures) = (Vec::new(), Vec::new());
            for (image, path) in paths.iter().enumerate() {
                match self.output_for(&config, &preprocess, size, path) {
                    Ok(name) => shown.push((image, *path, name)),
                    Err(error) => failures.push(of_image(path, &*error)),
                }
            }
            let names: BTreeSet<&str> = shown.iter().map(|(.., name)| name.as_str()).collect();
            let outputs = session.forward_blocking(pixel_values, &names.into_iter().collect::<Vec<_>>())?;
            let paint = |(image, path, name): &(usize, &Path, String)| {
                let map = config.map(size, name).expect("it was asked for");
                self.paint(&preprocess, &outputs[name.as_str()], &map, *image, path, &targets(path)).err().map(|error| of_image(path, &*error))
            };
            failures.extend(shown.par_iter().filter_map(paint).collect::<Vec<_>>());
            Ok(failures)
        })?;
        note(&format!("maps: {}", self.output.display()));
        Ok(())
    }

    fn check_numbers(&self, config: &Config) -> Result<()> {
        let head = if let Some(Heads::One(head)) = self.head { Some(head) } else { None };
        for (what, number, count) in [("--block", self.block, config.depth), ("--head", head, config.heads)] {
            if let Some(number) = number.filter(|number| *number >= count) {
                return Err(format!("{what}: expected 0 to {}, found {number}", count - 1).into());
            }
        }
        Ok(())
    }

    /// Returns the name of the output to show for an image.
    fn output_for(&self, config: &Config, preprocess: &Preprocess, size: Size, path: &Path) -> Result<String> {
        if self.pca {
            return Ok("pca".to_owned());
        }
        let token = match self.query {
            None => 0,
            Some([x, y]) => {
                // Sizes are those after the image's orientation is applied.
                let image = Image::open(path)?;
                let (width, height) = (image.width as u32, image.height as u32);
                let [left, top, seen_width, seen_height] = preprocess.seen([image.height, image.width])?;
                let map = config.map(size, "rollout").ok_or("the model takes no images")?;
                let place = |pixel: u32, start: f64, seen: f64, axis: usize| {
                    let at = (f64::from(pixel) + 0.5 - start) / seen / f64::from(map.share[axis]) * map.grid[axis] as f64;
                    (0.0..map.grid[axis] as f64).contains(&at).then_some(at as usize)
                };
                let (row, column) = (place(y, top, seen_height, 0), place(x, left, seen_width, 1));
                let (Some(row), Some(column), true) = (row, column, x < width && y < height) else {
                    let [right, bottom] = [left + seen_width, top + seen_height].map(f64::floor);
                    let [left, top] = [left.max(0.0).ceil(), top.max(0.0).ceil()];
                    let [right, bottom] = [right.min(f64::from(width)) - 1.0, bottom.min(f64::from(height)) - 1.0];
                    return Err(format!(
                        "--query {x},{y}: outside the part that the model sees of {width} x {height} pixels; choose a column from {left} to {right} and a row from {top} to {bottom}"
                    )
                    .into());
                };
                config.prefix_tokens + row * map.grid[1] + column
            }
        };
        Ok(if self.rollout { format!("rollout.{token}") } else { format!("attn.{}.{token}", self.block.unwrap_or(config.depth - 1)) })
    }

    /// Paints an image's maps over it and writes the results. No file is ever visible half-written.
    fn paint(&self, preprocess: &Preprocess, output: &Tensor, map: &Map, number: usize, path: &Path, targets: &[Target]) -> Result<()> {
        let image = Image::open(path)?;
        let seen = preprocess.seen([image.height, image.width])?;
        let opacity = if self.pca { 1.0 } else { OPACITY };
        let levels =
            image.data.chunks_exact(image.channels).flat_map(|pixel| if let &[grey] = pixel { [grey; 3] } else { [pixel[0], pixel[1], pixel[2]] });
        let canvas = RgbImage::from_raw(image.width as u32, image.height as u32, levels.collect()).ok_or("the image has inconsistent dimensions")?;
        for Target { file, head } in targets {
            let painting = Painting::default().image(number).head(*head);
            let painted = painting.on_host(map, &output.values(), output.shape()[0])?;
            let mut result = canvas.clone();
            cover(&mut result, &painted, seen, opacity);
            write(&result, file)?;
        }
        Ok(())
    }

    /// Returns the output if it is one PNG and not a folder.
    fn file(&self) -> Option<&Path> {
        let is_png = self.output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
        (is_png && !self.output.is_dir()).then_some(&self.output)
    }

    /// Returns the PNGs to write for an image, by its path below the common folder: `a/cat.attention.png` for `a/cat`.
    fn targets(&self, below: &Path, heads: usize) -> Vec<Target> {
        let shown = if self.pca {
            "pca"
        } else if self.rollout {
            "rollout"
        } else {
            "attention"
        };
        let named = |ending: &str| {
            let mut file = self.output.clone();
            file.extend(below.components().filter(|part| matches!(part, Component::Normal(_))));
            file.as_mut_os_string().push(format!(".{shown}{ending}.png"));
            file
        };
        match (self.head, self.file()) {
            (Some(Heads::All), _) => (0..heads).map(|head| Target { file: named(&format!(".head{head}")), head: Some(head) }).collect(),
            (head, file) => {
                let head = if let Some(Heads::One(head)) = head { Some(head) } else { None };
                vec![Target { file: file.map_or_else(|| named(""), Path::to_owned), head }]
            }
        }
    }
}

/// Formats an error of an image, naming the image once.
fn of_image(path: &Path, error: &dyn std::error::Error) -> String {
    let (name, error) = (path.display().to_string(), chain(error));
    if error.starts_with(&name) { error } else { format!("{name}: {error}") }
}

/// Writes a PNG and creates its folder if necessary.
fn write(result: &RgbImage, file: &Path) -> Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let partial = file.with_extension("png.part");
    result.save_with_format(&partial, image::ImageFormat::Png).map_err(|error| format!("{}: {error}", partial.display()))?;
    Ok(std::fs::rename(&partial, file).map_err(|error| format!("{}: {error}", file.display()))?)
}

/// Returns the deepest folder that contains all images.
fn common_folder(paths: &[PathBuf]) -> PathBuf {
    let folder = |path: &PathBuf| path.parent().map(Path::to_owned).unwrap_or_default();
    let in_both = |a: PathBuf, b: PathBuf| a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(part, _)| part).collect();
    paths.iter().map(folder).reduce(in_both).unwrap_or_default()
}

/// Blends a map over the part of an image that the model sees: left, top, width and height.
fn cover(image: &mut RgbImage, painted: &Painted, [left, top, width, height]: [f64; 4], opacity: f32) {
    for (x, y, pixel) in image.enumerate_pixels_mut() {
        let at = [(f64::from(x) + 0.5 - left) / width, (f64::from(y) + 0.5 - top) / height];
        if at.iter().all(|place| (0.0..1.0).contains(place)) {
            let above = painted.at(at.map(|place| place as f32));
            pixel.0.iter_mut().zip(above).for_each(|(level, above)| {
                let mixed = f32::from(*level) * (1.0 - opacity) + above * 255.0 * opacity;
                *level = mixed.round() as u8;
            });
        }
    }
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

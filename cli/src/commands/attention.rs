use super::images::{PassArgs, has_image_extension, preprocess_of};
use super::maps::{self, Pixels, Places, Target, Unmade, check_apart, is_file, made, of_image, write_png};
use super::numbers::block;
use super::{AnyError, Result, note};
use clap::Args;
use image::RgbImage;
use rayon::prelude::*;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use vitraux::config::{Config, Map, Size};
use vitraux::host::{Painted, Painting};
use vitraux::preprocess::Preprocess;
use vitraux::{Image, Tensor};

/// Opacity of the heat map over the image.
const OPACITY: f32 = 0.6;

#[derive(Debug, Args)]
pub struct Attention {
    /// Folder for the maps, cat.attention.png for cat.jpg; or, for a single map, a PNG file
    #[arg(long, short, value_name = "FOLDER|FILE.png")]
    output: PathBuf,
    /// Skip images whose maps already exist, made with the same model and options
    #[arg(long)]
    resume: bool,
    /// Encoder block whose attention is shown, counted from 0 [default: the last]
    #[arg(long, value_name = "I", allow_negative_numbers = true, value_parser = block)]
    block: Option<usize>,
    /// Show one head's attention, counted from 0, instead of the mean of all; `all` writes one PNG per head: cat.attention.head0.png and so on
    #[arg(long, value_name = "H|all", conflicts_with_all = ["rollout", "pca"])]
    head: Option<Heads>,
    /// Show what the patch at this pixel attends to, instead of the class token
    #[arg(long, value_name = "X,Y", allow_hyphen_values = true, value_parser = pixel, conflicts_with = "pca")]
    query: Option<[u32; 2]>,
    /// Show attention rollout through all blocks (Abnar and Zuidema 2020), instead of one block's attention
    #[arg(long, conflicts_with_all = ["block", "pca"])]
    rollout: bool,
    /// Show the first three principal components of the patches after the last block as red, green and blue
    #[arg(long, conflicts_with = "block")]
    pca: bool,
    #[command(flatten)]
    pass: PassArgs,
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

fn pixel(text: &str) -> std::result::Result<[u32; 2], String> {
    let number = |text: &str| text.trim().parse().ok();
    let both = text.split_once(',').and_then(|(x, y)| Some([number(x)?, number(y)?]));
    both.ok_or_else(|| "expected the column and row of a pixel, such as 120,80".to_owned())
}

/// Map to draw on an image.
struct Drawing<'a> {
    preprocess: &'a Preprocess,
    /// Output of a batch.
    output: &'a Tensor,
    map: Map,
    /// Number of the image in the batch.
    number: usize,
}

impl Attention {
    pub fn run(self) -> Result<()> {
        let checkpoint = self.pass.model.open_required("attention")?;
        let config = checkpoint.config().clone();
        let preprocess = preprocess_of(&checkpoint)?;
        if !self.pca && self.query.is_none() && !config.class_token {
            return Err(format!("{} has no class token; use --query X,Y for a patch, or --pca", config.name).into());
        }
        self.check_numbers(&config)?;
        if !self.output.is_dir() && has_image_extension(&self.output) && !is_file(&self.output, &["png"]) {
            return Err(format!("{}: expected a folder or a PNG file", self.output.display()).into());
        }
        let mut paths = self.pass.images.sources()?;
        let places = Places::new(&self.output, &["png"], self.head != Some(Heads::All), &mut paths)?;
        let model = self.pass.fingerprint(&checkpoint)?;
        let targets = |path: &Path| self.targets(&places, path, config.heads, &model);
        check_apart(Some(&places), &paths, &self.pass.files(), targets)?;
        let done = if self.resume { made(&paths, targets)? } else { HashSet::new() };
        let Some((images, mut session)) = self.pass.start(checkpoint, paths, |path| done.contains(path))? else { return Ok(()) };
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
            let names: BTreeSet<&str> = shown.iter().map(|(.., name)| name.as_str()).chain(self.pca.then_some("tokens")).collect();
            let outputs = session.forward_blocking(pixel_values, &names.into_iter().collect::<Vec<_>>())?;
            let draw = |(image, path, name): &(usize, &Path, String)| {
                let map = config.map(size, name).expect("it was asked for");
                // Colours of components are finite even if the tokens are not.
                for output in [name.as_str()].into_iter().chain(self.pca.then_some("tokens")) {
                    let values = outputs[output].values();
                    let own = values.len() / pixel_values.shape()[0];
                    if let Some(refusal) = self.pass.execution.refusal(&path.display().to_string(), &values[image * own..][..own]) {
                        return Err(Unmade::Image(refusal));
                    }
                }
                let drawing = Drawing { preprocess: &preprocess, output: &outputs[name.as_str()], map, number: *image };
                self.draw(&drawing, path, &targets(path))
            };
            failures.extend(maps::failures(shown.par_iter().map(draw).collect())?);
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
                let image = self.pass.images.limit.read(path)?;
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
                        "--query {x},{y}: outside the part of the {width} x {height} pixels that the model sees; choose a column from {left} to {right} and a row from {top} to {bottom}"
                    )
                    .into());
                };
                config.prefix_tokens + row * map.grid[1] + column
            }
        };
        Ok(if self.rollout { format!("rollout.{token}") } else { format!("attn.{}.{token}", self.block.unwrap_or(config.depth - 1)) })
    }

    /// Draws an image's maps and writes them. No file is ever visible half-written.
    fn draw(&self, drawing: &Drawing<'_>, path: &Path, targets: &[Target<Option<usize>>]) -> std::result::Result<(), Unmade> {
        let draw = |image| Ok(self.draw_on(image, drawing, path, targets));
        let drawn = self.pass.images.limit.read_beside_others(path, draw);
        drawn.unwrap_or_else(|error| Err(Unmade::Image(of_image(path, &error))))
    }

    /// Draws maps on an image and writes them.
    fn draw_on(&self, image: Image, drawing: &Drawing<'_>, path: &Path, targets: &[Target<Option<usize>>]) -> std::result::Result<(), Unmade> {
        let Drawing { preprocess, output, map, number } = drawing;
        let of_image = |error: AnyError| Unmade::Image(of_image(path, &*error));
        let seen = preprocess.seen([image.height, image.width]).map_err(|error| of_image(error.into()))?;
        self.pass.images.limit.check_canvas(path, [image.height, image.width]).map_err(Unmade::Image)?;
        let canvas = canvas(image).map_err(of_image)?;
        let opacity = if self.pca { 1.0 } else { OPACITY };
        let mut canvases = std::iter::repeat_n(canvas, targets.len());
        for Target { file, shows: head, about } in targets {
            let painting = Painting::default().image(*number).head(*head);
            let painted = painting.on_host(map, &output.values(), output.shape()[0]).map_err(|error| of_image(error.into()))?;
            let mut result = canvases.next().expect("one for each target");
            cover(&mut result, &painted, seen, opacity);
            write(&result, about, file).map_err(|error| Unmade::unwritten(&error))?;
        }
        Ok(())
    }

    /// Returns the PNGs to write for an image: of one head or of the mean of all, or of each head.
    fn targets(&self, places: &Places, path: &Path, heads: usize, model: &str) -> Vec<Target<Option<usize>>> {
        let Attention { block, query, rollout, pca, .. } = self;
        let shown = match (pca, rollout) {
            (true, _) => "pca",
            (false, true) => "rollout",
            (false, false) => "attention",
        };
        let target = |head: Option<usize>, ending: String| Target {
            file: places.file(path, &format!(".{shown}{ending}.png")),
            shows: head,
            about: places.described(&format!("block {block:?}, head {head:?}, query {query:?}, rollout {rollout}, pca {pca}, of {model}"), path),
        };
        match self.head {
            Some(Heads::All) => (0..heads).map(|head| target(Some(head), format!(".head{head}"))).collect(),
            Some(Heads::One(head)) => vec![target(Some(head), String::new())],
            None => vec![target(None, String::new())],
        }
    }
}

/// Converts an image to RGB to draw on.
fn canvas(image: Image) -> Result<RgbImage> {
    let levels = if image.channels == 3 { image.data } else { image.data.into_iter().flat_map(|grey| [grey; 3]).collect() };
    Ok(RgbImage::from_raw(image.width as u32, image.height as u32, levels).ok_or("the image has inconsistent dimensions")?)
}

fn write(result: &RgbImage, about: &str, file: &Path) -> Result<()> {
    let (width, height, colour, depth) = (result.width(), result.height(), png::ColorType::Rgb, png::BitDepth::Eight);
    write_png(Pixels { width, height, colour, depth, palette: None, texts: Vec::new(), data: result }, about, file)
}

/// Blends a map over the part of an image that the model sees: left, top, width and height.
fn cover(image: &mut RgbImage, painted: &Painted, [left, top, width, height]: [f64; 4], opacity: f32) {
    let row = image.width() as usize * 3;
    image.par_chunks_mut(row).enumerate().for_each(|(y, row)| {
        for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let at = [(x as f64 + 0.5 - left) / width, (y as f64 + 0.5 - top) / height];
            if at.iter().all(|place| (0.0..1.0).contains(place)) {
                let above = painted.at(at.map(|place| place as f32));
                pixel.iter_mut().zip(above).for_each(|(level, above)| {
                    let mixed = f32::from(*level) * (1.0 - opacity) + above * 255.0 * opacity;
                    *level = mixed.round() as u8;
                });
            }
        }
    });
}

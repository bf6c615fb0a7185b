use super::images::{ImageLimitArgs, Lines, PassArgs, has_image_extension, name};
use super::maps::{Pixels, Places, Target, Unmade, check_apart, failures, is_file, made, of_image, write_png};
use super::{Format, Result, note, shown};
use clap::Args;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use vitraux::Tensor;
use vitraux::config::DenseHead;
use vitraux::postprocess::classes_at;

#[derive(Debug, Args)]
pub struct Segment {
    /// Folder for PNG files of the images' size with a class for each pixel, cat.segment.png for cat.jpg; or, for a single image, a PNG file. Without it, only areas are
    /// printed
    #[arg(long, short, value_name = "FOLDER|FILE.png")]
    output: Option<PathBuf>,
    /// Skip images whose PNG files already exist, made with the same model and options
    #[arg(long, requires = "output")]
    resume: bool,
    /// Output format of the areas; json prints one object per line
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    pass: PassArgs,
}

/// Smallest share of an image that is printed as text.
const LEAST_SHARE: f64 = 0.0005;

impl Segment {
    pub fn run(self) -> Result<()> {
        let checkpoint = self.pass.model.open_required("segment")?;
        let labels = match checkpoint.config().dense.as_ref().map(|dense| &dense.head) {
            Some(DenseHead::Segmentation { labels }) => labels.clone(),
            _ => return Err(format!("{} labels no pixels; expected a model such as Intel/dpt-large-ade", checkpoint.config().name).into()),
        };
        let mut paths = self.pass.images.sources()?;
        let places = self.output.as_deref().map(|output| places(output, &mut paths)).transpose()?;
        let model = self.pass.fingerprint(&checkpoint)?;
        let target = |places: &Places, path: &Path| Target {
            file: places.file(path, ".segment.png"),
            shows: (),
            about: places.described(&format!("classes of {model}"), path),
        };
        let targets = |path: &Path| places.iter().map(|places| target(places, path)).collect::<Vec<_>>();
        check_apart(places.as_ref(), &paths, &self.pass.files(), targets)?;
        let done = if self.resume { made(&paths, targets)? } else { HashSet::new() };
        let Some((images, mut session)) = self.pass.start(checkpoint, paths, |path| done.contains(path))? else { return Ok(()) };
        let device = session.model().device().to_string();
        let mut lines = if places.is_some() { Lines::beside_files() } else { Lines::stdout(None) };
        images.for_each_batch(|paths, pixel_values| {
            let outputs = session.forward_blocking(pixel_values, &["logits"])?;
            let logits = &outputs["logits"];
            let (values, scores) = (logits.values(), &logits.shape()[1..]);
            let draw = |(path, values): (&&Path, &[f32])| {
                if let Some(refusal) = self.pass.execution.refusal(&path.display().to_string(), values) {
                    return Err(Unmade::Image(refusal));
                }
                draw(path, Tensor::new(scores, values.to_vec()), labels.len(), targets(path).first(), self.pass.images.limit)
            };
            let areas: Vec<_> = paths.par_iter().zip(values.par_chunks(values.len() / paths.len())).map(draw).collect();
            for (path, areas) in paths.iter().zip(&areas) {
                if let Ok(areas) = areas {
                    match self.format {
                        Format::Text => areas.print(&mut lines, path, &labels)?,
                        Format::Json => writeln!(lines, "{}", serde_json::to_string(&areas.line(path, &labels, [&device, &model]))?)?,
                    }
                }
            }
            lines.flush()?;
            failures(areas.into_iter().map(|areas| areas.map(|_| ())).collect())
        })?;
        self.output.iter().for_each(|output| note(&format!("maps: {}", output.display())));
        Ok(())
    }
}

fn places(output: &Path, paths: &mut Vec<PathBuf>) -> Result<Places> {
    if !output.is_dir() && has_image_extension(output) && !is_file(output, &["png"]) {
        return Err(format!("{}: expected a folder or a PNG file", output.display()).into());
    }
    Places::new(output, &["png"], true, paths)
}

/// Pixels of each class in an image of `[height, width]`.
struct Areas {
    size: [usize; 2],
    pixels: Vec<usize>,
}

/// Areas of an image, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    classes: Vec<Class<'a>>,
    device: &'a str,
    height: usize,
    image: String,
    model: &'a str,
    width: usize,
}

#[derive(Serialize)]
struct Class<'a> {
    index: usize,
    label: &'a str,
    pixels: usize,
    share: f64,
}

impl Areas {
    /// Returns the classes in the image, the largest first.
    fn classes<'a>(&self, labels: &'a [String]) -> Vec<Class<'a>> {
        let all = (self.size[0] * self.size[1]) as f64;
        let class = |(index, (pixels, label)): (usize, (&usize, &'a String))| Class { index, label, pixels: *pixels, share: *pixels as f64 / all };
        let mut classes: Vec<Class> = self.pixels.iter().zip(labels).enumerate().map(class).filter(|class| class.pixels > 0).collect();
        classes.sort_by_key(|class| std::cmp::Reverse(class.pixels));
        classes
    }

    fn line<'a>(&self, path: &Path, labels: &'a [String], [device, model]: [&'a str; 2]) -> Line<'a> {
        let [height, width] = self.size;
        Line { classes: self.classes(labels), device, height, image: name(path), model, width }
    }

    fn print(&self, lines: &mut Lines, path: &Path, labels: &[String]) -> Result<()> {
        writeln!(lines, "{}", shown(&name(path)))?;
        for class in self.classes(labels).iter().filter(|class| class.share >= LEAST_SHARE) {
            writeln!(lines, "  {:5.1} %  {}", class.share * 100.0, shown(class.label))?;
        }
        Ok(())
    }
}

/// Measures the classes of an image, and writes its PNG if there is a target.
fn draw(
    path: &Path,
    logits: vitraux::Result<Tensor>,
    count: usize,
    target: Option<&Target<()>>,
    limit: ImageLimitArgs,
) -> std::result::Result<Areas, Unmade> {
    let of_image = |error: vitraux::Error| Unmade::Image(of_image(path, &error));
    let size = limit.read_beside_others(path, |image| Ok([image.height, image.width])).map_err(of_image)?;
    limit.check_canvas(path, size).map_err(Unmade::Image)?;
    let classes = logits.and_then(|logits| classes_at(&logits, size)).map_err(of_image)?;
    let mut pixels = vec![0; count];
    classes.iter().for_each(|class| pixels[usize::from(*class)] += 1);
    if let Some(Target { file, about, .. }) = target {
        write(&classes, size, count, about, file).map_err(|error| Unmade::unwritten(&error))?;
    }
    Ok(Areas { size, pixels })
}

/// Writes classes as indices of a palette, or, if these are more than 256, as grey with 16 bits.
fn write(classes: &[u16], [height, width]: [usize; 2], count: usize, about: &str, file: &Path) -> Result<()> {
    let (width, height, texts) = (width as u32, height as u32, Vec::new());
    if count > 256 {
        let data: Vec<u8> = classes.iter().flat_map(|class| class.to_be_bytes()).collect();
        let (colour, depth) = (png::ColorType::Grayscale, png::BitDepth::Sixteen);
        return write_png(Pixels { width, height, colour, depth, palette: None, texts, data: &data }, about, file);
    }
    let data: Vec<u8> = classes.iter().map(|class| *class as u8).collect();
    let (colour, depth, palette) = (png::ColorType::Indexed, png::BitDepth::Eight, Some((0..count).flat_map(colour_of).collect()));
    write_png(Pixels { width, height, colour, depth, palette, texts, data: &data }, about, file)
}

/// Returns the colour of a class in PASCAL VOC's palette: the bits of its number, from the lowest on, go round red, green and blue, from the highest on.
fn colour_of(class: usize) -> [u8; 3] {
    std::array::from_fn(|channel| (0..8).step_by(3).map(|bit| ((class >> (bit + channel) & 1) << (7 - bit / 3)) as u8).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_pascal_voc() {
        assert_eq!([0, 1, 2, 3, 15, 20].map(colour_of), [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [192, 128, 128], [0, 64, 128]]);
        let all: HashSet<[u8; 3]> = (0..256).map(colour_of).collect();
        assert_eq!(all.len(), 256);
    }
}

use super::images::{ImageLimitArgs, Lines, PassArgs, has_image_extension, name};
use super::maps::{Pixels, Places, Target, Unmade, check_apart, create_folder_of, failures, is_file, made, of_image, write_png};
use super::{Result, note, npy, shown};
use clap::{Args, ValueEnum};
use rayon::prelude::*;
use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use vitraux::Tensor;
use vitraux::config::Map;
use vitraux::host::Painting;
use vitraux::postprocess::depth_at;

#[derive(Debug, Args)]
pub struct Depth {
    /// Folder for the maps, cat.depth.png for cat.jpg; or, for a single map, a PNG or npy file
    #[arg(long, short, value_name = "FOLDER|FILE")]
    output: PathBuf,
    /// Skip images whose maps already exist, made with the same model and options; npy files are not checked for these
    #[arg(long)]
    resume: bool,
    /// What to write for each image, of its size; several by commas [default: png, or what FILE is]
    #[arg(long, value_enum, value_name = "FORMAT", value_delimiter = ',')]
    format: Vec<Format>,
    #[command(flatten)]
    pass: PassArgs,
}

/// A file of depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// cat.depth.png: grey with 16 bits. Metres as millimetres, or, of models for more than 65 m, as 1/256 m; relative depth from 0 for the smallest to 65535. A text in
    /// the file gives the scale
    Png,
    /// cat.depth.colour.png: from dark for the smallest to light for the largest depth
    Colour,
    /// cat.depth.npy: an array [height, width] of the model's own numbers
    Npy,
}

impl Format {
    fn ending(self) -> &'static str {
        match self {
            Format::Png => ".depth.png",
            Format::Colour => ".depth.colour.png",
            Format::Npy => ".depth.npy",
        }
    }
}

/// Extensions of a single map.
const EXTENSIONS: [&str; 2] = ["png", "npy"];

/// Levels of a metre: millimetres, and what KITTI uses for larger depths.
const LEVELS_PER_METRE: [f32; 2] = [1000.0, 256.0];

impl Depth {
    pub fn run(self) -> Result<()> {
        let checkpoint = self.pass.model.open_required("depth")?;
        let metres = match checkpoint.config().depth_head() {
            Some(dense) => dense.metres(),
            None => {
                return Err(format!(
                    "{} predicts no depth; expected a model such as depth-anything/Depth-Anything-V2-Small-hf",
                    checkpoint.config().name
                )
                .into());
            }
        };
        let formats = self.formats()?;
        let mut paths = self.pass.images.sources()?;
        let places = Places::new(&self.output, &EXTENSIONS, formats.len() == 1, &mut paths)?;
        let about = format!("depth of {}", self.pass.fingerprint(&checkpoint)?);
        let target = |path: &Path, format: Format| Target {
            file: places.file(path, format.ending()),
            shows: format,
            about: places.described(&format!("{format:?} {about}"), path),
        };
        let targets = |path: &Path| formats.iter().map(|format| target(path, *format)).collect::<Vec<_>>();
        check_apart(Some(&places), &paths, &self.pass.files(), targets)?;
        let done = if self.resume { made(&paths, targets)? } else { HashSet::new() };
        let Some((images, mut session)) = self.pass.start(checkpoint, paths, |path| done.contains(path))? else { return Ok(()) };
        let mut lines = Lines::beside_files();
        images.for_each_batch(|paths, pixel_values| {
            let outputs = session.forward_blocking(pixel_values, &["predicted_depth"])?;
            let depth = &outputs["predicted_depth"];
            let (values, map) = (depth.values(), &depth.shape()[1..]);
            let draw = |(path, values): (&&Path, &[f32])| {
                if let Some(refusal) = self.pass.execution.refusal(&path.display().to_string(), values) {
                    return Err(Unmade::Image(refusal));
                }
                draw(path, Tensor::new(map, values.to_vec()), metres, &targets(path), self.pass.images.limit)
            };
            let ranges: Vec<_> = paths.par_iter().zip(values.par_chunks(values.len() / paths.len())).map(draw).collect();
            for (path, range) in paths.iter().zip(&ranges) {
                if let Ok([least, largest]) = range {
                    writeln!(lines, "{}: {least} to {largest}{}", shown(&name(path)), if metres.is_some() { " m" } else { "" })?;
                }
            }
            lines.flush()?;
            failures(ranges.into_iter().map(|range| range.map(|_| ())).collect())
        })?;
        note(&format!("maps: {}", self.output.display()));
        Ok(())
    }

    /// Returns what is to be written for each image.
    fn formats(&self) -> Result<Vec<Format>> {
        let is_npy = is_file(&self.output, &["npy"]);
        let is_png = is_file(&self.output, &["png"]);
        if !is_npy && !is_png && has_image_extension(&self.output) && !self.output.is_dir() {
            return Err(format!("{}: expected a folder, or a PNG or npy file", self.output.display()).into());
        }
        let all = [Format::Png, Format::Colour, Format::Npy];
        let formats: Vec<Format> = match self.format.as_slice() {
            [] if is_npy => vec![Format::Npy],
            [] => vec![Format::Png],
            chosen => all.into_iter().filter(|format| chosen.contains(format)).collect(),
        };
        match formats.iter().any(|format| (*format == Format::Npy && is_png) || (*format != Format::Npy && is_npy)) {
            true => Err(format!("{}: its extension and --format differ", self.output.display()).into()),
            false => Ok(formats),
        }
    }
}

/// Writes the maps of an image. Returns the smallest and the largest depth in it.
fn draw(
    path: &Path,
    depth: vitraux::Result<Tensor>,
    metres: Option<f32>,
    targets: &[Target<Format>],
    limit: ImageLimitArgs,
) -> std::result::Result<[f32; 2], Unmade> {
    let of_image = |error: vitraux::Error| Unmade::Image(of_image(path, &error));
    let size = limit.read_beside_others(path, |image| Ok([image.height, image.width])).map_err(of_image)?;
    limit.check_canvas(path, size).map_err(Unmade::Image)?;
    let depth = depth.and_then(|depth| depth_at(&depth, size)).map_err(of_image)?;
    let range @ [least, largest] = depth.iter().fold([f32::MAX, f32::MIN], |[least, largest], value| [least.min(*value), largest.max(*value)]);
    for Target { file, shows, about } in targets {
        let written = match shows {
            Format::Png => write_levels(&depth, size, Levels::new(metres, range), about, file),
            Format::Colour => write_colours(&depth, size, about, file),
            Format::Npy => create_folder_of(file).and_then(|()| npy::write(file, &size, bytemuck::cast_slice(&depth))),
        };
        written.map_err(|error| Unmade::unwritten(&error))?;
    }
    Ok([least, largest])
}

/// How levels of 16 bits stand for depth: depth = start + level · step.
struct Levels {
    start: f32,
    step: f32,
    unit: &'static str,
}

impl Levels {
    /// Levels for metres up to `metres`, or for relative depth in a range.
    fn new(metres: Option<f32>, [least, largest]: [f32; 2]) -> Levels {
        let [fine, coarse] = LEVELS_PER_METRE;
        match metres {
            Some(metres) => Levels { start: 0.0, step: 1.0 / if metres * fine <= f32::from(u16::MAX) { fine } else { coarse }, unit: " m" },
            None => Levels { start: least, step: (largest - least).max(f32::MIN_POSITIVE) / f32::from(u16::MAX), unit: "" },
        }
    }
}

fn write_levels(depth: &[f32], [height, width]: [usize; 2], levels: Levels, about: &str, file: &Path) -> Result<()> {
    let Levels { start, step, unit } = levels;
    // A conversion keeps what is out of range at the ends of it.
    let data: Vec<u8> = depth.iter().flat_map(|value| (((value - start) / step).round() as u16).to_be_bytes()).collect();
    let pixels = Pixels {
        width: width as u32,
        height: height as u32,
        colour: png::ColorType::Grayscale,
        depth: png::BitDepth::Sixteen,
        palette: None,
        texts: vec![("depth", format!("{start} + level * {step}{unit}"))],
        data: &data,
    };
    write_png(pixels, about, file)
}

fn write_colours(depth: &[f32], [height, width]: [usize; 2], about: &str, file: &Path) -> Result<()> {
    let map = Map::of_values([height, width]);
    let painted = Painting::default().on_host(&map, depth, 1)?;
    let mut data = vec![0; 3 * height * width];
    data.par_chunks_mut(3 * width).enumerate().for_each(|(y, row)| {
        for (x, pixel) in row.chunks_mut(3).enumerate() {
            let at = [(x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32];
            pixel.iter_mut().zip(painted.at(at)).for_each(|(level, value)| *level = (value * 255.0).round() as u8);
        }
    });
    let (width, height, colour, depth) = (width as u32, height as u32, png::ColorType::Rgb, png::BitDepth::Eight);
    write_png(Pixels { width, height, colour, depth, palette: None, texts: Vec::new(), data: &data }, about, file)
}

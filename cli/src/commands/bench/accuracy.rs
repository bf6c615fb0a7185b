//! How far results in a lower precision are from those in f32.

use super::result;
use super::speed::figures;
use crate::commands::images::{ImageLimitArgs, sources};
use crate::commands::table::{Column, Table};
use crate::commands::{Result, of_file};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use vitraux::config::Size;
use vitraux::low_level::forward::output_names;
use vitraux::{Checkpoint, Image, Model, Session, Tensor};

/// Lists embedded photos by their names.
macro_rules! photos {
    ($($name:literal),*) => { [$(($name, include_bytes!(concat!("../../../photos/", $name)).as_slice())),*] };
}

/// Photos to compare results on.
const PHOTOS: [(&str, &[u8]); 7] = photos!["astronaut.jpg", "camera.jpg", "chelsea.jpg", "coffee.jpg", "hubble.jpg", "retina.jpg", "rocket.jpg"];

/// Inputs to compare results on if the model takes no images.
const SEQUENCES: usize = 8;

/// Whether results are compared, and on which images.
#[derive(Debug, Args)]
pub struct AccuracyArgs {
    /// Also compare the results with those in f32, on some photos: the largest and the mean error, relative to the largest value, and
    /// on how many images the top class is the same
    #[arg(long)]
    accuracy: bool,
    /// Images for --accuracy: files, folders or patterns
    #[arg(long, value_name = "IMAGE|FOLDER|PATTERN", requires = "accuracy", num_args = 1..)]
    images: Vec<PathBuf>,
    /// With --accuracy, also compare every intermediate result
    #[arg(long, requires = "accuracy")]
    taps: bool,
    #[command(flatten)]
    limit: ImageLimitArgs,
}

impl AccuracyArgs {
    /// Checks the options, before any work is done, and that there are images to compare on.
    pub fn check(&self) -> Result<()> {
        if self.limit.is_chosen() && !self.accuracy {
            return Err("--max-image-memory: expected --accuracy, without which no images are read".into());
        }
        if !self.images.is_empty() {
            for path in sources(&self.images, &[])? {
                path.metadata().map_err(of_file(&path))?;
            }
        }
        Ok(())
    }

    /// Compares a session with one in f32 on the same device, if that is asked for.
    pub fn measure(&self, session: &mut Session, checkpoint: impl FnOnce() -> Result<Checkpoint>, size: Size) -> Result<Option<Accuracy>> {
        if !self.accuracy {
            return Ok(None);
        }
        let inputs = self.inputs(session, size)?;
        let mut reference = Model::builder(checkpoint()?).device(session.model().device().clone()).load_blocking()?.session();
        let config = session.model().config();
        let (wanted, has_classes) = (result(config), !config.classifiers.is_empty());
        let names = if self.taps { output_names(config) } else { Vec::new() };
        let mut accuracy = Accuracy { images: inputs.len(), result: Error::default(), alike: has_classes.then_some(0), taps: Vec::new() };
        accuracy.taps = names.iter().map(|name| (name.clone(), Error::default())).collect();
        for input in &inputs {
            let mut both = |name: &str| -> Result<[Tensor; 2]> {
                let of = |session: &mut Session| {
                    Ok::<_, vitraux::Error>(session.forward_blocking(input, &[name])?.remove(name).expect("it was asked for"))
                };
                Ok([of(session)?, of(&mut reference)?])
            };
            let [narrow, wide] = both(wanted)?;
            accuracy.result.add(&narrow, &wide);
            if let Some(alike) = &mut accuracy.alike {
                *alike += usize::from(best(&narrow) == best(&wide));
            }
            // One at a time: attention probabilities of all blocks may take much memory.
            for (name, error) in &mut accuracy.taps {
                let [narrow, wide] = both(name)?;
                error.add(&narrow, &wide);
            }
        }
        Ok(Some(accuracy))
    }

    /// Returns the inputs, one image each.
    fn inputs(&self, session: &Session, size: Size) -> Result<Vec<Tensor>> {
        let model = session.model();
        let Some(preprocess) = model.preprocess() else {
            if !self.images.is_empty() {
                return Err(format!("--images: {} has no preprocessing for images", model.config().name).into());
            }
            return (0..SEQUENCES).map(|i| wave(model.config().input_shape(1, size)?, i)).collect();
        };
        let images: Vec<Image> = match self.images.as_slice() {
            [] => PHOTOS.iter().map(|(name, bytes)| Image::decode(name, bytes)).collect::<vitraux::Result<_>>()?,
            images => sources(images, &[])?.iter().map(|path| self.limit.read(path)).collect::<vitraux::Result<_>>()?,
        };
        Ok(images.iter().map(|image| preprocess.apply(image)).collect::<vitraux::Result<_>>()?)
    }
}

/// Returns an input that differs from the others.
fn wave(shape: Vec<usize>, number: usize) -> Result<Tensor> {
    let values = (0..shape.iter().product()).map(|i: usize| (i as f32 * 0.01 * (1 + number) as f32).sin());
    let values = values.collect();
    Ok(Tensor::new(shape, values)?)
}

/// Returns the index of the largest value.
fn best(logits: &Tensor) -> Option<usize> {
    let values = logits.values();
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b]))
}

/// Deviation of results from those in f32.
pub struct Accuracy {
    images: usize,
    result: Error,
    /// Images with the same top class, if the model has classes.
    alike: Option<usize>,
    /// Deviation of each intermediate result, if asked for.
    taps: Vec<(String, Error)>,
}

/// Deviation of an output, over all images.
#[derive(Clone, Copy, Default)]
struct Error {
    /// Largest magnitude in f32.
    largest: f64,
    /// Largest difference.
    worst: f64,
    /// Sum of the differences.
    total: f64,
    count: usize,
}

impl Error {
    fn add(&mut self, narrow: &Tensor, wide: &Tensor) {
        for (narrow, wide) in narrow.values().iter().zip(wide.values().iter()) {
            let (difference, magnitude) = (f64::from((narrow - wide).abs()), f64::from(wide.abs()));
            // Not `max`, which ignores NaN.
            self.worst = if difference > self.worst || difference.is_nan() { difference } else { self.worst };
            self.largest = self.largest.max(magnitude);
            self.total += difference;
        }
        self.count += wide.len();
    }

    /// Returns the largest and the mean difference, as shares of the largest value.
    fn shares(&self) -> [f64; 2] {
        [self.worst, self.total / self.count.max(1) as f64].map(|difference| difference / self.largest.max(f64::MIN_POSITIVE))
    }
}

impl Accuracy {
    pub fn write(&self, out: &mut impl Write) -> Result<()> {
        let [worst, mean] = self.result.shares();
        let alike = self.alike.map_or_else(String::new, |alike| format!(", same top class for {alike} of {} images", self.images));
        writeln!(out, "\ncompared with f32: largest error {worst:.1e}, mean {mean:.1e} of the largest value{alike}")?;
        if self.taps.is_empty() {
            return Ok(());
        }
        let mut table = Table::new([Column::Words("tap"), Column::Numbers("largest error %"), Column::Numbers("mean %")]);
        for (name, error) in &self.taps {
            table.add(std::iter::once(name.clone()).chain(error.shares().map(|share| format!("{:.3}", 100.0 * share))));
        }
        Ok(write!(out, "\n{}", table.text())?)
    }

    pub fn json(&self) -> Value {
        let error = |error: &Error| {
            let [worst, mean] = error.shares();
            json!({ "worst_error": figures(worst), "mean_error": figures(mean) })
        };
        let mut whole = error(&self.result);
        whole["best_class_alike"] = json!(self.alike);
        whole["images"] = json!(self.images);
        if !self.taps.is_empty() {
            whole["taps"] = self.taps.iter().map(|(name, of)| (name.clone(), error(of))).collect();
        }
        whole
    }
}

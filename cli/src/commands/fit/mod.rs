//! Classifier trained on example images.

mod classes;
mod ridge;

use super::images::{PassArgs, name};
use super::output::{Beside, check_named, check_replaceable, protect, stdout};
use super::tensors::write_tensors;
use super::{Failed, Format, Result, note, shown};
use clap::Args;
use classes::{label, labels};
use ridge::{Ridge, Solution};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Fit {
    /// Safetensors file to write the classifier to, for `classify --head`
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Share of each class's images to hold out for measuring accuracy: a fraction below 1 such as 0.2, or tenths as a whole number
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, default_value = "0.2", value_parser = share)]
    hold_out: f64,
    /// Penalty of the ridge regression: larger values regularise more
    #[arg(long, value_name = "PENALTY", allow_negative_numbers = true, default_value_t = 1.0)]
    ridge: f64,
    /// Output format; json prints one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    pass: PassArgs,
}

/// Image of the held-out set.
struct HeldOut {
    path: PathBuf,
    class: usize,
    features: Vec<f32>,
}

/// Parses a share: 0.2, or 2 for two tenths.
fn share(text: &str) -> std::result::Result<f64, String> {
    let whole = text.parse::<u8>().ok().map(|tenths| f64::from(tenths) / 10.0);
    let share = whole.or_else(|| text.parse().ok()).filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "expected a fraction below 1, such as 0.2, or tenths from 0 to 9".to_owned())
}

impl Fit {
    pub fn run(self) -> Result<()> {
        if !(self.ridge >= 0.0 && self.ridge.is_finite()) {
            return Err(format!("--ridge: expected a number of at least 0, found {}", self.ridge).into());
        }
        check_named(&self.output, "safetensors")?;
        let checkpoint = self.pass.model.open_required("fit")?;
        if checkpoint.config().feature_width() == 0 {
            return Err(format!("{} has no image features", checkpoint.config().name).into());
        }
        let paths = self.pass.images.sources()?;
        protect(&self.output, paths.iter().chain(&self.pass.files()))?;
        if let Some(missing) = paths.iter().find(|path| !path.exists()) {
            return Err(format!("{}: no such file or folder", missing.display()).into());
        }
        let labels = labels(&paths, self.pass.images.arguments())?;
        check_replaceable(&self.output)?;
        let numbers: HashMap<&str, usize> = labels.iter().enumerate().map(|(number, label)| (label.as_str(), number)).collect();
        let (images, mut session) = self.pass.start(checkpoint, paths, |_| false)?.expect("none is done");
        let width = session.model().config().feature_width();
        let mut ridge = Ridge::new(width, labels.len());
        let (mut seen, mut held_out) = (vec![0; labels.len()], Vec::new());
        let whole = images.for_each_batch(|paths, pixel_values| {
            let features = session.forward_blocking(pixel_values, &["features"])?.remove("features").expect("it was asked for");
            let (paths, features, failures) = self.pass.finite(paths, &features)?;
            let (mut vectors, mut classes) = (Vec::new(), Vec::new());
            for (path, features) in paths.iter().zip(features.values().chunks(width)) {
                let class = numbers[label(path).as_str()];
                // Evenly spaced in each class, and the same in every run: with 0.2, every fifth image.
                let held_out_of = |images: usize| (images as f64 * self.hold_out + 1e-9) as usize;
                let is_held_out = held_out_of(seen[class] + 1) > held_out_of(seen[class]);
                seen[class] += 1;
                if is_held_out {
                    held_out.push(HeldOut { path: path.to_path_buf(), class, features: features.to_vec() });
                } else {
                    vectors.extend_from_slice(features);
                    classes.push(class);
                }
            }
            if !classes.is_empty() {
                ridge.add(&vectors, &classes);
            }
            Ok(failures)
        });
        if let Err(error) = &whole
            && !error.is::<Failed>()
        {
            return whole;
        }
        if let Some(class) = seen.iter().position(|count| *count == 0) {
            return Err(format!("{}: expected at least one readable image of this class, found none", labels[class]).into());
        }
        let solution = ridge.solve(self.ridge)?;
        write_head(&self.output, &solution, &labels)?;
        note(&format!("head: {}", self.output.display()));
        self.report(&solution, &labels, &held_out, seen.iter().sum::<usize>() - held_out.len())?;
        whole
    }

    /// Prints the accuracy and the confusion matrix on the held-out set.
    fn report(&self, solution: &Solution, labels: &[String], held_out: &[HeldOut], trained: usize) -> Result<()> {
        let mut confusion = vec![vec![0; labels.len()]; labels.len()];
        let answers: Vec<usize> = held_out.iter().map(|image| solution.class(&image.features)).collect();
        for (image, answer) in held_out.iter().zip(&answers) {
            confusion[image.class][*answer] += 1;
        }
        let right: usize = (0..labels.len()).map(|class| confusion[class][class]).sum();
        let mut out = Beside(stdout());
        if self.format == Format::Json {
            let images: Vec<Value> = held_out
                .iter()
                .zip(&answers)
                .map(|(image, answer)| json!({ "image": name(&image.path), "label": labels[image.class], "answer": labels[*answer] }))
                .collect();
            let accuracy = if held_out.is_empty() { Value::Null } else { (right as f64 / held_out.len() as f64).into() };
            let value = json!({
                "labels": labels, "trained": trained, "held_out": held_out.len(), "right": right, "accuracy": accuracy, "confusion": confusion, "images": images,
            });
            return Ok(writeln!(out, "{value}")?);
        }
        writeln!(out, "{trained} images of {} classes", labels.len())?;
        if held_out.is_empty() {
            if self.hold_out > 0.0 {
                note("no images were held out: the classes have too few");
            }
            return Ok(());
        }
        writeln!(out, "held out: {right} of {} correct, {:.1} %", held_out.len(), 100.0 * right as f64 / held_out.len() as f64)?;
        let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        let cell = held_out.len().to_string().len().max(3);
        writeln!(out, "\n{:longest$}  columns: predicted class, rows: actual class", "")?;
        for (class, row) in confusion.iter().enumerate() {
            let cells: String = row.iter().map(|count| format!(" {:>cell$}", if *count == 0 { "·".to_owned() } else { count.to_string() })).collect();
            writeln!(out, "{:>longest$} {cells}", shown(&labels[class]))?;
        }
        Ok(())
    }
}

fn write_head(file: &Path, Solution { weight, bias }: &Solution, labels: &[String]) -> Result<()> {
    use safetensors::tensor::TensorView;
    let rows: Vec<f32> = weight.row_iter().flat_map(|row| row.iter().map(|value| *value as f32).collect::<Vec<_>>()).collect();
    let biases: Vec<f32> = bias.iter().map(|value| *value as f32).collect();
    let view = |shape: &[usize], values| TensorView::new(safetensors::Dtype::F32, shape.to_vec(), values);
    let tensors = [
        ("weight", view(&[weight.nrows(), weight.ncols()], bytemuck::cast_slice(&rows))?),
        ("bias", view(&[biases.len()], bytemuck::cast_slice(&biases))?),
    ];
    let metadata = [("labels", serde_json::to_string(labels)?)].into();
    write_tensors(tensors, Some(metadata), file)
}

use super::{EngineArgs, Format, HeadArgs, ModelArgs, Result, warn_if_assumed};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vitraux::{Answer, Engine, Prediction, preprocess};

#[derive(Debug, Args)]
pub struct Classify {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    heads: HeadArgs,
    #[command(flatten)]
    engine: EngineArgs,
    /// How many classes to name for each picture
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// text, or json: one object for each picture and line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Pictures: PNG, JPEG, WebP, BMP, GIF, TIFF or PNM
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

impl Classify {
    pub fn run(self) -> Result<()> {
        let checkpoint = self.heads.apply(self.model.open()?)?;
        if checkpoint.config.classifiers.is_empty() {
            return Err("the model has no classes; `vitraux forward` gives its features, --head FILE gives it a classifier".into());
        }
        // The first picture is read before the device is opened: a wrong path is found out at once.
        let mut first = Some(preprocess::open(&self.images[0])?);
        let mut engine = self.engine.load(checkpoint)?;
        warn_if_assumed(engine.preprocess());
        let bar = progress(self.images.len() as u64);
        for path in &self.images {
            let picture = first.take().map_or_else(|| preprocess::open(path), Ok)?;
            let start = Instant::now();
            let answers = engine.classify_blocking(&picture, self.top as usize)?;
            let elapsed = start.elapsed();
            bar.suspend(|| match self.format {
                Format::Text => print_text(path, &answers, elapsed),
                Format::Json => print_json(path, &answers, elapsed, &engine),
            })?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    }
}

/// A bar on standard error, if that is a terminal and there is more than a moment's work.
fn progress(images: u64) -> ProgressBar {
    if images < 8 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {per_sec}, {eta} left").expect("a valid template");
    ProgressBar::new(images).with_style(style)
}

fn print_text(path: &Path, answers: &[Answer], elapsed: Duration) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} ({:.1} ms)", path.display(), milliseconds(elapsed))?;
    for answer in answers {
        if !answer.head.is_empty() {
            writeln!(out, "  {}", answer.head)?;
        }
        for prediction in &answer.top {
            let bar = "█".repeat((prediction.probability * 20.0).round() as usize);
            let label = prediction.label.clone().unwrap_or_else(|| format!("class {}", prediction.index));
            writeln!(out, "  {:5.1} %  {bar:20}  {label}", prediction.probability * 100.0)?;
        }
    }
    Ok(())
}

fn print_json(path: &Path, answers: &[Answer], elapsed: Duration, engine: &Engine) -> std::io::Result<()> {
    let mut line = json!({
        "image": path.display().to_string(),
        "device": engine.device().to_string(),
        "milliseconds": milliseconds(elapsed),
    });
    for answer in answers {
        let top: Vec<_> = answer.top.iter().map(prediction).collect();
        match answer.head.as_str() {
            "" => line["top"] = top.into(),
            head => line["heads"][head] = top.into(),
        }
    }
    writeln!(std::io::stdout().lock(), "{line}")
}

fn prediction(prediction: &Prediction) -> serde_json::Value {
    json!({
        "index": prediction.index,
        "label": prediction.label,
        "probability": prediction.probability,
        "logit": prediction.logit,
    })
}

fn milliseconds(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * 1e3
}

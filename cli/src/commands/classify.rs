use super::images::{Form, LineArgs, Lines, PassArgs, TableFormat as Format, name, row};
use super::{HeadArgs, Result};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::time::Instant;
use vitraux::config::Config;
use vitraux::{Classification, Prediction};

#[derive(Debug, Args)]
pub struct Classify {
    #[command(flatten)]
    pass: PassArgs,
    #[command(flatten)]
    heads: HeadArgs,
    #[command(flatten)]
    lines: LineArgs,
    /// Number of classes to print per image
    #[arg(long, short = 'n', value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Output format; json prints one object per line [default: by the extension of --output, else text]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

impl Classify {
    pub fn run(self) -> Result<()> {
        let format = Format::chosen(self.format, self.lines.output())?;
        let checkpoint = self.heads.apply(self.pass.model.open()?)?;
        if checkpoint.config.classifiers.is_empty() {
            return Err("the model has no classes: `vitraux embed` gives its features, and `vitraux fit` makes a classifier for --head FILE".into());
        }
        let model = self.pass.fingerprint(&checkpoint);
        let paths = self.pass.images.sources()?;
        let head = (format == Format::Csv).then(|| table_head(&checkpoint.config, self.top)).transpose()?;
        let mut lines = match format {
            Format::Text => self.lines.open(&paths, &self.pass.model, None, None)?,
            Format::Json => self.lines.open(&paths, &self.pass.model, None, Some(&Form::objects("{\"device\":", "model", model.clone())))?,
            Format::Csv => self.lines.open(&paths, &self.pass.model, head.as_deref(), Some(&Form::table()))?,
        };
        let is_done = |path: &Path| lines.has(&name(path));
        let Some((images, mut session)) = self.pass.start(checkpoint, paths, is_done)? else { return Ok(()) };
        if let (Some(head), true) = (&head, lines.is_new()) {
            writeln!(lines, "{head}")?;
        }
        let device = session.model().device().to_string();
        images.for_each_batch(|paths, pixel_values| {
            let start = Instant::now();
            let answers = session.classify_batch_blocking(pixel_values, self.top as usize)?;
            let milliseconds = start.elapsed().as_secs_f64() * 1e3 / paths.len() as f64;
            for (path, answers) in paths.iter().zip(&answers) {
                match format {
                    Format::Text => write_text(&mut lines, path, answers, milliseconds)?,
                    Format::Json => writeln!(lines, "{}", json_line(path, answers, milliseconds, [&device, &model]))?,
                    Format::Csv => writeln!(lines, "{}", table_row(path, answers)?)?,
                }
            }
            lines.flush()?;
            Ok(Vec::new())
        })
    }
}

fn write_text(lines: &mut Lines, path: &Path, answers: &[Classification], milliseconds: f64) -> std::io::Result<()> {
    writeln!(lines, "{} ({milliseconds:.1} ms)", path.display())?;
    for answer in answers {
        if !answer.head.is_empty() {
            writeln!(lines, "  {}", answer.head)?;
        }
        for prediction in &answer.top {
            let bar = "█".repeat((prediction.probability * 20.0).round() as usize);
            let label = prediction.label.clone().unwrap_or_else(|| format!("class {}", prediction.index));
            writeln!(lines, "  {:5.1} %  {bar:20}  {label}", prediction.probability * 100.0)?;
        }
    }
    Ok(())
}

fn json_line(path: &Path, answers: &[Classification], milliseconds: f64, [device, model]: [&str; 2]) -> Value {
    let mut line = json!({ "image": name(path), "device": device, "model": model, "milliseconds": (milliseconds * 1e3).round() / 1e3 });
    for answer in answers {
        let top: Vec<_> = answer.top.iter().map(prediction).collect();
        match answer.head.as_str() {
            "" => line["top"] = top.into(),
            head => line["heads"][head] = top.into(),
        }
    }
    line
}

fn prediction(prediction: &Prediction) -> Value {
    json!({
        "index": prediction.index,
        "label": prediction.label,
        "probability": prediction.probability,
        "logit": prediction.logit,
    })
}

/// Returns the header of the table: the image, and for each head and rank the label, index, probability and logit.
fn table_head(config: &Config, top: u32) -> Result<String> {
    let mut cells = vec!["image".to_owned()];
    for (suffix, classifier) in config.default_classifiers() {
        let head = suffix.trim_start_matches('_');
        let prefix = if head.is_empty() { String::new() } else { format!("{head}_") };
        for rank in 1..=(top as usize).min(classifier.classes) {
            cells.extend(["label", "index", "probability", "logit"].map(|column| format!("{prefix}{column}{rank}")));
        }
    }
    row(cells)
}

fn table_row(path: &Path, answers: &[Classification]) -> Result<String> {
    let cells = answers.iter().flat_map(|answer| &answer.top).flat_map(|prediction| {
        let label = prediction.label.clone().unwrap_or_else(|| prediction.index.to_string());
        [label, prediction.index.to_string(), prediction.probability.to_string(), prediction.logit.to_string()]
    });
    row(std::iter::once(name(path)).chain(cells))
}

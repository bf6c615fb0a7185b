mod labels;

use super::images::{Form, LineArgs, Lines, PassArgs, TableFormat as Format, name, row};
use super::numbers::count;
use super::{HeadArgs, Result, on_stdout, shown};
use anstyle::{AnsiColor, Style};
use clap::Args;
use labels::LabelArgs;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Instant;
use vitraux::{Checkpoint, Classification, Prediction};

#[derive(Debug, Args)]
pub struct Classify {
    /// Number of classes to print per image
    #[arg(long, short = 'n', value_name = "K", allow_negative_numbers = true, default_value_t = 5, value_parser = count(u32::MAX))]
    top: u32,
    /// Output format; json prints one object per line [default: by the extension of --output, else text]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    pass: PassArgs,
    #[command(flatten)]
    labels: LabelArgs,
    #[command(flatten)]
    heads: HeadArgs,
    #[command(flatten)]
    lines: LineArgs,
}

impl Classify {
    pub fn run(self) -> Result<()> {
        let format = Format::chosen(self.format, self.lines.output())?;
        let names = self.labels.names()?;
        let checkpoint = match &names {
            Some(_) => self.pass.model.open_for_texts("classify --labels")?.0,
            None => self.heads.apply(self.pass.model.open()?)?,
        };
        let columns = self.columns(&checkpoint, names.as_deref())?;
        let model = match &names {
            Some(names) => format!("{} by {}", self.pass.fingerprint(&checkpoint)?, self.labels.describe(names)),
            None => self.pass.fingerprint(&checkpoint)?,
        };
        let paths = self.pass.images.sources()?;
        let head = (format == Format::Csv).then(|| table_head(&columns, self.top)).transpose()?;
        let files = [self.pass.files(), self.heads.files(), self.labels.files()].concat();
        let inputs = paths.iter().chain(&files);
        let mut lines = match format {
            Format::Text => self.lines.open(inputs, None, None)?,
            Format::Json => self.lines.open(inputs, None, Some(&Form::objects("{\"device\":", "model", model.clone())))?,
            Format::Csv => self.lines.open(inputs, head.as_deref(), Some(&Form::table()))?,
        };
        let is_done = |path: &Path| lines.has(&name(path));
        let Some((images, mut session)) = self.pass.start(checkpoint, paths, is_done)? else { return Ok(()) };
        let color = if self.lines.output().is_none() { on_stdout(AnsiColor::Cyan) } else { Style::new() };
        let device = session.model().device().to_string();
        let labels = names.as_ref().map(|names| self.labels.encode(&mut session, names)).transpose()?;
        images.for_each_batch(|paths, pixel_values| {
            let start = Instant::now();
            let answers = match &labels {
                None => session.classify_batch_blocking(pixel_values, self.top as usize)?,
                Some(labels) => {
                    let outputs = session.forward_blocking(pixel_values, &["image_embeds"])?;
                    let answers = labels.classify(session.model(), &outputs["image_embeds"], self.top as usize)?;
                    answers.into_iter().map(|answer| vec![answer]).collect()
                }
            };
            let milliseconds = start.elapsed().as_secs_f64() * 1e3 / paths.len() as f64;
            let mut failures = Vec::new();
            for (path, answers) in paths.iter().zip(&answers) {
                let values: Vec<f32> = answers.iter().flat_map(|answer| &answer.top).flat_map(|answer| [answer.logit, answer.probability]).collect();
                if let Some(refusal) = self.pass.execution.refusal(&name(path), &values) {
                    failures.push(refusal);
                    continue;
                }
                match format {
                    Format::Text => write_text(&mut lines, path, answers, milliseconds, color)?,
                    Format::Json => writeln!(lines, "{}", serde_json::to_string(&Line::new(path, answers, milliseconds, [&device, &model]))?)?,
                    Format::Csv => writeln!(lines, "{}", table_row(path, answers)?)?,
                }
            }
            lines.flush()?;
            Ok(failures)
        })
    }

    /// Returns the classifiers, each with its suffix and its number of classes.
    fn columns(&self, checkpoint: &Checkpoint, labels: Option<&[String]>) -> Result<Vec<(String, usize)>> {
        let config = checkpoint.config();
        match labels {
            Some(_) if self.heads.is_given() => Err("--labels: expected no --head, which has classes of its own".into()),
            Some(_) if checkpoint.text_config().is_none() => {
                Err(format!("--labels: {} has no text tower; choose a model of CLIP or SigLIP with both towers", config.name).into())
            }
            Some(labels) => Ok(vec![(String::new(), labels.len())]),
            None if config.classifiers.is_empty() => {
                Err("the model has no classes: `vitraux embed` gives its features, `vitraux fit` trains a classifier \
                 for --head FILE, and models of images and texts classify by --labels"
                    .into())
            }
            None => Ok(config.default_classifiers().into_iter().map(|(suffix, classifier)| (suffix, classifier.classes)).collect()),
        }
    }
}

fn write_text(lines: &mut Lines, path: &Path, answers: &[Classification], milliseconds: f64, color: Style) -> std::io::Result<()> {
    writeln!(lines, "{} ({milliseconds:.1} ms)", shown(&name(path)))?;
    for answer in answers {
        if !answer.head.is_empty() {
            writeln!(lines, "  {}", shown(&answer.head))?;
        }
        for prediction in &answer.top {
            let bar = "█".repeat((prediction.probability * 20.0).round() as usize);
            let label = prediction.label.as_deref().map_or_else(|| format!("class {}", prediction.index), shown);
            writeln!(lines, "  {:5.1} %  {color}{bar:20}{color:#}  {label}", prediction.probability * 100.0)?;
        }
    }
    Ok(())
}

/// Answers for an image, as JSON. Numbers have as many digits as they are exact to.
#[derive(Serialize)]
struct Line<'a> {
    device: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    heads: BTreeMap<&'a str, Vec<Answer<'a>>>,
    image: String,
    milliseconds: f64,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<Vec<Answer<'a>>>,
}

#[derive(Serialize)]
struct Answer<'a> {
    index: usize,
    label: Option<&'a str>,
    logit: f32,
    probability: f32,
}

impl<'a> Line<'a> {
    fn new(path: &Path, answers: &'a [Classification], milliseconds: f64, [device, model]: [&'a str; 2]) -> Line<'a> {
        let (mut top, mut heads) = (None, BTreeMap::new());
        for Classification { head, top: predictions, .. } in answers {
            let of_head = predictions.iter().map(Answer::new).collect();
            match head.as_str() {
                "" => top = Some(of_head),
                head => drop(heads.insert(head, of_head)),
            }
        }
        Line { device, heads, image: name(path), milliseconds: (milliseconds * 1e3).round() / 1e3, model, top }
    }
}

impl<'a> Answer<'a> {
    fn new(Prediction { index, label, logit, probability, .. }: &'a Prediction) -> Answer<'a> {
        Answer { index: *index, label: label.as_deref(), logit: *logit, probability: *probability }
    }
}

/// Returns the header of the table: the image, and for each head and rank the label, index, probability and logit.
fn table_head(columns: &[(String, usize)], top: u32) -> Result<String> {
    let mut cells = vec!["image".to_owned()];
    for (suffix, classes) in columns {
        let head = suffix.trim_start_matches('_');
        let prefix = if head.is_empty() { String::new() } else { format!("{head}_") };
        for rank in 1..=(top as usize).min(*classes) {
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

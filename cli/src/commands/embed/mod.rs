//! Embeddings of images, for search and for classifiers.

mod store;
mod vectors;

use super::images::{Form, LineArgs, Lines, PassArgs, name, protect_inputs, row};
use super::tensors::check_output;
use super::{Failed, Result, note};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use store::Store;
pub use vectors::{Vectors, What};
use vitraux::Checkpoint;

#[derive(Debug, Args)]
pub struct Embed {
    #[command(flatten)]
    pass: PassArgs,
    #[command(flatten)]
    lines: LineArgs,
    /// json: one object per line and image; csv; npy: an array, with the image paths in FILE.txt; safetensors: `embeddings`, with the
    /// paths in the metadata; parquet: columns `image` and `embedding` [default: by the extension of --output, else json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Take the residual stream after this block, counted from 0, instead of the pooled features: its class token, or the mean of its
    /// patches for models that pool those
    #[arg(long, value_name = "I")]
    layer: Option<usize>,
    /// Write all tokens, `[N, C]`, instead of one vector (npy, safetensors and json only)
    #[arg(long)]
    tokens: bool,
    /// Divide each vector by its Euclidean norm
    #[arg(long)]
    l2: bool,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Csv,
    Npy,
    Safetensors,
    Parquet,
}

impl Format {
    fn of_name(file: &Path) -> Option<Format> {
        let extension = file.extension()?.to_str()?.to_lowercase();
        if extension == "jsonl" { Some(Format::Json) } else { Format::from_str(&extension, false).ok() }
    }
}

impl Embed {
    pub fn run(self) -> Result<()> {
        let format = self.format.or_else(|| Format::of_name(self.lines.output()?)).unwrap_or(Format::Json);
        if self.tokens && matches!(format, Format::Csv | Format::Parquet) {
            return Err("--tokens: expected --format npy, safetensors or json; csv and parquet hold one vector per image".into());
        }
        let checkpoint = self.pass.model.open_required("embed")?;
        let vectors = Vectors::new(&checkpoint.config, self.what(), self.l2)?;
        match format {
            Format::Json | Format::Csv => self.run_lines(checkpoint, &vectors, format),
            Format::Npy | Format::Safetensors | Format::Parquet => self.run_store(checkpoint, &vectors, format),
        }?;
        self.lines.output().iter().for_each(|file| note(&format!("embeddings: {}", file.display())));
        Ok(())
    }

    fn what(&self) -> What {
        match (self.layer, self.tokens) {
            (layer, true) => What::Tokens(layer),
            (Some(layer), false) => What::Layer(layer),
            (None, false) => What::Features,
        }
    }

    /// Writes a line for each image.
    fn run_lines(&self, checkpoint: Checkpoint, vectors: &Vectors, format: Format) -> Result<()> {
        let head = (format == Format::Csv).then(|| {
            let columns = (0..vectors.width()).map(|i| i.to_string());
            std::iter::once("image".to_owned()).chain(columns).collect::<Vec<_>>().join(",")
        });
        let what = vectors.describe(&self.pass.fingerprint(&checkpoint));
        let paths = self.pass.images.sources()?;
        let mut lines = match format {
            Format::Csv => self.lines.open(&paths, &self.pass.model, head.as_deref(), Some(&Form::table()))?,
            _ => self.lines.open(&paths, &self.pass.model, None, Some(&Form::objects("{\"embedding\":", "of", what.clone())))?,
        };
        let is_done = |path: &Path| lines.has(&name(path));
        let Some((images, mut session)) = self.pass.start(checkpoint, paths, is_done)? else { return Ok(()) };
        if let (Some(head), true) = (&head, lines.is_new()) {
            writeln!(lines, "{head}")?;
        }
        images.for_each_batch(|paths, pixel_values| {
            let embeddings = vectors.by(&mut session, pixel_values)?;
            let values = embeddings.values();
            for (path, vector) in paths.iter().zip(values.chunks(values.len() / paths.len())) {
                write_line(&mut lines, path, vector, &embeddings.shape()[1..], &what, format)?;
            }
            lines.flush()?;
            Ok(Vec::new())
        })
    }

    /// Writes one array for all images.
    fn run_store(&self, checkpoint: Checkpoint, vectors: &Vectors, format: Format) -> Result<()> {
        let Some(file) = self.lines.output() else {
            return Err("expected --output FILE for an array; only json and csv can go to standard output".into());
        };
        check_output(file)?;
        let paths = self.pass.images.sources()?;
        protect_inputs(file, &paths, &self.pass.model)?;
        let mut store = Store::open(file, vectors.describe(&self.pass.fingerprint(&checkpoint)), self.lines.resumes())?;
        let is_done = |path: &Path| store.has(&name(path));
        let Some((images, mut session)) = self.pass.start(checkpoint, paths, is_done)? else { return store.finish(format) };
        let whole = images.for_each_batch(|paths, pixel_values| {
            store.append(paths, &vectors.by(&mut session, pixel_values)?)?;
            Ok(Vec::new())
        });
        // An interrupted run leaves its rows for a later run to resume.
        match whole {
            Err(error) if !error.is::<Failed>() => Err(error),
            whole => store.finish(format).and(whole),
        }
    }
}

fn write_line(lines: &mut Lines, path: &Path, vector: &[f32], shape: &[usize], what: &str, format: Format) -> Result<()> {
    let image = name(path);
    if format == Format::Csv {
        let cells = std::iter::once(image).chain(vector.iter().map(f32::to_string));
        return Ok(writeln!(lines, "{}", row(cells)?)?);
    }
    let embedding: Value = match shape {
        &[_, width] => vector.chunks(width).map(<[f32]>::to_vec).collect::<Vec<_>>().into(),
        _ => vector.to_vec().into(),
    };
    Ok(writeln!(lines, "{}", json!({ "image": image, "embedding": embedding, "of": what }))?)
}

//! Embeddings of images, for search and for classifiers.

mod parquet_names;
mod shards;
mod store;
mod vectors;

use super::images::{Form, Images, LineArgs, Lines, PassArgs, counted, name, row};
use super::numbers::block;
use super::output::check_output;
use super::{Failed, Result, note};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::io::Write;
use std::path::Path;
pub use store::{Store, check_complete};
pub use vectors::{Vectors, What};
use vitraux::{Checkpoint, Session};

#[derive(Debug, Args)]
pub struct Embed {
    /// json: one object per line, for each image; csv; npy: an array, with the image paths in FILE.txt; safetensors: `embeddings`, with the
    /// paths in the metadata; parquet: columns `image` and `embedding` [default: by the extension of --output, else json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Take the residual stream after this block, counted from 0, instead of the pooled features: its class token, or the mean of its
    /// patches for models that pool those
    #[arg(long, value_name = "I", allow_negative_numbers = true, value_parser = block)]
    layer: Option<usize>,
    /// Write all tokens, `[N, C]`, instead of one vector (npy, safetensors and json only)
    #[arg(long)]
    tokens: bool,
    /// Divide each vector by its Euclidean norm
    #[arg(long)]
    l2: bool,
    /// Read images from tar archives (WebDataset shards), and write one array per archive to the folder --output, named after the archive. Archives whose
    /// array is there already are skipped, and interrupted ones resumed [default format: parquet]
    #[arg(long, requires = "output")]
    shards: bool,
    #[command(flatten)]
    pass: PassArgs,
    #[command(flatten)]
    lines: LineArgs,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Json,
    Csv,
    Npy,
    Safetensors,
    Parquet,
}

impl Format {
    /// Returns the format of an output's extension, or JSON if it has none.
    fn of_name(file: &Path) -> Result<Format> {
        let Some(extension) = file.extension().map(|extension| extension.to_string_lossy().to_lowercase()) else { return Ok(Format::Json) };
        if extension == "jsonl" {
            return Ok(Format::Json);
        }
        Format::from_str(&extension, false)
            .map_err(|_| format!("--output: expected .json, .jsonl, .csv, .npy, .safetensors, .parquet or --format, found .{extension}").into())
    }
}

impl Embed {
    pub fn run(self) -> Result<()> {
        let format = match (self.format, self.lines.output()) {
            (Some(format), _) => format,
            (None, Some(_)) if self.shards => Format::Parquet,
            (None, Some(file)) => Format::of_name(file)?,
            (None, None) => Format::Json,
        };
        if self.tokens && matches!(format, Format::Csv | Format::Parquet) {
            return Err("--tokens: expected --format npy, safetensors or json; csv and parquet hold one vector per image".into());
        }
        let checkpoint = self.pass.model.open_required("embed")?;
        let vectors = Vectors::new(checkpoint.config(), self.what(), self.l2)?;
        match format {
            _ if self.shards => self.run_shards(checkpoint, &vectors, format),
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
        let what = vectors.describe(&self.pass.fingerprint(&checkpoint)?);
        let paths = self.pass.images.sources()?;
        let files = self.pass.files();
        let inputs = paths.iter().chain(&files);
        let mut lines = match format {
            Format::Csv => self.lines.open(inputs, head.as_deref(), Some(&Form::table()))?,
            _ => self.lines.open(inputs, None, Some(&Form::objects("{\"embedding\":", "of", what.clone())))?,
        };
        let is_done = |path: &Path| lines.has(&name(path));
        let Some((images, mut session)) = self.pass.start(checkpoint, paths, is_done)? else { return Ok(()) };
        images.for_each_batch(|paths, pixel_values| {
            let (paths, embeddings, failures) = self.pass.finite(paths, &vectors.by(&mut session, pixel_values)?)?;
            let values = embeddings.values();
            for (path, vector) in paths.iter().zip(values.chunks((values.len() / paths.len().max(1)).max(1))) {
                write_line(&mut lines, path, vector, &embeddings.shape()[1..], &what, format)?;
            }
            lines.flush()?;
            Ok(failures)
        })
    }

    /// Writes one array for all images.
    fn run_store(&self, checkpoint: Checkpoint, vectors: &Vectors, format: Format) -> Result<()> {
        let Some(file) = self.lines.output() else {
            return Err("expected --output FILE for an array; only json and csv can go to standard output".into());
        };
        check_output(file)?;
        let paths = self.pass.images.sources()?;
        store::protect(file, format, paths.iter().chain(&self.pass.files()))?;
        let what = vectors.describe(&self.pass.fingerprint(&checkpoint)?);
        if self.lines.resumes() && store::is_complete(file) {
            store::check_complete(file, format, &what, &paths)?;
            note(&format!("nothing to do: {} already done", counted(paths.len())));
            return Ok(());
        }
        let store = Store::open(file, format, what, vectors.width(), self.lines.resumes())?;
        let is_done = |path: &Path| store.has(&name(path));
        let Some((images, mut session)) = self.pass.start(checkpoint, paths, is_done)? else { return store.finish(format) };
        self.fill(store, images, &mut session, vectors, format)
    }

    /// Embeds images into an array.
    fn fill(&self, mut store: Store, images: Images, session: &mut Session, vectors: &Vectors, format: Format) -> Result<()> {
        let whole = images.for_each_batch(|paths, pixel_values| {
            let (paths, embeddings, failures) = self.pass.finite(paths, &vectors.by(session, pixel_values)?)?;
            store.append(&paths, &embeddings)?;
            Ok(failures)
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
    let embedding = match shape {
        &[_, width] => Embedding::Tokens(vector.chunks(width).collect()),
        _ => Embedding::Vector(vector),
    };
    Ok(writeln!(lines, "{}", serde_json::to_string(&Line { embedding, image: &image, of: what })?)?)
}

/// Embedding of an image, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    embedding: Embedding<'a>,
    image: &'a str,
    of: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Embedding<'a> {
    Vector(&'a [f32]),
    Tokens(Vec<&'a [f32]>),
}

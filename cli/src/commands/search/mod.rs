//! Search for images by words, over an index of their vectors.

mod page;

use super::fingerprint::fingerprint;
use super::images::{TableFormat as Format, counted};
use super::numbers::count;
use super::output::{check_named, protect};
use super::similar::{Index, cosine, of_index, print, ranking};
use super::{ExecutionArgs, ModelArgs, Result, note, of_file};
use clap::Args;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::thread::{self, Scope};
use vitraux::Tokenizer;
use vitraux::low_level::kind;

#[derive(Debug, Args)]
pub struct Search {
    /// What the images show, in words
    #[arg(value_name = "TEXT")]
    query: String,
    /// Index that `vitraux similar --index` has made with a model of images and texts, such as CLIP or SigLIP
    #[arg(long, value_name = "FILE")]
    index: PathBuf,
    /// Maximum number of images, best first [default: 20]
    #[arg(long, short = 'n', value_name = "K", allow_negative_numbers = true, value_parser = count(u32::MAX))]
    top: Option<u32>,
    /// Minimum similarity: the cosine of the angle between the vectors of the text and the image
    #[arg(long, value_name = "COSINE", allow_negative_numbers = true, value_parser = cosine)]
    above: Option<f64>,
    /// Output format; json prints one object per line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Also write a page that shows the images
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also copy the images to this folder, numbered from the best on; created if missing
    #[arg(long, value_name = "FOLDER")]
    copy_to: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    execution: ExecutionArgs,
}

impl Search {
    pub fn run(self) -> Result<()> {
        if !self.index.is_file() {
            let index = self.index.display();
            if let Ok(Some(other)) = kind(&self.index) {
                return Err(format!("--index {index}: expected a file, found {other}").into());
            }
            return Err(format!("--index {index}: no such file; `vitraux similar --model MODEL --index {index} FOLDER` makes one").into());
        }
        if let Some(page) = &self.html {
            check_named(page, "html")?;
        }
        // The index tells which model it is of, unless another place of it is given.
        let source = if self.model.is_given() { None } else { Index::source(&self.index)? };
        let model = self.model.or(source.map(PathBuf::from));
        let (checkpoint, folder) = model.open_for_texts("search")?;
        let width = checkpoint.config().vector_output().map_or(0, |(_, width)| width);
        let of = format!("{} in {}", fingerprint(&checkpoint)?, self.execution.precision);
        let config = checkpoint.config().name.clone();
        let Some(tower) = checkpoint.into_text_tower() else {
            return Err(format!("{config} has no text tower to search by words; expected an index of CLIP or SigLIP").into());
        };
        let read = || -> Result<_> {
            let index = Index::open(Some(&self.index), of.clone(), width)?;
            let places: Vec<usize> = of_index(&index)?.iter().filter_map(|path| index.place(&super::images::name(path))).collect();
            let changed = index.changed();
            if changed > 0 {
                note(&format!("changed since they were indexed: {}; `vitraux similar --index` updates them", counted(changed)));
            }
            Ok((index, places))
        };
        let tokenize = || Tokenizer::open(&folder)?.encode(&[&self.query]);
        let (read, tokens, loaded) = thread::scope(|scope| {
            let (read, tokens) = (beside(scope, &read), beside(scope, &tokenize));
            let loaded = self.execution.load(tower);
            (read(), tokens(), loaded)
        });
        let (index, places) = read?;
        let vector = loaded?.session().encode_tokens_blocking(&tokens?)?;
        let best = ranking(&index, &vector.values(), &places, self.above.unwrap_or(-1.0), self.top.unwrap_or(20) as usize);
        print(&index, &best, self.format, false, self.top.is_some())?;
        let found: Vec<(f64, PathBuf)> = best.ordered().iter().map(|found| (found.similarity, index.path(found.images[0]))).collect();
        if let Some(page) = &self.html {
            let images: Vec<PathBuf> = places.iter().map(|place| index.path(*place)).collect();
            protect(page, images.iter().chain([&self.index]).chain(&model.files()))?;
            page::write(page, &self.query, &found)?;
            note(&format!("page: {}", page.display()));
        }
        self.copy_to.as_ref().map_or(Ok(()), |folder| copy(folder, &found))
    }
}

/// Starts work on a thread of its own. Returns a closure that waits for the result; if the system refused the thread, it does the work.
fn beside<'scope, T: Send + 'scope>(scope: &'scope Scope<'scope, '_>, work: &'scope (impl Fn() -> T + Sync)) -> impl FnOnce() -> T {
    let started = thread::Builder::new().spawn_scoped(scope, work);
    move || started.map_or_else(|_| work(), |thread| thread.join().expect("no panic"))
}

/// Copies images to a folder under numbered names. Nothing there is replaced.
fn copy(folder: &Path, found: &[(f64, PathBuf)]) -> Result<()> {
    fs::create_dir_all(folder).map_err(of_file(folder))?;
    let digits = found.len().to_string().len();
    for (number, (_, image)) in (1..).zip(found) {
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        let target = folder.join(format!("{number:0digits$} {name}"));
        if let Some(other) = kind(image).map_err(of_file(image))? {
            return Err(format!("{}: expected the image of the index, found {other}", image.display()).into());
        }
        let mut from = fs::File::open(image).map_err(of_file(image))?;
        let made = OpenOptions::new().write(true).create_new(true).open(&target);
        let mut to = made.map_err(|error| format!("{}: {error}; choose another folder", target.display()))?;
        std::io::copy(&mut from, &mut to).map_err(|error| {
            // What was copied of it is of no use.
            let _ = fs::remove_file(&target);
            of_file(&target)(error)
        })?;
    }
    note(&format!("copies: {}", folder.display()));
    Ok(())
}

//! Image similarity, by the angle between feature vectors.

mod index;
mod nearest;
mod print;

use super::embed::{Vectors, What};
use super::images::{PassArgs, TableFormat as Format, counted, name, without_dot};
use super::numbers::count;
use super::output::{check_named, protect};
use super::{Failed, Result, note};
use clap::Args;
pub use index::Index;
use nearest::pairs;
pub use nearest::ranking;
pub use print::print;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vitraux::Checkpoint;

/// Default minimum similarity of near-duplicates.
const NEAR_DUPLICATES: f64 = 0.95;

/// Interval between writes of a growing index, so that an interrupted run keeps most of its work.
const BETWEEN_SAVES: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(
    mut_arg("images", |images| images.required(false)),
    group(clap::ArgGroup::new("question").required(true).multiple(true).args(["to", "pairs", "index"]))
)]
pub struct Similar {
    /// Rank the images by similarity to this one
    #[arg(long, value_name = "IMAGE")]
    to: Option<PathBuf>,
    /// Find pairs of similar images
    #[arg(long, conflicts_with = "to")]
    pairs: bool,
    /// Minimum similarity: the cosine of the angle between features, 1 for identical images [default with --pairs: 0.95]
    #[arg(long, value_name = "COSINE", allow_negative_numbers = true, value_parser = cosine)]
    above: Option<f64>,
    /// Maximum number of results, most similar first [default: 20 images, or 1000 pairs]
    #[arg(long, short = 'n', value_name = "K", allow_negative_numbers = true, value_parser = count(u32::MAX))]
    top: Option<u32>,
    /// Keep features in this safetensors file, created if missing: unchanged images in it are not read again. Without IMAGE arguments,
    /// its images are compared; without --to and --pairs, images are only added, as `vitraux search` needs them. Tensors: `embeddings`, and `images`,
    /// their paths as JSON
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Output format; json prints one object per line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    pass: PassArgs,
}

/// Query image that is not a candidate itself. Its features are not added to the index.
struct Guest {
    path: PathBuf,
    vector: Vec<f32>,
}

/// Returns the images of an index whose files still exist.
pub fn of_index(index: &Index) -> Result<Vec<PathBuf>> {
    let present = index.present();
    let missing = index.len() - present.len();
    if present.is_empty() {
        return Err(format!("none of the {missing} indexed images exist; relative paths start in this folder: run where the index was made").into());
    }
    if missing > 0 {
        note(&format!("{missing} of the {} indexed images do not exist and are left out", index.len()));
    }
    Ok(present)
}

pub fn cosine(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse().ok().filter(|number| (-1.0..=1.0).contains(number));
    number.ok_or_else(|| "expected a number from -1 to 1".to_owned())
}

/// Returns a path as it is among the candidates, if one of them is the same file.
fn as_named(path: &Path, candidates: &[PathBuf]) -> PathBuf {
    let plain = without_dot(path);
    let real = path.canonicalize().ok();
    let is_same = |candidate: &&PathBuf| real.is_some() && candidate.canonicalize().ok() == real;
    if candidates.contains(&plain) { plain } else { candidates.iter().find(is_same).cloned().unwrap_or(plain) }
}

impl Similar {
    pub fn run(self) -> Result<()> {
        let named = self.pass.images.sources()?;
        if named.is_empty() && self.index.as_deref().is_none_or(|index| !index.exists()) {
            return Err("expected images, or the --index of an earlier run".into());
        }
        if named.is_empty() && self.pass.images.has_globs() {
            return Err("--glob: expected folders to search; omit it to compare all images of the index".into());
        }
        let checkpoint = self.pass.model.open_required("similar")?;
        if let Some(index) = &self.index {
            check_named(index, "safetensors")?;
            protect(index, named.iter().chain(&self.to).chain(&self.pass.files()))?;
        }
        if let Some(to) = self.to.as_deref().filter(|to| !to.is_file()) {
            return Err(format!("--to {}: no such file", to.display()).into());
        }
        if checkpoint.config().pooling.is_none() {
            return Err(format!("{} has no pooled features to compare images by", checkpoint.config().name).into());
        }
        let vectors = Vectors::new(checkpoint.config(), What::Features, true)?;
        let mut index = Index::open(self.index.as_deref(), self.pass.fingerprint(&checkpoint)?, vectors.width())?.of(self.pass.model.source()?);
        let candidates = if named.is_empty() { of_index(&index)? } else { named };
        let query = self.to.as_deref().map(|to| as_named(to, &candidates));
        let mut asked = candidates.clone();
        asked.extend(query.clone().filter(|query| !candidates.contains(query)));
        let guest = query.clone().filter(|query| !candidates.contains(query));
        let mut guest = guest.map(|path| Guest { path, vector: Vec::new() });
        if candidates.iter().all(|path| Some(path) == query.as_ref()) || self.pairs && candidates.len() < 2 {
            return Err(format!(
                "nothing to compare: expected {}",
                if self.pairs { "two or more images, found one" } else { "images other than --to, found none" }
            )
            .into());
        }
        let whole = self.look_at(asked, guest.as_mut(), checkpoint, &vectors, &mut index);
        let saved = index.save();
        if whole.as_ref().is_err_and(|error| !error.is::<Failed>()) {
            return whole;
        }
        if let (None, false, Some(file)) = (&query, self.pairs, &self.index) {
            note(&format!("index: {}, of {}", file.display(), counted(index.len())));
            return saved.and(whole);
        }
        let others = candidates.iter().filter(|path| Some(*path) != query.as_ref());
        let places: Vec<usize> = others.filter_map(|path| index.place(&name(path))).collect();
        let above = self.above.unwrap_or(if self.pairs { NEAR_DUPLICATES } else { -1.0 });
        let top = self.top.unwrap_or(if self.pairs { 1000 } else { 20 }) as usize;
        let best = match &query {
            Some(query) => {
                let of_guest = guest.as_ref().map(|guest| guest.vector.as_slice()).filter(|vector| !vector.is_empty());
                // A query that cannot be read has already been reported.
                let Some(vector) = of_guest.or_else(|| index.place(&name(query)).map(|place| index.vector(place))) else { return saved.and(whole) };
                ranking(&index, vector, &places, above, top)
            }
            None => pairs(&index, &places, above, top),
        };
        print(&index, &best, self.format, self.pairs, self.top.is_some())?;
        saved.and(whole)
    }

    /// Computes the features of new and changed images. The guest keeps its own; all others go into the index.
    fn look_at(
        &self,
        paths: Vec<PathBuf>,
        mut guest: Option<&mut Guest>,
        checkpoint: Checkpoint,
        vectors: &Vectors,
        index: &mut Index,
    ) -> Result<()> {
        index.ask(&paths);
        if paths.iter().any(|path| !index.is_fresh(path)) {
            index.check_file()?;
        }
        let Some((images, mut session)) = self.pass.start(checkpoint, paths, |path| index.is_fresh(path))? else { return Ok(()) };
        let mut saved = Instant::now();
        images.for_each_batch(|paths, pixel_values| {
            let (paths, embeddings, failures) = self.pass.finite(paths, &vectors.by(&mut session, pixel_values)?)?;
            for (path, vector) in paths.iter().zip(embeddings.values().chunks(vectors.width())) {
                match guest.as_mut().filter(|guest| guest.path == *path) {
                    Some(guest) => guest.vector = vector.to_vec(),
                    None => index.insert(path, vector),
                }
            }
            if saved.elapsed() > BETWEEN_SAVES {
                index.save()?;
                saved = Instant::now();
            }
            Ok(failures)
        })
    }
}

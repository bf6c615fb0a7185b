//! Many pictures through a model, in their order: found, decoded ahead, batched, and written as results come.

mod ahead;
mod batch;
mod lines;
mod sources;

pub use lines::Lines;

use super::{Interrupted, Result, report};
use ahead::Ahead;
use batch::{Batch, BatchSize};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use vitraux::Tensor;
use vitraux::config::Preprocess;

/// Which pictures, and what becomes of their results.
#[derive(Debug, Args)]
pub struct PictureArgs {
    /// Pictures (PNG, JPEG, WebP, BMP, GIF, TIFF or PNM), folders with all below them, patterns such as 'photos/**/*.jpg', or - for a list
    /// of paths on standard input, one a line
    #[arg(required = true, value_name = "IMAGE|FOLDER|PATTERN|-")]
    images: Vec<PathBuf>,
    /// Of folders, only the files that match; !PATTERN leaves files out; may be repeated
    #[arg(long, value_name = "PATTERN")]
    glob: Vec<String>,
    /// Pictures that pass the device together; auto doubles them while that makes it faster
    #[arg(long, value_name = "auto|COUNT", default_value = "auto")]
    batch: Batch,
    /// Stop at the first picture that fails, instead of going on and counting
    #[arg(long)]
    strict: bool,
    /// Write results to a file, as they come
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Go on with the file of an earlier run that was cut: pictures that it has are skipped
    #[arg(long, requires = "output")]
    resume: bool,
}

/// Pictures that are being prepared.
pub struct Pictures {
    paths: Arc<Vec<PathBuf>>,
    ahead: Ahead,
    batch: BatchSize,
    strict: bool,
}

impl PictureArgs {
    /// Where results go. To go on with a file, `name` must give a line's picture; formats without such lines have none.
    pub fn lines(&self, head: Option<&str>, name: Option<fn(&str) -> Option<String>>) -> Result<Lines> {
        match (&self.output, name) {
            (None, _) => Ok(Lines::stdout()),
            (Some(_), None) if self.resume => Err("--resume: expected a format with a line for each picture; add --format json or csv".into()),
            (Some(file), Some(name)) if self.resume => Lines::resume(file, head, name),
            (Some(file), _) => Lines::create(file),
        }
    }

    /// Begins to prepare the pictures that have no line yet.
    pub fn open(&self, preprocess: &Preprocess, lines: &Lines) -> Result<Pictures> {
        let mut paths = sources::sources(&self.images, &self.glob)?;
        paths.retain(|path| !lines.has(&path.display().to_string()));
        let (paths, batch) = (Arc::new(paths), BatchSize::new(self.batch));
        // A batch is under way, and another one is being prepared.
        let ahead = Ahead::new(paths.clone(), preprocess.clone(), 2 * batch.largest().min(paths.len().max(1)));
        Ok(Pictures { paths, ahead, batch, strict: self.strict })
    }
}

impl Pictures {
    /// Whether all have their lines already.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// If there is a single picture, waits for it: when it cannot be read, no device needs to be opened.
    pub fn check_alone(&mut self) -> Result<()> {
        if self.paths.len() != 1 {
            return Ok(());
        }
        self.ahead.first_failure().map_or(Ok(()), |error| Err(error.into()))
    }

    /// Calls `pass` with each batch: paths, and pixel values `[B, channels, height, width]`. Pictures that fail are reported and counted.
    pub fn for_each_batch(mut self, mut pass: impl FnMut(&[&Path], &Tensor) -> Result<()>) -> Result<()> {
        catch_interrupts()?;
        let bar = progress(self.paths.len() as u64);
        let paths = self.paths.clone();
        let (mut failed, mut done) = (0, 0);
        let mut gathered: Vec<(&Path, Tensor)> = Vec::new();
        let mut run = |gathered: &mut Vec<(&Path, Tensor)>, batch: &mut BatchSize, done: &mut usize| -> Result<()> {
            if gathered.is_empty() {
                return Ok(());
            }
            let (paths, tensors): (Vec<&Path>, Vec<Tensor>) = gathered.drain(..).unzip();
            let stacked = stack(&tensors)?;
            let start = Instant::now();
            bar.suspend(|| pass(&paths, &stacked))?;
            batch.learn(paths.len(), start.elapsed().as_secs_f64());
            *done += paths.len();
            bar.inc(paths.len() as u64);
            Ok(())
        };
        for path in paths.iter() {
            if INTERRUPTED.load(Ordering::Relaxed) {
                break;
            }
            match self.ahead.next().expect("one for each path") {
                Ok(pixel_values) => {
                    if gathered.first().is_some_and(|(_, first)| first.shape() != pixel_values.shape()) {
                        run(&mut gathered, &mut self.batch, &mut done)?;
                    }
                    gathered.push((path, pixel_values));
                    if gathered.len() >= self.batch.get() {
                        run(&mut gathered, &mut self.batch, &mut done)?;
                    }
                }
                Err(error) if self.strict || paths.len() == 1 => {
                    run(&mut gathered, &mut self.batch, &mut done)?;
                    return Err(error.into());
                }
                Err(error) => {
                    failed += 1;
                    bar.inc(1);
                    bar.suspend(|| report(&format!("error: {error}")));
                }
            }
        }
        run(&mut gathered, &mut self.batch, &mut done)?;
        bar.finish_and_clear();
        match failed {
            _ if done + failed < paths.len() => Err(Box::new(Interrupted { done, of: paths.len() })),
            0 => Ok(()),
            _ => Err(format!("{failed} of {} pictures failed", paths.len()).into()),
        }
    }
}

/// Whether somebody has asked to stop.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The first interrupt ends the run behind its batch, the second at once.
fn catch_interrupts() -> Result<()> {
    Ok(ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(Interrupted::CODE.into());
        }
        report("interrupted: this batch is finished; again to stop at once");
    })?)
}

/// Images of the same shape as one tensor.
fn stack(images: &[Tensor]) -> Result<Tensor> {
    let mut shape = images[0].shape().to_vec();
    shape[0] = images.len();
    let mut values = Vec::with_capacity(shape.iter().product());
    images.iter().for_each(|image| values.extend_from_slice(&image.values()));
    Ok(Tensor::new(shape, values)?)
}

/// A bar on standard error, if that is a terminal and there is more than a moment's work.
fn progress(images: u64) -> ProgressBar {
    if images < 8 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {per_sec}, {eta} left").expect("a valid template");
    ProgressBar::new(images).with_style(style)
}

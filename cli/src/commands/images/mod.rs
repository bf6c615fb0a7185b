//! Runs of a model over many images, in order: search, prefetch, batches, and output as results arrive.

mod ahead;
mod archive;
mod batch;
mod lines;
mod preparation;
mod sources;

pub use lines::{Form, Lines, TableFormat, row};
pub use preparation::Preparation;
pub use sources::{has_image_extension, is_image, name, of_listing, path_of, sources, stamp, without_dot};

use super::fingerprint::fingerprint;
use super::guard::guarded;
use super::numbers::count;
use super::output::protect;
use super::{ExecutionArgs, Failed, Interrupted, ModelArgs, Result, advice, bar, chain, error_mark, note, report, shown, warn, warn_if_assumed};
use ahead::Ahead;
pub use archive::Archive;
use batch::{Batch, BatchSize};
use clap::Args;
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Instant;
use vitraux::preprocess::Preprocess;
use vitraux::{Checkpoint, Error, Image, Session, Tensor};

/// Images that go through a model on a device.
#[derive(Debug, Args)]
pub struct PassArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub execution: ExecutionArgs,
    #[command(flatten)]
    pub images: ImageArgs,
}

impl PassArgs {
    /// Returns a description of what results depend on: the model and its precision.
    pub fn fingerprint(&self, checkpoint: &Checkpoint) -> Result<String> {
        Ok(format!("{} in {}", fingerprint(checkpoint)?, self.execution.precision))
    }

    /// Returns the files that a pass reads besides its images, once the model is opened.
    pub fn files(&self) -> Vec<PathBuf> {
        self.model.files().into_iter().chain(self.execution.tuning.file().cloned()).collect()
    }

    /// Returns the images whose rows in an output are finite, these rows, and an error for each other image.
    pub fn finite<'a>(&self, paths: &[&'a Path], output: &Tensor) -> Result<(Vec<&'a Path>, Tensor, Vec<String>)> {
        let values = output.values();
        let rows = values.chunks((values.len() / paths.len()).max(1));
        let (mut kept, mut finite, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for (path, row) in paths.iter().zip(rows) {
            match self.execution.refusal(&name(path), row) {
                Some(refusal) => failures.push(refusal),
                None => {
                    kept.push(*path);
                    finite.extend_from_slice(row);
                }
            }
        }
        if failures.is_empty() {
            return Ok((kept, output.clone(), failures));
        }
        let shape = [&[kept.len()], &output.shape()[1..]].concat();
        Ok((kept, Tensor::new(shape, finite)?, failures))
    }

    /// Starts to prefetch the images that are not done yet and loads the model onto the device. Returns `None` if all are done.
    pub fn start(&self, checkpoint: Checkpoint, paths: Vec<PathBuf>, is_done: impl Fn(&Path) -> bool) -> Result<Option<(Images, Session)>> {
        let preparation = self.preparation(&checkpoint)?;
        let Some(mut images) = self.images.open(paths, is_done, preparation)? else { return Ok(None) };
        images.check_alone()?;
        Ok(Some((images, self.load(checkpoint)?)))
    }

    /// Returns the preparation of images for a model.
    pub fn preparation(&self, checkpoint: &Checkpoint) -> Result<Preparation> {
        let (preprocess, config, limit) = (preprocess_of(checkpoint)?, checkpoint.config().clone(), self.images.limit);
        Ok(Preparation { preprocess, config, limit, chosen_size: self.model.image_size(), archive: None })
    }

    /// Loads the model onto the device.
    pub fn load(&self, checkpoint: Checkpoint) -> Result<Session> {
        let session = self.execution.load(checkpoint)?.session();
        warn_if_assumed(session.model().preprocess());
        Ok(session)
    }
}

/// Which images, and how they go through the model.
#[derive(Debug, Args)]
#[command(next_help_heading = "Image options")]
pub struct ImageArgs {
    /// Images (PNG, JPEG, WebP, BMP, GIF, TIFF, PNM, JPEG XL or HEIC), folders (searched recursively), patterns such as 'photos/**/*.jpg', or - to
    /// read paths from standard input, one per line
    #[arg(required = true, value_name = "IMAGE|FOLDER|PATTERN|-", help_heading = None::<&'static str>)]
    images: Vec<PathBuf>,
    /// Take only matching files from folders; !PATTERN excludes files; may be repeated
    #[arg(long, value_name = "PATTERN")]
    glob: Vec<String>,
    /// Images per batch; auto doubles the batch while that raises the throughput
    #[arg(long, value_name = "auto|COUNT", default_value = "auto")]
    batch: Batch,
    /// Stop at the first image that fails, instead of continuing and counting failures
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    pub limit: ImageLimitArgs,
}

/// How large images may be.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Image options")]
pub struct ImageLimitArgs {
    /// Reject images that take more than this many MiB of memory [default: 512, which are 178 megapixels in 8-bit RGB; less for files
    /// that are far smaller than their image]
    #[arg(long, value_name = "MIB", allow_negative_numbers = true, value_parser = count(1 << 20))]
    max_image_memory: Option<u32>,
}

impl ImageLimitArgs {
    /// Returns whether the user has chosen a limit.
    pub fn is_chosen(self) -> bool {
        self.max_image_memory.is_some()
    }

    /// Checks that an image of `[height, width]` is not larger than maps of its size are made for.
    pub fn check_canvas(self, path: &Path, [height, width]: [usize; 2]) -> std::result::Result<(), String> {
        /// Pixels of an image that maps are made for, unless the user allows more: grey images of a few bytes can have any number.
        const LARGEST_CANVAS: usize = 45_000_000;
        match width * height > LARGEST_CANVAS && !self.is_chosen() {
            true => Err(format!(
                "{}: {width} x {height} pixels are more than maps are drawn on; scale the image down, or set --max-image-memory",
                path.display()
            )),
            false => Ok(()),
        }
    }

    /// Reads an image.
    pub fn read(self, path: &Path) -> vitraux::Result<Image> {
        uncrashed(path, || match self.max_image_memory {
            Some(mebibytes) => Image::open_within(path, u64::from(mebibytes) << 20),
            None => Image::open(path),
        })
    }

    /// Reads an image, and passes it to `with`, while other threads do the same. Large images, and those that are large for their file, are in memory
    /// one at a time.
    pub fn read_beside_others<T>(self, path: &Path, with: impl FnOnce(Image) -> vitraux::Result<T>) -> vitraux::Result<T> {
        let len = path.metadata().map_or(0, |metadata| metadata.len());
        self.beside_others(path, len, |limit| Image::open_within(path, limit), || self.read(path), with)
    }

    /// Decodes an image file, as [`ImageLimitArgs::read_beside_others`] does.
    pub fn decode_beside_others<T>(self, name: &str, bytes: &[u8], with: impl FnOnce(Image) -> vitraux::Result<T>) -> vitraux::Result<T> {
        let whole = || {
            uncrashed(Path::new(name), || match self.max_image_memory {
                Some(mebibytes) => Image::decode_within(name, bytes, u64::from(mebibytes) << 20),
                None => Image::decode(name, bytes),
            })
        };
        self.beside_others(Path::new(name), bytes.len() as u64, |limit| Image::decode_within(name, bytes, limit), whole, with)
    }

    fn beside_others<T>(
        self,
        path: &Path,
        len: u64,
        within: impl FnOnce(u64) -> vitraux::Result<Image>,
        alone: impl FnOnce() -> vitraux::Result<Image>,
        with: impl FnOnce(Image) -> vitraux::Result<T>,
    ) -> vitraux::Result<T> {
        /// Bytes that an image may take beside others: for each byte of its file, at the least and at the most.
        const RATIO: u64 = 60;
        const RANGE: [u64; 2] = [16 << 20, 128 << 20];
        static ALONE: Mutex<()> = Mutex::new(());
        let limit = self.max_image_memory.map_or(u64::MAX, |mebibytes| u64::from(mebibytes) << 20);
        let image = match uncrashed(path, || within(limit.min(len.saturating_mul(RATIO).clamp(RANGE[0], RANGE[1])))) {
            Err(Error::ImageLimit { .. }) => None,
            // The file itself may be larger.
            Err(_) if len > RANGE[1] => None,
            image => Some(image?),
        };
        let Some(image) = image else {
            let _turn = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
            return with(alone()?);
        };
        with(image)
    }
}

/// Decodes an image. The panic of a decoder is an error; nothing else is printed of it.
fn uncrashed(path: &Path, decode: impl FnOnce() -> vitraux::Result<Image>) -> vitraux::Result<Image> {
    guarded(decode)
        .unwrap_or_else(|| Err(Error::Image { path: path.to_owned(), message: "the decoder crashed; the file is probably damaged".to_owned() }))
}

/// Where a line for each image goes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output options")]
pub struct LineArgs {
    /// Write results to this file: lines as images finish, arrays at the end
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Continue an interrupted run of the same model and options: images already in the output are skipped. JSON lines and arrays are
    /// checked for the same model and options; CSV tables only for the same columns
    #[arg(long, requires = "output")]
    resume: bool,
}

/// Returns the preprocessing of a model.
pub fn preprocess_of(checkpoint: &Checkpoint) -> Result<Preprocess> {
    checkpoint.preprocess.clone().ok_or_else(|| format!("{} takes no images", checkpoint.config().name).into())
}

/// Images being prepared.
pub struct Images {
    paths: Arc<Vec<PathBuf>>,
    ahead: Ahead,
    batch: BatchSize,
    strict: bool,
    /// Images that an earlier run has done.
    skipped: usize,
    /// True if only one image was requested. Its error then becomes that of the run.
    is_alone: bool,
}

impl LineArgs {
    /// Returns the output file, or `None` for standard output, which `-` means too.
    pub fn output(&self) -> Option<&Path> {
        self.output.as_deref().filter(|file| file.as_os_str() != "-")
    }

    /// Returns true if the file of an earlier run is resumed.
    pub fn resumes(&self) -> bool {
        self.resume
    }

    /// Opens the output, which must be none of the inputs. A file can be resumed only if its lines name their images; other formats have no form.
    pub fn open<'a>(&self, inputs: impl IntoIterator<Item = &'a PathBuf>, head: Option<&str>, form: Option<&Form>) -> Result<Lines> {
        if let Some(file) = self.output() {
            protect(file, inputs)?;
        }
        match (self.output(), form) {
            (None, _) => Ok(Lines::stdout(head)),
            (Some(_), None) if self.resume => Err("--resume: expected a format with one line per image; add --format json or csv".into()),
            (Some(file), Some(form)) if self.resume => Lines::resume(file, head, form),
            (Some(file), _) => Lines::create(file, head),
        }
    }
}

/// Formats a number of images.
pub fn counted(images: usize) -> String {
    if images == 1 { "1 image".to_owned() } else { format!("{images} images") }
}

impl ImageArgs {
    /// Returns true if there are patterns for the files of folders.
    pub fn has_globs(&self) -> bool {
        !self.glob.is_empty()
    }

    /// Returns what the user has named: images, folders and patterns.
    pub fn arguments(&self) -> &[PathBuf] {
        &self.images
    }

    /// Returns the requested images.
    pub fn sources(&self) -> Result<Vec<PathBuf>> {
        sources::sources(&self.images, &self.glob)
    }

    /// Returns the requested archives of images.
    pub fn archives(&self) -> Result<Vec<PathBuf>> {
        let tar = ["*.tar".to_owned()];
        sources::sources(&self.images, if self.glob.is_empty() { &tar } else { &self.glob })
    }

    /// Returns whether the run ends at the first failure.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// Starts to prefetch the images that are not done yet. Returns `None` if all are done.
    pub fn open(&self, mut paths: Vec<PathBuf>, is_done: impl Fn(&Path) -> bool, preparation: Preparation) -> Result<Option<Images>> {
        let asked = paths.len();
        paths.retain(|path| !is_done(path));
        let skipped = asked - paths.len();
        if paths.is_empty() {
            note(&format!("nothing to do: {} already done", counted(skipped)));
            return Ok(None);
        }
        let (paths, batch) = (Arc::new(paths), BatchSize::new(self.batch));
        let is_alone = asked == 1 && preparation.archive.is_none();
        let ahead = Ahead::new(paths.clone(), preparation, window(&batch))?;
        Ok(Some(Images { paths, ahead, batch, strict: self.strict, skipped, is_alone }))
    }
}

impl Images {
    /// Waits for the image if only one was requested, so that no device is opened if it cannot be read.
    fn check_alone(&mut self) -> Result<()> {
        if !self.is_alone {
            return Ok(());
        }
        self.ahead.first_failure().map_or(Ok(()), |error| Err(error.into()))
    }

    /// Calls `pass` with each batch: paths, and pixel values `[B, channels, height, width]`. `pass` returns an error for each image that it failed
    /// on. Failed images are reported and counted.
    pub fn for_each_batch(mut self, mut pass: impl FnMut(&[&Path], &Tensor) -> Result<Vec<String>>) -> Result<()> {
        catch_interrupts();
        let bar = progress(self.paths.len() as u64);
        let paths = self.paths.clone();
        let is_alone = self.is_alone;
        let (mut failed, mut done) = (0, 0);
        let mut fail = |error: String| -> Result<()> {
            if self.strict || is_alone {
                return Err(error.into());
            }
            failed += 1;
            bar.suspend(|| report(&format!("{}: {}", error_mark(), shown(&error))));
            Ok(())
        };
        let mut gathered: Vec<(&Path, Tensor)> = Vec::new();
        for path in paths.iter() {
            if INTERRUPTED.load(Ordering::Relaxed) {
                break;
            }
            let prepared = self.ahead.next().expect("one for each path");
            let is_like = |pixel_values: &Tensor| gathered.first().is_none_or(|(_, first)| first.shape() == pixel_values.shape());
            // An image of another shape starts a new batch. In strict mode, the current batch is finished before a failure ends the run.
            if prepared.as_ref().map_or(self.strict, |pixel_values| !is_like(pixel_values)) {
                done += run(&mut gathered, &mut self.batch, &bar, &mut pass, &mut fail)?;
            }
            match prepared {
                Ok(pixel_values) => gathered.push((path, pixel_values)),
                Err(error) => {
                    fail(chain(&error) + advice(&error))?;
                    done += 1;
                    bar.inc(1);
                }
            }
            if gathered.len() >= self.batch.get() {
                done += run(&mut gathered, &mut self.batch, &bar, &mut pass, &mut fail)?;
                self.ahead.keep(window(&self.batch));
            }
        }
        done += run(&mut gathered, &mut self.batch, &bar, &mut pass, &mut fail)?;
        bar.finish_and_clear();
        if self.skipped > 0 || paths.len() > 1 {
            let skipped = if self.skipped > 0 { format!(", {} skipped as already done", self.skipped) } else { String::new() };
            let failures = if failed > 0 { format!(", {failed} failed") } else { String::new() };
            note(&format!("{} done{skipped}{failures}", counted(done - failed)));
        }
        match failed {
            _ if done < paths.len() => Err(Box::new(Interrupted { done, of: paths.len() })),
            0 => Ok(()),
            count => Err(Box::new(Failed { count, of: paths.len() })),
        }
    }
}

/// Runs the gathered images as a batch. Returns their number.
fn run(
    gathered: &mut Vec<(&Path, Tensor)>,
    batch: &mut BatchSize,
    bar: &ProgressBar,
    pass: &mut impl FnMut(&[&Path], &Tensor) -> Result<Vec<String>>,
    fail: &mut impl FnMut(String) -> Result<()>,
) -> Result<usize> {
    if gathered.is_empty() {
        return Ok(0);
    }
    let (paths, tensors): (Vec<&Path>, Vec<Tensor>) = gathered.drain(..).unzip();
    let stacked = Tensor::stack(tensors)?;
    let start = Instant::now();
    let failures = bar.suspend(|| pass(&paths, &stacked))?;
    batch.learn(paths.len(), start.elapsed().as_secs_f64());
    failures.into_iter().try_for_each(fail)?;
    bar.inc(paths.len() as u64);
    Ok(paths.len())
}

/// Set by the first interrupt.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Installs the interrupt handler. The first interrupt ends the run after the current batch, the second one immediately. Without a handler, as when the
/// system refuses its thread, the first one does.
fn catch_interrupts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let installed = ctrlc::set_handler(|| {
            if INTERRUPTED.swap(true, Ordering::Relaxed) {
                std::process::exit(Interrupted::CODE.into());
            }
            note("interrupted: finishing the current batch; interrupt again to stop immediately");
        });
        if let Err(error) = installed {
            warn(&format!("an interrupt will not wait for the current batch ({error})"));
        }
    });
}

/// Returns the number of images to prefetch: two batches, and at least two images per core.
fn window(batch: &BatchSize) -> usize {
    (2 * batch.get()).max(2 * std::thread::available_parallelism().map_or(1, usize::from))
}

/// Creates a progress bar on standard error, hidden for fewer than 8 images.
fn progress(images: u64) -> ProgressBar {
    if images < 8 { ProgressBar::hidden() } else { bar(images, "{bar:40} {pos}/{len} images, {rate}, {eta} left") }
}

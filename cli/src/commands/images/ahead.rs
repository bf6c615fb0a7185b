//! Prefetch of images: threads decode and preprocess them ahead of the device.

use super::{Archive, ImageLimitArgs, Result};
use crate::commands::guard::guarded;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use vitraux::config::{Config, Size};
use vitraux::preprocess::Preprocess;
use vitraux::{Error, Image, Tensor};

/// Pixel values of an image, or its error.
pub type Prepared = vitraux::Result<Tensor>;

/// Iterator over prefetched images, in order. At most a window of them is in memory.
pub struct Ahead {
    paths: Arc<Vec<PathBuf>>,
    /// Indices of images to prepare.
    jobs: Sender<usize>,
    results: Receiver<(usize, Prepared)>,
    /// Images that are ready before their turn.
    early: BTreeMap<usize, Prepared>,
    asked: usize,
    given: usize,
    /// Number of images to prefetch.
    window: usize,
}

impl Ahead {
    /// Starts to prepare images on all cores, `window` of them ahead. Fails if the system refuses the first thread.
    pub fn new(paths: Arc<Vec<PathBuf>>, preparation: Preparation, window: usize) -> Result<Ahead> {
        let (jobs, waiting) = channel::<usize>();
        let (done, results) = channel();
        let (waiting, preparation) = (Arc::new(Mutex::new(waiting)), Arc::new(preparation));
        for number in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let (paths, waiting, done, preparation) = (paths.clone(), waiting.clone(), done.clone(), preparation.clone());
            let started = std::thread::Builder::new().spawn(move || {
                loop {
                    let job = waiting.lock().expect("no panic while it is held").recv();
                    // The consumer is gone.
                    let Ok(number) = job else { return };
                    let path = &paths[number];
                    let prepare = || preparation.apply(path);
                    // A panic in a decoder must not affect other images.
                    let prepared = guarded(prepare).unwrap_or_else(|| {
                        Err(Error::Image { path: path.clone(), message: "the decoder crashed; the file is probably damaged".to_owned() })
                    });
                    if done.send((number, prepared)).is_err() {
                        return;
                    }
                }
            });
            match started {
                Ok(_) => {}
                Err(error) if number == 0 => return Err(format!("cannot start a thread; raise the limit on processes (`ulimit -u`): {error}").into()),
                // Fewer do.
                Err(_) => break,
            }
        }
        let mut ahead = Ahead { paths, jobs, results, early: BTreeMap::new(), asked: 0, given: 0, window: 0 };
        ahead.keep(window);
        Ok(ahead)
    }

    /// Waits for the first image, before any is taken. Returns its error if it failed.
    pub fn first_failure(&mut self) -> Option<Error> {
        self.wait_for_next();
        let failed = matches!(self.early.get(&0), Some(Err(_)));
        if failed { self.early.remove(&0)?.err() } else { None }
    }

    fn wait_for_next(&mut self) {
        while !self.early.contains_key(&self.given) {
            let (number, prepared) = self.results.recv().expect("decoding does not panic");
            self.early.insert(number, prepared);
        }
    }

    /// Sets the number of images to prefetch.
    pub fn keep(&mut self, window: usize) {
        self.window = window;
        while self.asked < self.paths.len().min(self.given + window) {
            self.jobs.send(self.asked).expect("the threads wait for it");
            self.asked += 1;
        }
    }
}

/// Preparation of an image for a model.
#[derive(Clone)]
pub struct Preparation {
    pub preprocess: Preprocess,
    pub config: Config,
    pub limit: ImageLimitArgs,
    /// Whether the user chose the size.
    pub has_chosen_size: bool,
    /// The archive that has the images, unless they are files.
    pub archive: Option<Arc<Archive>>,
}

/// Tokens per image up to which a model's own size is used. Published models have 5,000 at most; a configuration of a few bytes can ask for any
/// number, and attention takes time and memory with its square.
const MOST_TOKENS: usize = 8192;

impl Preparation {
    /// Returns the pixel values of an image, in a size that the model accepts. Errors name the image.
    fn apply(&self, path: &Path) -> Prepared {
        let of_image = |error: Error| match error {
            Error::Argument { message, .. } => Error::Image { path: path.to_owned(), message },
            other => other,
        };
        let prepare = |image: Image| {
            // A configuration of a few bytes can ask for any size.
            let size = self.preprocess.output_size([image.height, image.width])?;
            let tokens = self.config.tokens(Size::Image(size))?;
            if tokens > MOST_TOKENS && !self.has_chosen_size {
                let [height, width] = size;
                let message = format!(
                    "the model's preprocessing makes {height} x {width} pixels of it, which are {tokens} tokens; choose a size with --image-size, such as {height}x{width} for this one, which will take long"
                );
                return Err(Error::Image { path: path.to_owned(), message });
            }
            self.preprocess.apply(&image)
        };
        match &self.archive {
            None => self.limit.read_beside_others(path, prepare),
            Some(archive) => self.limit.decode_beside_others(&archive.full_name(path), &archive.read(path)?, prepare),
        }
        .map_err(of_image)
    }
}

impl Iterator for Ahead {
    type Item = Prepared;

    fn next(&mut self) -> Option<Prepared> {
        if self.given == self.paths.len() {
            return None;
        }
        self.wait_for_next();
        let prepared = self.early.remove(&self.given);
        self.given += 1;
        self.keep(self.window);
        prepared
    }
}

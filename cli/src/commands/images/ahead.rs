//! Images are decoded and prepared on threads, ahead of the device.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use vitraux::config::{Config, Size};
use vitraux::preprocess::Preprocess;
use vitraux::{Error, Image, Tensor};

/// An image's pixel values, or why there are none.
pub type Prepared = vitraux::Result<Tensor>;

/// Images in their order, each as soon as it and those before are ready. No more than a window of them is in memory.
pub struct Ahead {
    paths: Arc<Vec<PathBuf>>,
    /// Numbers of images that are to be prepared.
    jobs: Sender<usize>,
    results: Receiver<(usize, Prepared)>,
    /// Those that are ready before their turn.
    early: BTreeMap<usize, Prepared>,
    asked: usize,
    given: usize,
    /// How many are prepared ahead.
    window: usize,
}

impl Ahead {
    /// Begins to prepare images for a model on all cores, as many ahead as `window` says.
    pub fn new(paths: Arc<Vec<PathBuf>>, preprocess: Preprocess, config: Config, window: usize) -> Ahead {
        let (jobs, waiting) = channel::<usize>();
        let (done, results) = channel();
        let (waiting, prepares) = (Arc::new(Mutex::new(waiting)), Arc::new((preprocess, config)));
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let (paths, waiting, done, prepares) = (paths.clone(), waiting.clone(), done.clone(), prepares.clone());
            std::thread::spawn(move || {
                loop {
                    let job = waiting.lock().expect("no panic while it is held").recv();
                    // Nobody asks any more, or nobody listens.
                    let Ok(number) = job else { return };
                    let path = &paths[number];
                    let prepare = || prepared(path, &prepares.0, &prepares.1);
                    // A decoder that panics must not take the other images with it.
                    let prepared = catch_unwind(AssertUnwindSafe(prepare))
                        .unwrap_or_else(|_| Err(Error::Image { path: path.clone(), message: "its decoder failed; the file is damaged".to_owned() }));
                    if done.send((number, prepared)).is_err() {
                        return;
                    }
                }
            });
        }
        let mut ahead = Ahead { paths, jobs, results, early: BTreeMap::new(), asked: 0, given: 0, window: 0 };
        ahead.keep(window);
        ahead
    }

    /// Waits for the first image, before any is taken; if there is none because it failed, says why.
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

    /// From now on keeps so many images ahead.
    pub fn keep(&mut self, window: usize) {
        self.window = window;
        while self.asked < self.paths.len().min(self.given + window) {
            self.jobs.send(self.asked).expect("the threads wait for it");
            self.asked += 1;
        }
    }
}

/// An image's pixel values, of a size that the model takes; what is wrong names the image.
fn prepared(path: &Path, preprocess: &Preprocess, config: &Config) -> Prepared {
    let of_image = |error: Error| match error {
        Error::Argument { message, .. } => Error::Image { path: path.to_owned(), message },
        other => other,
    };
    let pixel_values = Image::open(path).and_then(|image| preprocess.apply(&image)).map_err(of_image)?;
    if let &[.., height, width] = pixel_values.shape() {
        config.tokens(Size::Image([height, width])).map_err(of_image)?;
    }
    Ok(pixel_values)
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

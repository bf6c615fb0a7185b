//! Prefetch of images: threads decode and preprocess them ahead of the device.

use super::{Preparation, Result};
use crate::commands::guard::guarded;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use vitraux::{Error, Tensor};

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
                    let prepare = || preparation.read(path);
                    // A panic must not affect other images.
                    let prepared = guarded(prepare).unwrap_or_else(|| {
                        Err(Error::Image { path: path.clone(), message: "preparing the image crashed; please report this".to_owned() })
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

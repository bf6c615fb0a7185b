//! Pictures are decoded and prepared on threads, ahead of the device.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use vitraux::config::Preprocess;
use vitraux::{Error, Tensor, preprocess};

/// A picture's pixel values, or why there are none.
pub type Prepared = vitraux::Result<Tensor>;

/// Pictures in their order, each as soon as it and those before are ready. No more than a window of them is in memory.
pub struct Ahead {
    paths: Arc<Vec<PathBuf>>,
    /// Numbers of pictures that are to be prepared.
    jobs: Sender<usize>,
    results: Receiver<(usize, Prepared)>,
    /// Those that are ready before their turn.
    early: BTreeMap<usize, Prepared>,
    asked: usize,
    given: usize,
}

impl Ahead {
    /// Begins to prepare pictures on all cores, as many ahead as `window` says.
    pub fn new(paths: Arc<Vec<PathBuf>>, preprocess: Preprocess, window: usize) -> Ahead {
        let (jobs, waiting) = channel::<usize>();
        let (done, results) = channel();
        let (waiting, preprocess) = (Arc::new(Mutex::new(waiting)), Arc::new(preprocess));
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let (paths, waiting, done, preprocess) = (paths.clone(), waiting.clone(), done.clone(), preprocess.clone());
            std::thread::spawn(move || {
                loop {
                    let job = waiting.lock().expect("no panic while it is held").recv();
                    // Nobody asks any more, or nobody listens.
                    let Ok(number) = job else { return };
                    let path = &paths[number];
                    let prepare = || preprocess::open(path).and_then(|picture| preprocess.apply(&picture));
                    // A decoder that panics must not take the other pictures with it.
                    let prepared = catch_unwind(AssertUnwindSafe(prepare)).unwrap_or_else(|_| {
                        Err(Error::Picture { path: path.clone(), message: "its decoder failed; the file is damaged".to_owned() })
                    });
                    if done.send((number, prepared)).is_err() {
                        return;
                    }
                }
            });
        }
        let mut ahead = Ahead { paths, jobs, results, early: BTreeMap::new(), asked: 0, given: 0 };
        ahead.ask(window);
        ahead
    }

    /// Waits for the first picture, before any is taken; if there is none because it failed, says why.
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

    fn ask(&mut self, count: usize) {
        for _ in 0..count.min(self.paths.len() - self.asked) {
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
        self.ask(1);
        prepared
    }
}

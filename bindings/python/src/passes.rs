//! How images go through a model: in chunks, by sessions that threads take turns with.

use crate::error::{invalid, raised};
use crate::images::{Source, no_images, prepare, prepared};
use crate::model::Model;
use crate::parts::Parts;
use crate::threads::{count, detached};
use pyo3::prelude::*;
use rayon::prelude::*;
use std::sync::PoisonError;
use vitraux::config::Size;
use vitraux::{Outputs, Session, Tensor};

/// Images between looks for Ctrl-C, which are also decoded at a time: on a GPU those of a pass, on the CPU this many per thread.
const ON_GPU: usize = 64;
const PER_THREAD: usize = 4;

impl Model {
    /// Runs the model on images. Returns the named outputs of all of them, in order, and their height and width in pixels, as preprocessed, if that is the
    /// same for all.
    pub fn run(&self, py: Python<'_>, images: &[Source], names: &[String]) -> PyResult<(Outputs, Option<[usize; 2]>)> {
        self.check_process(py)?;
        if images.is_empty() {
            return Err(no_images(py));
        }
        let mut parts = Parts::default();
        let mut sizes = Vec::new();
        for images in images.chunks(self.chunk()) {
            py.check_signals()?;
            for (size, outputs) in detached(py, || self.passes(images, names)).map_err(|error| raised(py, &error))? {
                sizes.push(size);
                parts.add(outputs);
            }
        }
        let outputs = parts.joined().map_err(|error| raised(py, &error))?;
        sizes.dedup();
        Ok((outputs, if let [size] = sizes[..] { Some(size) } else { None }))
    }

    /// Returns the number of images between looks for Ctrl-C.
    pub fn chunk(&self) -> usize {
        if self.model.device().is_cpu() { PER_THREAD * count() } else { ON_GPU }
    }

    /// Returns whether its device belongs to another process, of which this one is a fork.
    pub fn is_of_parent(&self) -> bool {
        self.process != std::process::id() && !self.model.device().is_cpu()
    }

    pub fn check_process(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_of_parent() {
            let message = "the model was loaded before this process was forked, and a forked process cannot use its parent's GPU; load it here, or start processes with spawn";
            return Err(invalid(py, "model", message.to_owned()));
        }
        Ok(())
    }

    /// Runs the model on images, adjacent ones of equal size together. Returns the outputs, with the height and width in pixels.
    pub fn passes(&self, images: &[Source], names: &[String]) -> vitraux::Result<Vec<([usize; 2], Outputs)>> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let images = prepared(images, self.model.preprocess())?;
        self.with_session(|session| {
            let same = images.chunk_by(|a, b| a.shape() == b.shape());
            let pass = |images: &[Tensor]| {
                let shape = images[0].shape();
                Ok(([shape[2], shape[3]], session.forward_blocking(&Tensor::stack(images.to_vec())?, &names)?))
            };
            same.map(pass).collect()
        })
    }

    /// Calls `work` with a session that no other thread uses.
    pub fn with_session<T>(&self, work: impl FnOnce(&mut Session) -> T) -> T {
        let mut session = self.free_sessions().pop().unwrap_or_else(|| self.model.session());
        let result = work(&mut session);
        self.free_sessions().push(session);
        result
    }

    pub fn free_sessions(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the output of one name.
    pub fn output<'py>(&self, py: Python<'py>, images: &[Source], name: String) -> PyResult<Tensor> {
        Ok(self.run(py, images, std::slice::from_ref(&name))?.0.remove(&name).expect("the requested output"))
    }

    pub fn several_sizes(&self, py: Python<'_>) -> PyErr {
        invalid(py, "images", "expected images of one size after preprocessing, found several".to_owned())
    }

    /// Preprocesses images, and returns the message of each that cannot be read or does not suit the model.
    pub fn each_readable(&self, py: Python<'_>, images: Vec<Result<Source, String>>) -> Vec<Result<Source, String>> {
        let (config, preprocess) = (self.model.config(), self.model.preprocess());
        // Images from the model's own preprocessing always suit it.
        let suits = |image: &Tensor| {
            let shape = [image.shape()[1], image.shape()[2], image.shape()[3]];
            let channels = config.patches().map_or(shape[0], |patches| patches.channels);
            config.tokens(Size::Image([shape[1], shape[2]])).map_err(|error| error.to_string())?;
            match (shape[0] == channels, image.values().iter().all(|value| value.is_finite())) {
                (true, true) => Ok(()),
                (false, _) => Err(format!("expected {channels} channels, found {}", shape[0])),
                (_, false) => Err("expected finite pixel values".to_owned()),
            }
        };
        let prepared = |image: Result<Source, String>| match image? {
            Source::Prepared(image) => suits(&image).map(|()| Source::Prepared(image)),
            image => prepare(&image, preprocess).map(Source::Prepared).map_err(|error| format!("{error:?}")),
        };
        detached(py, || images.into_par_iter().map(prepared).collect())
    }
}

//! Opening models.

use crate::arguments::Arguments;
use crate::error::{invalid, raised};
use crate::model::Model;
use crate::threads::pool;
use pyo3::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use vitraux::low_level::text;
use vitraux::{Checkpoint, Device, DeviceChoice, Precision, hub};

/// Name of the built-in model.
const BUILT_IN: &str = "digits";

/// Time between looks for Ctrl-C.
const PATIENCE: Duration = Duration::from_millis(50);

/// A message of the thread that loads.
enum Event {
    /// A file's name, the bytes that have arrived, and all its bytes.
    Progress(String, u64, u64),
    Loaded(vitraux::Result<vitraux::Model>),
}

/// Loads a model: see `vitraux.load`.
#[pyfunction]
#[pyo3(signature = (model, device, precision, progress))]
pub fn load(py: Python<'_>, model: PathBuf, device: String, precision: String, progress: Option<Py<PyAny>>) -> PyResult<Model> {
    if precision != "auto"
        && let Err(message) = precision.parse::<Precision>()
    {
        return Err(invalid(py, "precision", format!("{message}; or auto")));
    }
    // A folder, from wherever it is loaded again.
    let model = if model.as_os_str() != BUILT_IN && model.exists() { std::path::absolute(&model).unwrap_or(model) } else { model };
    let arguments = Arguments { model, device, precision };
    let (events, received) = mpsc::channel();
    let received = Mutex::new(received);
    let of_thread = arguments.clone();
    // On a thread of its own, so that Ctrl-C is noticed; a download then ends in the background, and is in the cache for the next call.
    std::thread::spawn(move || {
        let progress = |file: &str, here: u64, size: u64| drop(events.send(Event::Progress(file.to_owned(), here, size)));
        let loaded = fetched(&of_thread.model, &progress).and_then(|place| pool().install(|| opened(place, &of_thread)));
        if let (Ok(model), Some(reference)) = (&loaded, reference(&of_thread.model))
            && model.text_config().is_some()
        {
            // Images need no tokenizer. Texts report that it is missing.
            drop(text::fetch(reference, &progress));
        }
        drop(events.send(Event::Loaded(loaded)));
    });
    loop {
        match py.detach(|| received.lock().expect("nobody else locks it").recv_timeout(PATIENCE)) {
            Ok(Event::Progress(file, here, size)) => {
                if let Some(progress) = &progress {
                    progress.call1(py, (file, here, size))?;
                }
            }
            Ok(Event::Loaded(loaded)) => return loaded.map(|model| Model::new(model, arguments)).map_err(|error| raised(py, &error)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("the thread that loads the model has panicked"),
        }
        py.check_signals()?;
    }
}

/// Returns the place of a model, after downloading it if necessary. A download takes none of the threads that compute.
fn fetched(model: &Path, progress: &dyn Fn(&str, u64, u64)) -> vitraux::Result<Option<PathBuf>> {
    match reference(model) {
        _ if model.as_os_str() == BUILT_IN => Ok(None),
        Some(reference) => hub::fetch(reference, progress).map(Some),
        None => Ok(Some(model.to_owned())),
    }
}

/// Returns the name of a model that is on the hub.
fn reference(model: &Path) -> Option<&str> {
    model.to_str().filter(|reference| !model.exists() && hub::is_reference(reference))
}

fn opened(place: Option<PathBuf>, arguments: &Arguments) -> vitraux::Result<vitraux::Model> {
    let checkpoint = place.map_or_else(|| Ok(Checkpoint::digits()), Checkpoint::open)?;
    let Ok(choice) = arguments.device.parse::<DeviceChoice>();
    let device = Device::builder().choice(choice).open_blocking()?;
    let precision = arguments.precision.parse().unwrap_or_else(|_| Precision::auto(&device.capabilities()));
    vitraux::Model::builder(checkpoint).device(device).precision(precision).load_blocking()
}

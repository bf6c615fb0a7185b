//! The exception `vitraux.Error`.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(vitraux, Error, PyException, "A failure that input, files, the network or the device can cause. `kind` tells which.");

/// Returns the exception of an error of the library. Its message includes the causes.
pub fn raised(py: Python<'_>, error: &vitraux::Error) -> PyErr {
    let raised = Error::new_err(format!("{error:?}"));
    match raised.value(py).setattr("kind", error.kind()) {
        Ok(()) => raised,
        Err(other) => other,
    }
}

/// Returns the exception of an invalid argument.
pub fn invalid(py: Python<'_>, argument: &'static str, message: String) -> PyErr {
    raised(py, &vitraux::Error::Argument { argument, message })
}

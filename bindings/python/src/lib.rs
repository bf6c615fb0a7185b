//! The module `vitraux._vitraux`, whose contents the Python package `vitraux` exports.

mod arguments;
mod arrays;
mod error;
mod images;
mod load;
mod model;
mod parts;
mod passes;
mod texts;
mod threads;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _vitraux {
    #[pymodule_export]
    use crate::error::Error;
    #[pymodule_export]
    use crate::load::load;
    #[pymodule_export]
    use crate::model::Model;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.getattr("Error")?.setattr("kind", "other")
    }
}

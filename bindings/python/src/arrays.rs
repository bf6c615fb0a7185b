//! numpy arrays of results.

use numpy::ndarray::ArrayViewD;
use numpy::{PyArrayDyn, PyArrayMethods};
use pyo3::prelude::*;
use vitraux::Tensor;

/// Keeps the memory of an array alive.
#[pyclass(frozen, module = "vitraux._vitraux")]
struct Memory(Tensor);

/// Returns an array of the tensor's values, without copying those that are one block of f32.
pub fn array<'py>(py: Python<'py>, tensor: Tensor) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
    let shape = tensor.shape().to_vec();
    let memory = Bound::new(py, Memory(tensor))?;
    match memory.get().0.values() {
        std::borrow::Cow::Owned(values) => numpy::IntoPyArray::into_pyarray(values, py).reshape(shape),
        std::borrow::Cow::Borrowed(values) => {
            let view = ArrayViewD::from_shape(shape, values).expect("as many values as the shape says");
            // SAFETY: the array holds the memory, which nothing else reads or writes, and which does not move.
            Ok(unsafe { PyArrayDyn::borrow_from_array(&view, memory.clone().into_any()) })
        }
    }
}

//! Images as Python programs have them.

use crate::error::{invalid, raised};
use numpy::{PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyList, PyTuple};
use rayon::prelude::*;
use std::path::PathBuf;
use vitraux::preprocess::Preprocess;
use vitraux::{Image, Tensor};

/// An image, or one that is already preprocessed.
pub enum Source {
    File(PathBuf),
    Encoded(PyBackedBytes),
    Decoded(Image),
    /// `pixel_values` `[1, channels, height, width]`.
    Prepared(Tensor),
}

/// Images of a call.
pub struct Sources {
    pub list: Vec<Source>,
    /// Whether the argument was one image rather than several.
    pub is_single: bool,
}

/// Reads the argument `images`: a path, bytes of a file, a PIL image, an array, or a list of these.
///
/// # Errors
/// `vitraux.Error` for anything else.
pub fn sources(images: &Bound<'_, PyAny>) -> PyResult<Sources> {
    if images.is_instance_of::<PyList>() || images.is_instance_of::<PyTuple>() {
        let mut list = Vec::with_capacity(images.len()?);
        for image in images.try_iter()? {
            list.extend(sources(&image?)?.list);
        }
        return Ok(Sources { list, is_single: false });
    }
    if let Ok(bytes) = images.extract::<PyBackedBytes>() {
        return Ok(Sources { list: vec![Source::Encoded(bytes)], is_single: true });
    }
    if let Ok(path) = images.extract::<PathBuf>() {
        return Ok(Sources { list: vec![Source::File(path)], is_single: true });
    }
    if ["mode", "size", "tobytes", "convert"].iter().all(|name| images.hasattr(*name).unwrap_or(false)) {
        return Ok(Sources { list: vec![Source::Decoded(of_pil(images)?)], is_single: true });
    }
    if let Some(array) = as_array(images)? {
        return of_array(&array);
    }
    let found = images.get_type().name()?;
    let message = format!("expected a path, the bytes of a file, a PIL image, a numpy array or a list of these, found {found}");
    Err(invalid(images.py(), "images", message))
}

/// Returns an array, or a tensor of another library in the memory of the CPU, as a numpy array.
fn as_array<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
    if let Ok(array) = object.cast::<PyUntypedArray>() {
        return Ok(Some(array.clone()));
    }
    for (method, conversion) in [("__dlpack__", "from_dlpack"), ("__array__", "asarray")] {
        if object.hasattr(method)? {
            let array = object.py().import("numpy")?.call_method1(conversion, (object,))?;
            return Ok(Some(array.cast_into::<PyUntypedArray>()?));
        }
    }
    Ok(None)
}

/// Reads a float32 array: its shape and its values.
///
/// # Errors
/// `vitraux.Error` for anything else, and for scalars.
pub fn values(object: &Bound<'_, PyAny>, argument: &'static str) -> PyResult<(Vec<usize>, Vec<f32>)> {
    let array = as_array(object)?;
    let values = array.as_ref().and_then(|array| array.extract::<PyReadonlyArrayDyn<'_, f32>>().ok());
    match values.filter(|values| !values.shape().is_empty()) {
        Some(values) => Ok((values.shape().to_vec(), in_order(&values))),
        None => {
            let found = array.map_or_else(|| object.get_type().name().map(|name| name.to_string()), |array| Ok(array.dtype().to_string()))?;
            Err(invalid(object.py(), argument, format!("expected a float32 array, found {found}")))
        }
    }
}

/// Reads an array: uint8 levels `[height, width]`, `[height, width, channels]` or `[B, height, width, channels]`, or float32 `pixel_values`
/// `[channels, height, width]` or `[B, channels, height, width]`.
fn of_array(array: &Bound<'_, PyUntypedArray>) -> PyResult<Sources> {
    let (py, shape) = (array.py(), array.shape().to_vec());
    if let Ok(levels) = array.extract::<PyReadonlyArrayDyn<'_, u8>>() {
        let (is_single, size, channels) = match *shape.as_slice() {
            [height, width] => (true, [height, width], 1),
            [height, width, channels @ (1 | 3 | 4)] => (true, [height, width], channels),
            [_, height, width, channels @ (1 | 3 | 4)] => (false, [height, width], channels),
            _ => return Err(unexpected(py, "uint8", &shape)),
        };
        let levels = in_order(&levels);
        let images = levels.chunks((size[0] * size[1] * channels).max(1)).map(|levels| of_levels(py, size, channels, levels));
        return Ok(Sources { list: images.map(|image| image.map(Source::Decoded)).collect::<PyResult<_>>()?, is_single });
    }
    if let Ok(values) = array.extract::<PyReadonlyArrayDyn<'_, f32>>() {
        let (is_single, image) = match *shape.as_slice() {
            [channels, height, width] => (true, [1, channels, height, width]),
            [_, channels, height, width] => (false, [1, channels, height, width]),
            _ => return Err(unexpected(py, "float32", &shape)),
        };
        let values = in_order(&values);
        let images = values.chunks(image.iter().product::<usize>().max(1)).map(|values| Tensor::new(image, values.to_vec()));
        let list = images.map(|image| image.map(Source::Prepared)).collect::<vitraux::Result<_>>().map_err(|error| raised(py, &error))?;
        return Ok(Sources { list, is_single });
    }
    Err(unexpected(py, &array.dtype().to_string(), &shape))
}

/// Returns the elements of an array, the last axis changing fastest.
fn in_order<T: Copy + numpy::Element>(array: &PyReadonlyArrayDyn<'_, T>) -> Vec<T> {
    match array.as_slice() {
        Ok(values) if array.is_c_contiguous() => values.to_vec(),
        _ => array.as_array().iter().copied().collect(),
    }
}

fn unexpected(py: Python<'_>, dtype: &str, shape: &[usize]) -> PyErr {
    let expected = "uint8 [height, width], [height, width, channels] or [B, height, width, channels] with 1, 3 or 4 channels, or float32 pixel_values \
                    [channels, height, width] or [B, channels, height, width]";
    invalid(py, "images", format!("expected an array of {expected}, found {dtype} {shape:?}"))
}

/// Returns an image of grey levels, RGB, or RGB with opacity.
fn of_levels(py: Python<'_>, size: [usize; 2], channels: usize, levels: &[u8]) -> PyResult<Image> {
    let image = |channels: usize, data: Vec<u8>| Image::new(size, channels, data).map_err(|error| raised(py, &error));
    if channels != 4 {
        return image(channels, levels.to_vec());
    }
    let mut image = image(3, levels.chunks(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect())?;
    image.alpha = Some(levels.chunks(4).map(|pixel| pixel[3]).collect());
    Ok(image)
}

/// Reads a PIL image. Modes other than grey, RGB and RGBA are converted by PIL.
fn of_pil(image: &Bound<'_, PyAny>) -> PyResult<Image> {
    let (width, height): (usize, usize) = image.getattr("size")?.extract()?;
    let mode: String = image.getattr("mode")?.extract()?;
    let (mode, channels) = match mode.as_str() {
        "L" => ("L", 1),
        "RGB" => ("RGB", 3),
        "RGBA" | "LA" | "PA" | "La" | "RGBa" => ("RGBA", 4),
        "P" if image.getattr("info")?.contains("transparency")? => ("RGBA", 4),
        _ => ("RGB", 3),
    };
    let bytes: PyBackedBytes = image.call_method1("convert", (mode,))?.call_method0("tobytes")?.extract()?;
    of_levels(image.py(), [height, width], channels, &bytes)
}

/// Decodes and preprocesses images on all threads, until one of them cannot be.
pub fn prepared(sources: &[Source], preprocess: Option<&Preprocess>) -> vitraux::Result<Vec<Tensor>> {
    sources.par_iter().map(|source| prepare(source, preprocess)).collect()
}

/// Decodes and preprocesses those images on all threads that can be.
pub fn each_prepared(sources: &[Source], preprocess: Option<&Preprocess>) -> Vec<vitraux::Result<Tensor>> {
    sources.par_iter().map(|source| prepare(source, preprocess)).collect()
}

fn prepare(source: &Source, preprocess: Option<&Preprocess>) -> vitraux::Result<Tensor> {
    let apply = |image: &Image| match preprocess {
        Some(preprocess) => preprocess.apply(image),
        None => {
            Err(vitraux::Error::Argument { argument: "images", message: "the model has no preprocessing; expected float32 pixel_values".to_owned() })
        }
    };
    match source {
        Source::File(path) => apply(&Image::open(path)?),
        Source::Encoded(bytes) => apply(&Image::decode("image", bytes)?),
        Source::Decoded(image) => apply(image),
        Source::Prepared(values) => Ok(values.clone()),
    }
}

//! Images as Python programs have them.

use crate::error::{invalid, raised};
use numpy::{Element, PyArrayDescrMethods, PyArrayDyn, PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PySequence, PyString};
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
pub struct Sources<T> {
    pub list: Vec<T>,
    /// Whether the argument was one image rather than several.
    pub is_single: bool,
}

/// An element of the argument `images`.
enum Given<'py> {
    Image(Source),
    /// One image or several.
    Array(Bound<'py, PyUntypedArray>),
}

/// Reads the argument `images`: a path, bytes of a file, a PIL image, an array, or a list of these.
///
/// # Errors
/// `vitraux.Error` for anything else.
pub fn sources(images: &Bound<'_, PyAny>) -> PyResult<Sources<Source>> {
    read(images, |image| image)
}

/// Reads the argument `images`, with a message for each that is no image.
pub fn each_source(images: &Bound<'_, PyAny>) -> PyResult<Sources<Result<Source, String>>> {
    let py = images.py();
    read(images, |image| match image {
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(Err(error.value(py).to_string())),
        // Ctrl-C is no error of an image.
        image => image.map(Ok),
    })
}

fn read<T>(images: &Bound<'_, PyAny>, keep: impl Fn(PyResult<Source>) -> PyResult<T>) -> PyResult<Sources<T>> {
    if is_list(images) {
        let list = images.try_iter()?.map(|image| keep(given(&image?).and_then(single))).collect::<PyResult<_>>()?;
        return Ok(Sources { list, is_single: false });
    }
    match given(images) {
        Ok(Given::Array(array)) if array.ndim() == 4 => {
            let list = of_array(&array)?.into_iter().map(|image| keep(Ok(image))).collect::<PyResult<_>>()?;
            Ok(Sources { list, is_single: false })
        }
        image => Ok(Sources { list: vec![keep(image.and_then(single))?], is_single: true }),
    }
}

/// Returns whether the object is a list: a sequence that is no text or memory, or an array of paths.
fn is_list(object: &Bound<'_, PyAny>) -> bool {
    let is_memory = || object.is_instance_of::<PyBytes>() || object.is_instance_of::<PyByteArray>() || object.is_instance_of::<PyMemoryView>();
    match object.cast::<PyUntypedArray>() {
        Ok(array) => array.ndim() == 1 && matches!(array.dtype().kind(), b'O' | b'T' | b'U'),
        Err(_) => !object.is_instance_of::<PyString>() && !is_memory() && object.cast::<PySequence>().is_ok(),
    }
}

fn given<'py>(object: &Bound<'py, PyAny>) -> PyResult<Given<'py>> {
    // Before arrays: numpy can read scalars of strings and PIL images, too.
    if let Ok(bytes) = object.extract::<PyBackedBytes>() {
        return Ok(Given::Image(Source::Encoded(bytes)));
    }
    if object.is_instance_of::<PyString>() || object.hasattr("__fspath__")? {
        return object.extract().map(|path| Given::Image(Source::File(path)));
    }
    if is_of_pil(object) {
        return of_pil(object).map(|image| Given::Image(Source::Decoded(image)));
    }
    if let Some(array) = as_array(object)? {
        return Ok(Given::Array(array));
    }
    let found = object.get_type().name()?;
    let message = format!("expected a path, the bytes of a file, a PIL image, a numpy array or a list of these, found {found}");
    Err(invalid(object.py(), "images", message))
}

fn single(given: Given<'_>) -> PyResult<Source> {
    let array = match given {
        Given::Image(image) => return Ok(image),
        Given::Array(array) => array,
    };
    let mut images = of_array(&array)?;
    match images.len() {
        1 => Ok(images.remove(0)),
        several => Err(invalid(array.py(), "images", format!("expected an array of one image in a list, found one of {several}"))),
    }
}

fn is_of_pil(image: &Bound<'_, PyAny>) -> bool {
    ["mode", "size", "info", "tobytes", "convert"].iter().all(|name| image.hasattr(*name).unwrap_or(false))
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

/// Reads an array of float32, or of booleans: its shape and its values.
///
/// # Errors
/// `vitraux.Error` for anything else, and for scalars.
pub fn values(object: &Bound<'_, PyAny>, argument: &'static str) -> PyResult<(Vec<usize>, Vec<f32>)> {
    let refusal = |found| invalid(object.py(), argument, format!("expected a float32 array, found {found}"));
    let Some(array) = as_array(object)? else { return Err(refusal(object.get_type().name()?.to_string())) };
    if array.ndim() == 0 || !(holds::<f32>(&array) || holds::<bool>(&array)) {
        return Err(refusal(array.dtype().to_string()));
    }
    Ok((array.shape().to_vec(), in_order(&array)?.as_slice()?.to_vec()))
}

/// Reads an array of integers or of booleans, or lists of them: its shape and its values.
///
/// # Errors
/// `vitraux.Error` for anything else.
pub fn integers(object: &Bound<'_, PyAny>, argument: &'static str) -> PyResult<(Vec<usize>, Vec<i64>)> {
    let array = match as_array(object)? {
        Some(array) => array,
        None => object.py().import("numpy")?.call_method1("asarray", (object,))?.cast_into()?,
    };
    if !matches!(array.dtype().kind(), b'i' | b'u' | b'b') {
        return Err(invalid(object.py(), argument, format!("expected an array of integers, found {}", array.dtype())));
    }
    Ok((array.shape().to_vec(), in_order(&array)?.as_slice()?.to_vec()))
}

/// Reads an array of images: uint8 levels `[height, width]`, `[height, width, channels]` or `[B, height, width, channels]`, or float32 `pixel_values`
/// `[channels, height, width]` or `[B, channels, height, width]`.
fn of_array(array: &Bound<'_, PyUntypedArray>) -> PyResult<Vec<Source>> {
    let (py, shape) = (array.py(), array.shape().to_vec());
    let refusal = || {
        let expected = "uint8 [height, width], [height, width, channels] or [B, height, width, channels] with 1, 3 or 4 channels, or float32 pixel_values \
                        [channels, height, width] or [B, channels, height, width]";
        invalid(py, "images", format!("expected an array of {expected}, found {} {shape:?}", array.dtype()))
    };
    // An empty batch has no image, but each image has pixels.
    let is_empty = |image: &[usize]| image.contains(&0);
    if holds::<u8>(array) {
        let (size, channels) = match *shape.as_slice() {
            [height, width] => ([height, width], 1),
            [height, width, channels @ (1 | 3 | 4)] | [_, height, width, channels @ (1 | 3 | 4)] => ([height, width], channels),
            _ => return Err(refusal()),
        };
        if is_empty(&size) {
            return Err(refusal());
        }
        let levels = in_order::<u8>(array)?;
        let images = levels.as_slice()?.chunks(size[0] * size[1] * channels).map(|levels| of_levels(py, size, channels, levels));
        return images.map(|image| image.map(Source::Decoded)).collect();
    }
    if holds::<f32>(array) {
        let image = match *shape.as_slice() {
            [channels, height, width] | [_, channels, height, width] => [1, channels, height, width],
            _ => return Err(refusal()),
        };
        if is_empty(&image) {
            return Err(refusal());
        }
        let values = in_order::<f32>(array)?;
        let images = values.as_slice()?.chunks(image.iter().product()).map(|values| Tensor::new(image, values.to_vec()).map(Source::Prepared));
        return images.collect::<vitraux::Result<_>>().map_err(|error| raised(py, &error));
    }
    Err(refusal())
}

fn holds<T: Element>(array: &Bound<'_, PyUntypedArray>) -> bool {
    array.cast::<PyArrayDyn<T>>().is_ok()
}

/// Returns the elements of an array as one slice, the last axis changing fastest. Others than `T` are converted.
fn in_order<'py, T: Element>(array: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArrayDyn<'py, T>> {
    let py = array.py();
    // Contiguous, aligned, and of no subclass. Strides of any other array need not be multiples of an element.
    let block = py.import("numpy")?.call_method1("require", (array, T::get_dtype(py), "CAE"))?;
    block.extract()
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

/// Reads a PIL image as the file would be read that it is of: upright, with its transparency, and with the upper byte of 16-bit levels.
fn of_pil(image: &Bound<'_, PyAny>) -> PyResult<Image> {
    let py = image.py();
    let image = py.import("PIL.ImageOps")?.call_method1("exif_transpose", (image,))?;
    let (width, height): (usize, usize) = image.getattr("size")?.extract()?;
    let mode: String = image.getattr("mode")?.extract()?;
    if mode.starts_with("I;16") {
        let levels = in_order::<u16>(&image)?;
        let levels: Vec<u8> = levels.as_slice()?.iter().map(|level| (level >> 8) as u8).collect();
        return of_levels(py, [height, width], 1, &levels);
    }
    let has_colour_key = image.getattr("info")?.contains("transparency")?;
    let (steps, channels): (&[&str], usize) = match mode.as_str() {
        "RGBA" | "LA" | "PA" | "RGBa" => (&["RGBA"], 4),
        "La" => (&["LA", "RGBA"], 4),
        "1" | "L" | "P" | "RGB" if has_colour_key => (&["RGBA"], 4),
        "1" | "L" => (&["L"], 1),
        "I" | "F" => return Err(invalid(py, "images", format!("expected a PIL image of levels, found mode {mode}; convert it to L or RGB"))),
        _ => (&["RGB"], 3),
    };
    let mut levels = image;
    for mode in steps {
        levels = levels.call_method1("convert", (*mode,))?;
    }
    let bytes: PyBackedBytes = levels.call_method0("tobytes")?.extract()?;
    of_levels(py, [height, width], channels, &bytes)
}

/// Decodes and preprocesses images on all threads, until one of them cannot be.
pub fn prepared(sources: &[Source], preprocess: Option<&Preprocess>) -> vitraux::Result<Vec<Tensor>> {
    sources.par_iter().map(|source| prepare(source, preprocess)).collect()
}

/// Decodes and preprocesses an image.
pub fn prepare(source: &Source, preprocess: Option<&Preprocess>) -> vitraux::Result<Tensor> {
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

/// Returns the exception of an empty list.
pub fn no_images(py: Python<'_>) -> PyErr {
    invalid(py, "images", "expected at least one image, found none".to_owned())
}

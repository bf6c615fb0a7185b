//! Images as Python programs have them.

use crate::error::{invalid, raised};
use numpy::{PyArrayDescrMethods, PyArrayDyn, PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyList, PyString, PyTuple};
use rayon::prelude::*;
use std::borrow::Cow;
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
    /// The images, or why one is none.
    pub list: Vec<PyResult<Source>>,
    /// Whether the argument was one image rather than several.
    pub is_single: bool,
}

impl Sources {
    /// Returns the images.
    ///
    /// # Errors
    /// The first that is none.
    pub fn all(self) -> PyResult<Vec<Source>> {
        self.list.into_iter().collect()
    }
}

/// Reads the argument `images`: a path, bytes of a file, a PIL image, an array, or a list of these.
///
/// # Errors
/// `vitraux.Error` for anything else.
pub fn sources(images: &Bound<'_, PyAny>) -> PyResult<Sources> {
    if images.is_instance_of::<PyList>() || images.is_instance_of::<PyTuple>() {
        let mut list = Vec::with_capacity(images.len()?);
        for image in images.try_iter()? {
            list.push(match source(&image?) {
                // Ctrl-C is no error of an image, and must not wait for its turn.
                Err(error) if !error.is_instance_of::<PyException>(images.py()) => return Err(error),
                image => image,
            });
        }
        return Ok(Sources { list, is_single: false });
    }
    match array_of(images)? {
        Some(array) if array.ndim() == 4 => Ok(Sources { list: of_array(&array)?.into_iter().map(Ok).collect(), is_single: false }),
        _ => Ok(Sources { list: vec![Ok(source(images)?)], is_single: true }),
    }
}

/// Reads one image.
fn source(image: &Bound<'_, PyAny>) -> PyResult<Source> {
    let py = image.py();
    if let Some(array) = array_of(image)? {
        let mut images = of_array(&array)?;
        return match images.len() {
            1 => Ok(images.remove(0)),
            several => Err(invalid(py, "images", format!("expected an array of one image in a list, found one of {several}"))),
        };
    }
    if let Ok(bytes) = image.extract::<PyBackedBytes>() {
        return Ok(Source::Encoded(bytes));
    }
    if image.is_instance_of::<PyString>() || image.hasattr("__fspath__")? {
        return image.extract().map(Source::File);
    }
    if is_of_pil(image) {
        return of_pil(image).map(Source::Decoded);
    }
    let found = image.get_type().name()?;
    let message = format!("expected a path, the bytes of a file, a PIL image, a numpy array or a list of these, found {found}");
    Err(invalid(py, "images", message))
}

fn is_of_pil(image: &Bound<'_, PyAny>) -> bool {
    ["mode", "size", "info", "tobytes", "convert"].iter().all(|name| image.hasattr(*name).unwrap_or(false))
}

/// Returns the array that holds images, if the object is one. A PIL image is none, though numpy can read it.
fn array_of<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
    if is_of_pil(object) { Ok(None) } else { as_array(object) }
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
    let array = as_array(object)?;
    let is_boolean = array.as_ref().is_some_and(|array| array.cast::<PyArrayDyn<bool>>().is_ok());
    let array = if is_boolean { as_array(&object.call_method1("astype", ("float32",))?)? } else { array };
    let values = array.as_ref().and_then(|array| array.extract::<PyReadonlyArrayDyn<'_, f32>>().ok());
    match values.filter(|values| !values.shape().is_empty()) {
        Some(values) => Ok((values.shape().to_vec(), in_order(&values).into_owned())),
        None => {
            let found = array.map_or_else(|| object.get_type().name().map(|name| name.to_string()), |array| Ok(array.dtype().to_string()))?;
            Err(invalid(object.py(), argument, format!("expected a float32 array, found {found}")))
        }
    }
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
    let values = array.call_method1("astype", ("int64",))?;
    let values = values.extract::<PyReadonlyArrayDyn<'_, i64>>()?;
    Ok((values.shape().to_vec(), in_order(&values).into_owned()))
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
    if let Ok(levels) = array.extract::<PyReadonlyArrayDyn<'_, u8>>() {
        let (size, channels) = match *shape.as_slice() {
            [height, width] => ([height, width], 1),
            [height, width, channels @ (1 | 3 | 4)] | [_, height, width, channels @ (1 | 3 | 4)] => ([height, width], channels),
            _ => return Err(refusal()),
        };
        if is_empty(&size) {
            return Err(refusal());
        }
        let levels = in_order(&levels);
        let images = levels.chunks(size[0] * size[1] * channels).map(|levels| of_levels(py, size, channels, levels));
        return images.map(|image| image.map(Source::Decoded)).collect();
    }
    if let Ok(values) = array.extract::<PyReadonlyArrayDyn<'_, f32>>() {
        let image = match *shape.as_slice() {
            [channels, height, width] | [_, channels, height, width] => [1, channels, height, width],
            _ => return Err(refusal()),
        };
        if is_empty(&image) {
            return Err(refusal());
        }
        let values = in_order(&values);
        let images = values.chunks(image.iter().product()).map(|values| Tensor::new(image, values.to_vec()).map(Source::Prepared));
        return images.collect::<vitraux::Result<_>>().map_err(|error| raised(py, &error));
    }
    Err(refusal())
}

/// Returns the elements of an array, the last axis changing fastest.
fn in_order<'a, T: Copy + numpy::Element>(array: &'a PyReadonlyArrayDyn<'_, T>) -> Cow<'a, [T]> {
    match array.as_slice() {
        Ok(values) if array.is_c_contiguous() => Cow::Borrowed(values),
        _ => Cow::Owned(array.as_array().iter().copied().collect()),
    }
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
        let levels = py.import("numpy")?.call_method1("asarray", (&image,))?.call_method1("astype", ("uint16",))?;
        let levels = levels.extract::<PyReadonlyArrayDyn<'_, u16>>()?;
        let levels: Vec<u8> = in_order(&levels).iter().map(|level| (level >> 8) as u8).collect();
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

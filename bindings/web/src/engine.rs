//! Models on a device.

use crate::devices::{self, checked};
use crate::failure::raised;
use crate::files::BlobFile;
use crate::textures::{Texture, copied};
use js_sys::{Array, Float32Array, Object, Reflect};
use serde::Serialize;
use std::cell::RefCell;
use vitraux::config::{Map, MapKind};
use vitraux::host::{Budget, GpuInput, Painting, TextureImage};
use vitraux::preprocess::Preprocess;
use vitraux::{Checkpoint, Error, Image, Model, Outputs, Precision, Session, Tensor, wgpu};
use wasm_bindgen::prelude::*;
use web_sys::Blob;

/// A model on a device. Calls may overlap: each takes a session of its own.
#[wasm_bindgen]
pub struct Engine {
    model: Model,
    /// Sessions that no call uses.
    sessions: RefCell<Vec<Session>>,
}

/// Description of a model.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description<'a> {
    name: &'a str,
    device: String,
    precision: String,
    /// Names of the classes, or none.
    labels: &'a [String],
    /// Number of classes, or 0.
    classes: usize,
    /// Output with a vector per image, if there is one.
    vector: Option<&'static str>,
    depth: usize,
    heads: usize,
    outputs: Vec<String>,
    /// Longest side in pixels of an image that the device takes as it is; 0 if it takes levels only.
    largest_frame: u32,
}

/// Place of an output's values in an image.
#[derive(Serialize)]
struct Described {
    /// Rows and columns of patches.
    grid: [usize; 2],
    /// Fraction of the seen part's height and width that the patches cover.
    share: [f32; 2],
    /// Number of tokens before the patches.
    prefix: usize,
    /// Left, top, width and height in pixels of the part of the image that the model sees.
    seen: [f64; 4],
    /// Height and width in pixels of the model's input.
    input: [usize; 2],
}

#[wasm_bindgen]
impl Engine {
    /// Loads a model; without files, the built-in one.
    pub async fn load(name: String, files: Vec<String>, blobs: Vec<Blob>, device: String, precision: String) -> Result<Engine, JsValue> {
        let load = async {
            let checkpoint = match files.is_empty() {
                true => Checkpoint::digits(),
                false => Checkpoint::builder_from_files(name, files.into_iter().zip(blobs.into_iter().map(BlobFile::new))).open()?,
            };
            let device = devices::open(&device).await?;
            let precision = match precision.as_str() {
                "auto" => Precision::auto(&device.capabilities()),
                other => other.parse().map_err(|message| argument("precision", message))?,
            };
            Model::builder(checkpoint).device(device).precision(precision).load().await
        };
        Ok(Engine { model: checked(load.await)?, sessions: RefCell::default() })
    }

    /// Returns a description of the model as JSON.
    pub fn describe(&self) -> String {
        let config = self.model.config();
        let classifiers = config.default_classifiers();
        let first = classifiers.first().map(|(_, classifier)| *classifier);
        json(&Description {
            name: &config.name,
            device: self.model.device().to_string(),
            precision: self.model.precision().to_string(),
            labels: first.map_or(&[], |classifier| classifier.labels.as_slice()),
            classes: first.map_or(0, |classifier| classifier.classes),
            vector: config.vector_output().map(|(output, _)| output),
            depth: config.depth,
            heads: config.heads,
            outputs: self.model.output_names(),
            largest_frame: self.model.device().wgpu().map_or(0, |(device, _)| device.limits().max_texture_dimension_2d),
        })
    }

    /// Copies an `ImageBitmap` or a `VideoFrame` to the GPU.
    pub fn copy(&self, image: JsValue) -> Texture {
        let (device, queue) = self.gpu();
        copied(device, queue, image)
    }

    /// Computes outputs of an image on the GPU: its pixels stay there.
    #[wasm_bindgen(js_name = forwardTexture)]
    pub async fn forward_texture(&self, texture: Texture, outputs: Vec<String>) -> Result<Object, JsValue> {
        let preprocess = self.preprocess().map_err(|error| raised(&error))?;
        let (device, queue) = self.gpu();
        let size = [texture.0.height(), texture.0.width()].map(|size| size as usize);
        let computed = self.in_session(async |session| {
            let (view, names) = (texture.0.create_view(&wgpu::TextureViewDescriptor::default()), names(&outputs));
            let mut job = session.start_async(GpuInput::Images(&[TextureImage::new(&view)]), &names).await?;
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            job.encode_slice(&mut encoder, Budget::unlimited());
            let reads: Vec<_> = job.outputs().into_iter().map(|(name, output)| (name, output.encode_read(&mut encoder))).collect();
            queue.submit([encoder.finish()]);
            let mut values = Outputs::new();
            for (name, read) in reads {
                values.insert(name, read.values().await?);
            }
            Ok(values)
        });
        self.described(checked(computed.await)?, preprocess, size)
    }

    /// Computes outputs of an image of RGBA levels, without premultiplied opacity.
    #[wasm_bindgen(js_name = forwardPixels)]
    pub async fn forward_pixels(&self, rgba: Vec<u8>, width: usize, height: usize, outputs: Vec<String>) -> Result<Object, JsValue> {
        let prepared = || {
            let preprocess = self.preprocess()?;
            let mut image = Image::new([height, width], 3, rgba.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect())?;
            image.alpha = Some(rgba.chunks_exact(4).map(|pixel| pixel[3]).collect());
            Ok((preprocess, preprocess.apply(&image)?))
        };
        let (preprocess, pixel_values) = prepared().map_err(|error| raised(&error))?;
        let computed = self.in_session(async |session| session.forward(&pixel_values, &names(&outputs)).await).await;
        self.described(checked(computed)?, preprocess, [height, width])
    }

    /// Computes outputs of an input tensor.
    pub async fn forward(&self, shape: Vec<usize>, values: Vec<f32>, outputs: Vec<String>) -> Result<Object, JsValue> {
        let input = Tensor::new(shape, values).map_err(|error| raised(&error))?;
        let computed = self.in_session(async |session| session.forward(&input, &names(&outputs)).await).await;
        tensors(checked(computed)?, |_| None)
    }

    /// Draws an output that is a map of an image of the model's input size `input`, as RGBA levels of the given size.
    pub fn paint(
        &self,
        output: &str,
        values: &[f32],
        input: Vec<usize>,
        head: Option<usize>,
        width: usize,
        height: usize,
    ) -> Result<Vec<u8>, JsValue> {
        let painted = || {
            let map = self.map(output, [input[0], input[1]])?.ok_or_else(|| argument("output", format!("{output} is no map of an image")))?;
            Painting::default().head(head).on_host(&map, values, 1)
        };
        let painted = painted().map_err(|error| raised(&error))?;
        let centre = |at: usize, size: usize| (at as f32 + 0.5) / size as f32;
        let pixel = |i: usize| {
            let [red, green, blue] = painted.at([centre(i % width, width), centre(i / width, height)]).map(|level| (255.0 * level).round() as u8);
            [red, green, blue, 255]
        };
        Ok((0..width * height).flat_map(pixel).collect())
    }
}

impl Engine {
    fn gpu(&self) -> (&wgpu::Device, &wgpu::Queue) {
        self.model.device().wgpu().expect("the worker copies images to GPUs only")
    }

    fn preprocess(&self) -> vitraux::Result<&Preprocess> {
        self.model.preprocess().ok_or_else(|| argument("image", format!("{} takes no images", self.model.config().name)))
    }

    /// Lends a session to a call.
    async fn in_session<T>(&self, work: impl AsyncFnOnce(&mut Session) -> T) -> T {
        let free = self.sessions.borrow_mut().pop();
        let mut session = free.unwrap_or_else(|| self.model.session());
        let result = work(&mut session).await;
        self.sessions.borrow_mut().push(session);
        result
    }

    fn map(&self, output: &str, input: [usize; 2]) -> vitraux::Result<Option<Map>> {
        let config = self.model.config();
        let channels = config.patches().map_or(0, |patches| patches.channels);
        Ok(config.map(config.input_size(&[1, channels, input[0], input[1]])?, output))
    }

    /// Returns outputs of an image of this height and width, with the places of those that are maps.
    fn described(&self, outputs: Outputs, preprocess: &Preprocess, image: [usize; 2]) -> Result<Object, JsValue> {
        let (seen, input) = preprocess.seen(image).and_then(|seen| Ok((seen, preprocess.output_size(image)?))).map_err(|error| raised(&error))?;
        tensors(outputs, |output| {
            let map = self.map(output, input).ok().flatten()?;
            let prefix = if let MapKind::Attention { first, .. } = map.kind { first } else { 0 };
            Some(Described { grid: map.grid, share: map.share, prefix, seen, input })
        })
    }
}

fn names(outputs: &[String]) -> Vec<&str> {
    outputs.iter().map(String::as_str).collect()
}

fn argument(argument: &'static str, message: String) -> Error {
    Error::Argument { argument, message }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers")
}

/// Returns outputs as `{name: {shape, data, map}}`, the last as JSON.
fn tensors(outputs: Outputs, map: impl Fn(&str) -> Option<Described>) -> Result<Object, JsValue> {
    let all = Object::new();
    for (name, tensor) in outputs {
        let entry = Object::new();
        let shape: Array = tensor.shape().iter().map(|size| JsValue::from(*size as u32)).collect();
        Reflect::set(&entry, &"shape".into(), &shape)?;
        Reflect::set(&entry, &"data".into(), &Float32Array::from(&*tensor.values()))?;
        if let Some(map) = map(&name) {
            Reflect::set(&entry, &"map".into(), &json(&map).into())?;
        }
        Reflect::set(&all, &name.into(), &entry)?;
    }
    Ok(all)
}

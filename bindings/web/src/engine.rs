//! Models on a device.

use crate::failure::raised;
use crate::files::Files;
use js_sys::{Array, Float32Array, Object, Reflect};
use serde::Serialize;
use std::cell::RefCell;
use std::collections::HashMap;
use vitraux::{Checkpoint, Device, DeviceChoice, Error, Image, Model, Outputs, Precision, Session, Tensor};
use wasm_bindgen::prelude::*;

thread_local! {
    /// Devices by their choice. Models share one, and with it the compiled kernels.
    static DEVICES: RefCell<HashMap<String, Device>> = RefCell::default();
}

/// Returns the device of a choice, which stays open.
async fn opened(choice: &str) -> vitraux::Result<Device> {
    if let Some(device) = DEVICES.with_borrow(|devices| devices.get(choice).cloned()) {
        return Ok(device);
    }
    let Ok(parsed) = choice.parse::<DeviceChoice>();
    let device = Device::open(parsed).await?;
    DEVICES.with_borrow_mut(|devices| devices.insert(choice.to_owned(), device.clone()));
    Ok(device)
}

/// Returns the result, or its exception. After the loss of a device, the next model gets a new one.
fn checked<T>(result: vitraux::Result<T>) -> Result<T, JsValue> {
    result.map_err(|error| {
        if matches!(error, Error::DeviceLost { .. }) {
            DEVICES.with_borrow_mut(HashMap::clear);
        }
        raised(&error)
    })
}

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
}

#[wasm_bindgen]
impl Engine {
    /// Loads a model; without files, the built-in one.
    pub async fn load(name: String, files: Option<Files>, device: String, precision: String) -> Result<Engine, JsValue> {
        let load = async {
            let checkpoint = match files {
                Some(files) => Checkpoint::builder_from_memory(name, files).open()?,
                None => Checkpoint::digits(),
            };
            let device = opened(&device).await?;
            let precision = match precision.as_str() {
                "auto" => Precision::auto(&device.capabilities()),
                other => other.parse().map_err(|message| Error::Argument { argument: "precision", message })?,
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
        let description = Description {
            name: &config.name,
            device: self.model.device().to_string(),
            precision: self.model.precision().to_string(),
            labels: first.map_or(&[], |classifier| classifier.labels.as_slice()),
            classes: first.map_or(0, |classifier| classifier.classes),
            vector: config.vector_output().map(|(output, _)| output),
            depth: config.depth,
            heads: config.heads,
        };
        serde_json::to_string(&description).expect("strings and numbers")
    }

    /// Returns the names of all outputs.
    pub fn outputs(&self) -> Vec<String> {
        vitraux::low_level::forward::output_names(self.model.config())
    }

    /// Computes outputs of an image of RGBA levels, without premultiplied opacity.
    #[wasm_bindgen(js_name = forwardImage)]
    pub async fn forward_image(&self, rgba: Vec<u8>, width: usize, height: usize, outputs: Vec<String>) -> Result<Object, JsValue> {
        let preprocessed = || {
            let preprocess = self.model.preprocess();
            let preprocess = preprocess.ok_or_else(|| argument("image", format!("{} takes no images", self.model.config().name)))?;
            let mut image = Image::new([height, width], 3, rgba.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect())?;
            image.alpha = Some(rgba.chunks_exact(4).map(|pixel| pixel[3]).collect());
            preprocess.apply(&image)
        };
        let pixel_values = preprocessed().map_err(|error| raised(&error))?;
        self.run(&pixel_values, &outputs).await
    }

    /// Computes outputs of an input tensor.
    pub async fn forward(&self, shape: Vec<usize>, values: Vec<f32>, outputs: Vec<String>) -> Result<Object, JsValue> {
        let input = Tensor::new(shape, values).map_err(|error| raised(&error))?;
        self.run(&input, &outputs).await
    }
}

impl Engine {
    async fn run(&self, input: &Tensor, outputs: &[String]) -> Result<Object, JsValue> {
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let free = self.sessions.borrow_mut().pop();
        let mut session = free.unwrap_or_else(|| self.model.session());
        let result = session.forward(input, &outputs).await;
        self.sessions.borrow_mut().push(session);
        tensors(&checked(result)?)
    }
}

fn argument(argument: &'static str, message: String) -> Error {
    Error::Argument { argument, message }
}

/// Returns outputs as `{name: {shape, data}}`.
fn tensors(outputs: &Outputs) -> Result<Object, JsValue> {
    let all = Object::new();
    for (name, tensor) in outputs {
        let entry = Object::new();
        let shape: Array = tensor.shape().iter().map(|size| JsValue::from(*size as u32)).collect();
        Reflect::set(&entry, &"shape".into(), &shape)?;
        Reflect::set(&entry, &"data".into(), &Float32Array::from(&*tensor.values()))?;
        Reflect::set(&all, &name.into(), &entry)?;
    }
    Ok(all)
}

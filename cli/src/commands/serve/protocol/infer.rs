//! Inference.

use super::metadata::default_outputs;
use super::request::{InferRequest, JSON_LENGTH, Output, Parameters};
use super::tensors::Images;
use crate::commands::serve::failure::{Failure, Refusal};
use crate::commands::serve::memory::Share;
use crate::commands::serve::queue::Row;
use crate::commands::serve::served::{Rows, ServedModel};
use crate::commands::serve::state::{Named, Server, VERSION};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use utoipa::ToSchema;

/// Answer to a request for inference.
#[derive(Serialize, ToSchema)]
struct InferResponse<'a> {
    model_name: &'a str,
    model_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<OutputTensor<'a>>,
}

/// Output tensor.
#[derive(Serialize, ToSchema)]
struct OutputTensor<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: Vec<usize>,
    /// Number of bytes, of which those of all outputs follow the JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    parameters: Option<serde_json::Value>,
    /// Elements in row-major order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    data: Option<Values>,
}

/// Elements of an output.
#[derive(Serialize)]
#[serde(untagged)]
enum Values {
    Numbers(Vec<f32>),
    /// Classes, as `score:index:label`.
    Strings(Vec<String>),
}

/// Run a model on tensors
///
/// The input is `pixel_values` FP32 [B, channels, height, width]; or image files, `image` BYTES [B], in JSON as base64; or RGB levels, `image` UINT8 [B, height, width, 3].
/// Tensors may follow the JSON as bytes (binary_data_size, binary_data, Inference-Header-Content-Length).
#[utoipa::path(post, path = "/infer", tag = "protocol", request_body = InferRequest,
    responses(
        (status = 200, description = "Outputs", body = InferResponse),
        Refusal))]
pub async fn infer(Named(served): Named, State(server): State<Arc<Server>>, request: Request) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let bytes = server.bodies.read(&parts.headers, body).await?;
    let most = served.queue.places();
    let body = bytes.clone();
    let (mut request, images) = served.cores.run(move || super::read(&parts.headers, &body, most)).await??;
    if request.outputs.is_empty() {
        request.outputs =
            default_outputs(&served).into_iter().map(|output| Output { name: output.name, parameters: Parameters::default() }).collect();
    }
    let names: BTreeSet<String> = request.outputs.iter().map(|output| output.name.clone()).collect();
    if names.len() < request.outputs.len() {
        return Err(Failure::invalid(format!("expected each output once, found {} outputs of {} names", request.outputs.len(), names.len())));
    }
    let admission = served.admit(images.len())?;
    let prepared = match images {
        Images::Prepared(images) => images.into_iter().map(Ok).collect(),
        Images::Files(files) => served.prepare(&admission, named(files), |preparation, (name, file)| preparation.decode(&name, &file)).await?,
        Images::Decoded(images) => {
            served.prepare(&admission, named(images), |preparation, (name, image)| preparation.apply(name.as_ref(), image)).await?
        }
    };
    // Files from base64 are copies of it, which count until they are decoded.
    drop(bytes);
    // The protocol has one error for all images of a request.
    if let Some(failure) = prepared.iter().find_map(|image| image.as_ref().err()) {
        return Err(failure.clone());
    }
    let Rows { rows, share } = served.compute(admission, prepared, names.into_iter().collect()).await?;
    let rows = rows.into_iter().collect::<Result<Vec<Row>, Failure>>()?;
    served.cores.clone().run(move || response(&served, request, &rows, share)).await?
}

/// Names images by their places, from 1 on.
fn named<T>(images: Vec<T>) -> Vec<(String, T)> {
    images.into_iter().enumerate().map(|(i, image)| (format!("image {}", i + 1), image)).collect()
}

/// Formats the outputs of images.
///
/// # Errors
/// If the images have different sizes, and therefore outputs of different shapes.
fn response(served: &ServedModel, request: InferRequest, rows: &[Row], share: Share) -> Result<Response, Failure> {
    let all_binary = request.parameters.binary_data_output.unwrap_or(false);
    let (mut outputs, mut binary) = (Vec::with_capacity(request.outputs.len()), Vec::new());
    for output in &request.outputs {
        let mut shape = [&[rows.len()], rows[0].shape(&output.name)].concat();
        if let Some(other) = rows.iter().map(|row| row.shape(&output.name)).find(|other| *other != &shape[1..]) {
            let message = format!("{}: expected images of one size after preprocessing, found outputs {:?} and {other:?}", output.name, &shape[1..]);
            return Err(Failure::invalid(message));
        }
        let (datatype, values) = match output.parameters.classification {
            Some(classes) if shape.len() == 2 => {
                let classes = classes.min(shape[1]);
                let strings = rows.iter().flat_map(|row| ranked(served, &output.name, &row.values(&output.name), classes)).collect();
                shape[1] = classes;
                ("BYTES", Values::Strings(strings))
            }
            Some(_) => return Err(Failure::invalid(format!("{}: expected an output with a vector per image for a classification", output.name))),
            None => ("FP32", Values::Numbers(rows.iter().flat_map(|row| row.values(&output.name).into_owned()).collect())),
        };
        let (parameters, data) = match output.parameters.binary_data.unwrap_or(all_binary) {
            true => {
                let start = binary.len();
                values.write(&mut binary);
                (Some(json!({ "binary_data_size": binary.len() - start })), None)
            }
            false => (None, Some(values)),
        };
        outputs.push(OutputTensor { name: &output.name, datatype, shape, parameters, data });
    }
    let is_binary = outputs.iter().any(|output| output.data.is_none());
    let response = InferResponse { model_name: &served.name, model_version: VERSION, id: request.id, outputs };
    let json = serde_json::to_vec(&response).map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    if !is_binary {
        return Ok(([(header::CONTENT_TYPE, "application/json")], share.hold(json)).into_response());
    }
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (HeaderName::from_static(JSON_LENGTH), HeaderValue::from(json.len())),
    ];
    Ok((headers, share.hold([json, binary].concat())).into_response())
}

impl Values {
    /// Appends the elements as bytes: little-endian numbers, or strings with their lengths before them.
    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Values::Numbers(numbers) => numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes())),
            Values::Strings(strings) => strings.iter().for_each(|text| {
                bytes.extend((text.len() as u32).to_le_bytes());
                bytes.extend(text.as_bytes());
            }),
        }
    }
}

/// Returns the largest values of a vector with their indices, and with their labels if they are those of a classifier.
fn ranked(served: &ServedModel, output: &str, values: &[f32], count: usize) -> Vec<String> {
    let classifiers = served.config().default_classifiers();
    let is_of = |suffix: &str| ["logits", "probabilities"].iter().any(|name| output.strip_prefix(name) == Some(suffix));
    let labels = classifiers.iter().find(|(suffix, _)| is_of(suffix)).map(|(_, classifier)| classifier.labels.as_slice()).unwrap_or_default();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    let entry =
        |index: usize| labels.get(index).map_or_else(|| format!("{}:{index}", values[index]), |label| format!("{}:{index}:{label}", values[index]));
    order.into_iter().take(count).map(entry).collect()
}

//! Descriptions of the server and its models, and their health.

use super::PIXEL_VALUES;
use crate::commands::serve::failure::{ErrorBody, Failure};
use crate::commands::serve::served::ServedModel;
use crate::commands::serve::state::{Named, Server, VERSION};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::ToSchema;
use vitraux::config::{Config, Size};

/// Name of the platform, as the protocol calls what runs models.
const PLATFORM: &str = "vitraux_wgpu";

/// Description of the server.
#[derive(Serialize, ToSchema)]
pub struct ServerMetadata {
    name: &'static str,
    version: &'static str,
    extensions: [&'static str; 4],
}

/// Description of a model.
#[derive(Serialize, ToSchema)]
pub struct ModelMetadata {
    name: String,
    versions: [&'static str; 1],
    platform: &'static str,
    inputs: Vec<TensorMetadata>,
    outputs: Vec<TensorMetadata>,
}

/// Name, element type and shape of a tensor. -1 is an axis of any size.
#[derive(Serialize, ToSchema)]
pub struct TensorMetadata {
    pub name: String,
    datatype: &'static str,
    shape: Vec<i64>,
}

/// State of a model.
#[derive(Serialize, ToSchema)]
pub struct IndexEntry {
    name: String,
    version: &'static str,
    state: &'static str,
    reason: &'static str,
}

/// Answer of a server that runs.
#[derive(Serialize, ToSchema)]
pub struct Live {
    live: bool,
}

/// Answer of a server that is ready, or of a model.
#[derive(Serialize, ToSchema)]
pub struct Ready {
    /// Name of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    ready: bool,
}

/// Check that the server runs
#[utoipa::path(get, path = "/v2/health/live", tag = "protocol", responses((status = 200, description = "It runs", body = Live), (status = 503, description = "A device is lost; restart the server", body = ErrorBody)))]
pub async fn live(State(server): State<Arc<Server>>) -> Result<Json<Live>, Failure> {
    if server.is_live() { Ok(Json(Live { live: true })) } else { Err(Failure::unavailable("a device is lost")) }
}

/// Check that all models are ready
#[utoipa::path(get, path = "/v2/health/ready", tag = "protocol", responses((status = 200, description = "They are", body = Ready), (status = 503, description = "They are not", body = ErrorBody)))]
pub async fn ready(State(server): State<Arc<Server>>) -> Result<Json<Ready>, Failure> {
    if server.is_ready() { Ok(Json(Ready { name: None, ready: true })) } else { Err(Failure::unavailable("the server is starting or shutting down")) }
}

/// Describe the server
#[utoipa::path(get, path = "/v2", tag = "protocol", responses((status = 200, description = "Name, version and extensions", body = ServerMetadata)))]
pub async fn server() -> Json<ServerMetadata> {
    let extensions = ["binary_tensor_data", "classification", "model_configuration", "statistics"];
    Json(ServerMetadata { name: "vitraux", version: env!("CARGO_PKG_VERSION"), extensions })
}

/// List the models
#[utoipa::path(post, path = "/v2/repository/index", tag = "protocol", responses((status = 200, description = "All models", body = Vec<IndexEntry>)))]
pub async fn index(State(server): State<Arc<Server>>) -> Json<Vec<IndexEntry>> {
    let state = if server.is_ready() { "READY" } else { "UNAVAILABLE" };
    Json(server.models.iter().map(|model| IndexEntry { name: model.name.clone(), version: VERSION, state, reason: "" }).collect())
}

/// Check that a model is ready
#[utoipa::path(get, path = "/ready", tag = "protocol",
    responses((status = 200, description = "It is", body = Ready), (status = 404, description = "No such model", body = ErrorBody), (status = 503, description = "It is not", body = ErrorBody)))]
pub async fn model_ready(Named(served): Named, server: State<Arc<Server>>) -> Result<Json<Ready>, Failure> {
    let Json(ready) = ready(server).await?;
    Ok(Json(Ready { name: Some(served.name.clone()), ..ready }))
}

/// Describe a model
#[utoipa::path(get, path = "", tag = "protocol",
    responses((status = 200, description = "Inputs and outputs", body = ModelMetadata), (status = 404, description = "No such model", body = ErrorBody)))]
pub async fn model(Named(served): Named) -> Json<ModelMetadata> {
    let inputs = vec![TensorMetadata { name: PIXEL_VALUES.to_owned(), datatype: "FP32", shape: batched(&image_shape(served.config())) }];
    Json(ModelMetadata { name: served.name.clone(), versions: [VERSION], platform: PLATFORM, inputs, outputs: default_outputs(&served) })
}

/// Return a model's configuration, as Triton has it
#[utoipa::path(get, path = "/config", tag = "protocol",
    responses((status = 200, description = "Configuration", body = Object), (status = 404, description = "No such model", body = ErrorBody)))]
pub async fn config(Named(served): Named) -> Json<Value> {
    let batching = served.queue.batching();
    let tensor = |name: &str, dims: &[i64]| json!({ "name": name, "data_type": "TYPE_FP32", "dims": dims });
    let outputs: Vec<Value> = default_outputs(&served).iter().map(|output| tensor(&output.name, &output.shape[1..])).collect();
    Json(json!({
        "name": served.name,
        "platform": PLATFORM,
        "backend": "vitraux",
        "max_batch_size": batching.max_batch,
        "input": [tensor(PIXEL_VALUES, &batched(&image_shape(served.config()))[1..])],
        "output": outputs,
        "dynamic_batching": { "preferred_batch_size": [], "max_queue_delay_microseconds": batching.max_wait.as_micros() as u64 },
    }))
}

/// Return statistics of a model, as Triton has them
#[utoipa::path(get, path = "/stats", tag = "protocol",
    responses((status = 200, description = "Statistics", body = Object), (status = 404, description = "No such model", body = ErrorBody)))]
pub async fn statistics(Named(served): Named) -> Json<Value> {
    Json(json!({ "model_stats": [served.statistics.of(&served.name, VERSION)] }))
}

/// Return statistics of all models, as Triton has them
#[utoipa::path(get, path = "/v2/models/stats", tag = "protocol", responses((status = 200, description = "Statistics", body = Object)))]
pub async fn all_statistics(State(server): State<Arc<Server>>) -> Json<Value> {
    let models: Vec<Value> = server.models.iter().map(|served| served.statistics.of(&served.name, VERSION)).collect();
    Json(json!({ "model_stats": models }))
}

/// Returns the outputs of requests that name none: those with a vector per image.
pub fn default_outputs(served: &ServedModel) -> Vec<TensorMetadata> {
    let config = served.config();
    let output = |name: String, width: usize| TensorMetadata { name, datatype: "FP32", shape: batched(&[width]) };
    let classifiers = config.default_classifiers();
    let of_classifiers = ["logits", "probabilities"]
        .into_iter()
        .flat_map(|name| classifiers.iter().map(move |(suffix, classifier)| (name, suffix, classifier.classes)));
    let mut outputs: Vec<TensorMetadata> = of_classifiers.map(|(name, suffix, classes)| output(format!("{name}{suffix}"), classes)).collect();
    outputs.extend(served.vectors.iter().map(|vectors| output(vectors.output().to_owned(), vectors.width())));
    outputs
}

/// Returns `[channels, height, width]` of the images that a model takes.
fn image_shape(config: &Config) -> [usize; 3] {
    let channels = config.patches().map_or(0, |patches| patches.channels);
    let Size::Image([height, width]) = config.native_size() else { return [channels, 0, 0] };
    [channels, height, width]
}

fn batched(shape: &[usize]) -> Vec<i64> {
    std::iter::once(-1).chain(shape.iter().map(|size| *size as i64)).collect()
}

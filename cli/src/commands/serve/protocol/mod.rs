//! Open Inference Protocol, version 2, over HTTP (<https://github.com/kserve/open-inference-protocol>), with the extensions of Triton that its clients use
//! (<https://github.com/triton-inference-server/server/tree/main/docs/protocol>): tensors as bytes, classification, configuration, statistics.

mod infer;
mod metadata;
mod request;
mod tensors;

use super::failure::Failure;
use super::state::Server;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use request::InferRequest;
use std::sync::Arc;
use tensors::Images;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Returns the routes of probes.
pub fn health() -> OpenApiRouter<Arc<Server>> {
    OpenApiRouter::new().routes(routes!(metadata::live)).routes(routes!(metadata::ready))
}

/// Returns all other routes.
pub fn routes() -> OpenApiRouter<Arc<Server>> {
    let of_model = OpenApiRouter::new()
        .routes(routes!(metadata::model))
        .routes(routes!(metadata::model_ready))
        .routes(routes!(metadata::config))
        .routes(routes!(metadata::statistics))
        .routes(routes!(infer::infer));
    OpenApiRouter::new()
        .routes(routes!(metadata::server))
        .routes(routes!(metadata::index))
        .routes(routes!(metadata::all_statistics))
        .nest("/v2/models/{model}", of_model.clone())
        .nest("/v2/models/{model}/versions/{version}", of_model)
}

/// Reads a request for inference and its images, of which it may have so many.
pub fn read(headers: &HeaderMap, body: &Bytes, most: usize) -> Result<(InferRequest, Images), Failure> {
    let (request, elements) = InferRequest::parse(headers, body)?;
    let images = Images::read(&request.inputs, elements, most)?;
    Ok((request, images))
}

/// Reads a request whose JSON has this length, or no bytes behind it. Returns whether it is valid.
pub fn reads(body: &[u8], json_length: Option<usize>) -> bool {
    let length = json_length.map(|length| (HeaderName::from_static(request::JSON_LENGTH), HeaderValue::from(length)));
    read(&HeaderMap::from_iter(length), &Bytes::copy_from_slice(body), 64).is_ok()
}

/// Names of inputs. A request has one of them.
const PIXEL_VALUES: &str = "pixel_values";
const IMAGE: &str = "image";

//! Endpoints that take image files.

use super::failure::{Failure, Refusal};
use super::image_files::image_files;
use super::queue::Row;
use super::served::{Rows, ServedModel};
use super::state::Server;
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use vitraux::{Classification, Prediction, Tensor};

pub fn routes() -> OpenApiRouter<Arc<Server>> {
    OpenApiRouter::new().routes(routes!(classify)).routes(routes!(embed))
}

/// Options of `/classify`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ClassifyOptions {
    /// Name of the model; by default the first that is served.
    model: Option<String>,
    /// Number of classes per image; 5 by default.
    top: Option<usize>,
}

/// Options of `/embed`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EmbedOptions {
    /// Name of the model; by default the first that is served.
    model: Option<String>,
    /// Divide each vector by its Euclidean norm.
    #[serde(default)]
    normalize: bool,
}

/// Answers for the images of a request, in their order.
#[derive(Debug, Serialize, ToSchema)]
struct Answers<T> {
    /// Name of the model.
    model: String,
    images: Vec<Answer<T>>,
}

/// Answer for an image.
#[derive(Debug, Serialize, ToSchema)]
struct Answer<T> {
    /// File name, or number of the image.
    image: String,
    #[serde(flatten)]
    result: Outcome<T>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Outcome<T> {
    Done(T),
    /// Why the image has no answer.
    Failed {
        error: String,
    },
}

/// Classes of an image.
#[derive(Debug, Serialize, ToSchema)]
struct Classes {
    /// Most probable classes of each classifier, in descending order.
    classifications: Vec<HeadClasses>,
}

/// Classes by a classifier.
#[derive(Debug, Serialize, ToSchema)]
struct HeadClasses {
    /// Name of the classifier; the main one of a model has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    head: String,
    top: Vec<Class>,
}

/// A class.
#[derive(Debug, Serialize, ToSchema)]
struct Class {
    index: usize,
    /// Name, if the model has names for its classes.
    label: Option<String>,
    logit: f32,
    /// Softmax of the logits.
    probability: f32,
}

/// Feature vector of an image.
#[derive(Debug, Serialize, ToSchema)]
struct Embedding {
    embedding: Vec<f32>,
}

/// Classify images
///
/// The body is an image file (PNG, JPEG, WebP, BMP, GIF, TIFF, PNM, JPEG XL or HEIC), or a form (multipart/form-data) with several.
/// An image that cannot be read has an `error` instead of a result; the status is 422 if none can be read.
#[utoipa::path(post, path = "/classify", tag = "images", params(ClassifyOptions),
    request_body(content((Vec<u8> = "application/octet-stream"), (Vec<u8> = "multipart/form-data"))),
    responses(
        (status = 200, description = "Classes of each image", body = Answers<Classes>),
        (status = 422, description = "No image can be read", body = Answers<Classes>),
        Refusal))]
async fn classify(State(server): State<Arc<Server>>, options: Options<ClassifyOptions>, request: Request) -> Result<Response, Failure> {
    let Options(options) = options;
    let served = server.model(options.model.as_deref())?;
    let config = served.config();
    let names = Classification::outputs(config);
    if names.is_empty() {
        return Err(Failure::invalid(format!("{} has no classes; use /embed", served.name)));
    }
    let top = options.top.unwrap_or(5);
    let of_row = |row: Row| {
        let classifications = Classification::of(config, &row.outputs, row.index, top).into_iter().map(HeadClasses::from).collect();
        Ok(Classes { classifications })
    };
    answers(&server, &served, request, names, of_row).await
}

/// Compute feature vectors of images
///
/// The body is as for `/classify`.
#[utoipa::path(post, path = "/embed", tag = "images", params(EmbedOptions),
    request_body(content((Vec<u8> = "application/octet-stream"), (Vec<u8> = "multipart/form-data"))),
    responses(
        (status = 200, description = "Vector of each image", body = Answers<Embedding>),
        (status = 422, description = "No image can be read", body = Answers<Embedding>),
        Refusal))]
async fn embed(State(server): State<Arc<Server>>, options: Options<EmbedOptions>, request: Request) -> Result<Response, Failure> {
    let Options(options) = options;
    let served = server.model(options.model.as_deref())?;
    let vectors = served.vectors.as_ref().ok_or_else(|| Failure::invalid(format!("{} has no feature vectors", served.name)))?;
    let vectors = vectors.clone().normalized(options.normalize);
    let output = vectors.output().to_owned();
    let of_row = |row: Row| {
        let values = Tensor::new([1, vectors.width()], row.values(&output).into_owned())
            .and_then(|row| vectors.of(&row))
            .map_err(|error| Failure::of_pass(&error))?;
        Ok(Embedding { embedding: values.values().into_owned() })
    };
    answers(&server, &served, request, vec![output.clone()], of_row).await
}

/// Query parameters, whose errors have the form of all others.
struct Options<T>(T);

impl<T: serde::de::DeserializeOwned, S: Send + Sync> axum::extract::FromRequestParts<S> for Options<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Options<T>, Failure> {
        let Query(options) = Query::from_request_parts(parts, state).await.map_err(|error| Failure::invalid(error.body_text()))?;
        Ok(Options(options))
    }
}

/// Reads the images of a request, runs the model on them and answers for each.
async fn answers<T: Serialize>(
    server: &Server,
    served: &ServedModel,
    request: Request,
    outputs: Vec<String>,
    of_row: impl Fn(Row) -> Result<T, Failure>,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let bytes = server.bodies.read(&parts.headers, body).await?;
    let files = image_files(parts, bytes.clone(), served.queue.places()).await?;
    let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
    let admission = served.admit(files.len())?;
    let prepared = served.prepare(&admission, files, |preparation, (name, bytes)| preparation.decode(&name, &bytes)).await?;
    // Files are copies of its parts, which count until they are decoded.
    drop(bytes);
    let Rows { rows, share } = served.compute(admission, prepared, outputs).await?;
    // A failure of the server, rather than of an image, is that of the request.
    let is_of_image = |failure: &Failure| failure.status == StatusCode::UNPROCESSABLE_ENTITY;
    let mut images = Vec::with_capacity(names.len());
    let mut is_any_done = false;
    for (image, row) in names.into_iter().zip(rows) {
        let result = match row.and_then(&of_row) {
            Ok(done) => {
                is_any_done = true;
                Outcome::Done(done)
            }
            Err(failure) if is_of_image(&failure) => Outcome::Failed { error: failure.message },
            Err(failure) => return Err(failure),
        };
        images.push(Answer { image, result });
    }
    let status = if is_any_done { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let answers = Answers { model: served.name.clone(), images };
    let json = serde_json::to_vec(&answers).expect("numbers and strings");
    Ok((status, [(header::CONTENT_TYPE, "application/json")], share.hold(json)).into_response())
}

impl From<Classification> for HeadClasses {
    fn from(Classification { head, top, .. }: Classification) -> HeadClasses {
        HeadClasses { head, top: top.into_iter().map(Class::from).collect() }
    }
}

impl From<Prediction> for Class {
    fn from(Prediction { index, label, logit, probability, .. }: Prediction) -> Class {
        Class { index, label, logit, probability }
    }
}

//! What requests share, and how they are answered.

use super::auth::Token;
use super::body::Bodies;
use super::failure::Failure;
use super::metrics::Metrics;
use super::served::Served;
use super::{images, page, protocol};
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What requests share.
pub struct Server {
    pub models: Vec<Arc<Served>>,
    pub bodies: Bodies,
    pub metrics: Metrics,
    pub token: Option<Token>,
    /// Models that have not compiled their first passes yet.
    pub cold: AtomicUsize,
    /// Whether the server was told to end.
    pub is_ending: AtomicBool,
    /// Whether a device is lost.
    pub is_lost: AtomicBool,
}

impl Server {
    /// Returns the model of a name; without one, the first.
    pub fn model(&self, name: Option<&str>) -> Result<Arc<Served>, Failure> {
        let Some(name) = name else { return Ok(self.models[0].clone()) };
        self.models.iter().find(|model| model.name == name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
            Failure::new(StatusCode::NOT_FOUND, format!("expected one of the models {known:?}, found {name:?}"))
        })
    }

    /// Returns whether requests can be served.
    pub fn is_ready(&self) -> bool {
        self.is_live() && self.cold.load(Ordering::Acquire) == 0 && !self.is_ending.load(Ordering::Acquire)
    }

    /// Returns whether the server works, or will.
    pub fn is_live(&self) -> bool {
        !self.is_lost.load(Ordering::Acquire)
    }
}

/// The model that a path names, with its version if it has one.
pub struct Named(pub Arc<Served>);

/// The only version of each model.
pub const VERSION: &str = "1";

impl FromRequestParts<Arc<Server>> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Named, Failure> {
        let parameters = RawPathParams::from_request_parts(parts, server).await.map_err(|error| Failure::invalid(error.to_string()))?;
        let parameter = |wanted| parameters.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let model = server.model(parameter("model"))?;
        match parameter("version") {
            None | Some(VERSION) => Ok(Named(model)),
            Some(other) => Err(Failure::new(StatusCode::NOT_FOUND, format!("expected version {VERSION} of {}, found {other:?}", model.name))),
        }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "vitraux", description = "Vision Transformers over HTTP: images in, classes or feature vectors out; also the Open Inference Protocol."),
    tags((name = "images", description = "Images as files"), (name = "protocol", description = "Open Inference Protocol, version 2"), (name = "server"))
)]
struct Api;

/// Returns all routes and their description.
fn routes() -> OpenApiRouter<Arc<Server>> {
    let open = OpenApiRouter::with_openapi(Api::openapi()).merge(protocol::health());
    let protected = OpenApiRouter::new().merge(images::routes()).merge(protocol::routes()).routes(routes!(metrics));
    open.merge(protected)
}

/// Parameters of paths, with their meanings.
const PARAMETERS: [(&str, &str); 2] = [("model", "Name of the model"), ("version", "Version of the model: 1")];

fn parameter((name, description): &(&str, &str)) -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    ParameterBuilder::new()
        .name(*name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(*description))
        .schema(Some(text))
        .build()
}

/// Returns the service.
pub fn router(server: Arc<Server>) -> Router {
    let (router, mut description) = routes().split_for_parts();
    for (path, item) in &mut description.paths.paths {
        let parameters = PARAMETERS.iter().filter(|(name, _)| path.contains(&format!("{{{name}}}")));
        item.parameters = Some(parameters.map(|entry| parameter(entry).into()).collect());
        // Each operation has a name of its own.
        for operation in [&mut item.get, &mut item.post].into_iter().flatten().filter(|_| path.contains("{version}")) {
            operation.operation_id = operation.operation_id.take().map(|name| format!("{name}_of_version"));
        }
    }
    if server.token.is_some() {
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        description.security = Some(vec![utoipa::openapi::SecurityRequirement::new("token", Vec::<String>::new())]);
    }
    let description = description.to_json().expect("a description is JSON");
    let description = get(async move || ([(header::CONTENT_TYPE, "application/json")], description));
    router
        .route("/openapi.json", description)
        .merge(page::routes())
        .fallback(async || Failure::new(StatusCode::NOT_FOUND, "no such path; /openapi.json describes all"))
        .method_not_allowed_fallback(async || Failure::new(StatusCode::METHOD_NOT_ALLOWED, "the path takes another method; see /openapi.json"))
        // Bodies are limited where they are read.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(server.clone(), authorize))
        .layer(CatchPanicLayer::custom(|_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "an internal error; please report it").into_response()))
        .layer(from_fn_with_state(server.clone(), observe))
        .with_state(server)
}

/// Paths that tell nothing about models, and that a page or a probe must reach before it has a token.
const OPEN: [&str; 6] = ["/", "/page.css", "/page.js", "/openapi.json", "/v2/health/live", "/v2/health/ready"];

async fn authorize(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    if let Some(token) = server.token.as_ref().filter(|_| !OPEN.contains(&request.uri().path()))
        && let Err(failure) = token.check(request.headers())
    {
        return failure.into_response();
    }
    next.run(request).await
}

/// Counts and logs a request.
async fn observe(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let (status, seconds) = (response.status().as_u16(), start.elapsed().as_secs_f64());
    server.metrics.count(&route, status, seconds);
    let milliseconds = (seconds * 1e6).round() / 1e3;
    tracing::info!(%method, route, status, milliseconds, "request");
    response
}

/// Metrics for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "server", responses((status = 200, description = "Metrics in OpenMetrics' text format", content_type = "application/openmetrics-text", body = String)))]
async fn metrics(State(server): State<Arc<Server>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], server.metrics.text())
}

//! Routes to handlers, and what is done for all requests: tokens, counts and logs.

use super::body::Drained;
use super::description::describe;
use super::failure::Failure;
use super::state::Server;
use super::{images, page, protocol};
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::decompression::RequestDecompressionLayer;
use utoipa_axum::routes;

/// Time after which a rejected client is told so. Clients that try again at once would otherwise take the processor's time from the requests that were
/// admitted.
const REJECTION_TIME: Duration = Duration::from_millis(100);

/// Bytes from which on an answer is compressed for clients that accept that.
const SMALLEST_TO_COMPRESS: u64 = 4 << 10;

/// Returns the service.
pub fn router(server: Arc<Server>) -> Router {
    // Paths that tell nothing about models, and that a page or a probe must reach before it has a token.
    let (open, of_open) = protocol::health().split_for_parts();
    let (protected, of_protected) = images::routes().merge(protocol::routes()).routes(routes!(metrics)).split_for_parts();
    let description = describe([of_open, of_protected], server.token.is_some());
    let description = get(async move || ([(header::CONTENT_TYPE, "application/json")], description));
    let open = open.route("/openapi.json", description).merge(page::routes());
    let not_found = async || Failure::new(StatusCode::NOT_FOUND, "no such path; /openapi.json describes all");
    protected
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // An encoding that is not known is refused where the body is read.
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .layer(from_fn_with_state(server.clone(), authorize))
        .layer(CompressionLayer::new().compress_when(SizeAbove::new(SMALLEST_TO_COMPRESS)))
        .merge(open.method_not_allowed_fallback(method_not_allowed))
        // Bodies are limited where they are read.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(|_| Failure::internal().into_response()))
        .layer(from_fn_with_state(server.clone(), observe))
        .with_state(server)
}

async fn method_not_allowed() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "the path takes another method; see /openapi.json")
}

async fn authorize(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    match server.token.as_ref().map(|token| token.check(request.headers())) {
        Some(Err(failure)) => failure.into_response(),
        _ => next.run(request).await,
    }
}

/// Counts and logs a request.
async fn observe(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let mut response = next.run(Drained::of(request)).await;
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        sleep(REJECTION_TIME).await;
    }
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

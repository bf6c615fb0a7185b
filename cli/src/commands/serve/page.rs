//! The page at `/`.

use super::state::Server;
use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use std::sync::Arc;

/// Content security policy: the page may run its own script and talk to its own server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/", get(async || of_type("text/html; charset=utf-8", include_str!("page/index.html"))))
        .route("/page.css", get(async || of_type("text/css; charset=utf-8", include_str!("page/page.css"))))
        .route("/page.js", get(async || of_type("text/javascript; charset=utf-8", include_str!("page/page.js"))))
}

fn of_type(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type), (header::CONTENT_SECURITY_POLICY, POLICY)], text)
}

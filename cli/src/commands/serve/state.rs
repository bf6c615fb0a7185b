//! State that requests share.

use super::auth::Token;
use super::body::Bodies;
use super::failure::Failure;
use super::metrics::Metrics;
use super::served::ServedModel;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::StatusCode;
use axum::http::request::Parts;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// State that requests share.
pub struct Server {
    pub models: Vec<Arc<ServedModel>>,
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
    pub fn model(&self, name: Option<&str>) -> Result<Arc<ServedModel>, Failure> {
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
pub struct Named(pub Arc<ServedModel>);

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

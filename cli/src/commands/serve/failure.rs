//! Answers to requests that cannot be served.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// An error's status and message.
#[derive(Clone, Debug)]
pub struct Failure {
    pub status: StatusCode,
    pub message: String,
    /// Seconds after which the client may try again.
    retry_after: Option<u64>,
}

/// Body of an error, as the Open Inference Protocol has it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What was expected, and what was found.
    error: String,
}

impl Failure {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into(), retry_after: None }
    }

    pub fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, message)
    }

    /// More is asked for than can be queued.
    pub fn busy(message: impl Into<String>, seconds: u64) -> Failure {
        Failure { retry_after: Some(seconds), ..Failure::new(StatusCode::TOO_MANY_REQUESTS, message) }
    }

    /// The server cannot compute at the moment.
    pub fn unavailable(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// Failure of a forward pass.
    pub fn of_pass(error: &vitraux::Error) -> Failure {
        let message = format!("{error:?}");
        match error {
            vitraux::Error::Argument { .. } | vitraux::Error::Limit { .. } | vitraux::Error::Tensor { .. } => Failure::invalid(message),
            vitraux::Error::OutOfMemory { .. } | vitraux::Error::DeviceLost { .. } => Failure::unavailable(message),
            _ => Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ErrorBody { error: self.message })).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

//! Answers to requests that cannot be served.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

/// Bytes of a name in a request, at most.
const LONGEST_NAME: usize = 1024;

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
    /// Message: the expectation and the finding.
    error: String,
}

impl Failure {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into(), retry_after: None }
    }

    pub fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, message)
    }

    /// The server has no room for the request.
    pub fn busy(message: impl Into<String>, seconds: u64) -> Failure {
        Failure { retry_after: Some(seconds), ..Failure::new(StatusCode::TOO_MANY_REQUESTS, message) }
    }

    /// A request has more images than it may have.
    pub fn too_many_images(most: usize) -> Failure {
        Failure::invalid(format!("expected at most {most} images per request, found more; send several requests"))
    }

    /// Refuses a name that is too long to be sent back.
    pub fn check_name(name: &str) -> Result<(), Failure> {
        match name.len() <= LONGEST_NAME {
            true => Ok(()),
            false => Err(Failure::invalid(format!("expected names of at most {LONGEST_NAME} bytes, found one of {}", name.len()))),
        }
    }

    /// A defect of the server.
    pub fn internal() -> Failure {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "an internal error; please report it")
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

/// Bytes of a message, at most: requests may have names of any length in them.
const LONGEST_MESSAGE: usize = 2048;

impl IntoResponse for Failure {
    fn into_response(mut self) -> Response {
        let end = (0..=LONGEST_MESSAGE.min(self.message.len())).rev().find(|end| self.message.is_char_boundary(*end));
        self.message.truncate(end.unwrap_or(0));
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

/// Refusals of requests with images, for the description of the API.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers, which `Failure` makes")]
pub enum Refusal {
    /// Request that cannot be served
    #[response(status = 400)]
    Invalid(ErrorBody),
    /// No such model
    #[response(status = 404)]
    NoModel(ErrorBody),
    /// Body beyond the limit
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// Compressed in a way that is not known
    #[response(status = 415)]
    UnknownEncoding(ErrorBody),
    /// Full queue or memory; try again after the seconds in Retry-After
    #[response(status = 429)]
    Busy(ErrorBody),
}

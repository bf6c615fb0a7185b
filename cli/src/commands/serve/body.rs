//! Bodies of requests, within limits of size, time and memory.

use super::failure::Failure;
use super::memory::Memory;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Time for which the rest of a refused body is read and dropped.
const DISCARD_TIME: Duration = Duration::from_secs(10);

/// Time for which it may pause.
const PAUSE: Duration = Duration::from_secs(1);

/// Limits of bodies.
pub struct Bodies {
    /// Bytes of a body.
    pub largest: usize,
    /// Time in which a body must arrive.
    pub time: Duration,
    pub memory: Arc<Memory>,
}

impl Bodies {
    /// Reads a body, which keeps its share of the memory.
    ///
    /// # Errors
    /// If it is too large, too slow, incomplete or compressed in a way that is not known, or if others take all memory.
    pub async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Failure> {
        // Encodings that are known have been decoded.
        if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("Content-Encoding: expected gzip or deflate, found {encoding:?}")));
        }
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.largest as u64) {
            return Err(self.too_large());
        }
        match timeout(self.time, self.collect(body)).await {
            Ok(bytes) => bytes,
            Err(_) => Err(Failure::new(StatusCode::REQUEST_TIMEOUT, format!("the body did not arrive within {} s", self.time.as_secs()))),
        }
    }

    async fn collect(&self, mut body: Body) -> Result<Bytes, Failure> {
        let mut bytes = BytesMut::new();
        let mut share = self.memory.take(0)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::invalid(format!("the body could not be read: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > self.largest {
                return Err(self.too_large());
            }
            bytes.extend_from_slice(&data);
            share.grow(bytes.capacity().min(self.largest))?;
        }
        Ok(share.hold(bytes))
    }

    fn too_large(&self) -> Failure {
        let limit = self.largest >> 20;
        Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("expected a body of at most {limit} MiB; send fewer or smaller images, or raise --max-body"),
        )
    }
}

/// A body whose rest is read when it is dropped: most clients see an answer only when they have sent everything, and closing the
/// connection earlier may lose the answer.
pub struct Drained {
    body: Body,
    /// Whether the client sends the body only if it is asked to, which the first read does.
    waits: bool,
}

impl Drained {
    /// Wraps the body of a request.
    pub fn of(request: Request<Body>) -> Request<Body> {
        let waits = request.headers().contains_key(header::EXPECT);
        request.map(|body| if body.is_end_stream() { body } else { Body::new(Drained { body, waits }) })
    }
}

impl HttpBody for Drained {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.waits = false;
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if self.waits || self.body.is_end_stream() {
            return;
        }
        // There is none when the server ends.
        let Ok(runtime) = Handle::try_current() else { return };
        let mut rest = std::mem::take(&mut self.body);
        // A body that takes longer is cut off.
        runtime.spawn(timeout(DISCARD_TIME, async move { while let Ok(Some(Ok(_))) = timeout(PAUSE, rest.frame()).await {} }));
    }
}

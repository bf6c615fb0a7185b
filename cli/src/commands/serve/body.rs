//! Bodies of requests, within limits of size, time and memory.

use super::failure::Failure;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::BytesMut;
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bodies of the largest size that may be in memory at a time.
const LARGEST_AT_A_TIME: usize = 8;

/// Bytes of a unit of the memory that bodies share.
const UNIT: usize = 1 << 10;

/// Time for which the rest of a refused body is read and dropped: most clients see an answer only when they have sent everything.
const DISCARD_TIME: Duration = Duration::from_secs(10);

/// Limits of bodies.
pub struct Bodies {
    /// Bytes of a body.
    largest: usize,
    /// Time in which a body must arrive.
    time: Duration,
    /// Units of memory that are free.
    memory: Arc<Semaphore>,
}

/// A body, with its share of the memory.
pub struct Held {
    pub bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    pub fn new(largest: usize, time: Duration) -> Bodies {
        Bodies { largest, time, memory: Arc::new(Semaphore::new(LARGEST_AT_A_TIME * largest.div_ceil(UNIT))) }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// If it is too large, too slow or incomplete, or if others take all memory.
    pub async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Held, Failure> {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.largest as u64) {
            // A client that asks first sends nothing.
            if !headers.contains_key(header::EXPECT) {
                tokio::spawn(discard(body));
            }
            return Err(self.too_large());
        }
        match timeout(self.time, self.collect(body)).await {
            Ok(held) => held,
            Err(_) => Err(Failure::new(StatusCode::REQUEST_TIMEOUT, format!("the body did not arrive within {} s", self.time.as_secs()))),
        }
    }

    async fn collect(&self, mut body: Body) -> Result<Held, Failure> {
        let mut bytes = BytesMut::new();
        let mut memory: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::invalid(format!("the body could not be read: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > self.largest {
                tokio::spawn(discard(body));
                return Err(self.too_large());
            }
            bytes.extend_from_slice(&data);
            let held = memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let more = bytes.len().div_ceil(UNIT).saturating_sub(held);
            if more > 0 {
                let Ok(more) = self.memory.clone().try_acquire_many_owned(u32::try_from(more).unwrap_or(u32::MAX)) else {
                    tokio::spawn(discard(body));
                    return Err(Failure::busy("the bodies of other requests take all memory that is set aside for them", 1));
                };
                match &mut memory {
                    Some(memory) => memory.merge(more),
                    None => memory = Some(more),
                }
            }
        }
        Ok(Held { bytes: bytes.freeze(), _memory: memory })
    }

    fn too_large(&self) -> Failure {
        let limit = self.largest >> 20;
        Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("expected a body of at most {limit} MiB; send fewer or smaller images, or raise --max-body"),
        )
    }
}

async fn discard(mut body: Body) {
    // A body that takes longer is cut off.
    let _ = timeout(DISCARD_TIME, async { while let Some(Ok(_)) = body.frame().await {} }).await;
}

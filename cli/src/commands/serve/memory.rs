//! Memory that bodies and outputs of requests share.

use super::failure::Failure;
use axum::body::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that are counted as one.
const UNIT: usize = 1 << 10;

/// Memory that bodies and outputs of requests share.
pub struct Memory(Arc<Semaphore>);

/// Part of the memory, which is free again when it is dropped.
pub struct Share(OwnedSemaphorePermit);

impl Memory {
    pub fn new(bytes: usize) -> Memory {
        Memory(Arc::new(Semaphore::new(bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// Takes a share.
    ///
    /// # Errors
    /// If other requests have so much that there is not enough.
    pub fn take(&self, bytes: usize) -> Result<Share, Failure> {
        take(&self.0, bytes.div_ceil(UNIT)).map(Share)
    }
}

impl Share {
    /// Makes the share at least so large.
    ///
    /// # Errors
    /// As [`Memory::take`].
    pub fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        let more = bytes.div_ceil(UNIT).saturating_sub(self.0.num_permits());
        self.0.merge(take(self.0.semaphore(), more)?);
        Ok(())
    }

    /// Returns bytes that keep the share until the last reference to them is dropped, such as that of a connection.
    pub fn hold(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Held { bytes, _share: self })
    }
}

struct Held<B> {
    bytes: B,
    _share: Share,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Held<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

fn take(memory: &Arc<Semaphore>, units: usize) -> Result<OwnedSemaphorePermit, Failure> {
    let units = u32::try_from(units).unwrap_or(u32::MAX);
    let busy = |_| Failure::busy("other requests take all memory that is set aside for bodies and outputs", 1);
    memory.clone().try_acquire_many_owned(units).map_err(busy)
}

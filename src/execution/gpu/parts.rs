//! Whatever a file makes once for each device, such as pipelines: the device keeps it, and does not know what it is.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(not(target_arch = "wasm32"))]
type Part = dyn Any + Send + Sync;
/// There is one thread, and wgpu's types stay in it.
#[cfg(target_arch = "wasm32")]
type Part = dyn Any;

/// One value of each type, behind an `Arc`.
#[derive(Debug, Default)]
pub(super) struct Parts(Mutex<HashMap<TypeId, Box<Part>>>);

macro_rules! get {
    ($($bounds:tt)*) => {
        /// The value of a type, made at its first use. Two threads that are first make it twice, and one of both is kept.
        pub fn get<T: $($bounds)*>(&self, make: impl FnOnce() -> T) -> Arc<T> {
            if let Some(known) = self.known() {
                return known;
            }
            // Without the lock: what is made may use other parts.
            let made: Box<Part> = Box::new(Arc::new(make()));
            self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(TypeId::of::<T>()).or_insert(made);
            self.known().expect("just inserted")
        }

        fn known<T: $($bounds)*>(&self) -> Option<Arc<T>> {
            let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let part = parts.get(&TypeId::of::<T>())?.downcast_ref::<Arc<T>>();
            Some(part.expect("it is kept by its type").clone())
        }
    };
}

impl Parts {
    #[cfg(not(target_arch = "wasm32"))]
    get!(Any + Send + Sync);
    #[cfg(target_arch = "wasm32")]
    get!(Any);
}

//! Values that other files create once per device, such as pipelines. The device keeps them without knowing their types.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(not(target_arch = "wasm32"))]
type Part = dyn Any + Send + Sync;
/// There is only one thread, and wgpu's types stay on it.
#[cfg(target_arch = "wasm32")]
type Part = dyn Any;

/// One value per type, each in an `Arc`.
#[derive(Debug, Default)]
pub(super) struct Parts(Mutex<HashMap<TypeId, Box<Part>>>);

macro_rules! get {
    ($($bounds:tt)*) => {
        /// Returns the value of a type, created on first use. If two threads race, both create one and the first is kept.
        pub fn get<T: $($bounds)*>(&self, make: impl FnOnce() -> T) -> Arc<T> {
            if let Some(known) = self.known() {
                return known;
            }
            // Not under the lock: `make` may use other parts.
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

//! Results of dense heads at the size of the image, as in transformers: [`depth_at`] and [`classes_at`].

pub use crate::execution::image::{classes_at, depth_at};

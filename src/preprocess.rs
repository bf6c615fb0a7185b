//! Preprocessing of images into `pixel_values`, as in timm and transformers: [`Preprocess`], which a checkpoint supplies.

pub use crate::execution::image::{Alpha, Crop, CropRounding, Filter, Levels, Preprocess, Resize};

//! How images become `pixel_values`, as timm and transformers do it: [`Preprocess`], which a checkpoint brings along.

pub use crate::execution::image::{Alpha, Crop, CropRounding, Filter, Levels, Preprocess, Resize};

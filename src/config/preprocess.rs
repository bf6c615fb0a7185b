//! How pictures are made ready for a model, as plain data.

/// How a decoded picture becomes `pixel_values`: resize, crop, scale, normalise.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Channels of the result: 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// What becomes of transparency.
    pub alpha: Alpha,
    /// The resize, if any.
    pub resize: Resize,
    /// What the resize works on.
    pub resizes: Levels,
    /// The resize's filter.
    pub filter: Filter,
    /// The crop or padding to the final size, if any.
    pub crop: Option<Crop>,
    /// Factor on the 8-bit values.
    pub scale: f64,
    /// What is subtracted from the scaled values, for each channel.
    pub mean: Vec<f32>,
    /// What the result is divided by, for each channel.
    pub std: Vec<f32>,
    /// Whether no file says so, and this is what the library does with such models by default.
    pub assumed: bool,
}

/// What becomes of a picture's transparency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpha {
    /// It is dropped: what is transparent shows the colour that it has nevertheless.
    Dropped,
    /// The picture is laid on white (transformers, where a processor has `do_convert_rgb`).
    OnWhite,
}

/// What a resize works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    /// 8-bit levels, rounded to such after each pass, as Pillow does it.
    Rounded,
    /// Scaled values, not rounded (DINOv3's processor, by torch).
    Scaled,
}

/// The size a picture is resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// It keeps its size.
    Keep,
    /// Height and width, whatever the picture's shape.
    Exact([usize; 2]),
    /// The shorter edge; the longer follows, rounded down (torchvision's `Resize(int)`).
    ShortestEdge(usize),
    /// The smallest size of the picture's shape that covers height × width (timm's `ResizeKeepRatio`).
    Cover([usize; 2]),
    /// The largest size of the picture's shape within height × width.
    Fit([usize; 2]),
}

/// A window of the final size in the middle; what lies outside the picture is filled.
#[derive(Clone, Debug, PartialEq)]
pub struct Crop {
    /// Height and width.
    pub size: [usize; 2],
    /// How half a pixel is rounded.
    pub rounding: CropRounding,
    /// The value outside the picture, for each of R, G and B.
    pub fill: [u8; 3],
}

/// How crop offsets are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CropRounding {
    /// Python's `round((size - crop) / 2)`: half to even (torchvision, timm).
    HalfEven,
    /// `(size - crop) // 2` (transformers).
    Down,
}

/// Resampling filters, as Pillow defines them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// Average over the box.
    Box,
    /// Triangle.
    Bilinear,
    /// Hamming-windowed sinc of width 1.
    Hamming,
    /// Cubic with coefficient -0.5.
    Bicubic,
    /// Sinc windowed by sinc, three lobes.
    Lanczos,
}

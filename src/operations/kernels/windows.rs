//! Sliding windows over an image axis.

/// Placement of windows along an axis.
#[derive(Debug, PartialEq, Eq)]
pub struct Windows {
    /// Number of windows.
    pub count: usize,
    /// Padding before the image, in pixels.
    pub before: usize,
}

impl Windows {
    /// TensorFlow's `SAME` padding: ceil(length / stride) windows, with the smaller half of the padding in front.
    pub fn same(length: usize, window: usize, stride: usize) -> Windows {
        let count = length.div_ceil(stride);
        let padding = ((count - 1) * stride + window).saturating_sub(length);
        Windows { count, before: padding / 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_matches_tensorflow() {
        assert_eq!(Windows::same(224, 7, 2), Windows { count: 112, before: 2 });
        assert_eq!(Windows::same(225, 7, 2), Windows { count: 113, before: 3 });
        assert_eq!(Windows::same(112, 3, 2), Windows { count: 56, before: 0 });
        assert_eq!(Windows::same(7, 3, 1), Windows { count: 7, before: 1 });
        assert_eq!(Windows::same(7, 1, 2), Windows { count: 4, before: 0 });
    }
}

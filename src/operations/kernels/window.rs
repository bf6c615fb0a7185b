//! Sliding windows over an image axis.

/// Placement of windows along an axis.
#[derive(Debug, PartialEq, Eq)]
pub struct Window {
    /// Number of windows.
    pub count: usize,
    /// Padding before the image, in pixels.
    pub before: usize,
}

impl Window {
    /// TensorFlow's `SAME` padding: ceil(length / stride) windows, with the smaller half of the padding in front.
    pub fn same(length: usize, window: usize, stride: usize) -> Window {
        let count = length.div_ceil(stride);
        let padding = ((count - 1) * stride + window).saturating_sub(length);
        Window { count, before: padding / 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_that_of_tensorflow() {
        assert_eq!(Window::same(224, 7, 2), Window { count: 112, before: 2 });
        assert_eq!(Window::same(225, 7, 2), Window { count: 113, before: 3 });
        assert_eq!(Window::same(112, 3, 2), Window { count: 56, before: 0 });
        assert_eq!(Window::same(7, 3, 1), Window { count: 7, before: 1 });
        assert_eq!(Window::same(7, 1, 2), Window { count: 4, before: 0 });
    }
}

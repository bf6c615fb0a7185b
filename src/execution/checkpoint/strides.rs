//! Tensors whose elements lie at regular distances, such as transposed ones.

/// Distances between the elements along each axis.
pub struct Strides {
    /// Elements from one to the next, for each axis.
    pub elements: Vec<usize>,
    /// Bytes of an element.
    pub bytes: usize,
}

impl Strides {
    /// Returns the elements of a tensor of this shape in row-major order. `from` starts with the first of them.
    pub fn gathered(&self, shape: &[usize], from: &[u8]) -> Vec<u8> {
        let count: usize = shape.iter().product();
        let mut gathered = Vec::with_capacity(count * self.bytes);
        for i in 0..count {
            let (mut rest, mut place) = (i, 0);
            for (size, stride) in shape.iter().zip(&self.elements).rev() {
                place += rest % size * stride;
                rest /= size;
            }
            gathered.extend_from_slice(&from[place * self.bytes..][..self.bytes]);
        }
        gathered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strided_elements_are_gathered_in_row_major_order() {
        let bytes: Vec<u8> = (0..12).collect();
        let gathered =
            |shape: &[usize], strides: &[usize], bytes_each: usize| Strides { elements: strides.to_vec(), bytes: bytes_each }.gathered(shape, &bytes);
        assert_eq!(gathered(&[3, 2], &[1, 3], 2), [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]);
        assert_eq!(gathered(&[2, 1, 2], &[4, usize::MAX, 2], 1), [0, 2, 4, 6]);
        assert_eq!(gathered(&[2, 2], &[0, 1], 1), [0, 1, 0, 1]);
        assert_eq!(gathered(&[], &[], 4), [0, 1, 2, 3]);
    }
}

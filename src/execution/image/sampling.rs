//! Sampling of images of one size to pixel values, pixel by pixel, as plain data.

/// Taps of the pixels along one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    /// For each pixel, its first neighbour and the bits of the weights from that neighbour on: i32 with 22 fraction bits if levels
    /// are rounded, else f32.
    pub pixels: Vec<(u32, Vec<u32>)>,
}

/// Sampling of images of one size to pixel values.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Height and width of the images.
    pub image: [usize; 2],
    /// Height and width of the result.
    pub size: [usize; 2],
    /// Row and column of the result where the visible part of the resized image begins.
    pub offset: [usize; 2],
    /// Taps of that part's rows.
    pub rows: Taps,
    /// Taps of that part's columns.
    pub columns: Taps,
}

impl Taps {
    /// Returns the range of all neighbours.
    pub fn range(&self) -> std::ops::Range<u32> {
        let start = self.pixels.iter().map(|(first, _)| *first).min().unwrap_or(0);
        let end = self.pixels.iter().map(|(first, weights)| first + weights.len() as u32).max().unwrap_or(0);
        start..end
    }

    /// Returns the layout that the shaders read: for each pixel its first neighbour and the offset of its weights, then an entry with the
    /// end of the last weights, then the weights.
    pub fn words(&self) -> Vec<u32> {
        let mut header = Vec::new();
        let mut weights: Vec<u32> = Vec::new();
        let begin = 2 * (self.pixels.len() as u32 + 1);
        for (first, own) in &self.pixels {
            header.extend([*first, begin + weights.len() as u32]);
            weights.extend(own);
        }
        header.extend([0, begin + weights.len() as u32]);
        header.extend(weights);
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_serialise_as_header_then_weights() {
        let taps = Taps { pixels: vec![(3, vec![7, 8]), (5, vec![9])] };
        assert_eq!(taps.words(), [3, 6, 5, 8, 0, 9, 7, 8, 9]);
        assert_eq!(taps.range(), 3..6);
    }
}

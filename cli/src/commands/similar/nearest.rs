//! Search for the most similar vectors.

use super::index::Index;
use nalgebra::DMatrixView;
use rayon::prelude::*;

/// Vectors per block of products. Two blocks stay in a core's cache.
const BLOCK: usize = 256;

/// Maximum difference between products in f32 and in f64. Vectors have unit length, so it is a few rounding errors.
const ROUNDINGS: f64 = 1e-5;

/// Similar image of a ranking, or pair of similar images.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Cosine of the angle.
    pub similarity: f64,
    /// Positions in the index: one for a ranking, two for a pair.
    pub images: Vec<usize>,
}

/// Best of all matches seen.
#[derive(Clone, Debug)]
pub struct Best {
    most: usize,
    kept: Vec<Match>,
    seen: usize,
}

impl Best {
    fn new(most: usize) -> Best {
        Best { most, kept: Vec::new(), seen: 0 }
    }

    fn add(&mut self, found: Match) {
        self.seen += 1;
        self.kept.push(found);
        if self.kept.len() >= 2 * self.most {
            self.cut();
        }
    }

    fn cut(&mut self) {
        // Ties keep the order of the images.
        self.kept.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then_with(|| a.images.cmp(&b.images)));
        self.kept.truncate(self.most);
    }

    fn joined(mut self, other: Best) -> Best {
        self.seen += other.seen;
        self.kept.extend(other.kept);
        self.cut();
        self
    }

    /// Returns the best matches, most similar first.
    pub fn ordered(&self) -> Vec<Match> {
        let mut best = self.clone();
        best.cut();
        best.kept
    }

    /// Returns the number of matches left out.
    pub fn left_out(&self) -> usize {
        self.seen.saturating_sub(self.most)
    }
}

/// Ranks images by similarity to a query vector.
pub fn ranking(index: &Index, query: &[f32], places: &[usize], above: f64, most: usize) -> Best {
    let mut best = Best::new(most);
    for &place in places {
        let similarity = cosine(query, index.vector(place));
        if similarity >= above {
            best.add(Match { similarity, images: vec![place] });
        }
    }
    best
}

/// Finds pairs of similar images.
pub fn pairs(index: &Index, places: &[usize], above: f64, most: usize) -> Best {
    let gathered: Vec<f32> = places.iter().flat_map(|place| index.vector(*place)).copied().collect();
    let width = gathered.len() / places.len().max(1);
    let blocks: Vec<&[f32]> = gathered.chunks((BLOCK * width).max(1)).collect();
    let below = |i: usize| {
        let mut best = Best::new(most);
        let left = DMatrixView::from_slice(blocks[i], width, blocks[i].len() / width).transpose();
        for (j, block) in blocks.iter().enumerate().skip(i) {
            let products = &left * DMatrixView::from_slice(block, width, block.len() / width);
            for (column, row) in (0..products.ncols()).flat_map(|column| (0..products.nrows()).map(move |row| (column, row))) {
                let (a, b) = (i * BLOCK + row, j * BLOCK + column);
                if a < b && f64::from(products[(row, column)]) >= above - ROUNDINGS {
                    let similarity = cosine(index.vector(places[a]), index.vector(places[b]));
                    if similarity >= above {
                        best.add(Match { similarity, images: vec![places[a], places[b]] });
                    }
                }
            }
        }
        best
    };
    (0..blocks.len()).into_par_iter().map(below).reduce(|| Best::new(most), Best::joined)
}

/// Returns the cosine of the angle between two vectors, to the digits that f32 has. Their lengths are 1 but for rounding, by which equal ones would differ from 1.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = (product(a, a) * product(b, b)).sqrt();
    if lengths > 0.0 { (product(a, b) / lengths * 1e7).round() / 1e7 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_vectors_have_a_similarity_of_one() {
        for seed in 1..20 {
            let vector: Vec<f32> = (0..37).map(|i| (i as f32 * 0.7 * seed as f32).sin()).collect();
            let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            let unit: Vec<f32> = vector.iter().map(|value| value / length).collect();
            assert_eq!(cosine(&unit, &unit), 1.0);
        }
    }

    #[test]
    fn best_keeps_top_matches_and_counts_the_rest() {
        let mut best = Best::new(3);
        for (place, similarity) in [0.1, 0.9, 0.5, 0.9, 0.3, 0.7, -1.0].into_iter().enumerate() {
            best.add(Match { similarity, images: vec![place] });
        }
        let order: Vec<usize> = best.ordered().iter().map(|found| found.images[0]).collect();
        assert_eq!((order, best.left_out()), (vec![1, 3, 5], 4));
        let mut other = Best::new(3);
        other.add(Match { similarity: 0.8, images: vec![9] });
        let joined = best.joined(other);
        let order: Vec<usize> = joined.ordered().iter().map(|found| found.images[0]).collect();
        assert_eq!((order, joined.left_out()), (vec![1, 3, 9], 5));
    }
}

//! Regularised least squares in closed form, with targets of 1 for the image's class and -1 for the others: the few-shot protocol of the ViT paper
//! (Dosovitskiy et al. 2021, section 4.1). As in scikit-learn's `RidgeClassifier`, the intercept is not regularised.

use crate::commands::Result;
use nalgebra::{Cholesky, DMatrix, DVector};

/// Pivot, relative to the largest sum of squares, below which nothing but rounding is left of dependent features.
const DEPENDENT: f64 = 1e-12;

/// Sums over the vectors seen so far, in f64. Memory does not grow with their number.
pub struct Ridge {
    count: f64,
    /// Sum of x, `[D]`.
    sum: DVector<f64>,
    /// Sum of x·xᵀ, `[D, D]`.
    squares: DMatrix<f64>,
    /// Sum of x for each class, `[D, K]`.
    of_class: DMatrix<f64>,
    counts: Vec<f64>,
}

/// Weight `[K, D]` and bias `[K]`.
pub struct Solution {
    pub weight: DMatrix<f64>,
    pub bias: DVector<f64>,
}

impl Ridge {
    pub fn new(width: usize, classes: usize) -> Ridge {
        Ridge {
            count: 0.0,
            sum: DVector::zeros(width),
            squares: DMatrix::zeros(width, width),
            of_class: DMatrix::zeros(width, classes),
            counts: vec![0.0; classes],
        }
    }

    /// Adds vectors `[n, D]` with their classes.
    pub fn add(&mut self, vectors: &[f32], classes: &[usize]) {
        let width = self.sum.len();
        let x = DMatrix::from_iterator(width, classes.len(), vectors.iter().map(|value| f64::from(*value)));
        self.squares.gemm(1.0, &x, &x.transpose(), 1.0);
        for (column, class) in x.column_iter().zip(classes) {
            self.count += 1.0;
            self.counts[*class] += 1.0;
            self.sum += column;
            let mut own = self.of_class.column_mut(*class);
            own += column;
        }
    }

    /// Computes (Xᵀ·X + ridge·I)⁻¹·Xᵀ·Y for centred X and Y.
    pub fn solve(&self, ridge: f64) -> Result<Solution> {
        let mean = &self.sum / self.count;
        let mut system = &self.squares - &mean * mean.transpose() * self.count;
        for i in 0..system.nrows() {
            system[(i, i)] += ridge;
        }
        // Xᵀ·Y for the targets 2·[own class] - 1, minus the product of the means.
        let target_means: Vec<f64> = self.counts.iter().map(|count| 2.0 * count / self.count - 1.0).collect();
        let mut right = DMatrix::zeros(system.nrows(), self.counts.len());
        for (class, target_mean) in target_means.iter().enumerate() {
            right.set_column(class, &(self.of_class.column(class) * 2.0 - &self.sum - &mean * (self.count * target_mean)));
        }
        let least = DEPENDENT * system.diagonal().max();
        let factor = Cholesky::new(system).filter(|factor| ridge >= least || factor.l_dirty().diagonal().iter().all(|pivot| pivot * pivot > least));
        let factor = factor.ok_or("the features are linearly dependent; choose a larger --ridge")?;
        let weight = factor.solve(&right).transpose();
        let bias = DVector::from_vec(target_means) - &weight * mean;
        Ok(Solution { weight, bias })
    }
}

impl Solution {
    /// Returns the class with the largest score for a vector.
    pub fn class(&self, vector: &[f32]) -> usize {
        let x = DVector::from_iterator(vector.len(), vector.iter().map(|value| f64::from(*value)));
        (&self.weight * x + &self.bias).argmax().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares with the normal equations with an intercept, written out for one feature and two classes.
    #[test]
    fn single_feature_ridge_matches_normal_equations() {
        let mut ridge = Ridge::new(1, 2);
        ridge.add(&[1.0, 2.0], &[0, 0]);
        ridge.add(&[6.0], &[1]);
        // Means: x 3, targets of class 1 -1/3; centred: x -2 -1 3, y -2/3 -2/3 4/3; sums of products 6, of squares 14.
        let Solution { weight, bias } = ridge.solve(2.0).expect("it is solved");
        assert!((weight[(1, 0)] - 6.0 / 16.0).abs() < 1e-12 && (weight[(0, 0)] + 6.0 / 16.0).abs() < 1e-12);
        assert!((bias[1] - (-1.0 / 3.0 - 3.0 * 6.0 / 16.0)).abs() < 1e-12);
        let solution = ridge.solve(2.0).expect("it is solved");
        assert_eq!([1.0, 2.0, 6.0].map(|x| solution.class(&[x])), [0, 0, 1]);
    }

    #[test]
    fn collinear_features_require_a_positive_ridge() {
        let mut ridge = Ridge::new(2, 2);
        ridge.add(&[1.0, 1.0, 2.0, 2.0, 5.0, 5.0], &[0, 1, 0]);
        assert!(ridge.solve(0.0).is_err());
        // Rounding leaves some of these, which are as many as their images, pivots above 0.
        for seed in 1..50 {
            let mut rounded = Ridge::new(12, 2);
            for i in 0..12 {
                let features: Vec<f32> = (0..12).map(|feature| ((i * 12 + feature) as f32 * 0.37 * seed as f32).sin()).collect();
                rounded.add(&features, &[i % 2]);
            }
            assert!(rounded.solve(1e-3).is_ok() && rounded.solve(0.0).is_err(), "{seed}");
        }
        assert!(ridge.solve(1.0).is_ok());
    }
}

//! NaN-safe comparison that reports the first mismatch.

/// Describes the mismatches above `tolerance`; `None` if there are none.
pub fn mismatch(got: &[f32], want: &[f64], shape: &[usize], tolerance: f64) -> Option<String> {
    assert_eq!(got.len(), want.len(), "elements to compare");
    assert_eq!(want.len(), shape.iter().product::<usize>(), "elements of shape {shape:?}");
    let apart = |i: usize| (f64::from(got[i]) - want[i]).abs();
    // NaN fits no tolerance; `apart > tolerance` would let it pass.
    let fits = |i: usize| apart(i) <= tolerance;
    let wrong: Vec<usize> = (0..got.len()).filter(|&i| !fits(i)).collect();
    let first = *wrong.first()?;
    let worst = wrong.iter().copied().max_by(|&a, &b| apart(a).total_cmp(&apart(b)))?;
    Some(format!(
        "{} of {} elements differ by more than {tolerance:e}: first at {:?}, {} instead of {}; worst at {:?}, {} instead of {}",
        wrong.len(),
        got.len(),
        coordinates(first, shape),
        got[first],
        want[first],
        coordinates(worst, shape),
        got[worst],
        want[worst]
    ))
}

fn coordinates(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut place: Vec<usize> = shape
        .iter()
        .rev()
        .map(|size| {
            let coordinate = index % size;
            index /= size;
            coordinate
        })
        .collect();
    place.reverse();
    place
}

/// Returns the largest difference between two results.
pub fn largest_difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len(), "elements to compare");
    got.iter().zip(want).map(|(got, want)| (got - want).abs()).fold(0.0, |most, apart| if apart <= most { most } else { apart })
}

#[test]
fn nan_and_misplaced_values_are_mismatches() {
    assert_eq!(mismatch(&[1.0, 2.0], &[1.0, 2.0], &[2], 0.0), None);
    assert!(mismatch(&[f32::NAN], &[1.0], &[1], 1e9).is_some());
    assert!(mismatch(&[f32::INFINITY], &[1.0], &[1], 1e9).is_some());
    let text = mismatch(&[0.0, 0.0, 0.0, 0.0, 5.0, 0.0], &[0.0; 6], &[2, 3], 1e-3).unwrap();
    assert!(text.contains("first at [1, 1]"), "{text}");
    assert!(largest_difference(&[f32::NAN], &[0.0]).is_nan());
}

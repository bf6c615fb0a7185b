//! Loops that compile to the widest vector instructions of this processor.

/// Partial sums of a reduction: more than the widest vector holds, so that additions do not wait for each other.
pub const LANES: usize = 32;

/// Declares a function that is compiled for each vector instruction set `S` and runs on the best one of this processor. Everything its loops call must
/// be `#[inline(always)]`: code that is not inlined is limited to the baseline instruction set.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<'a>($($argument:ident: $kind:ty),*) -> $result:ty $body:block) => {
        $(#[$meta])*
        $vis fn $name<'a>($($argument: $kind),*) -> $result {
            struct Work<'a> { $($argument: $kind),* }

            impl<'a> pulp::WithSimd for Work<'a> {
                type Output = $result;

                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _: S) -> $result {
                    let Work { $($argument),* } = self;
                    $body
                }
            }

            pulp::Arch::new().dispatch(Work { $($argument),* })
        }
    };
}
pub(super) use vectorised;

/// Returns a · b + c, with one rounding where instruction set `S` has an instruction for that; a call to a function would take much longer.
#[inline(always)]
pub fn multiply_add<S: pulp::Simd>(a: f32, b: f32, c: f32) -> f32 {
    if S::IS_SCALAR || cfg!(target_arch = "wasm32") { a * b + c } else { a.mul_add(b, c) }
}

/// Returns the polynomial with these coefficients, the highest power's first.
#[inline(always)]
pub fn polynomial<S: pulp::Simd, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut value = coefficients[0];
    for coefficient in &coefficients[1..] {
        value = multiply_add::<S>(value, x, *coefficient);
    }
    value
}

/// Returns the sum of `term` over the values.
#[inline(always)]
pub fn sum<T: Copy + Default + std::iter::Sum + std::ops::AddAssign + std::ops::Add<Output = T>>(values: &[f32], term: impl Fn(f32) -> T) -> T {
    let mut sums = [T::default(); LANES];
    // Arrays, so that the compiler keeps what is added up in registers.
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            sums[i] += term(chunk[i]);
        }
    }
    rest.iter().map(|&value| term(value)).sum::<T>() + total(sums)
}

/// Returns the sum of partial sums, added in pairs.
#[inline(always)]
pub fn total<T: Copy + std::ops::AddAssign>(mut sums: [T; LANES]) -> T {
    for width in [16, 8, 4, 2, 1] {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
    }
    sums[0]
}

/// Returns the largest value, or negative infinity if there are none.
#[inline(always)]
pub fn largest(values: &[f32]) -> f32 {
    // As integers in the same order, of which the compiler vectorises the maximum.
    let ordered = |bits: i32| bits ^ (bits >> 31 & i32::MAX);
    let of = |value: f32| ordered(value.to_bits().cast_signed());
    let largest = values.iter().fold(of(f32::NEG_INFINITY), |largest, value| largest.max(of(*value)));
    f32::from_bits(ordered(largest).cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_cover_every_element() {
        for count in [0, 1, 31, 32, 33, 100] {
            let values: Vec<f32> = (0..count).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
            assert_eq!(sum(&values, f64::from), values.iter().map(|&value| f64::from(value)).sum::<f64>());
            assert_eq!(largest(&values), values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}

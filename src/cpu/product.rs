//! Matrix products through the `gemm` crate, behind a safe function.

/// A matrix over borrowed elements: `data[row · row_stride + column · column_stride]`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub data: &'a [f32],
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// The transpose of the factor w `[n, k]` of a product, which may itself be kept transposed.
    pub fn factor(w: &'a [f32], [n, k]: [usize; 2], transposed: bool) -> Matrix<'a> {
        match transposed {
            true => Matrix { data: w, row_stride: n, column_stride: 1 },
            false => Matrix { data: w, row_stride: 1, column_stride: k },
        }
    }
}

/// Where a product goes: rows that are `row_stride` apart, written anew or added to.
pub struct Target<'a> {
    pub data: &'a mut [f32],
    pub row_stride: usize,
    pub add: bool,
}

/// Whether a product may use all cores, or is called from a task that has one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cores {
    All,
    One,
}

/// `y[m, n] = factor · Σ_k a[m, k] · b[k, n]`, or adds it.
pub fn product([m, n, k]: [usize; 3], factor: f32, a: Matrix, b: Matrix, y: Target, cores: Cores) {
    let last = |rows: usize, columns: usize, row_stride: usize, column_stride: usize| (rows - 1) * row_stride + (columns - 1) * column_stride;
    assert!(m > 0 && n > 0 && k > 0, "empty product {m} x {n} x {k}");
    assert!(last(m, k, a.row_stride, a.column_stride) < a.data.len(), "left factor {m} x {k} of {} elements", a.data.len());
    assert!(last(k, n, b.row_stride, b.column_stride) < b.data.len(), "right factor {k} x {n} of {} elements", b.data.len());
    assert!(n <= y.row_stride && last(m, n, y.row_stride, 1) < y.data.len(), "product {m} x {n} into {} elements", y.data.len());
    // SAFETY: the asserts above keep every element that is read or written inside its slice, and `y`
    // is borrowed exclusively, so that it overlaps neither factor.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            y.data.as_mut_ptr(),
            1,
            y.row_stride as isize,
            y.add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            factor,
            false,
            false,
            false,
            parallelism(cores),
        );
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn parallelism(cores: Cores) -> gemm::Parallelism {
    match cores {
        Cores::All => gemm::Parallelism::Rayon(0),
        Cores::One => gemm::Parallelism::None,
    }
}

#[cfg(target_arch = "wasm32")]
fn parallelism(_: Cores) -> gemm::Parallelism {
    gemm::Parallelism::None
}

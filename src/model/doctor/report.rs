//! Kernel check reports.

/// Check results of one kernel.
#[derive(Clone, Debug)]
pub struct KernelReport {
    /// Kernel name.
    pub kernel: &'static str,
    /// Number of cases run.
    pub cases: usize,
    /// Case with the largest error relative to its bound; empty if none was run.
    pub worst: String,
    /// Largest difference from the f64 brute-force reference in that case.
    pub error: f64,
    /// Largest permitted error in that case.
    pub bound: f64,
    /// Overall result.
    pub outcome: Outcome,
}

/// Result of checking a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All cases are within bounds.
    Right,
    /// A case exceeds its bound; describes where and by how much.
    Wrong(String),
    /// Inconclusive: another kernel in its cases is wrong or rejected by the device.
    Misled(&'static str),
    /// The device rejects the kernel or fails.
    Failed(String),
    /// The device lacks a required feature.
    Unsupported(String),
}

impl Outcome {
    /// Returns whether the device or its driver is at fault.
    pub fn is_bad(&self) -> bool {
        matches!(self, Outcome::Wrong(_) | Outcome::Misled(_) | Outcome::Failed(_))
    }
}

//! What was found of a kernel.

/// How a kernel does on a device.
#[derive(Clone, Debug)]
pub struct KernelReport {
    /// The kernel.
    pub kernel: &'static str,
    /// Cases that it was run on.
    pub cases: usize,
    /// The one that came nearest to its bound, or went furthest beyond; empty if none was run.
    pub worst: String,
    /// The largest difference from brute force in f64 there.
    pub error: f64,
    /// How large it may be.
    pub bound: f64,
    /// What that means.
    pub outcome: Outcome,
}

/// What was found of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All within bounds.
    Right,
    /// Beyond a bound: where, and by how much.
    Wrong(String),
    /// Its cases also run another kernel, which is wrong, or which the device refuses.
    Misled(&'static str),
    /// The device refuses it, or fails.
    Failed(String),
    /// The device does not have what it needs.
    Unsupported(String),
}

impl Outcome {
    /// Whether the device or its driver is at fault.
    pub fn is_bad(&self) -> bool {
        matches!(self, Outcome::Wrong(_) | Outcome::Misled(_) | Outcome::Failed(_))
    }
}

//! Compares cooperative-matrix kernels with the others, to check whether a driver's implementation is correct and faster.

use crate::data::capabilities::Precision;
use crate::data::record::TuningKey;
use crate::execution::device::Device;
use crate::operations::kernels::variants;
use crate::operations::tuning::fastest;

/// Measurements for one tuning key.
#[derive(Clone, Debug)]
pub struct Rival {
    /// The tuning key.
    pub key: TuningKey,
    /// Fastest cooperative-matrix kernel and its milliseconds; `None` if none is correct.
    pub cooperative: Option<(String, f64)>,
    /// Fastest of the other kernels.
    pub other: Option<(String, f64)>,
    /// Reasons why cooperative-matrix kernels were rejected.
    pub wrong: Vec<String>,
}

impl Rival {
    /// Returns the reason to reject cooperative matrices for this key, if there is one.
    pub fn rejection(&self) -> Option<String> {
        if !self.wrong.is_empty() {
            return Some(self.wrong.join("; "));
        }
        match (&self.cooperative, &self.other) {
            (Some((variant, time)), Some((other, shorter))) if time > shorter => {
                Some(format!("slower: {variant} takes {time:.3} ms, {other} {shorter:.3} ms"))
            }
            (None, _) => Some("none of their kernels could be measured".to_owned()),
            _ => None,
        }
    }
}

/// Measures products and attention of ViT-B/16 (N 197, C 768, H 12) in f16. Returns nothing if the device lacks cooperative matrices or timestamps.
pub fn check_cooperative(device: &Device) -> Vec<Rival> {
    let capabilities = device.capabilities();
    if capabilities.cooperative == 0 || !device.takes_times() {
        return Vec::new();
    }
    let product = |[n, k]: [usize; 2]| TuningKey::product([197, n, k], [Precision::F16; 2], &capabilities);
    let attention = TuningKey::attention(12, [197, 197], 64, Precision::F16, &capabilities);
    let has_matrices = |key: &TuningKey| variants(*key, &capabilities).iter().any(|kernel| kernel.needs.cooperative > 0);
    [product([2304, 768]), product([768, 3072]), attention].into_iter().filter(has_matrices).map(|key| rival(device, key)).collect()
}

fn rival(device: &Device, key: TuningKey) -> Rival {
    let found = fastest(device, key, usize::MAX);
    let kernels = variants(key, &device.capabilities());
    let is_cooperative = |variant: &str| kernels.iter().any(|kernel| kernel.name == variant && kernel.needs.cooperative > 0);
    let best = |wants: bool| {
        let variants = found.milliseconds.iter().filter(|(variant, _)| is_cooperative(variant) == wants);
        variants.min_by(|a, b| a.1.total_cmp(b.1)).map(|(variant, time)| (variant.clone(), *time))
    };
    let wrong = found.rejected.iter().filter(|(variant, _)| is_cooperative(variant)).map(|(variant, reason)| format!("{variant}: {reason}"));
    Rival { key, cooperative: best(true), other: best(false), wrong: wrong.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_or_slower_cooperative_kernels_are_rejected() {
        let key = TuningKey::Product { m: 128, n: 64, k: 64, x: Precision::F16, w: Precision::F16 };
        let timed = |name: &str, time| Some((name.to_owned(), time));
        let rejection = |cooperative, other, wrong: &[&str]| {
            Rival { key, cooperative, other, wrong: wrong.iter().map(|reason| (*reason).to_owned()).collect() }.rejection()
        };
        assert_eq!(rejection(timed("matmul_coop16", 1.0), timed("matmul_f16", 3.0), &[]), None);
        assert!(rejection(timed("matmul_coop16", 3.0), timed("matmul_f16", 1.0), &[]).is_some_and(|reason| reason.contains("slower")));
        assert!(rejection(timed("matmul_coop16", 1.0), None, &["matmul_split_coop16: wrong"]).is_some_and(|reason| reason.contains("split")));
        assert!(rejection(None, timed("matmul_f16", 1.0), &[]).is_some());
    }
}

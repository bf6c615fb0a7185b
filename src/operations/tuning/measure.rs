//! Finds the fastest correct variant for a tuning key on a device.

use super::table::Found;
use crate::data::capabilities::{Capabilities, Precision, Trust};
use crate::data::error::Result;
use crate::data::int8::BLOCK;
use crate::data::panels::{Packed, halves};
use crate::data::record::{BufferInfo, Recording, Role, TuningKey};
use crate::execution::device::Device;
use crate::operations::kernels::{SampleEpilogue, sample, variants};

/// Rows of different 8-bit values, a prime.
const ROWS: usize = 7;

/// Extra runs of a variant whose first run is competitive.
const RUNS: usize = 3;

/// Variants whose first run takes longer than the best so far by more than this factor get no further runs.
const NEAR: f64 = 1.5;

/// A variant replaces the best so far only if its time is below this fraction of it, so that noise does not decide.
const FASTER: f64 = 0.97;

/// Times the `most` variants expected to be fastest for a key, and the default one. Reports no times if none is correct.
pub(crate) fn fastest(device: &Device, key: TuningKey, most: usize) -> Found {
    let capabilities = device.capabilities();
    let all = variants(key, &capabilities);
    // Where drivers choose the subgroup size per pipeline, every pipeline of a variant must be tried, which takes too long at start-up.
    let is_steady = capabilities.trust > Trust::Portable;
    let offered: Vec<_> = all.into_iter().filter(|kernel| most == usize::MAX || is_steady || kernel.needs.trust == Trust::Portable).collect();
    let by_rule = offered.iter().position(|kernel| kernel.needs.trust <= capabilities.trust);
    let variants: Vec<_> = (0..).zip(offered).filter(|(i, _)| *i < most || Some(*i) == by_rule).map(|(_, kernel)| kernel).collect();
    let mut found = Found::default();
    let (small, whole) = match (Samples::new(device, small(key)), Samples::new(device, key)) {
        (Ok(small), Ok(whole)) => (small, whole),
        (Err(error), _) | (_, Err(error)) => {
            found.has_failed = true;
            found.rejected.extend(variants.iter().map(|variant| (variant.name.to_owned(), error.to_string())));
            return found;
        }
    };
    let ends = match key {
        TuningKey::Product { .. } if !is_steady => SampleEpilogue::all().collect::<Vec<_>>(),
        TuningKey::Product { .. } | TuningKey::Attention { .. } => vec![SampleEpilogue::Bias],
    };
    if let Some(gpu) = device.gpu() {
        let of_ends = ends.iter().flat_map(|&end| variants.iter().map(move |variant| (small.key, variant.name, end)));
        let all = of_ends.chain(variants.iter().map(|variant| (key, variant.name, SampleEpilogue::Bias)));
        gpu.compile_ahead(&all.filter_map(|(key, variant, end)| recording(key, Some(variant), end, capabilities).ok()).collect::<Vec<_>>());
    }
    let expected: Vec<(SampleEpilogue, Vec<f32>)> = ends.into_iter().map(|end| (end, small.on_the_cpu(end))).collect();
    let mut best = f64::INFINITY;
    for kernel in variants {
        let variant = kernel.name;
        // For variants that do not depend on subgroups, one pipeline is representative.
        let count = if kernel.needs.subgroups > 0 { expected.len() } else { 1 };
        match small.verdict(device, variant, &expected[..count]).and_then(|verdict| match verdict {
            Ok(()) => seconds(device, &whole, variant, best).map(Ok),
            Err(reason) => Ok(Err(reason)),
        }) {
            Ok(Ok(seconds)) => {
                // Whole nanoseconds, which have no digits behind them that mean nothing.
                found.milliseconds.insert(variant.to_owned(), (seconds * 1e9).round() / 1e6);
                if seconds < FASTER * best {
                    (best, found.variant) = (seconds, variant.to_owned());
                }
            }
            Ok(Err(reason)) => {
                found.rejected.insert(variant.to_owned(), reason);
            }
            Err(error) => {
                found.has_failed = true;
                found.rejected.insert(variant.to_owned(), error.to_string());
            }
        }
    }
    found
}

/// The verdict on a result: the reason if it is wrong.
type Verdict = std::result::Result<(), String>;

/// Returns the time of the fastest run in seconds.
fn seconds(device: &Device, samples: &Samples, variant: &'static str, best: f64) -> Result<f64> {
    let first = samples.seconds(device, variant, 1)?;
    Ok(if first > NEAR * best { first } else { first.min(samples.seconds(device, variant, RUNS)?) })
}

/// Shrinks a key to a smaller call of the same kind that still fills some tiles and leaves others partly empty.
fn small(key: TuningKey) -> TuningKey {
    match key {
        TuningKey::Product { m, n, k, x, w } => TuningKey::Product { m: m.min(101), n: n.min(180), k, x, w },
        TuningKey::Attention { heads, tokens, queries, head, qkv } => {
            TuningKey::Attention { heads: heads.min(2), tokens: tokens.min(197), queries: queries.min(197), head, qkv }
        }
    }
}

/// A call and its inputs, generated once for all variants.
struct Samples {
    key: TuningKey,
    capabilities: Capabilities,
    inputs: Vec<Vec<f32>>,
}

impl Samples {
    fn new(device: &Device, key: TuningKey) -> Result<Samples> {
        let capabilities = device.capabilities();
        let inputs = inputs(&recording(key, None, SampleEpilogue::Bias, capabilities)?, key);
        Ok(Samples { key, capabilities, inputs })
    }

    /// Runs a variant and returns its output.
    fn output(&self, device: &Device, variant: &'static str, end: SampleEpilogue) -> Result<Vec<f32>> {
        Ok(device.time_blocking(recording(self.key, Some(variant), end, self.capabilities)?, &self.read(), 0)?.0)
    }

    /// Returns the time of the fastest of `runs` runs in seconds. Reads nothing back: waiting for that would lower the device's clocks.
    fn seconds(&self, device: &Device, variant: &'static str, runs: usize) -> Result<f64> {
        let mut recording = tuned(self.key, Some(variant), self.capabilities);
        sample(&mut recording, self.key, SampleEpilogue::Bias)?;
        let timings = device.time_blocking(recording, &self.read(), runs)?.1;
        let totals = timings.iter().map(|timings| timings.iter().map(|timing| timing.seconds).sum::<f64>());
        Ok(totals.fold(f64::INFINITY, f64::min))
    }

    fn read(&self) -> Vec<&[f32]> {
        self.inputs.iter().map(Vec::as_slice).collect()
    }

    /// Checks a variant with each given epilogue against the expected results.
    fn verdict(&self, device: &Device, variant: &'static str, expected: &[(SampleEpilogue, Vec<f32>)]) -> Result<Verdict> {
        for (end, expected) in expected {
            let got = self.output(device, variant, *end)?;
            if let Err(reason) = judge(&got, expected, bound(self.key, expected)) {
                return Ok(Err(reason));
            }
        }
        Ok(Ok(()))
    }

    /// Computes the twins' result in f32; the sample values are exact in the key's precision.
    fn on_the_cpu(&self, end: SampleEpilogue) -> Vec<f32> {
        let run = || -> Result<Vec<f32>> {
            let key = match self.key {
                TuningKey::Product { m, n, k, .. } => TuningKey::Product { m, n, k, x: Precision::F32, w: Precision::F32 },
                TuningKey::Attention { heads, tokens, queries, head, .. } => {
                    TuningKey::Attention { heads, tokens, queries, head, qkv: Precision::F32 }
                }
            };
            let recording = recording(key, None, end, Capabilities::CPU)?;
            let inputs = inputs(&recording, self.key);
            Ok(Device::cpu().time_blocking(recording, &inputs.iter().map(Vec::as_slice).collect::<Vec<_>>(), 0)?.0)
        };
        run().expect("a small call fits the CPU, which does not fail")
    }
}

fn judge(got: &[f32], expected: &[f32], bound: f32) -> Verdict {
    let worst = got
        .iter()
        .zip(expected)
        .map(|(got, expected)| (got - expected).abs())
        .fold(0.0, |worst: f32, difference| if difference > worst || difference.is_nan() { difference } else { worst });
    if worst <= bound { Ok(()) } else { Err(format!("wrong: off by {worst:e}, allowed {bound:e}")) }
}

/// Tolerance relative to the CPU: rounding errors of a sum of t terms in f32 grow with sqrt(t). Attention in f16 rounds its weights to 2^-11 of each,
/// with values up to 1/2. Results in f16 are off by at most 2^-11 of themselves.
fn bound(key: TuningKey, expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(1.0, |largest: f32, value| largest.max(value.abs()));
    let (terms, weights) = match key {
        TuningKey::Product { k, .. } => (k, 0.0),
        TuningKey::Attention { tokens, qkv: Precision::F16, .. } => (tokens, 0.5 / 1024.0),
        TuningKey::Attention { tokens, .. } => (tokens, 0.0),
    };
    let written = match key {
        TuningKey::Product { x: Precision::F16, .. } | TuningKey::Attention { qkv: Precision::F16, .. } => largest / 2048.0,
        TuningKey::Product { .. } | TuningKey::Attention { .. } => 0.0,
    };
    f32::EPSILON * largest * (16.0 + 4.0 * (terms as f32).sqrt()) + weights + written
}

/// Records a call for a key and saves its result.
fn recording(key: TuningKey, variant: Option<&'static str>, end: SampleEpilogue, capabilities: Capabilities) -> Result<Recording> {
    let mut recording = tuned(key, variant, capabilities);
    let y = sample(&mut recording, key, end)?;
    recording.save("y", y);
    Ok(recording)
}

/// Creates an empty recording that prefers a variant.
fn tuned(key: TuningKey, variant: Option<&'static str>, capabilities: Capabilities) -> Recording {
    let precision = match key {
        TuningKey::Product { w, .. } => w,
        TuningKey::Attention { qkv, .. } => qkv,
    };
    Recording::new(capabilities).with_precision(precision).preferring(variant)
}

/// Generates patternless values from -1/2 to 1/2 that are exact in the key's precision, in the layout of the recording's device.
fn inputs(recording: &Recording, key: TuningKey) -> Vec<Vec<f32>> {
    const PERIOD: usize = 1009; // a prime
    let values = |count: usize, salt: usize| {
        let period: Vec<f32> = match key {
            // Of eight bits: each block of a row has the largest, which makes the steps of the others.
            TuningKey::Product { k, w: Precision::Bf16 | Precision::Int8, .. } => {
                let level = |i: usize| if (i % k).is_multiple_of(BLOCK) { 127.0 } else { ((i + salt) * 7919 % 253) as f32 - 126.0 };
                (0..ROWS * k).map(|i| level(i) / 256.0).collect()
            }
            TuningKey::Product { .. } | TuningKey::Attention { .. } => {
                (0..PERIOD).map(|i| (((i + salt) * 7919 % PERIOD) as f32 - 504.0) / 1024.0).collect()
            }
        };
        let mut all = period.repeat(count.div_ceil(period.len()));
        all.truncate(count);
        all
    };
    let words = |bytes: &[u8]| bytes.chunks(4).map(|word| f32::from_le_bytes(word.try_into().expect("whole words"))).collect();
    let input = |(salt, info): (usize, &BufferInfo)| match (info.label.as_str(), key) {
        ("w", TuningKey::Product { n, k, .. }) => words(Packed::new(&values(n * k, salt), [n, k], info.precision).bytes()),
        _ if info.precision == Precision::F16 => words(&halves(&values(info.len(), salt))),
        _ => values(info.len(), salt),
    };
    recording.buffers().iter().filter(|info| matches!(info.role, Role::Input(_))).enumerate().map(input).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_outside_the_bound_are_rejected() {
        let key = TuningKey::Product { m: 8, n: 8, k: 64, x: Precision::F16, w: Precision::F16 };
        let expected = vec![2.0; 64];
        let bound = bound(key, &expected);
        assert!(bound < 1.1e-3);
        let verdict = |value: f32| {
            let mut got = expected.clone();
            got[63] = value;
            judge(&got, &expected, bound).is_ok()
        };
        assert_eq!([2.0, 2.0009, 2.002, 0.0, f32::NAN, f32::INFINITY].map(verdict), [true, true, false, false, false, false]);
    }
}

//! Which kernel is the fastest for a class on a device, of those that are right.

use super::table::Found;
use crate::capabilities::{Capabilities, Precision};
use crate::device::Device;
use crate::error::Result;
use crate::kernels::{candidates, sample};
use crate::panels::Packed;

use crate::record::{BufferInfo, Class, Recording, Role};

/// Runs of a candidate that is not out of the question after the first.
const RUNS: usize = 3;

/// How much longer than the best so far a candidate may take in its first run to be given more of them.
const NEAR: f64 = 1.5;

/// How much faster than an earlier one a candidate must be, so that noise does not choose.
const FASTER: f64 = 0.97;

/// Runs all candidates of a class; if none is right, the one that is taken by rule stays.
pub(super) fn fastest(device: &Device, class: Class) -> Found {
    let candidates = candidates(class, &device.capabilities());
    let mut found = Found { way: candidates[0].to_owned(), ..Found::default() };
    let mut best = f64::INFINITY;
    for way in candidates {
        match right(device, class, way).and_then(|()| seconds(device, class, way, best)) {
            Ok(seconds) => {
                found.milliseconds.insert(way.to_owned(), seconds * 1e3);
                if seconds < FASTER * best {
                    (best, found.way) = (seconds, way.to_owned());
                }
            }
            Err(reason) => {
                found.rejected.insert(way.to_owned(), reason);
            }
        }
    }
    found
}

/// Seconds of the fastest run.
fn seconds(device: &Device, class: Class, way: &'static str, best: f64) -> std::result::Result<f64, String> {
    let run = |runs| -> Result<f64> {
        let recording = recording(class, way, device.capabilities(), precision(class))?;
        let inputs = inputs(&recording, class);
        let (_, timings) = device.time_blocking(recording, &inputs.iter().map(Vec::as_slice).collect::<Vec<_>>(), runs)?;
        let totals = timings.iter().map(|timings| timings.iter().map(|timing| timing.seconds).sum::<f64>());
        Ok(totals.fold(f64::INFINITY, f64::min))
    };
    let first = run(1).map_err(|error| error.to_string())?;
    if first > NEAR * best {
        return Ok(first);
    }
    Ok(first.min(run(RUNS).map_err(|error| error.to_string())?))
}

/// Whether a way gives what the CPU gives, on a call of the class that is no larger than it takes to fill some tiles.
fn right(device: &Device, class: Class, way: &'static str) -> std::result::Result<(), String> {
    let small = match class {
        Class::Product { m, n, k, precision } => Class::Product { m: m.min(128), n: n.min(192), k, precision },
        Class::Attention { heads, tokens, queries, head, precision } => {
            Class::Attention { heads: heads.min(2), tokens: tokens.min(256), queries: queries.min(256), head, precision }
        }
    };
    let run = |device: &Device, precision| -> Result<Vec<f32>> {
        let recording = recording(small, way, device.capabilities(), precision)?;
        let inputs = inputs(&recording, small);
        Ok(device.time_blocking(recording, &inputs.iter().map(Vec::as_slice).collect::<Vec<_>>(), 0)?.0)
    };
    // The samples' values are the same in f16.
    let expected = run(&Device::Cpu, Precision::F32).map_err(|error| error.to_string())?;
    let got = run(device, precision(class)).map_err(|error| error.to_string())?;
    judge(&got, &expected, bound(class, &expected))
}

fn judge(got: &[f32], expected: &[f32], bound: f32) -> std::result::Result<(), String> {
    let worst = got
        .iter()
        .zip(expected)
        .map(|(got, expected)| (got - expected).abs())
        .fold(0.0, |worst: f32, difference| if difference > worst || difference.is_nan() { difference } else { worst });
    if worst <= bound { Ok(()) } else { Err(format!("wrong: off by {worst:e}, allowed {bound:e}")) }
}

/// How far results may be from the CPU's: rounding errors of a sum of t terms in f32 grow with its root; attention in f16 rounds its weights
/// to 2^-11 of each, and values are up to 1/2.
fn bound(class: Class, expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(1.0, |largest: f32, value| largest.max(value.abs()));
    let (terms, weights) = match class {
        Class::Product { k, .. } => (k, 0.0),
        Class::Attention { tokens, precision: Precision::F16, .. } => (tokens, 0.5 / 1024.0),
        Class::Attention { tokens, .. } => (tokens, 0.0),
    };
    f32::EPSILON * largest * (16.0 + 4.0 * (terms as f32).sqrt()) + weights
}

fn precision(class: Class) -> Precision {
    match class {
        Class::Product { precision, .. } | Class::Attention { precision, .. } => precision,
    }
}

fn recording(class: Class, way: &'static str, capabilities: Capabilities, precision: Precision) -> Result<Recording> {
    let mut recording = Recording::new(capabilities).with_precision(precision).preferring(Some(way));
    sample(&mut recording, class)?;
    Ok(recording)
}

/// Values from -1/2 to 1/2 without a pattern that f16 holds, as the recording's device reads them.
fn inputs(recording: &Recording, class: Class) -> Vec<Vec<f32>> {
    let values = |count: usize, salt: usize| (0..count).map(|i| (((i + salt) * 7919 % 1009) as f32 - 504.0) / 1024.0).collect::<Vec<f32>>();
    let input = |(salt, info): (usize, &BufferInfo)| match (info.label.as_str(), class) {
        ("w", Class::Product { n, k, .. }) => {
            let packed = Packed::new(&values(n * k, salt), [n, k], info.precision);
            packed.bytes().chunks(4).map(|word| f32::from_le_bytes(word.try_into().expect("panels are whole words"))).collect()
        }
        _ => values(info.len(), salt),
    };
    recording.buffers().iter().filter(|info| matches!(info.role, Role::Input(_))).enumerate().map(input).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_not_taken() {
        let class = Class::Product { m: 8, n: 8, k: 64, precision: Precision::F16 };
        let expected = vec![2.0; 64];
        let bound = bound(class, &expected);
        assert!(bound < 2e-5);
        let verdict = |value: f32| {
            let mut got = expected.clone();
            got[63] = value;
            judge(&got, &expected, bound).is_ok()
        };
        assert_eq!([2.0, 2.000001, 2.001, 0.0, f32::NAN, f32::INFINITY].map(verdict), [true, true, false, false, false, false]);
    }
}

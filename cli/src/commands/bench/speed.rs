//! Times as rates and as shares of the roofline.

use super::percentiles::Repetitions;
use crate::commands::Result;
use crate::commands::table::Column;
use serde_json::{Value, json};
use vitraux::Device;
use vitraux::low_level::capabilities::Capabilities;
use vitraux::low_level::kernels;
use vitraux::low_level::record::{Buf, Recording, Timing};

/// Peak rates of a device, measured on it.
pub struct Ceilings {
    flops_per_second: f64,
    /// Rate of cooperative matrices, if the device has them.
    matrix_flops_per_second: Option<f64>,
    bytes_per_second: f64,
}

/// Elements to copy, on a CPU and on a GPU: 64 MiB, more than a CPU's caches, and 512 MiB, many times those of the largest GPUs.
const COPIED: [usize; 2] = [1 << 24, 1 << 27];

/// Elements to multiply, for each core of a CPU and on a GPU: a few milliseconds of work.
const MULTIPLIED: [usize; 2] = [1 << 17, 1 << 24];

/// Seconds for which a GPU is kept busy, so that its clocks are as high as in a long run. The fastest run counts.
const WARM: f64 = 0.3;

impl Ceilings {
    pub fn measure(device: &Device) -> Result<Ceilings> {
        type Record = fn(&mut Recording, String, Buf, Buf) -> vitraux::Result<()>;
        let is_gpu = !device.capabilities().software;
        let seconds = if is_gpu { WARM } else { 0.0 };
        let cores = if is_gpu { 1 } else { std::thread::available_parallelism().map_or(1, |cores| cores.get()) };
        let multiplied = [cores * MULTIPLIED[0], MULTIPLIED[1]];
        let measure = |elements: [usize; 2], record: Record| -> Result<Timing> {
            let mut recording = Recording::new(device.capabilities());
            let elements = elements[usize::from(is_gpu)].min(recording.capabilities().binding_bytes as usize / 4);
            let x = recording.input("x", &[elements])?;
            let y = recording.scratch("y", &[elements])?;
            record(&mut recording, "ceiling".to_owned(), x, y)?;
            recording.save("y", y);
            let timings = timed(device, recording, &[&vec![0.5; elements]], &Repetitions { rounds: 1, runs: 5, seconds, most: 1000 }, 0)?.1;
            Ok(timings.into_iter().min_by(|a, b| a.seconds.total_cmp(&b.seconds)).expect("it was run"))
        };
        let rate = |timing: &Timing| timing.flops as f64 / timing.seconds;
        let copy = measure(COPIED, kernels::ceiling_copy)?;
        let Capabilities { cooperative, scalar_tiles, .. } = device.capabilities();
        let matrices = (cooperative > 0 && !scalar_tiles).then(|| measure(multiplied, kernels::ceiling_coop)).transpose()?;
        Ok(Ceilings {
            flops_per_second: rate(&measure(multiplied, kernels::ceiling_multiply)?),
            matrix_flops_per_second: matrices.as_ref().map(rate),
            bytes_per_second: copy.bytes as f64 / copy.seconds,
        })
    }

    /// Returns the higher of each rate.
    pub fn or_higher(self, other: &Ceilings) -> Ceilings {
        Ceilings {
            flops_per_second: self.flops_per_second.max(other.flops_per_second),
            matrix_flops_per_second: self.matrix_flops_per_second.zip(other.matrix_flops_per_second).map(|(a, b)| a.max(b)),
            bytes_per_second: self.bytes_per_second.max(other.bytes_per_second),
        }
    }

    /// Returns the pace of the machine, in arithmetic and in memory.
    pub fn pace(&self) -> [f64; 2] {
        [figures(self.flops_per_second), figures(self.bytes_per_second)]
    }

    pub fn json(&self) -> Value {
        let Ceilings { flops_per_second, matrix_flops_per_second, bytes_per_second } = self;
        json!({
            "flops_per_second": figures(*flops_per_second),
            "matrix_flops_per_second": matrix_flops_per_second.map(figures),
            "bytes_per_second": figures(*bytes_per_second),
        })
    }
}

impl std::fmt::Display for Ceilings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} GFLOP/s, ", self.flops_per_second / 1e9)?;
        if let Some(rate) = self.matrix_flops_per_second {
            write!(f, "{:.1} GFLOP/s with cooperative matrices, ", rate / 1e9)?;
        }
        write!(f, "{:.1} GB/s, measured", self.bytes_per_second / 1e9)
    }
}

/// Returns the output of a recording of one dispatch, and its times in a round, after an untimed run.
pub fn timed(device: &Device, recording: Recording, inputs: &[&[f32]], repetitions: &Repetitions, round: usize) -> Result<(Vec<f32>, Vec<Timing>)> {
    let runs = repetitions.runs_of(round);
    let (output, timings) = device.time_blocking(recording.clone(), inputs, runs)?;
    let mut timings: Vec<Timing> = timings.into_iter().flatten().collect();
    let taken: f64 = timings.iter().map(|timing| timing.seconds).sum();
    // A coarse clock may return 0.
    let wanted = ((runs as f64 * repetitions.seconds / taken.max(1e-9)) as usize).min(repetitions.most);
    if wanted > runs {
        timings.extend(device.time_blocking(recording, inputs, wanted - runs)?.1.into_iter().flatten());
    }
    Ok((output, timings))
}

/// Time of a kernel, with the work done in it.
pub struct Speed {
    /// Name of the kernel.
    pub kernel: &'static str,
    pub seconds: f64,
    pub flops: u64,
    pub bytes: u64,
}

impl Speed {
    /// Returns the share of the roofline: the minimum time for the arithmetic or the memory traffic, divided by the measured time.
    fn share(&self, ceilings: &Ceilings) -> f64 {
        let kernel = kernels::ALL.iter().find(|kernel| kernel.name == self.kernel);
        let by_matrices = ceilings.matrix_flops_per_second.filter(|_| kernel.is_some_and(|kernel| kernel.needs.cooperative > 0));
        (self.flops as f64 / by_matrices.unwrap_or(ceilings.flops_per_second)).max(self.bytes as f64 / ceilings.bytes_per_second) / self.seconds
    }

    pub fn json(&self, ceilings: &Ceilings) -> Value {
        json!({ "seconds": figures(self.seconds), "flops": self.flops, "bytes": self.bytes, "roofline_share": figures(self.share(ceilings)) })
    }

    /// Headings of [`Speed::cells`].
    pub const COLUMNS: [Column; 4] = [Column::Numbers("ms"), Column::Numbers("GFLOP/s"), Column::Numbers("GB/s"), Column::Numbers("roofline %")];

    pub fn cells(&self, ceilings: &Ceilings) -> [String; 4] {
        let rate = |count: u64| format!("{:.1}", count as f64 / self.seconds / 1e9);
        // More than the ceilings allow is data that stayed in a cache.
        let share = Some(self.share(ceilings)).filter(|share| *share <= 1.0).map_or("cached".to_owned(), |share| format!("{:.1}", 100.0 * share));
        [milliseconds(self.seconds), rate(self.flops), rate(self.bytes), share]
    }
}

/// Formats seconds in milliseconds.
pub fn milliseconds(seconds: f64) -> String {
    format!("{:.3}", seconds * 1e3)
}

/// Returns a measured number for JSON, without the digits that are only those of binary fractions.
pub fn figures(number: f64) -> f64 {
    format!("{number:.9e}").parse().expect("it was a number")
}

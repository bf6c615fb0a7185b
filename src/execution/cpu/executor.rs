//! Replays a recording with the kernels' CPU twins.

use super::conversions::{Conversion, conversions};
use super::packed_rows::PackedRows;
use super::parallel::on_thread;
use super::weights::{Kept, Weights};
use crate::data::aligned::Aligned;
use crate::data::capabilities::Precision;
#[cfg(not(target_arch = "wasm32"))]
use crate::data::record::Timing;
use crate::data::record::{Access, Call, Command, Dispatch, MAX_BINDINGS, PackedCopy, Recording, Role, View};
use half::f16;
use std::sync::Arc;

/// A recording with its buffers in host memory.
#[derive(Debug)]
pub struct Plan {
    recording: Recording,
    weights: Arc<Weights>,
    /// Contents of input and scratch buffers; empty for weights.
    memory: Vec<Aligned<f32>>,
    /// The conversion that follows each command, if any.
    conversions: Vec<Option<Conversion>>,
}

impl Plan {
    /// Allocates the buffers that `recording` needs. Every run reuses them.
    ///
    /// # Panics
    /// If the number of elements of a weight differs from the recording.
    pub fn new(recording: Recording, weights: Arc<Weights>) -> Plan {
        for buffer in recording.buffers() {
            if let Role::Weight(number) = buffer.role {
                assert_eq!(weights.get(number).len(), buffer.len(), "elements of {}", buffer.label);
            }
        }
        let memory = recording.buffers().iter().map(|buffer| match buffer.role {
            Role::Weight(_) => Aligned::default(),
            Role::Input(_) | Role::Scratch => Aligned::zeros(buffer.len()),
        });
        Plan { memory: memory.collect(), conversions: conversions(&recording), recording, weights }
    }

    /// Runs the recording. `inputs` are indexed by the number in [`Role::Input`]; outputs are in the recording's order.
    ///
    /// # Panics
    /// If the number of elements of an input differs from the recording.
    pub fn run(&mut self, inputs: &[&[f32]]) -> Vec<Vec<f32>> {
        self.fill(inputs);
        on_thread(|| self.replay(|_, work| work()))
    }

    /// Runs all commands and returns the outputs. `around` receives each dispatch with its work; conversions that the dispatch before them has done are left
    /// out.
    fn replay(&mut self, mut around: impl FnMut(&Dispatch, &mut dyn FnMut())) -> Vec<Vec<f32>> {
        let mut outputs = vec![Vec::new(); self.recording.outputs().len()];
        let mut is_done = false;
        for (command, conversion) in self.recording.commands().iter().zip(&self.conversions) {
            match command {
                Command::Dispatch(_) if is_done => is_done = false,
                Command::Dispatch(dispatch) => {
                    around(dispatch, &mut || is_done = run(&self.recording, dispatch, *conversion, &mut self.memory, &self.weights));
                }
                Command::Save { from, output } => outputs[*output] = self.memory[from.index()].to_vec(),
            }
        }
        outputs
    }

    fn fill(&mut self, inputs: &[&[f32]]) {
        for (buffer, memory) in self.recording.buffers().iter().zip(&mut self.memory) {
            if let Role::Input(number) = buffer.role {
                memory.copy_from_slice(inputs[number]);
            }
        }
    }

    /// Replays the recording alongside another device. `got` holds what that device's kernels wrote: for each dispatch in order, the whole buffer, as
    /// saved by [`Recording::traced`]. Each twin reads what the device's kernel read, so errors do not accumulate. `tell` receives each dispatch with
    /// the twin's result, and with its results when every f32 that it reads, except weights, is perturbed up or down by each relative error in
    /// `offs`.
    ///
    /// # Panics
    /// As [`Plan::run`], and if the length of an entry of `got` differs from that of the written buffer.
    #[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
    pub(crate) fn follow(&mut self, inputs: &[&[f32]], got: &[Vec<f32>], offs: &[f32], mut tell: impl FnMut(&Dispatch, &[f32], &[Vec<f32>])) {
        self.fill(inputs);
        for (dispatch, got) in self.recording.dispatches().zip(got) {
            let View { buf, offset, len, .. } = *dispatch.written();
            let result = |mut memory: Vec<Aligned<f32>>| {
                run(&self.recording, dispatch, None, &mut memory, &self.weights);
                memory[buf.index()][offset..offset + len].to_vec()
            };
            let nearby: Vec<Vec<f32>> = offs.iter().map(|off| result(self.disturbed(dispatch, *off))).collect();
            run(&self.recording, dispatch, None, &mut self.memory, &self.weights);
            tell(dispatch, &self.memory[buf.index()][offset..offset + len], &nearby);
            self.memory[buf.index()].copy_from_slice(got);
        }
    }

    /// Copies the buffers of a dispatch, except weights, with each f32 perturbed by the relative error `off`, up or down without a pattern.
    #[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
    fn disturbed(&self, dispatch: &Dispatch, off: f32) -> Vec<Aligned<f32>> {
        let mut memory: Vec<Aligned<f32>> = self.memory.iter().map(|_| Aligned::default()).collect();
        for (number, view) in dispatch.views.iter().enumerate() {
            let (buffer, values) = (&self.recording.buffers()[view.buf.index()], &self.memory[view.buf.index()]);
            let sign = |i: usize| if mixed((i + number) as u32).is_multiple_of(2) { 1.0 } else { -1.0 };
            let is_disturbed = !buffer.precision.is_packed();
            let disturbed = |(i, value): (usize, &f32)| if is_disturbed { value + value * off * sign(i) } else { *value };
            let mut copy = Aligned::zeros(values.len());
            copy.iter_mut().zip(values.iter().enumerate().map(disturbed)).for_each(|(copy, value)| *copy = value);
            memory[view.buf.index()] = copy;
        }
        memory
    }

    /// Runs the plan on the inputs of the last run and returns the time of each dispatch, in order. Conversions that were done by the dispatch before them
    /// are left out.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn profile(&mut self) -> Vec<Timing> {
        let mut timings = Vec::new();
        on_thread(|| {
            self.replay(|dispatch, work| {
                let start = std::time::Instant::now();
                work();
                timings.push(Timing::new(dispatch, start.elapsed().as_secs_f64()));
            })
        });
        timings
    }
}

/// Mixes the bits of a number with MurmurHash3's finalizer.
#[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
fn mixed(mut bits: u32) -> u32 {
    for (shift, factor) in [(16, 0x85eb_ca6b_u32), (13, 0xc2b2_ae35)] {
        bits = (bits ^ bits >> shift).wrapping_mul(factor);
    }
    bits ^ bits >> 16
}

/// Rounds a number to f16. Values beyond its range saturate at the largest finite magnitude.
fn rounded(value: f32) -> f32 {
    let largest = f16::MAX.to_f32();
    f16::from_f32(value.clamp(-largest, largest)).to_f32()
}

/// Runs a dispatch. Returns whether the twin also did `conversion`, the one that follows.
fn run(recording: &Recording, dispatch: &Dispatch, conversion: Option<Conversion>, memory: &mut [Aligned<f32>], weights: &Weights) -> bool {
    let bindings = || dispatch.kernel.bindings.iter().zip(&dispatch.views);
    let written = dispatch.written();
    let kept = |view: &View| match recording.buffers()[view.buf.index()].role {
        Role::Weight(number) => Some(weights.get(number)),
        Role::Input(_) | Role::Scratch => None,
    };
    // The written buffer is bound only once (the recording checks this), so it can be taken out while others are read.
    let mut target = std::mem::take(&mut memory[written.buf.index()]);
    let mut words = conversion.map_or_else(Aligned::default, |conversion| std::mem::take(&mut memory[conversion.to.index()]));
    let width = *recording.shape(written.buf).last().expect("an axis");
    let packed = conversion.map(|Conversion { to, replaces_rows }| PackedRows::new(recording.precision_of(to), replaces_rows, width, &mut words));
    let mut reads: [&[f32]; MAX_BINDINGS] = [&[]; MAX_BINDINGS];
    let mut panels = None;
    let read = bindings().filter(|(binding, _)| binding.access == Access::Read);
    let count = read.clone().count();
    for ((binding, view), read) in read.zip(&mut reads) {
        let whole = match kept(view) {
            None => &memory[view.buf.index()],
            Some(Kept::AsFound(tensor)) => tensor.slice(),
            Some(Kept::Packed(packed)) => {
                assert!(binding.name == "w" && panels.is_none(), "{}: {} is in panels", dispatch.label, binding.name);
                panels = Some(packed.panels().part(view.offset, view.len));
                continue;
            }
        };
        *read = &whole[view.offset..view.offset + view.len];
    }
    (dispatch.kernel.twin)(Call {
        params: &dispatch.params,
        spec: &dispatch.spec,
        reads: &reads[..count],
        panels,
        write: &mut target[written.offset..written.offset + written.len],
        packed: packed.as_ref().map(|packed| packed as &dyn PackedCopy),
    });
    let is_done = packed.is_some_and(|packed| packed.is_promised());
    if let Some(conversion) = conversion {
        memory[conversion.to.index()] = words;
    }
    if recording.precision_of(written.buf) == Precision::F16 {
        target[written.offset..written.offset + written.len].iter_mut().for_each(|value| *value = rounded(*value));
    }
    memory[written.buf.index()] = target;
    is_done
}

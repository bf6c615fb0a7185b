//! Replays a recording with the kernels' twins.

use super::weights::{Kept, Weights};
#[cfg(not(target_arch = "wasm32"))]
use crate::record::Timing;
use crate::record::{Access, Call, Command, Dispatch, MAX_BINDINGS, Recording, Role, View};
use std::sync::Arc;

/// A recording with its buffers in host memory.
#[derive(Debug)]
pub struct Plan {
    recording: Recording,
    weights: Arc<Weights>,
    /// Contents of the inputs and the scratch buffers; empty for weights.
    memory: Vec<Vec<f32>>,
}

impl Plan {
    /// Allocates what `recording` needs; each run reuses it.
    ///
    /// # Panics
    /// If a weight has another number of elements than the recording says.
    pub fn new(recording: Recording, weights: Arc<Weights>) -> Plan {
        for buffer in recording.buffers() {
            if let Role::Weight(number) = buffer.role {
                assert_eq!(weights.get(number).len(), buffer.len(), "elements of {}", buffer.label);
            }
        }
        let memory = recording.buffers().iter().map(|buffer| match buffer.role {
            Role::Weight(_) => Vec::new(),
            Role::Input(_) | Role::Scratch => vec![0.0; buffer.len()],
        });
        Plan { memory: memory.collect(), recording, weights }
    }

    /// Runs it: `inputs` by the number in [`Role::Input`]; gives the outputs in the recording's order.
    ///
    /// # Panics
    /// If an input has another number of elements than the recording says.
    pub fn run(&mut self, inputs: &[&[f32]]) -> Vec<Vec<f32>> {
        for (buffer, memory) in self.recording.buffers().iter().zip(&mut self.memory) {
            if let Role::Input(number) = buffer.role {
                memory.copy_from_slice(inputs[number]);
            }
        }
        let mut outputs = vec![Vec::new(); self.recording.outputs().len()];
        for command in self.recording.commands() {
            match command {
                Command::Dispatch(dispatch) => run(&self.recording, dispatch, &mut self.memory, &self.weights),
                Command::Save { from, output } => outputs[*output] = self.memory[from.index()].clone(),
            }
        }
        outputs
    }

    /// Runs the plan on what its inputs hold from the last run, and gives the time of each dispatch in order.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn profile(&mut self) -> Vec<Timing> {
        let dispatches = self.recording.commands().iter().filter_map(|command| match command {
            Command::Dispatch(dispatch) => Some(dispatch),
            Command::Save { .. } => None,
        });
        let timings = dispatches.map(|dispatch| {
            let start = std::time::Instant::now();
            run(&self.recording, dispatch, &mut self.memory, &self.weights);
            Timing::new(dispatch, start.elapsed().as_secs_f64())
        });
        timings.collect()
    }
}

fn run(recording: &Recording, dispatch: &Dispatch, memory: &mut [Vec<f32>], weights: &Weights) {
    let bindings = || dispatch.kernel.bindings.iter().zip(&dispatch.views);
    let kept = |view: &View| match recording.buffers()[view.buf.index()].role {
        Role::Weight(number) => Some(weights.get(number)),
        Role::Input(_) | Role::Scratch => None,
    };
    let (_, written) = bindings().find(|(binding, _)| binding.access == Access::Write).expect("a kernel writes a buffer");
    // The written buffer is bound once (the recording checks it), so it can be taken out while others are read.
    let mut target = std::mem::take(&mut memory[written.buf.index()]);
    let mut reads: [&[f32]; MAX_BINDINGS] = [&[]; MAX_BINDINGS];
    let mut panels = None;
    let read = bindings().filter(|(binding, _)| binding.access == Access::Read);
    let count = read.clone().count();
    for ((binding, view), read) in read.zip(&mut reads) {
        let whole = match kept(view) {
            None => memory[view.buf.index()].as_slice(),
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
    });
    memory[written.buf.index()] = target;
}

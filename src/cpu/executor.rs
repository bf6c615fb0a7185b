//! Replays a recording with the kernels' twins.

use crate::record::{Access, Call, Command, Dispatch, MAX_BINDINGS, Recording, Role};
use crate::tensor::Tensor;
use std::sync::Arc;

/// A recording with its buffers in host memory.
#[derive(Debug)]
pub struct Plan {
    recording: Recording,
    /// By the number in [`Role::Weight`]; each one aligned block of f32.
    weights: Arc<[Tensor]>,
    /// Contents of the inputs and the scratch buffers; empty for weights.
    memory: Vec<Vec<f32>>,
}

impl Plan {
    /// Allocates what `recording` needs; each run reuses it. `weights` go by the number in [`Role::Weight`].
    ///
    /// # Panics
    /// If a weight has another number of elements than the recording says, or is not stored as f32.
    pub fn new(recording: Recording, weights: Arc<[Tensor]>) -> Plan {
        for buffer in recording.buffers() {
            if let Role::Weight(number) = buffer.role {
                assert_eq!(weights[number].slice().len(), buffer.len(), "elements of {}", buffer.label);
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
}

fn run(recording: &Recording, dispatch: &Dispatch, memory: &mut [Vec<f32>], weights: &[Tensor]) {
    let bindings = || dispatch.kernel.bindings.iter().zip(&dispatch.views);
    let (_, written) = bindings().find(|(binding, _)| binding.access == Access::Write).expect("a kernel writes a buffer");
    // The written buffer is bound once (the recording checks it), so it can be taken out while others are read.
    let mut target = std::mem::take(&mut memory[written.buf.index()]);
    let borrowed = bindings().filter(|(binding, _)| binding.access == Access::Read).map(|(_, view)| {
        let buffer = &recording.buffers()[view.buf.index()];
        let whole: &[f32] = match buffer.role {
            Role::Weight(number) => weights[number].slice(),
            Role::Input(_) | Role::Scratch => &memory[view.buf.index()],
        };
        &whole[view.offset..view.offset + view.len]
    });
    let mut reads: [&[f32]; MAX_BINDINGS] = [&[]; MAX_BINDINGS];
    let count = borrowed.zip(&mut reads).map(|(slice, read)| *read = slice).count();
    (dispatch.kernel.twin)(Call {
        params: &dispatch.params,
        spec: &dispatch.spec,
        reads: &reads[..count],
        write: &mut target[written.offset..written.offset + written.len],
    });
    memory[written.buf.index()] = target;
}

//! Runs a recording on a device, and with buffers that are longer than its kernels know.

use std::sync::Arc;
use vitraux::low_level::gpu::{Gpu, WeightBuffers};
use vitraux::low_level::record::{BufferInfo, Command, Dispatch, Recording, Role};

/// Runs a recording without weights on the GPU.
pub fn on_gpu(gpu: &Arc<Gpu>, recording: &Recording, inputs: &[&[f32]]) -> vitraux::Result<Vec<Vec<f32>>> {
    pollster::block_on(async {
        let none = WeightBuffers::upload(gpu, std::iter::empty(), |_| None).await?;
        vitraux::low_level::gpu::Plan::compile(gpu.clone(), recording, &none, &|_, _| ()).await?.run(inputs).await
    })
}

/// Runs a recording without weights on the CPU.
pub fn on_cpu(recording: &Recording, inputs: &[&[f32]]) -> Vec<Vec<f32>> {
    vitraux::low_level::cpu::Plan::new(recording.clone(), Arc::default()).run(inputs)
}

/// Elements behind the end of each buffer of a [`padded`] recording.
pub const PADDING: usize = 64;

/// The same recording with all buffers longer than the kernels know: what they find behind the end of an input is up to the caller,
/// and they must leave what is behind the end of the others as it is.
pub fn padded(recording: &Recording) -> Recording {
    let mut copy = Recording::new(*recording.capabilities());
    let mut handles = Vec::new();
    for info in recording.buffers() {
        let longer = BufferInfo { shape: vec![info.len() + PADDING], ..info.clone() };
        let made = match info.role {
            Role::Input(_) => copy.input_like(&longer),
            Role::Weight(_) => copy.weight(&longer.label, &longer.shape),
            Role::Scratch => copy.scratch_in(&longer.label, &longer.shape, longer.precision),
        };
        handles.push(made.expect("it fits"));
    }
    for command in recording.commands() {
        match command {
            Command::Save { from, output } => copy.save(&recording.outputs()[*output].name, handles[from.index()]),
            Command::Dispatch(dispatch) => {
                let mut views = dispatch.views.clone();
                for view in &mut views {
                    let is_to_the_end = view.offset + view.len == recording.buffers()[view.buf.index()].len();
                    view.len += if is_to_the_end { PADDING } else { 0 };
                    view.buf = handles[view.buf.index()];
                }
                copy.dispatch(Dispatch { views, ..dispatch.clone() }).expect("it fits");
            }
        }
    }
    copy
}

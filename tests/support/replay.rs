//! Runs a recording on a device, on poisoned scratch memory, and with kernels exchanged.

use std::sync::Arc;
use vitraux::capabilities::Needs;
use vitraux::gpu::{Gpu, WeightBuffers};
use vitraux::record::{Access, Binding, Buf, BufferInfo, Call, Command, Dispatch, Field, Kernel, Recording, Role, Spec};

/// Fills a buffer with NaN: what a kernel then leaves unwritten, no comparison accepts.
pub static POISON: Kernel = Kernel {
    name: "poison",
    wgsl: "struct Params { count: u32 }\n\
           @group(0) @binding(0) var<uniform> params: Params;\n\
           @group(0) @binding(1) var<storage, read_write> y: array<u32>;\n\
           @compute @workgroup_size(64)\n\
           fn poison(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {\n\
               let i = (wid.y * count.x + wid.x) * 64u + lane;\n\
               if i < params.count { y[i] = 0x7fc00000u; }\n\
           }\n",
    params: &[Field { name: "count", kind: "u32" }],
    bindings: &[Binding { index: 1, name: "y", access: Access::Write }],
    needs: Needs::NOTHING,
    twin: poison_twin,
};

fn poison_twin(call: Call<'_>) {
    call.write.fill(f32::NAN);
}

/// Records the poisoning of a buffer.
pub fn poison(recording: &mut Recording, buf: Buf) {
    let view = recording.all(buf);
    let dispatch = Dispatch {
        kernel: &POISON,
        spec: Spec::default(),
        label: "poison".to_owned(),
        params: (view.len as u32).to_ne_bytes().to_vec(),
        flops: 0,
        views: vec![view],
        grid: recording.folded(view.len.div_ceil(64)),
    };
    recording.dispatch(dispatch).expect("a buffer that fits can be poisoned");
}

/// The same recording with each buffer and each dispatch as it is made of the old one; views must name the old one's buffers.
fn copied(recording: &Recording, buffer: impl Fn(&BufferInfo) -> BufferInfo, dispatch: impl Fn(&Dispatch) -> Dispatch) -> Recording {
    let mut copy = Recording::new(*recording.capabilities());
    let mut handles = Vec::new();
    for info in recording.buffers().iter().map(buffer) {
        let made = match info.role {
            Role::Input(_) => copy.input_like(&info),
            Role::Weight(_) => copy.weight(&info.label, &info.shape),
            Role::Scratch => copy.scratch(&info.label, &info.shape),
        };
        handles.push(made.expect("it fits"));
    }
    for command in recording.commands() {
        match command {
            Command::Save { from, output } => copy.save(&recording.outputs()[*output].name, handles[from.index()]),
            Command::Dispatch(old) => {
                let mut new = dispatch(old);
                new.views.iter_mut().for_each(|view| view.buf = handles[view.buf.index()]);
                copy.dispatch(new).expect("it fits");
            }
        }
    }
    copy
}

/// The same recording with each dispatch's kernel exchanged by `exchange`.
pub fn exchanged(recording: &Recording, exchange: impl Fn(&'static Kernel) -> &'static Kernel) -> Recording {
    copied(recording, BufferInfo::clone, |dispatch| Dispatch { kernel: exchange(dispatch.kernel), ..dispatch.clone() })
}

/// Runs a recording without weights on the GPU.
pub fn on_gpu(gpu: &Arc<Gpu>, recording: &Recording, inputs: &[&[f32]]) -> vitraux::Result<Vec<Vec<f32>>> {
    pollster::block_on(async {
        let none = WeightBuffers::upload(gpu, std::iter::empty(), |_| None).await?;
        vitraux::gpu::Plan::compile(gpu.clone(), recording, &none).await?.run(inputs).await
    })
}

/// Runs a recording without weights on the CPU.
pub fn on_cpu(recording: &Recording, inputs: &[&[f32]]) -> Vec<Vec<f32>> {
    vitraux::cpu::Plan::new(recording.clone(), Arc::default()).run(inputs)
}

/// Elements behind the end of each buffer of a [`padded`] recording.
pub const PADDING: usize = 64;

/// The same recording with all buffers longer than the kernels know: what they find behind the end of an input is up to the caller,
/// and they must leave what is behind the end of the others as it is.
pub fn padded(recording: &Recording) -> Recording {
    let longer = |info: &BufferInfo| BufferInfo { shape: vec![info.len() + PADDING], ..info.clone() };
    let lengthened = |dispatch: &Dispatch| {
        let mut dispatch = dispatch.clone();
        for view in &mut dispatch.views {
            let is_to_the_end = view.offset + view.len == recording.buffers()[view.buf.index()].len();
            view.len += if is_to_the_end { PADDING } else { 0 };
        }
        dispatch
    };
    copied(recording, longer, lengthened)
}

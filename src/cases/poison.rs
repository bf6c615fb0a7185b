//! NaN in what a kernel is to write.

use crate::capabilities::Needs;
use crate::record::{Access, Binding, Buf, Call, Dispatch, Field, Kernel, Recording, Spec};

/// Fills a buffer with NaN: what a kernel then leaves unwritten, no comparison accepts.
static POISON: Kernel = Kernel {
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

//! Initial contents of a case's result: NaN, or a copy of an input.

use crate::data::record::{Access, Binding, Buf, Call, Dispatch, Field, Kernel, Recording, Spec};

const PARAMS: &[Field] = &[Field { name: "count", kind: "u32" }, Field { name: "value", kind: "f32" }];

/// Fills a buffer with NaN, so that comparison catches elements the kernel leaves unwritten.
static POISON: Kernel = Kernel::new(
    "poison",
    (
        "poison",
        "#import common/y_f32\n\
         struct Params { count: u32, value: f32 }\n\
         @group(0) @binding(0) var<uniform> params: Params;\n\
         @group(0) @binding(1) var<storage, read_write> y: array<Y>;\n\
         @compute @workgroup_size(64)\n\
         fn poison(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {\n\
             let i = (wid.y * count.x + wid.x) * 64u + lane;\n\
             if i < params.count { y[i] = Y(params.value); }\n\
         }\n",
    ),
    PARAMS,
    &[Binding { index: 1, name: "y", access: Access::Write }],
    |call: Call<'_>| call.write.fill(f32::NAN),
);

/// Copies an input to the buffer of an in-place kernel.
static COPY: Kernel = Kernel::new(
    "copy",
    (
        "copy",
        "#import common/x_f32\n\
         #import common/y_f32\n\
         struct Params { count: u32, value: f32 }\n\
         @group(0) @binding(0) var<uniform> params: Params;\n\
         @group(0) @binding(1) var<storage, read> x: array<X>;\n\
         @group(0) @binding(2) var<storage, read_write> y: array<Y>;\n\
         @compute @workgroup_size(64)\n\
         fn copy(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {\n\
             let i = (wid.y * count.x + wid.x) * 64u + lane;\n\
             if i < params.count { y[i] = narrow(f32(x[i])); }\n\
         }\n",
    ),
    PARAMS,
    &[Binding { index: 1, name: "x", access: Access::Read }, Binding { index: 2, name: "y", access: Access::Write }],
    |call: Call<'_>| call.write.copy_from_slice(call.reads[0]),
);

fn record(recording: &mut Recording, kernel: &'static Kernel, spec: Spec, bufs: &[Buf], count: usize) {
    let dispatch = Dispatch {
        kernel,
        spec,
        label: kernel.name.to_owned(),
        params: [(count as u32).to_ne_bytes(), f32::NAN.to_ne_bytes()].concat(),
        flops: 0,
        views: bufs.iter().map(|buf| recording.all(*buf)).collect(),
        grid: recording.folded(count.div_ceil(64)),
    };
    recording.dispatch(dispatch).expect("a buffer that fits can be written");
}

/// Records filling a buffer with NaN.
pub fn poison(recording: &mut Recording, buf: Buf) {
    let spec = Spec::NONE.writing(recording.precision_of(buf));
    let count = recording.all(buf).len;
    record(recording, &POISON, spec, &[buf], count);
}

/// Records a copy of x to y.
pub(super) fn copy(recording: &mut Recording, x: Buf, y: Buf) {
    let spec = Spec::NONE.reading(recording.precision_of(x)).writing(recording.precision_of(y));
    let count = recording.all(x).len;
    record(recording, &COPY, spec, &[x, y], count);
}

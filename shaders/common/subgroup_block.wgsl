// A workgroup's tile of subgroup_tile.wgsl with its epilogue. Needs rows.wgsl, panel.wgsl or panel_f16.wgsl, and matmul_call.wgsl.

fn rows() -> u32 {
    return params.m;
}

fn depth() -> u32 {
    return params.k;
}

fn start(m: u32) -> u32 {
    return m * params.k;
}

fn load_x(start: u32, k: u32) -> f32 {
    return x[start + k];
}

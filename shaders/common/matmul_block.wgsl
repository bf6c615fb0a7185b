// A workgroup's tile of a product with its epilogue. Needs rows.wgsl, panel.wgsl or panel_f16.wgsl, matmul_call.wgsl or split_call.wgsl, and
// matmul_tile.wgsl.

fn load_x(m: u32, k: u32) -> f32 {
    if m < params.m && k < params.k {
        return x[m * params.k + k];
    }
    return 0.0;
}

fn load_w4(n: u32, k: u32) -> vec4<f32> {
    if n < params.n && k < params.k {
        return panel(n, k, params.k);
    }
    return vec4<f32>();
}

fn compute(wid: vec3<u32>, lane: u32) {
    var sums = multiply(wid, lane, first_k(), end_k());
    for (var i = 0u; i < 64u; i++) {
        let at = cell(wid, lane, i);
        finish(at.x, at.y, element(&sums, i) + bias_at(at.y));
    }
}

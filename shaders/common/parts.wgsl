// A number in f32 as two in f16: x = h + l / LOW, h its upper 11 bits (Ootomo and Yokota 2022, "Recovering single precision accuracy from Tensor Cores").
const LOW: f32 = 2048.0;

// The upper bits by a mask: a compiler may take x - f32(f16(x)) for 0.
fn upper(values: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(values) & vec4(0xffffe000u));
}

fn lower(values: vec4<f32>) -> vec4<f16> {
    return vec4<f16>((values - upper(values)) * LOW);
}

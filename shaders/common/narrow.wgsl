// f32 as f16; what is larger than f16 can be stays finite.
fn narrow(values: vec4<f32>) -> vec4<f16> {
    return vec4<f16>(clamp(values, vec4(-65504.0), vec4(65504.0)));
}

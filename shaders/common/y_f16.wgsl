// Elements of what is written, in f16; what is larger than f16 can be stays finite, and what is no number stays none.
enable f16;
alias Y = f16;

fn narrow(value: f32) -> Y {
    return Y(select(clamp(value, -65504.0, 65504.0), value, value != value));
}

fn narrow4(values: vec4<f32>) -> vec4<Y> {
    return vec4<Y>(select(clamp(values, vec4(-65504.0), vec4(65504.0)), values, values != values));
}

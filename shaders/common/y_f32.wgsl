// Elements of what is written.
alias Y = f32;

fn narrow(value: f32) -> Y {
    return value;
}

fn narrow4(values: vec4<f32>) -> vec4<Y> {
    return values;
}

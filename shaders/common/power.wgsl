// The power of two that brings magnitudes up to `largest` below 2^13, so that both parts of parts.wgsl fit f16; neither it nor its inverse is subnormal.
fn power(largest: f32) -> f32 {
    let exponent = bitcast<u32>(largest) >> 23u;
    return bitcast<f32>(min(127u + 127u + 12u - exponent, 253u) << 23u);
}

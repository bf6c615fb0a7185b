// Tiles of numbers, with sums in f32. Needs tile.wgsl.
alias Four = vec4<f32>;
alias Block = mat4x4<f32>; // column i has row i of the block

fn add(block: Block, a: Four, b: Four) -> Block {
    return block + Block(a.x * b, a.y * b, a.z * b, a.w * b);
}

fn settle(block: Block, at: vec2<u32>, first: u32) -> Block {
    return block;
}

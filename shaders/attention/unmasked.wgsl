// Every token is a key.
fn ignored(b: u32, i: u32, j: u32) -> bool {
    return false;
}

fn bias(h: u32, i: u32, j: u32) -> f32 {
    return 0.0;
}

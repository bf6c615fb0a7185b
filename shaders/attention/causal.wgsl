// A query's keys are the tokens up to its own.
fn ignored(b: u32, i: u32, j: u32) -> bool {
    return j > i;
}

fn bias(h: u32, i: u32, j: u32) -> f32 {
    return 0.0;
}

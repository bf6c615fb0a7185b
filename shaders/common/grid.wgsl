// The number of a workgroup in a grid that Recording::folded made of a row of workgroups.
fn fold(wid: vec3<u32>, count: vec3<u32>) -> u32 {
    return wid.y * count.x + wid.x;
}

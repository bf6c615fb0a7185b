// Sum and maximum over the invocations of a workgroup, which are WORKGROUP (a power of two) in a row.
// Every invocation must call these, in uniform control flow.
const WORKGROUP: u32 = 64u;

var<workgroup> tile_reduce: array<f32, WORKGROUP>;

fn workgroup_sum(value: f32, lane: u32) -> f32 {
    tile_reduce[lane] = value;
    workgroupBarrier(); // each value is written before a neighbour reads it
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane < half {
            tile_reduce[lane] += tile_reduce[lane + half];
        }
        workgroupBarrier(); // this level's sums are written before the next level reads them
    }
    let total = tile_reduce[0];
    workgroupBarrier(); // everybody has read the total before the next reduction overwrites it
    return total;
}

fn workgroup_max(value: f32, lane: u32) -> f32 {
    tile_reduce[lane] = value;
    workgroupBarrier(); // each value is written before a neighbour reads it
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane < half {
            tile_reduce[lane] = max(tile_reduce[lane], tile_reduce[lane + half]);
        }
        workgroupBarrier(); // this level's maxima are written before the next level reads them
    }
    let largest = tile_reduce[0];
    workgroupBarrier(); // everybody has read the maximum before the next reduction overwrites it
    return largest;
}

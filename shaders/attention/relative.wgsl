// Every token is a key; a score has a bias by the offset from its key's patch to its query's, or by which of them is the class token (Bao et al. 2022, BEiT).
const ROWS: u32 = 1u; // of the grid of patches, which are the last tokens
const COLUMNS: u32 = 1u;
const ACROSS: u32 = 2u * COLUMNS - 1u; // offsets along a row
const OFFSETS: u32 = (2u * ROWS - 1u) * ACROSS;

@group(0) @binding(5) var<storage, read> relative: array<f32>; // [H, OFFSETS + 3]

fn ignored(b: u32, i: u32, j: u32) -> bool {
    return false;
}

fn bias(h: u32, i: u32, j: u32) -> f32 {
    let first = params.tokens - ROWS * COLUMNS;
    var at = OFFSETS + 2u; // of the class token to itself
    if i >= first && j >= first {
        let query = i - first;
        let key = j - first;
        at = (query / COLUMNS + ROWS - 1u - key / COLUMNS) * ACROSS + query % COLUMNS + COLUMNS - 1u - key % COLUMNS;
    } else if j >= first {
        at = OFFSETS;
    } else if i >= first {
        at = OFFSETS + 1u;
    }
    return relative[h * (OFFSETS + 3u) + at];
}

// z = x - mean over patches; V <- orth(z^T z V), again and again (Halko et al. 2011, algorithm 4.4); rgb = z . the 3 first components, as 0..1
// An invocation an element of V (start) or a column of z (gather), a workgroup a patch (project) or an image (orthonormalise, colours). f32.
// Grid: x what there is one for, y images; orthonormalise and colours x images. Needs nothing. Twin: cpu/pca.rs
#import common/reduce

const BLOCK: u32 = 8u; // directions that are followed, so that the first 3 settle soon
const SWEEPS: u32 = 8u; // of Jacobi's method, which squares what is left with each one

struct Params {
    tokens: u32, // N
    width: u32, // C
    first: u32, // the first patch among the tokens
    patches: u32, // P
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [B, N, C]
@group(0) @binding(2) var<storage, read> mean: array<f32>; // [B, C]
@group(0) @binding(3) var<storage, read> basis: array<f32>; // [B, C, 8], V as others read it
@group(0) @binding(4) var<storage, read> scores: array<f32>; // [B, P, 8], y as others read it
@group(0) @binding(5) var<storage, read_write> v: array<f32>; // [B, C, 8]
@group(0) @binding(6) var<storage, read_write> y: array<f32>; // [B, P, 8]
@group(0) @binding(7) var<storage, read_write> rgb: array<f32>; // [B, P, 3]

var<workgroup> tile_sums: array<f32, WORKGROUP>;
var<workgroup> tile_t: array<f32, WORKGROUP>; // [8, 8]
var<workgroup> tile_u: array<f32, WORKGROUP>; // [8, 8]
var<workgroup> tile_order: array<u32, 3>;

fn centred(b: u32, p: u32, c: u32) -> f32 {
    return x[(b * params.tokens + params.first + p) * params.width + c] - mean[b * params.width + c];
}

// Patches at equal distances are where V begins.
@compute @workgroup_size(64)
fn pca_start(@builtin(global_invocation_id) gid: vec3<u32>) {
    if gid.x >= params.width * BLOCK {
        return;
    }
    let k = gid.x % BLOCK;
    v[gid.y * params.width * BLOCK + gid.x] = centred(gid.y, k * params.patches / BLOCK, gid.x / BLOCK);
}

// y = z V
@compute @workgroup_size(WORKGROUP)
fn pca_project(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let k = lane % BLOCK;
    var sum = 0.0;
    for (var c = lane / BLOCK; c < params.width; c += WORKGROUP / BLOCK) {
        sum += centred(wid.y, wid.x, c) * basis[(wid.y * params.width + c) * BLOCK + k];
    }
    tile_sums[lane] = sum;
    workgroupBarrier(); // each share is written before it is added up
    if lane < BLOCK {
        var total = 0.0;
        for (var share = lane; share < WORKGROUP; share += BLOCK) {
            total += tile_sums[share];
        }
        y[(wid.y * params.patches + wid.x) * BLOCK + lane] = total;
    }
}

// V = z^T y
@compute @workgroup_size(64)
fn pca_gather(@builtin(global_invocation_id) gid: vec3<u32>) {
    if gid.x >= params.width {
        return;
    }
    var sums: array<f32, BLOCK>;
    for (var p = 0u; p < params.patches; p++) {
        let value = centred(gid.y, p, gid.x);
        for (var k = 0u; k < BLOCK; k++) {
            sums[k] += value * scores[(gid.y * params.patches + p) * BLOCK + k];
        }
    }
    for (var k = 0u; k < BLOCK; k++) {
        v[(gid.y * params.width + gid.x) * BLOCK + k] = sums[k];
    }
}

// The scalar product of two columns of V.
fn dot_of(b: u32, i: u32, j: u32, lane: u32) -> f32 {
    var sum = 0.0;
    for (var c = lane; c < params.width; c += WORKGROUP) {
        let row = (b * params.width + c) * BLOCK;
        sum += v[row + i] * v[row + j];
    }
    return workgroup_sum(sum, lane);
}

// Gram and Schmidt, each column twice, because f32 leaves a rest. A column of nothing but rounding becomes 0.
@compute @workgroup_size(WORKGROUP)
fn pca_orthonormalise(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var k = 0u; k < BLOCK; k++) {
        let before = dot_of(wid.x, k, k, lane);
        for (var again = 0u; again < 2u; again++) {
            for (var j = 0u; j < k; j++) {
                let share = dot_of(wid.x, j, k, lane);
                for (var c = lane; c < params.width; c += WORKGROUP) {
                    let row = (wid.x * params.width + c) * BLOCK;
                    v[row + k] -= share * v[row + j];
                }
            }
        }
        let left = dot_of(wid.x, k, k, lane);
        let factor = select(0.0, inverseSqrt(left), left > 1e-10 * before);
        for (var c = lane; c < params.width; c += WORKGROUP) {
            v[(wid.x * params.width + c) * BLOCK + k] *= factor;
        }
    }
}

// Makes tile_t diagonal, and tile_u the matrix of its eigenvectors, which are its columns (Golub and Van Loan, section 8.5).
fn jacobi() {
    for (var sweep = 0u; sweep < SWEEPS; sweep++) {
        for (var i = 0u; i < BLOCK - 1u; i++) {
            for (var j = i + 1u; j < BLOCK; j++) {
                let off = tile_t[i * BLOCK + j];
                if off == 0.0 {
                    continue;
                }
                let tau = (tile_t[j * BLOCK + j] - tile_t[i * BLOCK + i]) / (2.0 * off);
                let tangent = select(-1.0, 1.0, tau >= 0.0) / (abs(tau) + sqrt(1.0 + tau * tau));
                let cosine = inverseSqrt(1.0 + tangent * tangent);
                let sine = tangent * cosine;
                for (var k = 0u; k < BLOCK; k++) {
                    let at = vec2(k * BLOCK + i, k * BLOCK + j);
                    let t = vec2(tile_t[at.x], tile_t[at.y]);
                    let u = vec2(tile_u[at.x], tile_u[at.y]);
                    tile_t[at.x] = cosine * t.x - sine * t.y;
                    tile_t[at.y] = sine * t.x + cosine * t.y;
                    tile_u[at.x] = cosine * u.x - sine * u.y;
                    tile_u[at.y] = sine * u.x + cosine * u.y;
                }
                for (var k = 0u; k < BLOCK; k++) {
                    let at = vec2(i * BLOCK + k, j * BLOCK + k);
                    let t = vec2(tile_t[at.x], tile_t[at.y]);
                    tile_t[at.x] = cosine * t.x - sine * t.y;
                    tile_t[at.y] = sine * t.x + cosine * t.y;
                }
            }
        }
    }
}

// The places of the three largest eigenvalues.
fn largest_three() {
    var taken = 0u;
    for (var rank = 0u; rank < 3u; rank++) {
        var best = BLOCK;
        for (var k = 0u; k < BLOCK; k++) {
            if ((taken >> k) & 1u) == 0u && (best == BLOCK || tile_t[k * BLOCK + k] > tile_t[best * BLOCK + best]) {
                best = k;
            }
        }
        taken |= 1u << best;
        tile_order[rank] = best;
    }
}

// Row `row` of a matrix [.., 8], whose rows from `start` on are those of an image, times eigenvector u.
fn turned_score(row: u32, u: u32) -> f32 {
    var sum = 0.0;
    for (var k = 0u; k < BLOCK; k++) {
        sum += scores[row * BLOCK + k] * tile_u[k * BLOCK + u];
    }
    return sum;
}

fn turned_basis(row: u32, u: u32) -> f32 {
    var sum = 0.0;
    for (var k = 0u; k < BLOCK; k++) {
        sum += basis[row * BLOCK + k] * tile_u[k * BLOCK + u];
    }
    return sum;
}

@compute @workgroup_size(WORKGROUP)
fn pca_colours(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = wid.x * params.patches;
    // One entry of y^T y for each of the 8 x 8 invocations.
    var sum = 0.0;
    for (var p = first; p < first + params.patches; p++) {
        sum += scores[p * BLOCK + lane / BLOCK] * scores[p * BLOCK + lane % BLOCK];
    }
    tile_t[lane] = sum;
    tile_u[lane] = select(0.0, 1.0, lane / BLOCK == lane % BLOCK);
    workgroupBarrier(); // the matrix is whole before it is made diagonal
    if lane == 0u {
        jacobi();
        largest_three();
    }
    workgroupBarrier(); // the eigenvectors are there before anyone reads them
    for (var channel = 0u; channel < 3u; channel++) {
        let u = tile_order[channel];
        // The component's entry of the largest magnitude is positive, as scikit-learn turns them since 1.5.
        var positive = 0.0;
        var negative = 0.0;
        for (var c = lane; c < params.width; c += WORKGROUP) {
            let loading = turned_basis(wid.x * params.width + c, u);
            positive = max(positive, loading);
            negative = max(negative, -loading);
        }
        let highest = workgroup_max(positive, lane);
        let lowest = workgroup_max(negative, lane);
        let sign = select(-1.0, 1.0, highest >= lowest);
        var top = -3.4028234e38;
        var bottom = -3.4028234e38;
        for (var p = first + lane; p < first + params.patches; p += WORKGROUP) {
            let score = sign * turned_score(p, u);
            top = max(top, score);
            bottom = max(bottom, -score);
        }
        top = workgroup_max(top, lane);
        bottom = -workgroup_max(bottom, lane);
        for (var p = first + lane; p < first + params.patches; p += WORKGROUP) {
            let score = sign * turned_score(p, u) - bottom;
            rgb[p * 3u + channel] = select(0.0, score / (top - bottom), top > bottom);
        }
    }
}

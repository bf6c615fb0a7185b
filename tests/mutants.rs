//! Kernels with a mistake put in: each must fail a case, or a test is missing.

use crate::support::cases::{self, Case};
use crate::support::{compare::mismatch, gpu, replay};
use vitraux::gpu::specialise;
use vitraux::kernels::ALL;
use vitraux::record::{Command, Kernel, Spec};

/// For each kernel: what stands in its shader (imports resolved), and what a mistake would make of it.
const MISTAKES: &[(&str, &[(&str, &str)])] = &[
    (
        "patchify",
        &[
            ("+ bias[at.y]", ""),
            ("at.y < params.width", "at.y < params.width - 1u"),
            ("k % params.patch_width", "k % params.patch_height"),
            ("down * params.patch_height +", ""),
            ("m / (params.grid_width * params.grid_height)", "0u"),
            ("m % params.grid_width", "m % params.grid_height"),
            ("|| column >= params.image_width", ""),
            ("row >= params.image_height ||", ""),
            ("k >= patch_values()", "k + 1u >= patch_values()"),
        ],
    ),
    (
        "convolution",
        &[
            ("k >= values()", "k + 1u >= values()"),
            ("- params.top", ""),
            ("- params.left", "- params.top"),
            ("|| column >= params.width", ""),
            ("row >= params.height ||", ""),
            ("/ params.output_width * params.stride", "/ params.output_width"),
            ("n / pixels() * params.channels", "0u"),
            ("at.y / pixels() * params.outputs", "0u"),
            ("at.x < params.outputs", "at.x + 1u < params.outputs"),
        ],
    ),
    (
        "groupnorm",
        &[
            ("+ params.epsilon", ""),
            ("* weight[channel]", ""),
            ("+ bias[channel]", ""),
            ("row % params.groups * params.channels", "0u"),
            ("deviation * deviation", "deviation"),
            ("row >= params.rows", "row + 1u >= params.rows"),
        ],
    ),
    ("groupnorm_relu", &[("max(normalised(row, i, stats), 0.0)", "normalised(row, i, stats)"), (", 0.0);", ", 0.1);")]),
    (
        "groupnorm_residual_relu",
        &[
            ("y[row * len + i] + normalised", "normalised"),
            ("max(y[row * len + i] + normalised(row, i, stats), 0.0)", "y[row * len + i] + max(normalised(row, i, stats), 0.0)"),
        ],
    ),
    (
        "max_pool",
        &[
            ("- params.top", ""),
            ("- params.left", ""),
            ("row < params.height &&", ""),
            ("&& column < params.width", ""),
            ("v < params.size", "v + 1u < params.size"),
            ("-3.4028234e38", "0.0"),
            ("plane >= params.planes", "plane + 1u >= params.planes"),
        ],
    ),
    (
        "qk_norm",
        &[
            ("+ params.epsilon", "+ 1e-3"),
            ("* q_weight[d]", "* k_weight[d]"),
            ("+ k_bias[d]", ""),
            ("% 2u", "% 3u"),
            ("deviation * deviation", "deviation"),
            ("row >= params.rows", "row + 1u >= params.rows"),
        ],
    ),
    (
        "rotary",
        &[
            ("low * cosine - high * sine", "low * cosine + high * sine"),
            ("high * cosine + low * sine", "high * cosine + qkv[at] * sine"),
            ("params.tokens + params.skip + p", "params.tokens + p"),
            ("% 2u;", "% 3u;"),
            ("b >= params.batch", "b + 1u >= params.batch"),
        ],
    ),
    (
        "attention_masked",
        &[
            ("!= 0.0", "== 0.0"),
            ("mask[b * params.tokens + n]", "mask[n]"),
            ("if !ignored(b, first + j) {\n                    let weight", "{\n                    let weight"),
        ],
    ),
    (
        "attention_pool",
        &[
            ("score *= params.scale;", ""),
            ("tile = params.first", "tile = 0u"),
            ("total * shrink", "total"),
            ("sum[slot] *= shrink;", ""),
            ("if n < params.tokens", "if n <= params.tokens"),
            ("start(b, tile + j, 1u, h)", "start(b, tile + j, 0u, h)"),
            ("max(largest, workgroup_max(score, lane))", "max(0.0, workgroup_max(score, lane))"),
            ("/ total", ""),
            ("let b = wid.y", "let b = 0u"),
        ],
    ),
    (
        "gate",
        &[
            ("activate(x[at])", "x[at]"),
            ("x[at + params.width]", "x[at]"),
            ("x / (1.0 + exp(-x))", "x / (1.0 + exp(x))"),
            ("row >= params.rows", "row + 1u >= params.rows"),
        ],
    ),
    (
        "unit",
        &[
            ("sqrt(workgroup_sum(squares, lane))", "workgroup_sum(squares, lane)"),
            ("row >= params.rows", "row + 1u >= params.rows"),
            ("/ length", ""),
        ],
    ),
    ("average", &[("/ 2.0", ""), ("a[i] + b[i]", "a[i] + a[i]"), ("i < params.len", "i + 1u < params.len")]),
    (
        "ceiling_coop8",
        &[
            ("step < STEPS", "step + 1u < STEPS"),
            ("a + b + c + d", "a + b + c"),
            ("first < params.len {\n            y", "first + SIDE * SIDE < params.len {\n            y"),
            ("tile * SIDE * SIDE", "tile * SIDE"),
        ],
    ),
    ("ceiling_coop16", &[("step < STEPS", "step + 1u < STEPS"), ("a + b + c + d", "a + b + c")]),
    ("ceiling_copy", &[("y[i] = x[i]", "y[i] = x[0]"), ("i < params.len / 4u", "i + 1u < params.len / 4u")]),
    (
        "ceiling_multiply",
        &[
            ("STEPS: u32 = 256u", "STEPS: u32 = 2u"),
            ("0.5 * factor", "0.4 * factor"),
            ("a + b + c + d", "a + b + c"),
            ("i >= params.len / 4u", "i + 1u >= params.len / 4u"),
        ],
    ),
    (
        "embed",
        &[
            ("n < params.prefix", "n <= params.prefix"),
            ("n >= params.skip", "n > params.skip"),
            ("(n - params.skip)", "n"),
            ("b >= params.batch", "b + 1u >= params.batch"),
            ("value += position", "value -= position"),
        ],
    ),
    (
        "layernorm",
        &[
            ("+ params.epsilon", ""),
            ("* weight[c]", ""),
            ("+ bias[c]", ""),
            ("deviation * deviation", "x[start + c] * x[start + c]"),
            ("/ f32(params.width);\n    let factor", "/ f32(params.width - 1u);\n    let factor"),
            ("half > 0u", "half > 1u"),
            ("row >= params.rows", "row + 1u >= params.rows"),
        ],
    ),
    (
        "matmul",
        &[
            ("+ bias_at(at.y)", ""),
            ("(n / 64u * depth + k) * 16u", "(n / 64u + k) * 16u"),
            ("n % 64u / 4u", "n % 32u / 4u"),
            ("first < end; first += TILE_K", "first + TILE_K < end; first += TILE_K"),
            ("k < params.k", "k <= params.k"),
            ("m >= params.m || n >= params.n", "m >= params.m || n + 1u >= params.n"),
            ("m >= params.m || n >= params.n", "m + 1u >= params.m || n >= params.n"),
            ("sum11 += outer(a1, b1)", "sum11 += outer(a1, b0)"),
            ("a.z * b, a.w * b", "a.z * b, a.z * b"),
            ("i / 16u % 2u * 4u", "i / 32u * 4u"),
            ("i < 64u", "i < 63u"),
            ("params.stride + params.first + n", "params.stride + n + 1u"),
            ("activate(value)", "value"),
            ("0.044715", "0.04"),
            ("1.702", "1.7"),
            ("1.13520398", "1.135"),
            ("max(x, 0.0)", "x"),
            ("return hyperbolic_tangent(x)", "return x"),
            ("y[at] += value", "y[at] = value"),
            ("y[at] += scale[n] * value", "y[at] += value"),
            ("y[at] += scale[n] * value", "y[at] = scale[n] * value"),
        ],
    ),
    (
        "matmul_f16",
        &[
            ("unpack2x16float(columns.y)", "unpack2x16float(columns.x)"),
            ("(n / 64u * depth + k) * 16u", "(n / 64u + k) * 16u"),
            ("n % 64u / 4u", "n % 32u / 4u"),
            ("+ bias_at(at.y)", ""),
        ],
    ),
    (
        "matmul_subgroup",
        &[
            ("(*sums)[3] += subgroupBroadcast(x8, 3u)", "(*sums)[3] += subgroupBroadcast(x8, 2u)"),
            ("add(&right2, x2, right)", "add(&right2, x1, right)"),
            ("add(&left4, x4, left)", "add(&left4, x4, right)"),
            ("start(min(m + 32u + lane", "start(min(m + 31u + lane"),
            ("lane, rows() - 1u)", "lane, rows() - 2u)"),
            ("k < depth()", "k + 1u < depth()"),
            ("bias_at(n + 34u)", "bias_at(n + 33u)"),
            ("finish(m, n + 3u, sums.w)", "finish(m, n + 3u, sums.z)"),
            ("left = left2;", "left = left1;"),
            ("row = (*sums)[7];", ""),
            ("min(40u, rows() - m)", "min(32u, rows() - m)"),
            ("pick(&right, i) + right_bias", "pick(&right, i)"),
        ],
    ),
    (
        "patchify_subgroup",
        &[
            ("across * params.patch_width", "across * params.patch_height"),
            ("down * params.patch_height)", "down)"),
            ("image * params.channels * params.image_height", "image * params.image_height"),
            ("channel * params.image_height + row", "channel + row"),
            ("k % params.patch_width]", "k % params.patch_height]"),
            ("m < rows() && n < params.width", "m < rows() && n + 1u < params.width"),
            ("bias[min(n, params.width - 1u)]", "0.0"),
        ],
    ),
    (
        "layernorm_subgroup",
        &[
            ("+ params.epsilon", ""),
            ("* weight[v]", ""),
            ("+ bias[v]", ""),
            ("deviation * deviation", "deviation"),
            ("values.x + values.y + values.z + values.w", "values.x + values.y + values.z"),
            ("row >= params.rows", "row + 1u >= params.rows"),
        ],
    ),
    (
        "matmul_coop8",
        &[
            ("m < params.m && k < params.k", "m < params.m && k + 4u < params.k"),
            ("n < params.n && k < params.k", "n + 8u < params.n && k < params.k"),
            ("first + TILE_K)", "first)"),
            ("W_STRIDE + 1u] = brought.w3", "W_STRIDE + 1u] = brought.w2"),
            ("coopMultiplyAdd(a2, b1, sums.s21)", "coopMultiplyAdd(a2, b0, sums.s21)"),
            ("sums.s30, m + 3u * SIDE", "sums.s31, m + 3u * SIDE"),
            ("subgroup % ACROSS * 2u", "subgroup % ACROSS"),
            ("let own = subgroup * SIDE * SIDE", "let own = 0u"),
            ("+ bias_at(column)", ""),
            ("load_x4(m + 3u * X_APART, k)", "load_x4(m + 2u * X_APART, k)"),
        ],
    ),
    (
        "matmul_coop16",
        &[
            ("m < params.m && k < params.k", "m < params.m && k + 4u < params.k"),
            ("coopMultiplyAdd(a3, b1, sums.s31)", "coopMultiplyAdd(a3, b0, sums.s31)"),
        ],
    ),
    (
        "matmul_split",
        &[
            ("slice = wid.z", "slice = 0u"),
            ("return slice * depth()", "return 0u"),
            ("min(first_k() + depth(), params.k)", "params.k"),
            ("(slice * params.m + m)", "(slice * params.m + m + 1u)"),
            ("(params.k + SLICES * TILE_K - 1u)", "params.k"),
        ],
    ),
    ("matmul_split_f16", &[("slice = wid.z", "slice = 0u"), ("return slice * depth()", "return 0u")]),
    ("matmul_split_coop8", &[("slice = wid.z", "slice = 0u"), ("var brought = bring(wid, index, first_k())", "var brought = bring(wid, index, 0u)")]),
    ("matmul_split_coop16", &[("slice = wid.z", "slice = 0u"), ("first < end_k()", "first < params.k")]),
    (
        "matmul_combine",
        &[
            ("s < SLICES", "s + 1u < SLICES"),
            ("i / params.n, i % params.n", "i % params.n, i / params.n"),
            ("+ bias_at(i % params.n)", ""),
            ("i >= params.m * params.n", "i + 1u >= params.m * params.n"),
        ],
    ),
    ("matmul_skinny_f16", &[("part < SLICES", "part + 1u < SLICES"), ("columns.y)", "columns.x)"), ("k += SLICES", "k += SLICES + 1u")]),
    ("matmul_subgroup_f16", &[("columns.y)", "columns.x)"), ("m * params.k", "(m + 1u) * params.k")]),
    (
        "quantise",
        &[
            ("/ 127.0", "/ 126.0"),
            ("abs(x[start + k])", "x[start + k]"),
            ("round(x[start + k] / scale)", "x[start + k] / scale * 0.99"),
            ("round(x[start + k] / scale)", "x[start + k] / scale"),
            ("round(x[start + k] / scale)", "floor(x[start + k] / scale)"),
            ("k < params.width && scale", "k + 1u < params.width && scale"),
            ("row >= params.rows", "row + 1u >= params.rows"),
            ("row * (words + 1u) + i", "row * words + i"),
            ("bitcast<u32>(scale)", "bitcast<u32>(1.0)"),
        ],
    ),
    (
        "matmul_int8",
        &[
            ("(params.k + 3u) / 4u", "params.k / 4u"),
            ("m < params.m && i < words()", "i + 1u < words()"),
            ("dot4I8Packed(a, b.w)", "dot4I8Packed(a, b.z)"),
            ("add(block11, a1, b1)", "add(block11, a1, b0)"),
            ("* scale_x", ""),
            ("scales[i] + bias_at", "scales[0] + bias_at"),
            ("+ bias_at(n + i)", ""),
            ("first += TILE", "first += TILE + 1u"),
            ("finish_row(m + 3u, n, block.row3)", "finish_row(m + 3u, n, block.row2)"),
        ],
    ),
    (
        "matmul_skinny",
        &[
            ("k += SLICES", "k += SLICES + 1u"),
            ("part < SLICES", "part + 1u < SLICES"),
            ("load_x(m + 2u, k)", "load_x(m + 1u, k)"),
            ("tile_sums[slice * 64u + 48u + group] = sum3", "tile_sums[slice * 64u + 48u + group] = sum2"),
            ("i < 256u", "i < 192u"),
            ("m + i / 64u", "m + i / 32u"),
            ("+ bias_at(n)", ""),
            ("let m = wid.y * 4u", "let m = wid.y * 3u"),
        ],
    ),
    ("matmul_naive", &[("+ bias_at(n)", ""), ("k < params.k", "k + 1u < params.k"), ("[n % 4u]", "[n % 2u]"), ("m * params.k + k", "m * params.k")]),
    (
        "attention",
        &[
            ("* params.scale", ""),
            ("min(KEYS, params.tokens - first)", "KEYS"),
            ("total *= shrink;", ""),
            ("sum[v] *= shrink;", ""),
            ("largest = tile_largest;", "largest = max(0.0, tile_largest);"),
            ("tile_v[i] = load(start(b, key, 2u, h)", "tile_v[i] = load(start(b, key, 1u, h)"),
            ("v * 4u + i < HEAD", "v * 4u + i <= HEAD"),
            ("let b = wid.z", "let b = 0u"),
            ("/ total", ""),
            ("first < params.tokens; first += KEYS", "first + KEYS <= params.tokens; first += KEYS"),
            ("(b * params.queries + n)", "(b * params.tokens + n)"),
        ],
    ),
    (
        "attention_subgroup",
        &[
            ("* params.scale", ""),
            (".q[first + 5u] * subgroupBroadcast(key, 5u)", ".q[first + 5u] * subgroupBroadcast(key, 4u)"),
            ("multiply_eight(query, 16u, key[2])", "multiply_eight(query, 16u, key[1])"),
            ("add_eight(query, 24u, weights, v[0][3], v[1][3])", "add_eight(query, 24u, weights, v[0][3], v[1][2])"),
            ("sums.x + sums.y + sums.z + sums.w", "sums.x + sums.y + sums.z"),
            ("select(LOWEST, score(query, k[1]), both)", "score(query, k[1])"),
            ("(*query).total * weights.shrink", "(*query).total"),
            ("(*query).sum[first + 6u] * weights.shrink", "(*query).sum[first + 6u]"),
            ("(*query).largest = LOWEST", "(*query).largest = 0.0"),
            ("|| v < HEAD / 4u", "|| v <= HEAD / 4u"),
            ("(*query).sum[first + 7u] / total", "(*query).sum[first + 7u]"),
            ("(b * params.queries + n)", "(b * params.tokens + n)"),
            ("let b = wid.z", "let b = 0u"),
        ],
    ),
    (
        "attention_coop8",
        &[
            ("tile_scores[row * KEYS + j] * params.scale - largest", "tile_scores[row * KEYS + j] - largest"),
            ("min(KEYS, params.tokens - first)", "KEYS"),
            ("total *= shrink;", ""),
            ("tile_factors[row] = shrink", "tile_factors[row] = 1.0"),
            ("largest = tile_largest;", "largest = max(0.0, tile_largest);"),
            ("load(b, first + i / (HEAD / 4u), 2u,", "load(b, first + i / (HEAD / 4u), 1u,"),
            ("let at_v = key * STRIDE + d / 4u", "let at_v = d / 4u"),
            ("d < HEAD; d += SIDE) {\n                let at_q", "d + SIDE < HEAD; d += SIDE) {\n                let at_q"),
            ("1.0 / total", "1.0"),
            ("let own = subgroup * SIDE", "let own = 0u"),
            ("let b = wid.z", "let b = 0u"),
            ("(b * params.queries + n)", "(b * params.tokens + n)"),
        ],
    ),
    ("attention_coop16", &[("1.0 / total", "1.0"), ("total *= shrink;", "")]),
    (
        "attention_naive_probabilities",
        &[
            ("score * params.scale;", "score;"),
            ("/= total", "/= 1.0"),
            ("j < params.tokens; j += WORKGROUP", "j + 1u < params.tokens; j += WORKGROUP"),
            ("start(b, j, 1u, h)", "start(b, j, 0u, h)"),
            ("b >= params.batch", "b + 1u >= params.batch"),
        ],
    ),
    (
        "rollout_mix",
        &[
            ("0.5 *", "1.0 *"),
            ("select(0.0, 1.0,", "select(0.0, 0.0,"),
            ("(b * params.heads + h) * square", "h * square"),
            ("h < params.heads", "h + 1u < params.heads"),
        ],
    ),
    (
        "rollout_product",
        &[
            ("(b * params.tokens + k)", "k"),
            ("k < params.tokens", "k + 1u < params.tokens"),
            ("mixed[row * params.tokens + k]", "mixed[k * params.tokens + j]"),
        ],
    ),
    ("pca_start", &[("- mean[b * params.width + c]", ""), ("params.first + p", "p"), ("k * params.patches / BLOCK", "k")]),
    (
        "pca_project",
        &[
            ("share < WORKGROUP", "share + BLOCK < WORKGROUP"),
            ("(wid.y * params.width + c) * BLOCK", "c * BLOCK"),
            ("- mean[b * params.width + c]", ""),
        ],
    ),
    (
        "pca_gather",
        &[("p < params.patches", "p + 1u < params.patches"), ("(gid.y * params.patches + p) * BLOCK", "p * BLOCK"), ("params.first + p", "p")],
    ),
    (
        "pca_orthonormalise",
        &[
            ("v[row + k] -= share * v[row + j]", "v[row + k] -= v[row + j]"),
            ("inverseSqrt(left)", "1.0"),
            ("j < k", "j + 1u < k"),
            ("wid.x, j, k", "0u, j, k"),
        ],
    ),
    (
        "pca_colours",
        &[
            ("select(-1.0, 1.0, highest >= lowest)", "1.0"),
            ("SWEEPS: u32 = 8u", "SWEEPS: u32 = 0u"),
            ("- bottom;", ";"),
            ("taken |= 1u << best", "taken |= 0u"),
            ("/ (top - bottom)", ""),
            ("let first = wid.x * params.patches", "let first = 0u"),
            ("sine * t.x + cosine * t.y", "sine * t.x - cosine * t.y"),
        ],
    ),
    (
        "attention_naive_values",
        &[
            ("start(b, j, 2u, h)", "start(b, j, 1u, h)"),
            ("j < params.tokens; j++", "j + 1u < params.tokens; j++"),
            ("b >= params.batch", "b + 1u >= params.batch"),
        ],
    ),
    (
        "pool",
        &[
            ("/ f32(params.count)", ""),
            ("n = params.first;", "n = 0u;"),
            ("b >= params.batch", "b + 1u >= params.batch"),
            ("params.first + params.count; n++", "params.tokens; n++"),
            ("+ params.column", ""),
            ("b * params.stride", "b * params.width"),
        ],
    ),
    (
        "softmax",
        &[
            ("/ total", ""),
            ("sum += exp(x[start + i] - largest)", "sum += exp(x[start + i])"),
            ("largest = workgroup_max(largest, lane)", "largest = 0.0"),
            ("row >= params.rows", "row + 1u >= params.rows"),
        ],
    ),
];

/// A kernel in whose shader (imports resolved) something else stands than is right.
pub fn broken(original: &Kernel, right: &str, wrong: &str) -> &'static Kernel {
    let source = specialise(original.wgsl, &Spec::default()).expect("our own imports");
    assert!(source.contains(right), "{}: {right:?} is not in the shader; the mistake must be brought up to date", original.name);
    Box::leak(Box::new(Kernel { wgsl: source.replace(right, wrong).leak(), ..*original }))
}

/// Whether any case finds the kernel out.
fn is_caught(gpu: &std::sync::Arc<vitraux::gpu::Gpu>, cases: &[&Case], original: &Kernel, mutant: &'static Kernel) -> bool {
    let capabilities = gpu.summary().capabilities;
    cases.iter().any(|case| {
        let values = case.values();
        let inputs = case.laid_out(values.clone(), true);
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let recording = case.recording(capabilities).expect("it fits");
        let recording = recording.exchanging(|kernel| if kernel.name == original.name { mutant } else { kernel });
        let expected = case.expected(&values);
        match replay::on_gpu(gpu, &recording, &inputs) {
            Ok(got) => mismatch(&got[0], &expected, &case.output, case.tolerance(&expected)).is_some(),
            Err(error) => panic!("{}: a mistake that the device finds is no test of ours: {error}", original.name),
        }
    })
}

/// The constants that a case's kernel runs under.
fn spec(case: &Case) -> Vec<(&'static str, u32)> {
    let recording = case.recording(case.able()).expect("it fits");
    let of_kernel = |command: &Command| match command {
        Command::Dispatch(dispatch) if dispatch.kernel.name == case.kernel => Some(dispatch.spec.0.clone()),
        _ => None,
    };
    recording.commands().iter().rev().find_map(of_kernel).expect("a case runs its kernel")
}

#[test]
fn every_mistake_is_caught() {
    // Checked, because a mistake may reach outside or never end.
    let Some(gpu) = gpu::checked() else { return };
    let all = cases::all();
    let mut missed = Vec::new();
    for (name, mistakes) in MISTAKES {
        let original = *ALL.iter().find(|kernel| kernel.name == *name).unwrap_or_else(|| panic!("{name} is not a kernel"));
        let mut own: Vec<&Case> = all.iter().filter(|case| case.kernel == *name).collect();
        // Under one spec the mutant is compiled once, which takes longer than to run it.
        own.sort_by_cached_key(|case| (spec(case), case.flops));
        if !original.needs.met_by(&gpu.summary().capabilities) {
            println!("SKIPPED: the device does not have what {name} needs");
            continue;
        }
        for (right, wrong) in *mistakes {
            if !is_caught(&gpu, &own, original, broken(original, right, wrong)) {
                missed.push(format!("{name}: {right:?} as {wrong:?}"));
            }
        }
    }
    assert!(missed.is_empty(), "no case finds these out:\n{}", missed.join("\n"));
}

#[test]
fn every_kernel_has_mistakes() {
    for kernel in ALL {
        assert!(MISTAKES.iter().any(|(name, mistakes)| *name == kernel.name && mistakes.len() >= 2), "{}", kernel.name);
    }
}

//! Kernels with a mistake put in: each must fail a case, or a test is missing.

use crate::support::cases::{self, Case};
use crate::support::{compare::mismatch, gpu, replay};
use std::collections::HashMap;
use vitraux::low_level::gpu::PIECES;
use vitraux::low_level::kernels::ALL;
use vitraux::low_level::record::{Command, Kernel, Spec};

/// For each entry point, or a single kernel of one: what stands in its shader or in what that imports, and what a mistake would make of it.
const MISTAKES: &[(&str, &[(&str, &str)])] = &[
    (
        "normalise",
        &[
            ("i % 4u * 8u", "i % 3u * 8u"),
            ("i / params.pixels * 256u", "0u"),
            ("(params.image + 3u) / 4u", "params.image / 4u"),
            ("element / params.image * words", "element / 4u / words * words"),
            ("element < min(start + BLOCK, params.batch * params.image)", "element + 1u < min(start + BLOCK, params.batch * params.image)"),
            ("BLOCK: u32 = 4u * INVOCATIONS", "BLOCK: u32 = 3u * INVOCATIONS"),
        ],
    ),
    (
        "unfold",
        &[
            ("i % PATCH_WIDTH", "i % PATCH_HEIGHT"),
            ("let row = top +", "let row ="),
            ("let column = left +", "let column ="),
            ("row < params.image_height &&", ""),
            ("&& column < params.image_width", ""),
            ("image * CHANNELS + channel", "channel"),
            ("i / (PATCH_WIDTH * PATCH_HEIGHT)", "0u"),
            ("p / params.grid_width % params.grid_height", "p / params.grid_height % params.grid_width"),
            ("i < VALUES", "i + 1u < VALUES"),
            ("i += INVOCATIONS", "i += INVOCATIONS + 1u"),
            ("if p >= params.batch", "if p + 1u >= params.batch"),
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
            ("high * cosine + low * sine", "high * cosine + f32(qkv[at]) * sine"),
            ("+ params.step * i", "+ i"),
            ("h % params.turns", "0u"),
            ("f32(qkv[at + params.gap])", "f32(qkv[at + 1u])"),
            ("params.tokens + params.skip + p", "params.tokens + p"),
            ("% 2u;", "% 3u;"),
            ("b >= params.batch", "b + 1u >= params.batch"),
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
            ("activate(f32(x[at]))", "f32(x[at])"),
            ("x[at + params.width]", "x[at]"),
            ("x / (1.0 + exp(-x))", "x / (1.0 + exp(x))"),
            ("i < min(", "i + 1u < min("),
            ("clamp(value, -65504.0, 65504.0)", "value"),
        ],
    ),
    (
        "l2_normalize",
        &[
            ("sqrt(workgroup_sum(squares, lane))", "workgroup_sum(squares, lane)"),
            ("row >= params.rows", "row + 1u >= params.rows"),
            ("/ length", ""),
        ],
    ),
    ("average", &[("/ 2.0", ""), ("a[i] + b[i]", "a[i] + a[i]"), ("i < params.len", "i + 1u < params.len")]),
    (
        "ceiling_cooperative",
        &[
            ("step < STEPS", "step + 1u < STEPS"),
            ("a + b + c + d", "a + b + c"),
            ("first < params.len {\n            y", "first + SIDE * SIDE < params.len {\n            y"),
            ("tile * SIDE * SIDE", "tile * SIDE"),
        ],
    ),
    ("ceiling_copy", &[("y[i] = x[i]", "y[i] = x[0]"), ("i < params.len / 4u", "i + 1u < params.len / 4u")]),
    (
        "ceiling_multiply",
        &[
            ("STEPS: u32 = 256u", "STEPS: u32 = 2u"),
            ("fma(b, factor, factor)", "fma(b, factor, 0.9 * factor)"),
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
            ("i < min(", "i + 1u < min("),
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
        "matmul_tiled",
        &[
            ("products.x + bias_at(n)", "products.x"),
            ("(n / 64u * depth + k) * 16u", "(n / 64u + k) * 16u"),
            ("n % 64u / 4u", "n % 32u / 4u"),
            ("first < end; first += TILE_K", "first + TILE_K < end; first += TILE_K"),
            ("WHOLE == 1u || k < depth()", "WHOLE == 1u || k + 1u < depth()"),
            ("m >= params.m || n >= params.n", "m >= params.m || n + 1u >= params.n"),
            ("m >= params.m || n >= params.n", "m + 1u >= params.m || n >= params.n"),
            ("add(block3, a1, b1)", "add(block3, a1, b0)"),
            ("a.z * b, a.w * b", "a.z * b, a.z * b"),
            ("row_group(lane) + ROW_GROUPS / 2u]", "row_group(lane) + 1u]"),
            ("column_group(lane) + COLUMN_GROUPS / 2u]", "column_group(lane) + 1u]"),
            ("block % 2u * (COLUMN_GROUPS / 2u)", "block / 2u * (COLUMN_GROUPS / 2u)"),
            ("at.x + i, at.y, blocks", "at.x, at.y, blocks"),
            ("params.m - 1u)", "params.m - 2u)"),
            ("(params.n - 1u) / 4u * 4u)", "(params.n - 1u) / 8u * 4u)"),
            ("activate(values.w)", "activate(values.z)"),
            ("p * s - 0.43690738", "p * s - 0.43691738"),
            ("max(x, 0.0) - s", "-s"),
            ("held + values", "values"),
            ("params.stride + params.first + n", "params.stride + n + 1u"),
            ("activate(value)", "value"),
            ("segment / 3u - 1u", "segment / 3u"),
            ("segment % 3u - 1u", "segment % 3u"),
            ("% params.rows * params.step", "% params.rows"),
            ("row < params.height && ", ""),
            (" && column < params.width", ""),
            ("image * params.height + row", "row"),
            ("k / segment_depth()", "0u"),
            ("return max(f32(x[at]), 0.0)", "return f32(x[at])"),
            ("1.0 / (1.0 + exp(-x)); } // sigmoid", "x; }"),
            ("0.044715", "0.04"),
            ("1.702", "1.7"),
            ("return max(x, 0.0); }", "return x; }"),
            ("return hyperbolic_tangent(x)", "return x"),
            ("narrow(f32(y[at]) + value)", "narrow(value)"),
            ("f32(y[at]) + scale[n] * value", "f32(y[at]) + value"),
            ("f32(y[at]) + scale[n] * value", "scale[n] * value"),
            ("unpack2x16float(columns.y)", "unpack2x16float(columns.x)"),
            ("first_k(wid.z), end_k(wid.z)", "first_k(0u), end_k(0u)"),
            ("return slice * params.slice_depth", "return 0u"),
            ("min(first_k(slice) + params.slice_depth, depth())", "depth()"),
            ("(slice * params.m + m)", "(slice * params.m + m + 1u)"),
        ],
    ),
    (
        "matmul_software",
        &[
            ("(*sums)[3] += subgroupBroadcast(x8, 3u)", "(*sums)[3] += subgroupBroadcast(x8, 2u)"),
            ("add(&right2, x2, right)", "add(&right2, x1, right)"),
            ("add(&left4, x4, left)", "add(&left4, x4, right)"),
            ("min(m + 32u + lane", "min(m + 31u + lane"),
            ("lane, params.m - 1u)", "lane, params.m - 2u)"),
            ("k < segment_depth()", "k + 1u < segment_depth()"),
            ("segment * segment_depth()", "0u"),
            ("select(found, max(found, 0.0), RECTIFIED == 1u)", "found"),
            ("select(least, 0.0, is_padding(start))", "least"),
            ("bias_at(n + 34u)", "bias_at(n + 33u)"),
            ("finish(0u, m, n + 3u, sums.w)", "finish(0u, m, n + 3u, sums.z)"),
            ("left = left2;", "left = left1;"),
            ("row = (*sums)[7];", ""),
            ("min(40u, params.m - m)", "min(32u, params.m - m)"),
            ("pick(&right, i) + right_bias", "pick(&right, i)"),
            ("value(row1, k)", "value(row0, k)"),
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
        "matmul_cooperative",
        &[
            ("WHOLE == 1u || k < depth()", "WHOLE == 1u || k + 4u < depth()"),
            ("starts.x[i] = row;", "starts.x[i] = 0u;"),
            ("row_of_x(starts, i), k + column_of_x(index, i)", "row_of_x(starts, i), k"),
            ("max(x[at / 4u], Chunk())", "x[at / 4u]"),
            ("min(first + TILE_K, last), index", "first, index"),
            ("lhs[i], rhs[j], sums", "lhs[i], rhs[0u], sums"),
            ("first_row(subgroup, i) * X_STRIDE", "first_row(subgroup, 0u) * X_STRIDE"),
            ("step * SIDE * W_STRIDE", "0u * W_STRIDE"),
            ("subgroup % ACROSS * MATRICES_ACROSS", "subgroup % ACROSS"),
            ("let own = subgroup * SIDE * SIDE / 4u", "let own = 0u"),
            ("products + columns.bias", "products"),
            ("params.m - 1u)", "params.m - 2u)"),
            ("params.n - 4u)", "params.n - 8u)"),
            ("index + i * INVOCATIONS < ROWS", "index + (i + 1u) * INVOCATIONS < ROWS"),
            ("activate(values.w)", "activate(values.z)"),
            ("q * s + 0.13760029", "q * s + 0.14760029"),
            ("max(x, 0.0) - s", "-s"),
            ("held + values", "values"),
            ("columns.scale * values", "values"),
            ("m >= params.m || n >= params.n", "m + 1u >= params.m || n >= params.n"),
            ("m >= params.m || n >= params.n", "m >= params.m || n + 4u >= params.n"),
            ("first = first_k(wid.z); first <", "first = 0u; first <"),
            ("(slice * params.m + m) * params.n", "(slice * params.m + m + 1u) * params.n"),
            ("|| m >= wid.y * ROWS", "|| true"),
            ("INVOCATIONS / (TILE_K / 4u) * X_STRIDE)", "INVOCATIONS / (TILE_K / 4u))"),
            ("INVOCATIONS / (COLUMNS / 4u) * W_STRIDE)", "INVOCATIONS / (COLUMNS / 4u))"),
            ("by * 16u", "by * 8u"),
            ("+= by / 4u", "+= by / 8u"),
            ("EPILOGUE < 2u", "EPILOGUE < 3u"),
            ("params.m - ROWS)", "params.m - ROWS - 1u)"),
            ("i * (INVOCATIONS / (TILE_K / 4u))", "i * (INVOCATIONS / TILE_K)"),
            ("i * (INVOCATIONS / (COLUMNS / 4u))", "i * (INVOCATIONS / COLUMNS)"),
            ("first_column(subgroup, j) + column_of(lane));", "first_column(subgroup, 0u) + column_of(lane));"),
            ("row + row_of(lane, part);", "row_of(lane, part);"),
        ],
    ),
    (
        "matmul_cooperative_f32",
        &[
            ("* scale.x[i]", ""),
            ("next.w[i] * scale.w[i]", "next.w[i]"),
            ("1.0 / power_of_x(m) / powers_of_w(n)", "1.0 / powers_of_w(n)"),
            ("let at = params.m + min(", "let at = min("),
            ("(index + i * INVOCATIONS) / (TILE_K / 4u))", "(index + i * INVOCATIONS) / TILE_K)"),
            ("(values - upper(values)) * LOW", "vec4(0.0)"),
            ("high_lhs[i], low_rhs", "low_lhs[i], low_rhs"),
            ("low_lhs[i], high_rhs, cross", "high_lhs[i], low_rhs, cross"),
            ("sums[sum] = sums[sum] +", "sums[sum] ="),
            ("cross[sum] * (1.0 / LOW)", "cross[sum]"),
            ("select(0u, TILE_K, first < last)", "0u"),
            ("step * SIDE * W_STRIDE", "0u * W_STRIDE"),
        ],
    ),
    (
        "attention_powers",
        &[
            ("b >= params.batch", "b + 1u >= params.batch"),
            ("number / 3u % params.heads", "number % params.heads"),
            ("number % 3u)", "number % 2u)"),
            ("i / (HEAD / 4u);", "0u;"),
            ("max(largest.z, largest.w)", "largest.z"),
            ("12u - exponent", "13u - exponent"),
        ],
    ),
    (
        "matmul_powers",
        &[
            ("12u - exponent", "13u - exponent"),
            ("abs(x[number * (depth() / 4u) + k])", "x[number * (depth() / 4u) + k]"),
            ("max(four.z, four.w)", "four.z"),
            ("abs(w[(n / 64u", "(w[(n / 64u"),
            ("part < WORKGROUP / GROUPS", "part + 1u < WORKGROUP / GROUPS"),
            ("lane / GROUPS; k <", "lane / GROUPS; k + 1u <"),
            ("k = lane; k <", "k = lane; k + 1u <"),
            ("y[params.m + n + i]", "y[params.m + n]"),
            ("(number - params.m) * GROUPS", "number * GROUPS"),
        ],
    ),
    (
        "matmul_combine",
        &[
            ("s < SLICES", "s + 1u < SLICES"),
            ("i / params.n, i % params.n", "i % params.n, i / params.n"),
            ("+ bias_at(i % params.n)", ""),
            ("i < min(", "i + 1u < min("),
        ],
    ),
    (
        "quantise",
        &[
            ("/ 127.0", "/ 126.0"),
            ("abs(x[from_x + k])", "x[from_x + k]"),
            ("round(x[from_x + k] / scale)", "x[from_x + k] / scale * 0.99"),
            ("round(x[from_x + k] / scale)", "x[from_x + k] / scale"),
            ("round(x[from_x + k] / scale)", "floor(x[from_x + k] / scale)"),
            ("k < params.width && scale", "k + 1u < params.width && scale"),
            ("var k = block * 32u;", "var k = block * 32u + 1u;"),
            ("block * 8u + 8u", "block * 8u + 7u"),
            ("i < min(", "i + 1u < min("),
            ("row * (words + blocks)", "row * words"),
            ("bitcast<u32>(scale)", "bitcast<u32>(1.0)"),
        ],
    ),
    (
        "to_bf16",
        &[
            ("bits + 0x7fffu", "bits + 0x8000u"),
            ("bits + 0x7fffu + ((bits >> 16u) & 1u)", "bits"),
            ("(params.width + 1u) / 2u", "params.width / 2u"),
            ("if column + 1u < params.width", "if column + 2u < params.width"),
            ("<< 16u;\n        }", "<< 15u;\n        }"),
            ("i / words * params.width", "i / words * words * 2u"),
            ("i < min(", "i + 1u < min("),
        ],
    ),
    (
        "matmul_bf16",
        &[
            ("(params.k + 1u) / 2u", "params.k / 2u"),
            ("if i < words() {\n        return x[", "if i + 1u < words() {\n        return x["),
            ("words << vec4(16u)", "words << vec4(15u)"),
            ("0xffff0000u", "0xfffe0000u"),
            ("products(lower(a), lower(b))", "products(lower(a), upper(b))"),
            ("products(upper(a), upper(b))", "products(upper(a), lower(b))"),
            (" + products(upper(a), upper(b))", ""),
            ("a.z * b", "a.y * b"),
            ("add(block3, a1, b1)", "add(block3, a1, b0)"),
            ("products.w + bias_at(n + 3u)", "products.w"),
            ("first += TILE_K", "first += TILE_K + 1u"),
            ("i % COLUMN_GROUPS * 4u", "i % COLUMN_GROUPS * 8u"),
        ],
    ),
    (
        "matmul_int8",
        &[
            ("(params.k + 3u) / 4u", "params.k / 4u"),
            ("if i < words() {\n        return x[", "if i + 1u < words() {\n        return x["),
            ("dot4I8Packed(a, b.w)", "dot4I8Packed(a, b.z)"),
            ("add(block3, a1, b1)", "add(block3, a1, b0)"),
            ("+ i]) * scales)", "+ i]))"),
            ("(bitcast<f32>(x[min(m, params.m - 1u) * row_words() + i]) * scales)", "scales"),
            ("panel(at.y, i)", "panel(at.y + 4u, i)"),
            ("words() + first / TILE_K", "words()"),
            ("scaled(at.x + 2u, i, block.integers[2], scales)", "scaled(at.x + 2u, i, block.integers[3], scales)"),
            ("settle(block2, place(wid, lane, 2u), first)", "settle(block2, place(wid, lane, 0u), first)"),
            ("array<vec4<i32>, 4>(), array(", "block.integers, array("),
            ("products.w + bias_at(n + 3u)", "products.w"),
            ("first += TILE_K", "first += TILE_K + 1u"),
            ("dots(a.w, b)", "dots(a.z, b)"),
            ("i % COLUMN_GROUPS * 4u", "i % COLUMN_GROUPS * 8u"),
        ],
    ),
    (
        "matmul_skinny",
        &[
            ("k += 4u * SLICES", "k += 4u * SLICES + 4u"),
            ("part < SLICES", "part + 1u < SLICES"),
            ("load_x4(m + 2u, k)", "load_x4(m + 1u, k)"),
            ("x1.w * columns3", "x1.w * columns2"),
            ("k < depth());\n}", "k <= depth());\n}"),
            ("x[row + min(k + 2u, last)]", "x[row + min(k + 1u, last)]"),
            ("tile_sums[slice * 64u + 48u + group] = sum3", "tile_sums[slice * 64u + 48u + group] = sum2"),
            ("i < 256u", "i < 192u"),
            ("m + i / 64u", "m + i / 32u"),
            ("+ bias_at(n)", ""),
            ("let m = wid.y * 4u", "let m = wid.y * 3u"),
        ],
    ),
    ("matmul_naive", &[("+ bias_at(n)", ""), ("k < depth()", "k + 1u < depth()"), ("[n % 4u]", "[n % 2u]"), ("m * depth() + k", "m * depth()")]),
    (
        "attention_tiled",
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
            ("!= 0.0", "== 0.0"),
            ("mask[b * params.tokens + j]", "mask[j]"),
            ("if !ignored(b, n, first + j) {\n                    let weight", "{\n                    let weight"),
            ("return j > i;", "return j >= i && j > 0u;"),
            ("j > i || mask", "mask"),
            ("|| mask[b * params.tokens + j] != 0.0", ""),
            ("var at = OFFSETS + 2u", "var at = OFFSETS"),
            ("at = OFFSETS;", "at = OFFSETS + 1u;"),
            ("+ ROWS - 1u - key / COLUMNS", "+ ROWS - 1u"),
            ("query % COLUMNS + COLUMNS - 1u - key % COLUMNS", "key % COLUMNS + COLUMNS - 1u - query % COLUMNS"),
            ("relative[h * (OFFSETS + 3u) + at]", "relative[at]"),
        ],
    ),
    (
        "attention_software",
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
        "attention_cooperative",
        &[
            ("params.scale * LOG2_E", "params.scale"),
            ("keys > vec4(last)", "keys > vec4(params.tokens)"),
            ("biases * LOG2_E", "biases"),
            ("bias(h, n, k.z)", "bias(h, n, k.y)"),
            ("bias(h, n, k.x)", "bias(h, 0u, k.x)"),
            ("ignored(b, n, k.w)", "ignored(b, n, k.z)"),
            ("ignored(b, n, k.y)", "ignored(0u, n, k.y)"),
            ("h, n, first + (share", "h, n, (share"),
            ("total *= shrink;", ""),
            ("tile_scores[row * SCORES_STRIDE + i] *= shrink", "tile_scores[row * SCORES_STRIDE + i] *= 1.0"),
            ("largest = select(largest, tile_largest, first == 0u)", "largest = select(largest, 0.0, first == 0u)"),
            ("tile_grown[turn] = 1u", "tile_grown[turn] = 0u"),
            ("load(values, first + key_of", "load(keys, first + key_of"),
            ("let at_p = own * P_STRIDE + j * SIDE / 4u", "let at_p = own * P_STRIDE"),
            ("1.0 / row_sum(total)", "1.0"),
            ("* (3u * params.heads", "* (2u * params.heads"),
            ("vec4<f32>(rounded), vec4(1.0)", "vec4<f32>(rounded), vec4(1.0, 1.0, 1.0, 0.0)"),
            ("let own = subgroup * SIDE", "let own = 0u"),
            ("let b = wid.z", "let b = 0u"),
            ("(b * params.queries + n)", "(b * params.tokens + n)"),
            ("d * SIDE / 4u + i % (SIDE / 4u)", "i % (SIDE / 4u)"),
            ("|| v < HEAD / 4u) {\n                y", "|| v <= HEAD / 4u) {\n                y"),
        ],
    ),
    // What only f32 passes through.
    (
        "attention_coop8_f32_16x8",
        &[
            ("tile_p[LOW_P + at] = lower(scaled)", "tile_p[LOW_P + at] = vec4<f16>()"),
            ("tile_k[LOW_TILE + at] = lower(scaled_k)", "tile_k[LOW_TILE + at] = vec4<f16>()"),
            ("tile_v[LOW_TILE + at] = lower(scaled_v)", "tile_v[LOW_TILE + at] = vec4<f16>()"),
            ("tile_p[LOW_P + at] = lower(powers)", "tile_p[LOW_P + at] = vec4<f16>()"),
            ("vec4<f32>(v4) * power_v", "vec4<f32>(v4)"),
            ("products = products + coopMultiplyAdd", "products = coopMultiplyAdd"),
            ("products = products + cross * (1.0 / LOW)", "products = products + cross"),
            ("sums[d] = sums[d] + sums[(PARTS - 1u) * HEAD_MATRICES + d]", "sums[d] = sums[d] + sums[d]"),
            ("d < PARTS * HEAD_MATRICES", "d < HEAD_MATRICES"),
        ],
    ),
    (
        "attention_naive_probabilities",
        &[
            ("* params.scale +", "+"),
            ("score = -3.4028234e38;", ""),
            ("ignored(b, params.first + i, j)", "ignored(b, i, j)"),
            ("bias(h, params.first + i, j)", "bias(h, i, j)"),
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
        "pool_max",
        &[
            ("-3.4028234e38", "0.0"),
            ("n = params.first;", "n = 0u;"),
            ("b >= params.batch", "b + 1u >= params.batch"),
            ("max(largest, x", "min(largest, x"),
        ],
    ),
    ("gather", &[("u32(index[b])", "0u"), ("(b * params.tokens + n)", "n"), ("b >= params.batch", "b + 1u >= params.batch")]),
    ("accumulate", &[("+= x[i]", "= x[i]"), ("min(start + BLOCK, params.len)", "min(start + BLOCK, params.len - 1u)")]),
    (
        "rmsnorm",
        &[
            ("+ params.epsilon", ""),
            ("* weight[c]", ""),
            ("x[start + c] * x[start + c]", "x[start + c]"),
            ("row >= params.rows", "row + 1u >= params.rows"),
        ],
    ),
    (
        "rmsnorm_subgroup",
        &[
            ("+ params.epsilon", ""),
            ("* weight[v]", ""),
            ("x[start + v] * x[start + v]", "x[start + v]"),
            ("row >= params.rows", "row + 1u >= params.rows"),
            ("* ROWS + subgroup", "* ROWS"),
        ],
    ),
    (
        "qk_rmsnorm",
        &[
            ("part == 0u", "part == 1u"),
            ("f32(qkv[start + d]) * f32(qkv[start + d])", "f32(qkv[start + d])"),
            ("* factor * weight", "* factor"),
            ("row >= params.rows", "row + 1u >= params.rows"),
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
        "resize",
        &[
            ("2u * i + 1u", "2u * i"),
            ("max(to_length - 1u, 1u)", "to_length"),
            ("min(first + 1u, from_length - 1u)", "first"),
            ("i * (from_length - 1u)", "i * from_length"),
            ("f32(at % over)", "f32(at)"),
            ("+= f32(y[element])", "= f32(y[element])"),
            ("across.weight);", "down.weight);"),
            ("* params.height;", ";"),
            ("element < min(", "element + 1u < min("),
        ],
    ),
    (
        "swap",
        &[
            ("(o * params.r + r) * params.s + s", "(o * params.r + s) * params.s + r"),
            ("params.inner + i", "params.inner"),
            ("element < min(", "element + 1u < min("),
        ],
    ),
    (
        "readout",
        &[
            ("params.skip + p", "p"),
            ("READOUT == 1u ||", ""),
            ("|| c >= params.channels", ""),
            ("(width * patches) * params.tokens", "(width * patches) * patches"),
            ("element < min(", "element + 1u < min("),
        ],
    ),
    (
        "depth",
        &[
            ("bias[0]", "0.0"),
            ("params.scale *", ""),
            ("activate(sum)", "sum"),
            ("pixel >= params.pixels", "pixel + 1u >= params.pixels"),
            ("c < params.channels;", "c + 1u < params.channels;"),
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

/// A kernel in whose shader, or in what that imports, something else stands than is right; nothing if it does not stand there.
pub fn broken(original: &Kernel, right: &str, wrong: &str) -> Option<&'static Kernel> {
    let has_it = |(name, text): &&(&'static str, &'static str)| original.may_import(name) && text.contains(right);
    let pieces: Vec<(&str, &str)> = PIECES.iter().filter(has_it).map(|(name, text)| (*name, &*text.replace(right, wrong).leak())).collect();
    if pieces.is_empty() && !original.wgsl.contains(right) {
        return None;
    }
    Some(Box::leak(Box::new(original.edited(original.wgsl.replace(right, wrong).leak(), pieces.leak()))))
}

fn is_of(kernel: &Kernel, entry: &str) -> bool {
    [kernel.entry, kernel.name].contains(&entry)
}

/// Which case, if any, finds a mistake out that is put into all kernels of an entry point.
fn catcher<'a>(gpu: &std::sync::Arc<vitraux::low_level::gpu::Gpu>, cases: &[&'a Case], entry: &str, right: &str, wrong: &str) -> Option<&'a Case> {
    let capabilities = gpu.summary().capabilities;
    cases.iter().copied().find(|case| {
        let values = case.values();
        let inputs = case.laid_out(values.clone(), true);
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let recording = case.recording(capabilities).expect("it fits");
        let mutant = |kernel: &'static Kernel| if is_of(kernel, entry) { broken(kernel, right, wrong).unwrap_or(kernel) } else { kernel };
        let expected = case.expected(&values);
        match replay::on_gpu(gpu, &recording.exchanging(mutant), &inputs) {
            Ok(got) => mismatch(&got[0], &expected, &case.output, case.tolerance(&expected)).is_some(),
            Err(error) => panic!("{entry}: a mistake that the device finds is no test of ours: {error}"),
        }
    })
}

/// What a case's kernel runs under.
fn spec(case: &Case) -> Spec {
    let recording = case.recording(case.able()).expect("it fits");
    let of_kernel = |command: &Command| match command {
        Command::Dispatch(dispatch) if dispatch.kernel.name == case.kernel => Some(dispatch.spec.clone()),
        _ => None,
    };
    recording.commands().iter().rev().find_map(of_kernel).expect("a case runs its kernel")
}

/// What old software drivers lack; those that have it compile such kernels for seconds each.
fn is_for_hardware(kernel: &Kernel) -> bool {
    kernel.needs.half || kernel.needs.cooperative > 0
}

#[test]
fn every_portable_mutant_is_caught() {
    mistakes_are_caught(|kernels| !kernels.iter().all(|kernel| is_for_hardware(kernel)));
}

#[test]
fn every_hardware_mutant_is_caught() {
    mistakes_are_caught(|kernels| kernels.iter().all(|kernel| is_for_hardware(kernel)));
}

/// Of the entry points of some kernels.
fn mistakes_are_caught(are_wanted: impl Fn(&[&'static Kernel]) -> bool) {
    // Checked, because a mistake may reach outside or never end.
    let Some(gpu) = gpu::checked() else { return };
    let all = cases::all();
    let mut missed = Vec::new();
    for (entry, mistakes) in MISTAKES {
        let kernels: Vec<&'static Kernel> = ALL.iter().copied().filter(|kernel| is_of(kernel, entry)).collect();
        assert!(!kernels.is_empty(), "{entry} is no entry point of a kernel");
        if !are_wanted(&kernels) {
            continue;
        }
        let of_kernels = all.iter().filter(|case| kernels.iter().any(|kernel| kernel.name == case.kernel));
        let mut own: Vec<&Case> = of_kernels.filter(|case| case.needs().met_by(&gpu.summary().capabilities)).collect();
        // To compile a mutant takes longer than to run it, and each spec is compiled by itself. So the cases of a spec follow one another, and each kernel
        // has a turn before one has its second.
        own.sort_by_cached_key(|case| (spec(case).constants, case.flops));
        let mut turns: HashMap<&str, Vec<_>> = HashMap::new();
        own.sort_by_cached_key(|case| {
            let (specs, constants) = (turns.entry(case.kernel).or_default(), spec(case).constants);
            specs.iter().position(|known| *known == constants).unwrap_or_else(|| {
                specs.push(constants);
                specs.len() - 1
            })
        });
        if own.is_empty() {
            println!("SKIPPED: the device does not have what {entry} needs");
            continue;
        }
        for (right, wrong) in *mistakes {
            let broken: Vec<&str> = kernels.iter().filter(|kernel| broken(kernel, right, wrong).is_some()).map(|kernel| kernel.name).collect();
            assert!(!broken.is_empty(), "{entry}: {right:?} is not in the shader; the mistake must be brought up to date");
            let affected: Vec<&Case> = own.iter().filter(|case| broken.contains(&case.kernel)).copied().collect();
            match catcher(&gpu, &affected, entry, right, wrong) {
                None => missed.push(format!("{entry}: {right:?} as {wrong:?}")),
                // What has found one mistake mostly finds the next.
                Some(case) => {
                    let constants = spec(case).constants;
                    own.sort_by_cached_key(|other| spec(other).constants != constants);
                }
            }
        }
    }
    assert!(missed.is_empty(), "no case finds these out:\n{}", missed.join("\n"));
}

#[test]
fn every_kernel_has_at_least_two_mutants() {
    for kernel in ALL.iter() {
        assert!(MISTAKES.iter().any(|(entry, mistakes)| *entry == kernel.entry && mistakes.len() >= 2), "{}", kernel.name);
    }
}

//! From a WGSL file to what a device compiles: imports resolved, constants specialised.

use crate::record::Spec;

/// The pieces that `#import NAME` brings in.
const COMMON: &[(&str, &str)] = &[
    ("activation", include_str!("../../shaders/common/activation.wgsl")),
    ("attention_call", include_str!("../../shaders/common/attention_call.wgsl")),
    ("attention_coop", include_str!("../../shaders/common/attention_coop.wgsl")),
    ("attention_tile", include_str!("../../shaders/common/attention_tile.wgsl")),
    ("ceiling_coop", include_str!("../../shaders/common/ceiling_coop.wgsl")),
    ("coop_16", include_str!("../../shaders/common/coop_16.wgsl")),
    ("coop_8", include_str!("../../shaders/common/coop_8.wgsl")),
    ("coop_tile", include_str!("../../shaders/common/coop_tile.wgsl")),
    ("grid", include_str!("../../shaders/common/grid.wgsl")),
    ("matmul_block", include_str!("../../shaders/common/matmul_block.wgsl")),
    ("matmul_call", include_str!("../../shaders/common/matmul_call.wgsl")),
    ("matmul_tile", include_str!("../../shaders/common/matmul_tile.wgsl")),
    ("narrow", include_str!("../../shaders/common/narrow.wgsl")),
    ("panel", include_str!("../../shaders/common/panel.wgsl")),
    ("panel_f16", include_str!("../../shaders/common/panel_f16.wgsl")),
    ("panel_f16_wide", include_str!("../../shaders/common/panel_f16_wide.wgsl")),
    ("patchify_call", include_str!("../../shaders/common/patchify_call.wgsl")),
    ("reduce", include_str!("../../shaders/common/reduce.wgsl")),
    ("rows", include_str!("../../shaders/common/rows.wgsl")),
    ("rows_vec4", include_str!("../../shaders/common/rows_vec4.wgsl")),
    ("skinny_block", include_str!("../../shaders/common/skinny_block.wgsl")),
    ("split_call", include_str!("../../shaders/common/split_call.wgsl")),
    ("subgroup_block", include_str!("../../shaders/common/subgroup_block.wgsl")),
    ("subgroup_tile", include_str!("../../shaders/common/subgroup_tile.wgsl")),
];

/// Replaces each `#import` line by the piece it names, then the value of each constant in `spec`.
///
/// # Panics
/// If a piece or a constant does not exist: a mistake in our own shaders, which the contract tests find.
pub fn specialise(wgsl: &str, spec: &Spec) -> String {
    let mut source = String::new();
    for line in wgsl.lines() {
        match line.strip_prefix("#import ") {
            Some(name) => {
                let found = COMMON.iter().find(|(piece, _)| *piece == name);
                source.push_str(found.unwrap_or_else(|| panic!("no shaders/common/{name}.wgsl")).1);
            }
            None => source.push_str(line),
        }
        source.push('\n');
    }
    for (name, value) in &spec.0 {
        let declaration = format!("const {name}: u32 = ");
        let start = source.find(&declaration).unwrap_or_else(|| panic!("no `{declaration}` in the shader")) + declaration.len();
        let length = source[start..].find(';').expect("a declaration ends");
        source.replace_range(start..start + length, &format!("{value}u"));
    }
    source
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_constants_are_replaced() {
        let source = specialise("#import grid\nconst A: u32 = 1u;\nconst AB: u32 = 2u; // kept", &Spec(vec![("AB", 7)]));
        assert!(source.contains("fn fold("));
        assert!(source.contains("const A: u32 = 1u;\nconst AB: u32 = 7u; // kept"));
    }

    #[test]
    #[should_panic(expected = "const MISSING: u32")]
    fn an_unknown_constant_is_a_mistake() {
        specialise("const A: u32 = 1u;", &Spec(vec![("MISSING", 1)]));
    }
}

//! From a WGSL file to what a device compiles: imports resolved, constants specialised.

use crate::error::{Error, Result};
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
/// # Errors
/// [`Error::Argument`] if a piece or a constant does not exist: a mistake of who edits shaders, as the contract tests find those in ours.
pub fn specialise(wgsl: &str, spec: &Spec) -> Result<String> {
    let mut source = String::new();
    for line in wgsl.lines() {
        match line.strip_prefix("#import ") {
            Some(name) => {
                let found = COMMON.iter().find(|(piece, _)| *piece == name);
                let missing = || Error::Argument(format!("#import {name}: expected the name of a file in shaders/common, found no {name}.wgsl"));
                source.push_str(found.ok_or_else(missing)?.1);
            }
            None => source.push_str(line),
        }
        source.push('\n');
    }
    for (name, value) in &spec.0 {
        let declaration = format!("const {name}: u32 = ");
        let missing = || Error::Argument(format!("expected `{declaration}...;` in the shader, which is replaced by the value that a call needs"));
        let start = source.find(&declaration).ok_or_else(missing)? + declaration.len();
        let length = source[start..].find(';').ok_or_else(missing)?;
        source.replace_range(start..start + length, &format!("{value}u"));
    }
    Ok(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_constants_are_replaced() {
        let source = specialise("#import grid\nconst A: u32 = 1u;\nconst AB: u32 = 2u; // kept", &Spec(vec![("AB", 7)])).expect("both are there");
        assert!(source.contains("fn fold("));
        assert!(source.contains("const A: u32 = 1u;\nconst AB: u32 = 7u; // kept"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |wgsl: &str| specialise(wgsl, &Spec(vec![("A", 1)])).expect_err("it is not there").to_string();
        assert!(error("const B: u32 = 1u;").contains("const A: u32 = "));
        assert!(error("#import nothing\nconst A: u32 = 1u;").contains("#import nothing"));
        assert!(error("const A: u32 = 1u").contains("const A: u32 = "));
    }
}

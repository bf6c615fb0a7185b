//! Turns a WGSL file into the source that a device compiles: resolves imports, specialises constants, and unrolls marked loops.
//!
//! Shaders use two directives, each on its own line. `#import NAME` inserts a piece from `shaders/`, or the one that a [`Spec`] substitutes for it.
//! `#unroll` before `for (var i = 0u; i < COUNT; i++) {` repeats the loop's body with numbers substituted for `i`, if the spec asks for it: drivers
//! keep arrays of cooperative matrices in registers only if all indices are constants.

use crate::data::error::{Error, Result};
use crate::data::record::{Kernel, Spec};

macro_rules! pieces {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl")))),*] };
}

/// Pieces that `#import` can insert, by name.
pub const PIECES: &[(&str, &str)] = pieces![
    "attention/call",
    "attention/causal",
    "attention/causal_masked",
    "attention/masked",
    "attention/no_powers",
    "attention/relative",
    "attention/unmasked",
    "attention/with_powers",
    "common/activation",
    "common/block",
    "common/coop_16",
    "common/coop_8",
    "common/grid",
    "common/parts",
    "common/power",
    "common/reduce",
    "common/x_f16",
    "common/x_f32",
    "common/y_f16",
    "common/y_f32",
    "matmul/block_f32",
    "matmul/call",
    "matmul/call_vec4",
    "matmul/cooperative_tile",
    "matmul/memory_scalar",
    "matmul/memory_vec4",
    "matmul/sizes",
    "matmul/split_k",
    "matmul/split_k_vec4",
    "matmul/tile",
    "matmul/w_f16",
    "matmul/w_f32",
    "matmul/windows",
];

/// Returns the source that a device compiles for a kernel with a spec.
///
/// # Errors
/// [`Error::Argument`] if an import or a replaced constant does not exist. Only edited shaders can cause this; contract tests rule it out for ours.
pub fn specialise(kernel: &Kernel, spec: &Spec) -> Result<String> {
    assemble(kernel.wgsl, kernel.edited, spec)
}

/// Does the work of [`specialise`], from a shader's text and edited pieces.
pub(super) fn assemble(wgsl: &str, edited: &[(&str, &str)], spec: &Spec) -> Result<String> {
    let mut source = resolved(wgsl, edited, spec)?;
    for (name, value) in &spec.constants {
        let (start, end) = constant(&source, name).ok_or_else(|| {
            Error::argument("shader", format!("expected `const {name}: u32 = ...;` in the shader, to be replaced with the value for each call"))
        })?;
        source.replace_range(start..end, &format!("{value}u"));
    }
    if spec.unrolls { unrolled(source) } else { Ok(without_directives(&source)) }
}

/// Resolves imports, and moves `enable` directives to the top.
fn resolved(wgsl: &str, edited: &[(&str, &str)], spec: &Spec) -> Result<String> {
    let mut lines: Vec<&str> = Vec::new();
    let mut replaced = Vec::new();
    for line in wgsl.lines() {
        let Some(name) = line.strip_prefix("#import ") else {
            lines.push(line);
            continue;
        };
        let instead = spec.pieces.iter().find(|(piece, _)| *piece == name);
        replaced.extend(instead);
        let name = instead.map_or(name, |(_, instead)| instead);
        let found = edited.iter().chain(PIECES).find(|(piece, _)| *piece == name);
        let missing = || Error::argument("shader", format!("#import {name}: expected the name of a file in shaders/, found no {name}.wgsl"));
        lines.extend(found.ok_or_else(missing)?.1.lines());
    }
    if let Some((piece, instead)) = spec.pieces.iter().find(|piece| !replaced.contains(piece)) {
        return Err(Error::argument("shader", format!("expected `#import {piece}` in the shader, to be replaced with {instead}")));
    }
    let (enabled, others): (Vec<&str>, Vec<&str>) = lines.into_iter().partition(|line| line.starts_with("enable "));
    let mut known: Vec<&str> = Vec::new();
    known.extend(enabled.iter().enumerate().filter(|(i, line)| !enabled[..*i].contains(line)).map(|(_, line)| *line));
    Ok(known.into_iter().chain(others).flat_map(|line| [line, "\n"]).collect())
}

/// Returns the byte range of a constant's value.
fn constant(source: &str, name: &str) -> Option<(usize, usize)> {
    let declaration = format!("const {name}: u32 = ");
    let start = source.find(&declaration)? + declaration.len();
    Some((start, start + source[start..].find(';')?))
}

fn without_directives(source: &str) -> String {
    source.lines().filter(|line| line.trim_start() != "#unroll").flat_map(|line| [line, "\n"]).collect()
}

/// Unrolls the marked loops, outer loops first.
fn unrolled(mut source: String) -> Result<String> {
    while let Some(directive) = source.find("#unroll\n") {
        let wrong =
            |what: &str| Error::argument("shader", format!("#unroll: expected `for (var i = 0u; i < COUNT; i++) {{` on the next line, {what}"));
        let head = source[directive..].lines().nth(1).unwrap_or_default().to_owned();
        let indent = head.len() - head.trim_start().len();
        let parts = || {
            let (name, rest) = head.trim_start().strip_prefix("for (var ")?.split_once(" = 0u; ")?;
            let count = rest.strip_prefix(name)?.strip_prefix(" < ")?.strip_suffix(&format!("; {name}++) {{"))?;
            Some((name, count))
        };
        let (name, count) = parts().ok_or_else(|| wrong(&format!("found {:?}", head.trim())))?;
        let times = value(&source, count).ok_or_else(|| wrong(&format!("with u32 constants as COUNT, found {count:?}")))?;
        let body = directive + "#unroll\n".len() + head.len() + 1;
        let closing = format!("\n{}}}\n", &head[..indent]);
        let length = source[body - 1..].find(&closing).ok_or_else(|| wrong("and a line that closes the loop, found none"))?;
        let repeated: String = (0..times)
            .map(|i| {
                format!(
                    "{}{{\n{}\n{}}}\n",
                    &head[..indent],
                    with_number(source.get(body..body - 1 + length).unwrap_or_default(), name, i),
                    &head[..indent]
                )
            })
            .collect();
        let start = source[..directive].rfind('\n').map_or(0, |end| end + 1);
        source.replace_range(start..body - 1 + length + closing.len(), &repeated);
    }
    Ok(source)
}

/// Replaces a variable by a number.
fn with_number(text: &str, name: &str, number: u32) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut result = String::new();
    let mut rest = text;
    while let Some(place) = rest.find(name) {
        let (before, after) = (&rest[..place], &rest[place + name.len()..]);
        result.push_str(before);
        let is_whole = !result.ends_with(|c| is_word(c) || c == '.') && !after.starts_with(is_word);
        result.push_str(&if is_whole { format!("{number}u") } else { name.to_owned() });
        rest = after;
    }
    result + rest
}

/// Evaluates a constant expression of u32 with + - * / % and parentheses, as WGSL does.
fn value(source: &str, expression: &str) -> Option<u32> {
    let expression = expression.trim();
    let mut depth = 0;
    // The last operator of lowest precedence outside parentheses is evaluated last.
    let mut split: Option<(usize, char)> = None;
    for (place, c) in expression.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            '+' | '-' if depth == 0 => split = Some((place, c)),
            '*' | '/' | '%' if depth == 0 && !matches!(split, Some((_, '+' | '-'))) => split = Some((place, c)),
            _ => {}
        }
    }
    if let Some((place, operator)) = split {
        let (a, b) = (value(source, &expression[..place])?, value(source, &expression[place + 1..])?);
        return match operator {
            '+' => a.checked_add(b),
            '-' => a.checked_sub(b),
            '*' => a.checked_mul(b),
            '/' => a.checked_div(b),
            _ => a.checked_rem(b),
        };
    }
    if let Some(inner) = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        return value(source, inner);
    }
    match expression.strip_suffix('u').and_then(|digits| digits.parse().ok()) {
        Some(number) => Some(number),
        None => constant(source, expression).and_then(|(start, end)| value(source, &source[start..end])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &'static str, value: u32) -> Spec {
        Spec::NONE.with([(name, value)])
    }

    #[test]
    fn imports_and_constants_are_replaced() {
        let text = "#import common/grid\nconst A: u32 = 1u;\nconst AB: u32 = 2u; // kept";
        let source = assemble(text, &[], &spec("AB", 7)).expect("both are there");
        assert!(source.contains("fn fold("));
        assert!(source.contains("const A: u32 = 1u;\nconst AB: u32 = 7u; // kept"));
        let text = "// Text.\n#import common/x_f32\n#import common/y_f32";
        let half = Spec::NONE.with_piece("common/x_f32", "common/x_f16").with_piece("common/y_f32", "common/y_f16");
        let source = assemble(text, &[("common/x_f16", "enable f16;\n// Edited.")], &half).expect("both are there");
        assert!(source.starts_with("enable f16;\n// Text.\n// Edited.\n") && source.matches("enable").count() == 1, "{source}");
    }

    #[test]
    fn assembly_errors_name_the_missing_item() {
        let error = |wgsl: &str| assemble(wgsl, &[], &spec("A", 1).unrolled(true)).expect_err("it is not there").to_string();
        assert!(error("const B: u32 = 1u;").contains("const A: u32 = "));
        assert!(error("#import nothing\nconst A: u32 = 1u;").contains("#import nothing"));
        assert!(error("const A: u32 = 1u").contains("const A: u32 = "));
        assert!(error("const A: u32 = 1u;\n#unroll\nlet a = 1u;\n").contains("#unroll"));
        assert!(error("const A: u32 = 1u;\n#unroll\nfor (var i = 0u; i < params.m; i++) {\n}\n").contains("params.m"));
        let piece = Spec::NONE.with_piece("common/x_f32", "common/x_f16");
        assert!(assemble("", &[], &piece).expect_err("it is not imported").to_string().contains("#import common/x_f32"));
    }

    #[test]
    fn loops_unroll_with_whole_word_substitution() {
        let text = "const A: u32 = 1u;\nconst B: u32 = 2u * (A + 1u) / 3u;\n{\n    #unroll\n    for (var i = 0u; i < A + 1u; i++) {\n        #unroll\n        for (var j = 0u; j < B; j++) {\n            x[i * B + j] = ii(i) + p.i;\n        }\n    }\n}\n";
        let source = assemble(text, &[], &Spec::NONE).expect("no constant is replaced");
        assert!(source.contains("for (var j = 0u; j < B; j++) {\n            x[i * B + j]") && !source.contains('#'));
        let source = assemble(text, &[], &Spec::NONE.unrolled(true)).expect("two constants");
        let statements: Vec<&str> = source.lines().map(str::trim).filter(|line| line.starts_with('x')).collect();
        assert_eq!(statements, ["x[0u * B + 0u] = ii(0u) + p.i;", "x[1u * B + 0u] = ii(1u) + p.i;"]);
        assert_eq!(source.matches('{').count(), source.matches('}').count());
        let values = ["7u", "A", "B", "A + B * 3u", "(A + B) * 3u", "8u - A - B", "17u % 5u"].map(|text| value(&source, text));
        assert_eq!(values, [7, 1, 1, 4, 6, 6, 2].map(Some));
        assert_eq!(["C", "1u - 2u", "A / 0u", ""].map(|text| value(&source, text)), [None; 4]);
    }
}

//! Holds the public surface of the library, but for what is unstable, against `docs/api.txt`:
//!
//!     cargo run -p vitraux-api [-- --write]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The most public types that there may be outside `low_level`.
const MOST_TYPES: usize = 60;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = root.join("docs/api.txt");
    let items = items(&root)?;
    let text: String = items.iter().map(|item| format!("{item}\n")).collect();
    let types = items.iter().filter(|item| is_type(item)).count();
    println!("{types} types and {} items outside low_level", items.len());
    if std::env::args().any(|argument| argument == "--write") {
        std::fs::write(&file, text)?;
    } else {
        let kept: BTreeSet<String> = std::fs::read_to_string(&file)?.lines().map(str::to_owned).collect();
        kept.difference(&items).for_each(|item| println!("- {item}"));
        items.difference(&kept).for_each(|item| println!("+ {item}"));
        if kept != items {
            println!(
                "the public interface differs from docs/api.txt; if that is intended, update it with --write and describe the change in CHANGELOG.md"
            );
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(if types <= MOST_TYPES {
        ExitCode::SUCCESS
    } else {
        println!("expected at most {MOST_TYPES} types");
        ExitCode::FAILURE
    })
}

/// Whether it is a type, and not one of a trait's.
fn is_type(item: &str) -> bool {
    let item = item.strip_prefix("#[non_exhaustive] ").unwrap_or(item);
    let name = ["pub struct ", "pub enum ", "pub trait ", "pub type "].iter().find_map(|kind| item.strip_prefix(kind));
    // Modules are lowercase.
    name.is_some_and(|name| {
        let path = name.split(['<', '(', ' ']).next().unwrap_or_default();
        let parents: Vec<&str> = path.split("::").collect();
        parents[..parents.len() - 1].iter().all(|parent| parent.chars().all(|letter| !letter.is_uppercase()))
    })
}

/// The public items, a line each, as rustdoc sees them with all stable features.
fn items(root: &Path) -> Result<BTreeSet<String>> {
    let target = root.join("target/api");
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        // rustdoc's JSON is unstable; nothing else is compiled by it.
        .envs([("RUSTC_BOOTSTRAP", "1".as_ref()), ("CARGO_TARGET_DIR", target.as_os_str())])
        .args(["rustdoc", "--quiet", "-p", "vitraux", "--lib", "--features", "hub", "--", "-Z", "unstable-options", "--output-format", "json"])
        .status()?;
    if !status.success() {
        return Err("cargo rustdoc failed".into());
    }
    let api = public_api::Builder::from_rustdoc_json(target.join("doc/vitraux.json"))
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    // What is unstable, and what other items are made of it, is not held.
    Ok(api.items().map(ToString::to_string).filter(|item| !item.contains("vitraux::low_level")).collect())
}

//! Calls of the system that fail, by a library that programs load in front of the C library.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A kind of calls, and what the system says when one fails.
pub type Kind = (&'static str, &'static str);

/// Calls of a kind that no run exceeds.
pub const MOST: u32 = 200;

/// Builds the library in a folder.
pub fn build(folder: &Path) -> PathBuf {
    let library = folder.join("calls.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/faults/calls.rs");
    let compiler = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let built = Command::new(compiler).args(["--edition", "2024", "-o"]).args([&library, &source]).status();
    assert!(built.expect("a compiler").success());
    library
}

/// Returns the environment in which the call of a kind after so many others fails.
pub fn environment(library: &Path, kind: &str, after: u32) -> [(&'static str, String); 3] {
    let library = library.to_str().expect("a path in UTF-8").to_owned();
    [("LD_PRELOAD", library), ("VITRAUX_FAULT", kind.to_owned()), ("VITRAUX_FAULT_AFTER", after.to_string())]
}

/// Whether a call has failed, by the run's standard error.
pub fn is_injected(errors: &str) -> bool {
    errors.contains("injected\n")
}

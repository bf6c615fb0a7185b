//! Runs of the program on a system whose calls fail one after the other: full disks, failing media, too few open files. Each error names its file, no input
//! changes, and a second run gives what an undisturbed one gives.

use crate::support::cli::{Run, program};
use crate::support::{faults, path};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Kinds of calls, with what the system says when one fails.
const KINDS: [faults::Kind; 6] = [
    ("write", "No space left on device"),
    ("open", "Too many open files"),
    ("read", "Input/output error"),
    ("list", "Input/output error"),
    ("truncate", "Input/output error"),
    ("sync", "Input/output error"),
];

/// Runs a command in a folder. The call of a kind after so many others fails.
fn run(folder: &Path, arguments: &[&str], fault: Option<(&Path, &str, u32)>) -> Run {
    let mut command = program();
    command.env("VITRAUX_DEVICE", "cpu").current_dir(folder).args(arguments);
    if let Some((library, kind, after)) = fault {
        command.envs(faults::environment(library, kind, after));
    }
    crate::support::cli::run(command)
}

/// The files below a folder, by their paths in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = walkdir::WalkDir::new(folder).into_iter().map(|entry| entry.expect("an entry")).filter(|entry| entry.file_type().is_file());
    let relative = |path: &Path| path.strip_prefix(folder).expect("a path in the folder").to_owned();
    entries.map(|entry| (relative(entry.path()), std::fs::read(entry.path()).expect("a file"))).collect()
}

#[test]
fn failing_calls_are_reported_and_a_second_run_succeeds() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = faults::build(folder.path());
    let work = folder.path().join("work");
    for (class, name) in [("three", "handwritten-3.png"), ("five", "handwritten-5.png")] {
        std::fs::create_dir_all(work.join("in").join(class)).expect("a folder");
        std::fs::copy(path("examples/digits/samples").join(name), work.join("in").join(class).join(name)).expect("a copy");
    }
    std::fs::create_dir(work.join("model")).expect("a folder");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(path("examples/digits").join(name), work.join("model").join(name)).expect("a copy");
    }
    let inputs = files(&work);
    // Calls, and whether they can be resumed.
    let calls: [(&[&str], bool); 6] = [
        (&["classify", "-m", "model", "-o", "out.csv", "in"], true),
        (&["embed", "-o", "out.npy", "in"], true),
        (&["embed", "-o", "out.parquet", "in"], true),
        (&["attention", "-o", "maps", "in"], true),
        (&["similar", "--to", "in/three/handwritten-3.png", "--index", "out.safetensors", "in"], false),
        (&["fit", "--hold-out", "0", "-o", "out.safetensors", "in/three", "in/five"], false),
    ];
    for (arguments, is_resumed) in calls {
        let clean = |work: &Path| {
            for name in files(work).keys().filter(|name| !inputs.contains_key(*name)) {
                std::fs::remove_file(work.join(name)).expect("it is there");
            }
        };
        clean(&work);
        let undisturbed = run(&work, arguments, None);
        assert_eq!(undisturbed.code, 0, "{arguments:?}: {}", undisturbed.stderr);
        let whole = files(&work);
        for (kind, words) in KINDS {
            let mut failures = 0;
            for after in 0..faults::MOST {
                clean(&work);
                let failed = run(&work, arguments, Some((&library, kind, after)));
                let what = format!("{arguments:?}, {kind} after {after}: {}", failed.stderr);
                if !faults::is_injected(&failed.stderr) {
                    assert_eq!(failed.code, 0, "{what}");
                    break;
                }
                assert!(after + 1 < faults::MOST, "{what}");
                let left = files(&work);
                assert!(inputs.iter().all(|(name, bytes)| left.get(name) == Some(bytes)), "{what}: an input has changed");
                if failed.code == 0 {
                    assert!(left == whole, "{what}: other files");
                    continue;
                }
                failures += 1;
                let errors = failed.errors();
                assert!(failed.code == 1 && !errors.is_empty(), "{what}");
                let is_of_output = |error: &&str| error.starts_with("error: standard output: ");
                let names = |error: &str| ["in", "model", "out.", "maps"].iter().any(|name| error.starts_with(&format!("error: {name}")));
                assert!(errors.iter().any(|error| error.contains(words) && (names(error) || kind == "write" && is_of_output(error))), "{what}");
                // The file may be as good as before.
                assert!(!errors.iter().any(|error| error.contains("remove")), "{what}");
                let image_failed = errors.iter().any(|error| error.starts_with("error: in/") && error.contains(".png: "));
                // An array is complete without the images that cannot be read.
                if image_failed && arguments[0] == "embed" {
                    clean(&work);
                }
                let more: &[&str] = if is_resumed { &["--resume"] } else { &[] };
                let second = run(&work, &[arguments, more].concat(), None);
                assert_eq!(second.code, 0, "{what}, then {}", second.stderr);
                let after = files(&work);
                assert_eq!(after.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>(), "{what}");
                // Lines of images that failed come last.
                assert!(image_failed || after == whole, "{what}: other contents");
            }
            // Lines are appended, and need no other calls.
            assert!(
                failures > 0
                    || kind == "sync" && arguments[0] == "classify"
                    || kind == "truncate" && whole.keys().all(|name| !name.ends_with("out.npy")),
                "{arguments:?}: {kind}"
            );
        }
    }
}

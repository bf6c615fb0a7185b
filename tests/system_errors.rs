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

/// A folder with images of two classes and a model, in which the program runs on a system that fails.
struct Work {
    folder: tempfile::TempDir,
    library: PathBuf,
    inputs: BTreeMap<PathBuf, Vec<u8>>,
}

impl Work {
    fn new() -> Work {
        let folder = tempfile::tempdir().expect("a folder");
        let library = faults::build(folder.path());
        for (name, to) in [
            ("samples/handwritten-3.png", "in/three/handwritten-3.png"),
            ("samples/handwritten-5.png", "in/five/handwritten-5.png"),
            ("config.json", "model/config.json"),
            ("model.safetensors", "model/model.safetensors"),
        ] {
            let to = folder.path().join(to);
            std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
            std::fs::copy(path("examples/digits").join(name), to).expect("a copy");
        }
        let mut work = Work { folder, library, inputs: BTreeMap::new() };
        work.inputs = work.files();
        work
    }

    /// The files, by their paths in the folder.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = walkdir::WalkDir::new(self.folder.path()).into_iter().map(|entry| entry.expect("an entry").into_path());
        let relative = |path: &Path| path.strip_prefix(self.folder.path()).expect("a path in the folder").to_owned();
        entries.filter(|path| path.is_file()).map(|path| (relative(&path), std::fs::read(path).expect("a file"))).collect()
    }

    /// Removes what runs have written.
    fn clean(&self) {
        for name in self.files().keys().filter(|name| !self.inputs.contains_key(*name)) {
            std::fs::remove_file(self.folder.path().join(name)).expect("it is there");
        }
    }

    /// Runs a command. The call of a kind after so many others fails.
    fn run(&self, arguments: &[&str], fault: Option<(&str, u32)>) -> Run {
        let mut command = program();
        command.env("VITRAUX_DEVICE", "cpu").current_dir(self.folder.path()).args(arguments);
        if let Some((kind, after)) = fault {
            command.envs(faults::environment(&self.library, kind, after));
        }
        crate::support::cli::run(command)
    }

    /// Lets each call of a kind fail in a run of its own. Returns how many runs failed. The next run, with more arguments, must give the files of an undisturbed one.
    fn fail_each(&self, arguments: &[&str], more: &[&str], (kind, words): faults::Kind, whole: &BTreeMap<PathBuf, Vec<u8>>) -> usize {
        let mut failures = 0;
        for after in 0..faults::MOST {
            self.clean();
            let failed = self.run(arguments, Some((kind, after)));
            let what = format!("{arguments:?}, {kind} after {after}: {}", failed.stderr);
            if !faults::is_injected(&failed.stderr) {
                assert_eq!(failed.code, 0, "{what}");
                return failures;
            }
            let left = self.files();
            assert!(self.inputs.iter().all(|(name, bytes)| left.get(name) == Some(bytes)), "{what}: an input has changed");
            if failed.code == 0 {
                assert!(left == *whole, "{what}: other files");
                continue;
            }
            failures += 1;
            assert_eq!(failed.code, 1, "{what}");
            let errors = failed.errors();
            let is_of_output = |error: &str| kind == "write" && error.starts_with("error: standard output: ");
            let names = |error: &str| ["in", "model", "out.", "maps"].iter().any(|name| error.starts_with(&format!("error: {name}")));
            assert!(errors.iter().any(|error| error.contains(words) && (names(error) || is_of_output(error))), "{what}");
            // The file may be as good as before.
            assert!(!errors.iter().any(|error| error.contains("remove")), "{what}");
            let image_failed = errors.iter().any(|error| error.starts_with("error: in/") && error.contains(".png: "));
            // An array is complete without the images that cannot be read.
            if image_failed && arguments[0] == "embed" {
                self.clean();
            }
            let next = self.run(&[arguments, more].concat(), None);
            assert_eq!(next.code, 0, "{what}, then {}", next.stderr);
            let files = self.files();
            assert!(files.keys().eq(whole.keys()), "{what}: {:?}", files.keys());
            // Lines of images that failed come last.
            assert!(image_failed || files == *whole, "{what}: other contents");
        }
        panic!("{arguments:?} has more than {} calls of the kind {kind}", faults::MOST);
    }
}

#[test]
fn unreadable_folders_are_reported_and_skipped() {
    let work = Work::new();
    let run = work.run(&["classify", "-o", "out.csv", "in"], Some(("folder", 2)));
    assert!(run.code == 1 && run.errors()[0] == "error: in/three: Permission denied", "{}", run.stderr);
    let lines = std::fs::read_to_string(work.folder.path().join("out.csv")).expect("an output");
    assert!(lines.lines().count() == 2 && lines.contains("in/five/handwritten-5.png"), "{lines}");
}

#[test]
fn failing_calls_are_reported_and_the_next_run_succeeds() {
    let work = Work::new();
    let index = ["similar", "--to", "in/three/handwritten-3.png", "--index", "out.safetensors", "in"];
    let calls: [(&[&str], &[&str]); 6] = [
        (&["classify", "-m", "model", "-o", "out.csv", "in"], &["--resume"]),
        (&["embed", "-o", "out.npy", "in"], &["--resume"]),
        (&["embed", "-o", "out.parquet", "in"], &["--resume"]),
        (&["attention", "-o", "maps", "in"], &["--resume"]),
        (&index, &[]),
        (&["fit", "--hold-out", "0", "-o", "out.safetensors", "in/three", "in/five"], &[]),
    ];
    let mut failures = BTreeMap::new();
    for (arguments, more) in calls {
        work.clean();
        let undisturbed = work.run(arguments, None);
        assert_eq!(undisturbed.code, 0, "{arguments:?}: {}", undisturbed.stderr);
        let whole = work.files();
        for kind in KINDS {
            *failures.entry(kind.0).or_insert(0) += work.fail_each(arguments, more, kind, &whole);
        }
    }
    assert!(failures.values().all(|failures| *failures > 5), "{failures:?}");
}

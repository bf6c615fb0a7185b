//! Downloads on a system whose calls fail.

use super::*;

/// Calls of the system fail one after the other: each error names a file of the cache, and the next run has the model.
#[test]
fn failing_calls_are_reported_and_the_next_run_downloads() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let library = faults::build(folder.path());
    let kinds: [faults::Kind; 5] = [
        ("write", "No space left on device"),
        ("open", "Too many open files"),
        ("read", "Input/output error"),
        ("sync", "Input/output error"),
        ("rename", "Permission denied"),
    ];
    for (kind, words) in kinds {
        let mut failures = 0;
        for after in 0..faults::MOST {
            let hub = Hub::start(tiny());
            let mut user = User::of(&hub);
            user.environment.extend(faults::environment(&library, kind, after));
            let failed = user.inspect(NAME);
            let what = format!("{kind} after {after}: {}", failed.stderr);
            let (home, is_injected) = (user.home.path().to_str().expect("UTF-8"), faults::is_injected(&failed.stderr));
            assert!(failed.code == 0 || is_injected && failed.errors().len() == 1, "{what}");
            if failed.code != 0 {
                let error = failed.errors()[0];
                assert!(failed.code == 1 && error.contains(words) && (error.contains(home) || error.contains("standard output")), "{what}");
                failures += 1;
            }
            user.environment.retain(|(name, _)| *name == "HF_ENDPOINT");
            user.inspect_well(NAME);
            user.snapshot_is_of("timm_vit_tiny", &["config.json", WEIGHTS]);
            if !is_injected {
                break;
            }
            assert!(after + 1 < faults::MOST, "{what}");
        }
        assert!(failures > 0, "{kind}");
    }
}

#[test]
fn file_systems_without_links_have_copies() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let library = faults::build(folder.path());
    let hub = Hub::start(tiny());
    let mut user = User::of(&hub);
    user.environment.extend(faults::environment(&library, "link", 0));
    let run = user.inspect_well(NAME);
    assert!(faults::is_injected(&run.stderr));
    let weights = user.cache().join("snapshots").join(COMMIT).join(WEIGHTS);
    let metadata = weights.symlink_metadata().expect("it is there");
    assert!(metadata.is_file() && std::os::unix::fs::MetadataExt::nlink(&metadata) == 1);
    user.snapshot_is_of("timm_vit_tiny", &["config.json", WEIGHTS]);
    hub.requests();
    user.inspect_well(NAME);
    assert!(!requests(&hub).iter().any(|request| request.starts_with("GET")));
}

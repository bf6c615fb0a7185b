//! Downloads from a hub: the real program against a server on this machine. A binary of its own, because it needs
//! neither a device nor the rest of the tests.

#[expect(dead_code, reason = "shared with the other tests, which use the rest")]
#[path = "support/cli.rs"]
mod cli;
#[cfg(target_os = "linux")]
#[path = "hub/failing.rs"]
mod failing;
#[cfg(target_os = "linux")]
#[path = "support/faults.rs"]
mod faults;
#[path = "hub/hostile.rs"]
mod hostile;
#[path = "support/hub.rs"]
mod server;

use cli::Run;
use server::{COMMIT, Hub, Model, git, sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const NAME: &str = "google/tiny.vit-16";
const WEIGHTS: &str = "model.safetensors";

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/cases").join(name)
}

fn tiny() -> Model {
    Model::of(NAME, &case("timm_vit_tiny"))
}

/// A user with a cache.
struct User {
    home: TempDir,
    environment: Vec<(&'static str, String)>,
}

impl User {
    fn of(hub: &Hub) -> User {
        let home = tempfile::tempdir().expect("a temporary folder");
        User { home, environment: vec![("HF_ENDPOINT", hub.endpoint())] }
    }

    fn with(mut self, name: &'static str, value: &str) -> User {
        self.environment.push((name, value.to_owned()));
        self
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitraux"));
        for name in ["HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "RUST_LOG", "ALL_PROXY", "HTTP_PROXY", "all_proxy", "http_proxy"] {
            command.env_remove(name);
        }
        command.env("HF_HOME", self.home.path()).envs(self.environment.iter().map(|(name, value)| (name, value)));
        let run = cli::run({
            command.args(arguments).current_dir(self.home.path());
            command
        });
        assert!(run.elapsed < Duration::from_secs(20), "{arguments:?} took {:?}", run.elapsed);
        run
    }

    fn inspect(&self, model: &str) -> Run {
        self.run(&["inspect", "--format", "json", "--model", model])
    }

    /// Inspects a model that can be had.
    fn inspect_well(&self, model: &str) -> Run {
        let run = self.inspect(model);
        assert_eq!(run.code, 0, "{}", run.stderr);
        run
    }

    /// Inspects a model that cannot be had: the one line that says why.
    fn inspect_badly(&self, model: &str) -> String {
        let run = self.inspect(model);
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.lines().count()), (1, "", 1), "{}", run.stderr);
        assert!(run.errors().len() == 1 && run.stderr.contains(model), "{}", run.stderr);
        run.stderr
    }

    fn cache(&self) -> PathBuf {
        self.home.path().join("hub/models--google--tiny.vit-16")
    }

    /// The files of a snapshot.
    fn snapshot(&self, state: &str) -> BTreeMap<String, Vec<u8>> {
        let Ok(entries) = std::fs::read_dir(self.cache().join("snapshots").join(state)) else { return BTreeMap::new() };
        let entries = entries.map(|entry| entry.expect("an entry").path());
        entries.map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), std::fs::read(path).expect("a whole file"))).collect()
    }

    fn reference(&self, revision: &str) -> Option<String> {
        std::fs::read_to_string(self.cache().join("refs").join(revision)).ok()
    }

    /// Whether the snapshot is nothing but true files of the case.
    fn snapshot_is_of(&self, name: &str, files: &[&str]) {
        self.state_is_of(COMMIT, name, files);
    }

    fn state_is_of(&self, state: &str, name: &str, files: &[&str]) {
        let snapshot = self.snapshot(state);
        assert_eq!(snapshot.keys().collect::<Vec<_>>(), files);
        for (file, bytes) in snapshot {
            assert!(bytes == std::fs::read(case(name).join(&file)).expect("a file of the case"), "{file}");
        }
    }
}

/// The requests, without what all of them have in common.
fn requests(hub: &Hub) -> Vec<String> {
    let line = |request: server::Request| format!("{} {}", request.method, request.path.replace(&format!("/{NAME}/resolve/"), ""));
    hub.requests().into_iter().map(line).collect()
}

fn is_weights(request: &server::Request) -> bool {
    request.path == format!("/large/{WEIGHTS}")
}

#[test]
fn model_downloads_once_and_then_runs_offline() {
    let hub = Hub::start(tiny());
    let user = User::of(&hub);
    let image = case("timm_vit_tiny").join("image.png");
    let logits = |model: &str| {
        let run = user.run(&["classify", "--format", "json", "--device", "cpu", "--model", model, image.to_str().expect("UTF-8")]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        serde_json::from_str::<serde_json::Value>(&run.stdout).expect("a line of JSON")["top"].clone()
    };
    let local = logits(case("timm_vit_tiny").to_str().expect("UTF-8"));
    assert!(hub.requests().is_empty());
    assert_eq!(logits(NAME), local);
    user.snapshot_is_of("timm_vit_tiny", &["config.json", WEIGHTS]);
    assert_eq!(user.reference("main").as_deref(), Some(COMMIT));
    let head = |file: &str| format!("HEAD {COMMIT}/{file}");
    let get = |file: &str| format!("GET {COMMIT}/{file}");
    let config = "HEAD main/config.json".to_owned();
    let (processor, processors, weights) = (head("preprocessor_config.json"), head("processor_config.json"), head(WEIGHTS));
    let large = format!("GET /large/{WEIGHTS}");
    assert_eq!(requests(&hub), [config.clone(), get("config.json"), processor.clone(), processors.clone(), weights.clone(), get(WEIGHTS), large]);
    // What is there is not downloaded again.
    user.inspect_well(NAME);
    assert_eq!(requests(&hub), [config, processor, processors, weights]);
    drop(hub);
    assert_eq!(logits(NAME), local);
    let told = User { environment: [("RUST_LOG", "info".to_owned())].into_iter().chain(user.environment.clone()).collect(), home: user.home };
    let run = told.inspect_well(NAME);
    assert!(run.stderr.contains("cannot be reached") && run.stderr.contains(COMMIT), "{}", run.stderr);
}

/// `tokenize` downloads the tokenizer's files that there are, and no weights; later runs need no network.
#[test]
fn tokenizers_are_downloaded_without_weights() {
    let tokenizer = |case: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tokenizers").join(case);
    for (case, files) in [
        ("clip_added", &["config.json", "merges.txt", "tokenizer_config.json", "vocab.json"][..]),
        ("siglip_bytes", &["config.json", "spiece.model", "tokenizer_config.json"]),
    ] {
        let mut model = Model::of(NAME, &tokenizer(case));
        model.files.insert(WEIGHTS.to_owned(), vec![0; 100]);
        for model in [Model { files: model.files.clone(), ..Model::of(NAME, &tokenizer(case)) }, model.simple()] {
            let hub = Hub::start(model);
            let user = User::of(&hub);
            let ids = |model: &str| {
                let run = user.run(&["tokenize", "--model", model, "a photo of a cat"]);
                assert_eq!(run.code, 0, "{}", run.stderr);
                run.stdout
            };
            let local = ids(tokenizer(case).to_str().expect("UTF-8"));
            assert_eq!(ids(NAME), local);
            let state = user.reference("main").expect("a snapshot");
            assert_eq!(user.snapshot(&state).keys().collect::<Vec<_>>(), files, "{case}");
            assert!(hub.requests().iter().all(|request| !request.path.contains(WEIGHTS)), "{case}");
            drop(hub);
            assert_eq!(ids(NAME), local);
            // Other libraries do not record which files a model lacks.
            std::fs::remove_dir_all(user.cache().join(".no_exist")).expect("a record");
            assert_eq!(ids(NAME), local);
            // The model itself is not there.
            assert!(user.inspect_badly(NAME).contains("completely in the cache"));
        }
    }
    // A damaged file is not kept.
    let mut model = Model::of(NAME, &tokenizer("clip_added"));
    model.files.insert("tokenizer.json".to_owned(), b"<html>".to_vec());
    let hub = Hub::start(model);
    let run = User::of(&hub).run(&["tokenize", "--model", NAME, "a"]);
    assert!(run.code == 1 && run.errors().len() == 1 && run.stderr.contains("tokenizer.json is not JSON"), "{}", run.stderr);
}

#[test]
fn offline_mode_sends_no_requests() {
    let hub = Hub::start(tiny());
    let user = User::of(&hub).with("HF_HUB_OFFLINE", "1");
    assert!(user.inspect_badly(NAME).contains("HF_HUB_OFFLINE"));
    let online = User { home: user.home, environment: vec![("HF_ENDPOINT", hub.endpoint())] };
    online.inspect_well(NAME);
    hub.requests();
    let offline = online.with("HF_HUB_OFFLINE", "1");
    offline.inspect_well(NAME);
    // A snapshot that lost a file is not a whole one.
    std::fs::remove_file(offline.cache().join("snapshots").join(COMMIT).join(WEIGHTS)).expect("weights");
    offline.inspect_badly(NAME);
    assert!(hub.requests().is_empty());
}

#[test]
fn unreachable_hub_prints_one_line() {
    let hub = Hub::start(tiny());
    let user = User::of(&hub);
    drop(hub);
    let line = user.inspect_badly(NAME);
    assert!(line.contains("cannot be reached") && line.contains("cache"), "{line}");
    // A login page of a hotel is not the hub.
    let hotel = Hub::start(tiny().with_fault(|_, _, response| response.refuse(200)));
    assert!(User::of(&hotel).inspect_badly(NAME).contains("not from the hub"));
    let hub = Hub::start(tiny());
    let user = User::of(&hub);
    user.inspect_well(NAME);
    User { home: user.home, environment: vec![("HF_ENDPOINT", hotel.endpoint())] }.inspect_well(NAME);
}

#[test]
fn shards_and_processor_configs_are_downloaded() {
    let hub = Hub::start(Model::of(NAME, &case("container_sharded")));
    let user = User::of(&hub);
    user.inspect_well(NAME);
    let [first, second] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    user.snapshot_is_of("container_sharded", &["config.json", first, second, "model.safetensors.index.json"]);
    drop(hub);
    user.inspect_well(NAME);
    let hub = Hub::start(Model::of(NAME, &case("hf_vit_cls")));
    let user = User::of(&hub);
    user.inspect_well(NAME);
    user.snapshot_is_of("hf_vit_cls", &["config.json", WEIGHTS, "preprocessor_config.json"]);
}

#[test]
fn revisions_are_cached_under_their_own_refs() {
    let hub = Hub::start(tiny());
    let user = User::of(&hub);
    user.inspect_well(&format!("{NAME}@refs/pr/1"));
    assert_eq!(requests(&hub)[0], "HEAD refs%2Fpr%2F1/config.json");
    assert_eq!((user.reference("refs/pr/1").as_deref(), user.reference("main")), (Some(COMMIT), None));
    // A commit never changes, so nobody needs to be asked.
    user.inspect_well(&format!("{NAME}@{COMMIT}"));
    assert!(hub.requests().is_empty());
    drop(hub);
    user.inspect_well(&format!("{NAME}@refs/pr/1"));
    assert!(user.inspect_badly(&format!("{NAME}@v2")).contains("cannot be reached"));
}

#[test]
fn hf_hub_cache_variable_is_honoured() {
    let hub = Hub::start(tiny());
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let user = User::of(&hub).with("HF_HUB_CACHE", elsewhere.path().to_str().expect("UTF-8"));
    user.inspect_well(NAME);
    assert!(elsewhere.path().join("models--google--tiny.vit-16/snapshots").join(COMMIT).join(WEIGHTS).exists());
    assert!(!user.cache().exists());
}

#[test]
fn concurrent_processes_download_only_once() {
    let hub = Hub::start(tiny());
    let user = User::of(&hub);
    std::thread::scope(|scope| [(); 4].map(|()| scope.spawn(|| user.inspect_well(NAME))).map(|thread| thread.join().expect("a run")));
    assert_eq!(ranges(&hub), [None]);
    user.snapshot_is_of("timm_vit_tiny", &["config.json", WEIGHTS]);
}

/// Cuts the first so many connections for the weights short.
fn cutting(connections: usize, bytes: usize) -> Model {
    tiny().with_fault(move |request, before, response| {
        if is_weights(request) && before < connections {
            response.body.truncate(bytes);
        }
    })
}

fn ranges(hub: &Hub) -> Vec<Option<String>> {
    hub.requests().into_iter().filter(is_weights).map(|request| request.headers.get("range").cloned()).collect()
}

#[test]
fn interrupted_download_is_resumed() {
    let hub = Hub::start(cutting(2, 100_000));
    let user = User::of(&hub);
    user.inspect_well(NAME);
    user.snapshot_is_of("timm_vit_tiny", &["config.json", WEIGHTS]);
    let ranges = ranges(&hub);
    assert_eq!((ranges.len(), &ranges[0]), (3, &None));
    let starts: Vec<usize> = ranges[1..].iter().map(start).collect();
    assert!(0 < starts[0] && starts[0] < starts[1] && starts[1] <= 200_000, "{starts:?}");
}

/// The first byte of a range.
fn start(range: &Option<String>) -> usize {
    let range = range.as_deref().and_then(|range| range.strip_prefix("bytes=")).expect("a range");
    range.trim_end_matches('-').parse().expect("a byte")
}

#[test]
fn server_error_keeps_the_partial_download() {
    let hub = Hub::start(tiny().with_fault(|request, before, response| match before {
        0 if is_weights(request) => response.body.truncate(100_000),
        1 if is_weights(request) => {
            response.status = 503;
            response.replace(b"<html>");
        }
        _ => {}
    }));
    let user = User::of(&hub);
    user.inspect_well(NAME);
    user.snapshot_is_of("timm_vit_tiny", &["config.json", WEIGHTS]);
    let ranges = ranges(&hub);
    assert!(ranges.len() == 3 && start(&ranges[2]) == start(&ranges[1]), "{ranges:?}");
}

#[test]
fn mismatched_partial_file_is_replaced() {
    let hub = Hub::start(tiny());
    let user = User::of(&hub);
    let weights = std::fs::read(case("timm_vit_tiny").join(WEIGHTS)).expect("weights");
    std::fs::create_dir_all(user.cache().join("blobs")).expect("a folder");
    for (partial, requests) in [(vec![1; 1000], 2), (vec![1; weights.len()], 1), (vec![1; weights.len() + 1], 1)] {
        let blob = user.cache().join("blobs").join(sha256(&weights));
        std::fs::write(blob.with_extension("incomplete"), &partial).expect("a partial file");
        user.inspect_well(NAME);
        user.snapshot_is_of("timm_vit_tiny", &["config.json", WEIGHTS]);
        assert_eq!(ranges(&hub).len(), requests);
        std::fs::remove_file(blob).expect("a blob");
    }
}

#[test]
fn repeatedly_cut_download_fails_and_next_run_resumes() {
    let hub = Hub::start(cutting(5, 10_000));
    let user = User::of(&hub);
    let line = user.inspect_badly(NAME);
    assert!(line.contains(WEIGHTS) && line.contains("of 395048 bytes downloaded"), "{line}");
    user.snapshot_is_of("timm_vit_tiny", &["config.json"]);
    assert_eq!(user.reference("main"), None);
    assert_eq!(ranges(&hub).len(), 5);
    drop(hub);
    assert!(user.inspect_badly(NAME).contains("neither a folder nor completely in the cache"));
    let healed = Hub::start(tiny());
    let user = User { home: user.home, environment: vec![("HF_ENDPOINT", healed.endpoint())] };
    user.inspect_well(NAME);
    user.snapshot_is_of("timm_vit_tiny", &["config.json", WEIGHTS]);
    assert!(ranges(&healed)[0].is_some(), "the download starts over");
}

#[test]
fn download_restarts_if_server_ignores_ranges() {
    let hub = Hub::start(tiny().with_fault(|request, before, response| {
        if is_weights(request) {
            let all = std::fs::read(case("timm_vit_tiny").join(WEIGHTS)).expect("weights");
            response.status = 200;
            response.headers.clear();
            response.declared = Some(all.len());
            response.body = if before == 0 { all[..100_000].to_vec() } else { all };
        }
    }));
    let user = User::of(&hub);
    user.inspect_well(NAME);
    user.snapshot_is_of("timm_vit_tiny", &["config.json", WEIGHTS]);
    assert_eq!(ranges(&hub).len(), 2);
}

#[test]
fn corrupt_download_is_never_stored_as_complete() {
    type Spoil = fn(&mut server::Response);
    let spoils: [(&str, Spoil); 6] = [
        ("shorter, and said to be", |response| {
            response.body.truncate(1000);
            response.declared = Some(response.body.len());
        }),
        ("shorter, and no length is said", |response| {
            response.body.truncate(1000);
            response.declared = None;
        }),
        ("longer, and said to be", |response| {
            response.body.extend([0; 1000]);
            response.declared = Some(response.body.len());
        }),
        ("longer, and no length is said", |response| {
            response.body.extend([0; 1000]);
            response.declared = None;
        }),
        ("of the right length, but another", |response| *response.body.last_mut().expect("a byte") ^= 1),
        ("an error's page", |response| {
            response.status = 503;
            response.replace(b"<html>");
        }),
    ];
    let check = |(what, spoil): (&str, Spoil)| {
        let hub = Hub::start(tiny().with_fault(move |request, _, response| {
            if is_weights(request) {
                spoil(response);
            }
        }));
        let user = User::of(&hub);
        let line = user.inspect_badly(NAME);
        assert!(line.contains(WEIGHTS), "{what}: {line}");
        user.snapshot_is_of("timm_vit_tiny", &["config.json"]);
        let blobs = std::fs::read_dir(user.cache().join("blobs")).expect("blobs").map(|entry| entry.expect("a blob").path());
        let (partial, whole): (Vec<_>, Vec<_>) = blobs.partition(|path| path.extension().is_some_and(|extension| extension == "incomplete"));
        assert_eq!(whole.len(), 1, "{what}: only the configuration is whole, found {whole:?}");
        // A body without an end must not fill the disk.
        assert!(std::fs::metadata(&partial[0]).expect("a partial file").len() <= 395_048, "{what}");
    };
    std::thread::scope(|scope| spoils.map(|spoil| scope.spawn(move || check(spoil))).map(|thread| thread.join().expect("the check holds")));
}

#[test]
fn truncated_config_is_downloaded_again() {
    let hub = Hub::start(tiny().with_fault(|request, before, response| {
        if request.method == "GET" && request.path.ends_with("/config.json") && before == 0 {
            response.body.pop();
            response.declared = Some(response.body.len());
        }
    }));
    let user = User::of(&hub);
    user.inspect_well(NAME);
    user.snapshot_is_of("timm_vit_tiny", &["config.json", WEIGHTS]);
}

#[test]
fn hub_refusals_suggest_a_remedy() {
    let absent = ["no such model or revision", "check the name"];
    let refusals =
        [(404, "", absent), (404, "RevisionNotFound", ["no such revision", "check"]), (404, "EntryNotFound", ["no config.json", "layout"])];
    let denials = [(401, "", ["check the name", "HF_TOKEN"]), (403, "", ["conditions", "HF_TOKEN"]), (401, "GatedRepo", ["conditions", "HF_TOKEN"])];
    for (status, code, words) in refusals.into_iter().chain(denials) {
        for place in ["/google/", "/large/"] {
            let hub = Hub::start(tiny().with_fault(move |request, _, response| {
                if request.path.starts_with(place) {
                    response.refuse(status);
                    if !code.is_empty() {
                        response.headers.push(("X-Error-Code".to_owned(), code.to_owned()));
                    }
                }
            }));
            let line = User::of(&hub).inspect_badly(NAME);
            let words = if place == "/large/" && status == 404 && code != "RevisionNotFound" { ["the model has no", WEIGHTS] } else { words };
            assert!(words.iter().all(|word| line.contains(word)), "{place} {status} {code}: {line}");
            assert!(hub.requests().iter().filter(|request| request.path.starts_with(place)).count() <= 6, "a refusal is final");
        }
    }
    let hub = Hub::start(tiny());
    let line = User::of(&hub).inspect_badly("google/other");
    assert!(line.contains("no such model") && line.contains("the hub: Repository not found"), "{line}");
}

/// Weights of PyTorch are downloaded where there are no safetensors, as one file or shards.
#[test]
fn weights_of_pytorch_are_downloaded_without_safetensors() {
    const PYTORCH: &str = "pytorch_model.bin";
    let one = Model::of(NAME, &case("hf_vit_bin_zip"));
    let mut shards = Model::of(NAME, &case("hf_vit_bin_zip"));
    let shard = shards.files.remove(PYTORCH).expect("weights");
    shards.files.insert("pytorch_model-00001-of-00001.bin".to_owned(), shard);
    let tensors = vitraux::Checkpoint::open(case("hf_vit_bin_zip")).expect("a checkpoint").numbered_weights();
    let names = tensors.iter().flat_map(|weight| weight.name.split(" + ")).chain(["vit.embeddings.position_embeddings"]);
    let map: BTreeMap<&str, &str> = names.map(|name| (name, "pytorch_model-00001-of-00001.bin")).collect();
    let index = serde_json::json!({ "weight_map": map }).to_string();
    shards.files.insert("pytorch_model.bin.index.json".to_owned(), index.into_bytes());
    for model in [one, shards] {
        for is_simple in [false, true] {
            let hub = Hub::start(Model { is_simple, files: model.files.clone(), ..tiny() });
            let user = User::of(&hub);
            user.inspect_well(NAME);
            drop(hub);
            user.with("HF_HUB_OFFLINE", "1").inspect_well(NAME);
        }
    }
}

/// open_clip's files have names of their own.
#[test]
fn models_of_open_clip_are_downloaded() {
    for case_name in ["open_clip_native", "open_clip_mean"] {
        for is_simple in [false, true] {
            let hub = Hub::start(Model { is_simple, ..Model::of(NAME, &case(case_name)) });
            let user = User::of(&hub);
            user.inspect_well(NAME);
            drop(hub);
            user.with("HF_HUB_OFFLINE", "1").inspect_well(NAME);
        }
    }
}

#[test]
fn safetensors_are_preferred_to_weights_of_pytorch() {
    let mut model = tiny();
    model.files.insert("pytorch_model.bin".to_owned(), vec![0; 100]);
    let hub = Hub::start(model);
    let user = User::of(&hub);
    user.inspect_well(NAME);
    user.snapshot_is_of("timm_vit_tiny", &["config.json", WEIGHTS]);
}

/// Without a hash, what is in a file of PyTorch shows whether all of it has arrived.
#[test]
fn cut_weights_of_pytorch_are_rejected() {
    let mut model = Model::of(NAME, &case("hf_vit_bin_legacy")).simple();
    model.files.get_mut("pytorch_model.bin").expect("weights").truncate(50_000);
    let line = User::of(&Hub::start(model)).inspect_badly(NAME);
    assert!(line.contains("pytorch_model.bin: not whole"), "{line}");
    let model = Model::of(NAME, &case("hf_vit_bin_legacy")).simple().with_fault(|request, _, response| {
        if request.path.ends_with(".bin") {
            response.declared = None;
        }
    });
    let line = User::of(&Hub::start(model)).inspect_badly(NAME);
    assert!(line.contains("does not tell its length"), "{line}");
}

#[test]
fn local_folder_takes_precedence_over_the_hub() {
    let hub = Hub::start(tiny());
    let user = User::of(&hub);
    let folder = user.home.path().join(NAME);
    std::fs::create_dir_all(&folder).expect("a folder");
    for file in ["config.json", WEIGHTS] {
        std::fs::copy(case("timm_vit_tiny").join(file), folder.join(file)).expect("a copy");
    }
    user.inspect_well(NAME);
    assert!(hub.requests().is_empty());
}

#[test]
fn blobs_are_named_by_hub_hashes() {
    let hub = Hub::start(tiny());
    let user = User::of(&hub);
    user.inspect_well(NAME);
    let weights = std::fs::read(case("timm_vit_tiny").join(WEIGHTS)).expect("weights");
    let config = std::fs::read(case("timm_vit_tiny").join("config.json")).expect("a configuration");
    assert!(user.cache().join("blobs").join(sha256(&weights)).exists());
    assert!(user.cache().join("blobs").join(git(&config)).exists());
}

/// Requests for contents, not for what is known of them.
fn downloads(hub: &Hub) -> Vec<String> {
    let requests = hub.requests().into_iter();
    let contents = requests.filter(|request| request.method == "GET" && request.headers.get("range").is_none_or(|range| range != "bytes=0-0"));
    contents.map(|request| request.path.rsplit('/').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn plain_file_server_works_as_a_hub() {
    let hub = Hub::start(tiny().simple());
    let user = User::of(&hub);
    user.inspect_well(NAME);
    user.state_is_of("main", "timm_vit_tiny", &["config.json", WEIGHTS]);
    assert_eq!((user.reference("main").as_deref(), downloads(&hub)), (Some("main"), vec!["config.json".to_owned(), WEIGHTS.to_owned()]));
    let blob = sha256(&std::fs::read(case("timm_vit_tiny").join(WEIGHTS)).expect("weights"));
    assert!(user.cache().join("blobs").join(blob).exists());
    user.inspect_well(NAME);
    assert_eq!(downloads(&hub), [""; 0]);
    // Another model under the same name is told by its length.
    let other = Hub::start(Model::of(NAME, &case("hf_vit_cls")).simple());
    let user = User { home: user.home, environment: vec![("HF_ENDPOINT", other.endpoint())] };
    user.inspect_well(NAME);
    user.state_is_of("main", "hf_vit_cls", &["config.json", WEIGHTS, "preprocessor_config.json"]);
    drop((hub, other));
    user.inspect_well(NAME);
    user.with("HF_HUB_OFFLINE", "1").inspect_well(NAME);
    let shards = Hub::start(Model::of(NAME, &case("container_sharded")).simple());
    User::of(&shards).inspect_well(NAME);
    let mut model = tiny().simple();
    model.files.retain(|name, _| name == "config.json");
    assert!(User::of(&Hub::start(model)).inspect_badly(NAME).contains("model.safetensors or pytorch_model.bin"));
}

#[test]
fn plain_file_server_with_wrong_lengths_is_rejected() {
    let check = |(file, declared): (&'static str, isize)| {
        let hub = Hub::start(tiny().simple().with_fault(move |request, _, response| {
            if request.path.ends_with(&format!("/{file}")) {
                response.declared = response.declared.and_then(|length| length.checked_add_signed(declared));
            }
        }));
        let user = User::of(&hub);
        let line = user.inspect_badly(NAME);
        assert!(line.contains(file), "{file}, {declared}: {line}");
        assert!(!user.snapshot("main").contains_key(file) && user.reference("main").is_none(), "{file}, {declared}");
    };
    let lies = [("config.json", 1000), ("config.json", -100), (WEIGHTS, 1000), (WEIGHTS, -100)];
    std::thread::scope(|scope| lies.map(|lie| scope.spawn(move || check(lie))).map(|thread| thread.join().expect("the check holds")));
    // To say nothing is no lie.
    let hub = Hub::start(tiny().simple().with_fault(|_, _, response| response.declared = None));
    User::of(&hub).inspect_well(NAME);
}

#[test]
fn downloads_without_hashes_are_resumed() {
    let hub = Hub::start(tiny().with_fault(|request, _, response| {
        response.headers.retain(|(name, _)| name == "Content-Range" || name == "Location");
        // Never more than a part at once, so that to start over would not end.
        if is_weights(request) && request.headers.get("range").is_none_or(|range| range != "bytes=0-0") {
            response.body.truncate(150_000);
        }
    }));
    let user = User::of(&hub);
    user.inspect_well(NAME);
    user.state_is_of("main", "timm_vit_tiny", &["config.json", WEIGHTS]);
    assert_eq!(ranges(&hub).len(), 3);
}

#[test]
fn etags_that_are_not_content_hashes_are_ignored() {
    let tags = ["a".repeat(40), "5f3a-1c2".to_owned(), String::new()];
    for tag in tags {
        let hub = Hub::start(tiny().simple().with_fault(move |_, _, response| response.headers.push(("ETag".to_owned(), format!("W/\"{tag}\"")))));
        let user = User::of(&hub);
        user.inspect_well(NAME);
        user.inspect_well(NAME);
        user.state_is_of("main", "timm_vit_tiny", &["config.json", WEIGHTS]);
    }
}

#[test]
fn downloads_work_when_head_is_refused() {
    for status in [0, 400, 401, 404, 405, 500, 501] {
        let hub = Hub::start(tiny().with_fault(move |request, _, response| {
            if request.method == "HEAD" {
                response.refuse(status);
            }
        }));
        let user = User::of(&hub);
        user.inspect_well(NAME);
        user.snapshot_is_of("timm_vit_tiny", &["config.json", WEIGHTS]);
        assert_eq!(downloads(&hub), ["config.json", WEIGHTS, WEIGHTS], "{status}: once at the hub, twice with the redirect");
    }
}

#[test]
fn download_falls_back_from_commit_to_revision() {
    let hub = Hub::start(tiny().with_fault(|request, _, response| {
        if request.path.contains(COMMIT) {
            response.refuse(404);
        }
    }));
    let user = User::of(&hub);
    user.inspect_well(NAME);
    user.snapshot_is_of("timm_vit_tiny", &["config.json", WEIGHTS]);
    assert_eq!(user.reference("main").as_deref(), Some(COMMIT));
}

#[test]
fn renamed_model_redirect_is_followed_with_token() {
    let old = "google/old";
    let hub = Hub::start(tiny().with_fault(move |request, _, response| {
        if let Some(rest) = request.path.strip_prefix(&format!("/{old}")) {
            response.refuse(307);
            response.headers.push(("Location".to_owned(), format!("/{NAME}{rest}")));
        }
    }));
    let user = User::of(&hub).with("HF_TOKEN", "hf_secret");
    user.inspect_well(old);
    assert!(user.home.path().join("hub/models--google--old/snapshots").join(COMMIT).join(WEIGHTS).exists());
    let heads = hub.requests().into_iter().filter(|request| request.method == "HEAD");
    assert!(heads.map(|request| request.headers.get("authorization").cloned()).all(|token| token.as_deref() == Some("Bearer hf_secret")));
}

#[test]
fn dropped_connections_are_retried_before_giving_up() {
    let hub = Hub::start(tiny().with_fault(|_, before, response| {
        if before == 0 {
            response.status = 0;
        }
    }));
    User::of(&hub).inspect_well(NAME);
    for status in [0, 503] {
        let hub = Hub::start(tiny().with_fault(move |_, _, response| response.refuse(status)));
        assert!(User::of(&hub).inspect_badly(NAME).contains("cannot be reached"));
    }
}

#[test]
fn length_mismatch_between_hub_and_host_is_refused() {
    let check = |length: usize| {
        let hub = Hub::start(tiny().with_fault(move |_, _, response| {
            for (name, value) in &mut response.headers {
                if name == "X-Linked-Size" {
                    *value = length.to_string();
                }
            }
        }));
        let user = User::of(&hub);
        let line = user.inspect_badly(NAME);
        assert!(line.contains(&format!("expected {length} bytes, but the server announces 395048")), "{line}");
        user.snapshot_is_of("timm_vit_tiny", &["config.json"]);
    };
    let lengths = [395_047, 395_049, 1000, 1_000_000];
    std::thread::scope(|scope| lengths.map(|length| scope.spawn(move || check(length))).map(|thread| thread.join().expect("the check holds")));
}

/// A cache that cannot be written to serves the models that it has.
#[test]
#[cfg(unix)]
fn complete_models_need_no_writes() {
    let hub = Hub::start(tiny());
    let user = User::of(&hub);
    user.inspect_well(NAME);
    let times = || {
        let entries = walkdir::WalkDir::new(user.home.path()).sort_by_file_name().into_iter().map(|entry| entry.expect("an entry"));
        entries.map(|entry| (entry.path().to_owned(), entry.metadata().expect("it is there").modified().expect("a time"))).collect::<Vec<_>>()
    };
    std::fs::remove_dir_all(user.home.path().join("hub/.locks")).expect("it is there");
    let before = times();
    user.inspect_well(NAME);
    assert_eq!(times(), before);
}

/// Whatever the environment says, there is an answer.
#[test]
#[cfg(target_os = "linux")]
fn homes_and_tokens_that_are_none_are_reported() {
    let hub = Hub::start(tiny());
    let user = User::of(&hub).with("HF_TOKEN", "a b");
    let run = user.inspect(NAME);
    assert!(run.code == 1 && run.errors()[0].contains("HF_TOKEN: expected a token of printable"), "{}", run.stderr);
    let user = User::of(&hub);
    assert!(Command::new("mkfifo").arg(user.home.path().join("token")).status().expect("mkfifo").success());
    let run = user.inspect(NAME);
    assert!(run.code == 1 && run.errors()[0].contains("found a pipe"), "{}", run.stderr);
    // A folder below the user's own, as Python's libraries read it.
    let user = User::of(&hub).with("HF_HOME", "~/models");
    let home = user.home.path().to_str().expect("UTF-8").to_owned();
    let user = user.with("HOME", &home);
    user.inspect_well(NAME);
    assert!(Path::new(&home).join("models/hub/models--google--tiny.vit-16").exists());
}

/// Git's hashes are those of files that a hub keeps in git itself.
#[test]
fn files_must_have_the_hash_of_their_commit() {
    let hub = Hub::start(tiny().with_fault(|request, _, response| {
        if request.path.ends_with("config.json") && request.method == "GET" && response.status == 200 {
            response.body.push(b' ');
            response.body.remove(1);
        }
    }));
    let line = User::of(&hub).inspect_badly(NAME);
    assert!(line.contains("expected git's SHA-1"), "{line}");
}

/// Some hubs give the hash of what git has in the place of weights.
#[test]
fn tags_of_weights_that_are_no_sha256_are_ignored() {
    let hub = Hub::start(tiny().with_fault(|request, _, response| {
        if request.path.ends_with(WEIGHTS) {
            response.headers.retain(|(name, _)| !name.to_lowercase().contains("etag"));
            response.headers.push(("ETag".to_owned(), format!("\"{}\"", "b".repeat(40))));
        }
    }));
    let user = User::of(&hub);
    user.inspect_well(NAME);
    user.snapshot_is_of("timm_vit_tiny", &["config.json", WEIGHTS]);
}

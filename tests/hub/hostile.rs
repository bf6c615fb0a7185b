//! Servers and caches that mean harm: nothing leaves the cache, the token stays with the hub, and everything ends.

use super::*;

#[test]
fn token_is_sent_only_to_the_hub() {
    let hub = Hub::start(tiny());
    let authorizations = |user: &User| -> BTreeMap<String, Option<String>> {
        user.inspect_well(NAME);
        let requests = hub.requests().into_iter();
        requests.map(|request| (request.method + " " + &request.path, request.headers.get("authorization").cloned())).collect()
    };
    assert!(authorizations(&User::of(&hub)).values().all(Option::is_none));
    let from_file = User::of(&hub);
    std::fs::write(from_file.home.path().join("token"), "hf_file\n").expect("a token");
    for (user, token) in [(from_file, "Bearer hf_file"), (User::of(&hub).with("HF_TOKEN", "hf_secret"), "Bearer hf_secret")] {
        let found = authorizations(&user);
        assert_eq!(found.len(), 7);
        for (path, authorization) in found {
            let expected = (!path.starts_with("GET /large/")).then_some(token);
            assert_eq!(authorization.as_deref(), expected, "{path}");
        }
    }
}

#[test]
fn hostile_names_cannot_escape_the_cache() {
    for shard in
        ["../../evil.safetensors", "/tmp/evil.safetensors", "a/evil.safetensors", "..\\evil.safetensors", "C:evil.safetensors", "evil.py", ""]
    {
        let mut model = Model::of(NAME, &case("container_sharded"));
        let index = serde_json::json!({"weight_map": {"cls_token": shard}}).to_string();
        model.files.insert("model.safetensors.index.json".to_owned(), index.into_bytes());
        model.files.insert(shard.to_owned(), b"evil".to_vec());
        let hub = Hub::start(model);
        let user = User::of(&hub);
        let run = user.inspect(NAME);
        assert_eq!((run.code, run.errors().len()), (1, 1), "{shard}: {}", run.stderr);
        assert!(run.stderr.contains("weight_map names"), "{shard}: {}", run.stderr);
        assert!(!requests(&hub).iter().any(|request| request.contains("evil")), "{shard} was asked for");
    }
    // Commits and hashes become paths as well; such ones are none.
    let hub = Hub::start(tiny().with_fault(|_, _, response| {
        for (name, value) in &mut response.headers {
            if ["X-Repo-Commit", "X-Linked-ETag", "ETag"].contains(&name.as_str()) {
                *value = "../../../evil".to_owned();
            }
        }
    }));
    let user = User::of(&hub);
    user.inspect_well(NAME);
    user.state_is_of("main", "timm_vit_tiny", &["config.json", WEIGHTS]);
    let inside = std::fs::read_dir(user.home.path()).expect("a folder").count();
    assert_eq!(inside, 1, "only the cache is at home");
    let hub = Hub::start(tiny());
    let user = User::of(&hub);
    // None of these may be a folder that is there.
    for name in [
        "../vitraux-none/y",
        "a/b/c",
        "../vitraux-none",
        "a/..",
        "a\\b",
        "google/tiny.vit-16@../../x",
        "google/tiny.vit-16@",
        "/google/tiny",
        "a--b/c",
    ] {
        assert!(user.inspect_badly(name).contains("no such folder"), "{name}");
    }
    assert!(hub.requests().is_empty());
}

/// The same host with another port is another server.
#[test]
fn token_is_not_sent_to_another_port() {
    let other = Hub::start(tiny());
    let elsewhere = other.endpoint();
    let hub = Hub::start(tiny().with_fault(move |_, _, response| {
        for (name, value) in &mut response.headers {
            if name == "Location" {
                *value = format!("{elsewhere}/large/{WEIGHTS}");
            }
        }
    }));
    User::of(&hub).with("HF_TOKEN", "hf_secret").inspect_well(NAME);
    assert!(hub.requests().iter().all(|request| request.headers.contains_key("authorization")));
    let requests = other.requests();
    assert!(!requests.is_empty() && requests.iter().all(|request| !request.headers.contains_key("authorization")), "{requests:?}");
}

#[test]
fn endpoint_must_be_a_url_and_its_password_is_not_shown() {
    let hub = Hub::start(tiny());
    let user = |endpoint: String| User { home: tempfile::tempdir().expect("a folder"), environment: vec![("HF_ENDPOINT", endpoint)] };
    let line = user("garbage".to_owned()).inspect_badly(NAME);
    assert!(line.contains("HF_ENDPOINT: expected a URL such as https://huggingface.co"), "{line}");
    let closed = hub.endpoint().replace("http://", "http://user:s3cret@");
    drop(hub);
    let line = user(closed).inspect_badly(NAME);
    assert!(line.contains("cannot be reached") && !line.contains("s3cret"), "{line}");
}

#[test]
fn bodies_without_length_or_end_do_not_fill_the_disk() {
    let endless = |name: &'static str, start: &'static [u8], words: &str| {
        let hub = Hub::start(tiny().simple().with_fault(move |request, _, response| {
            if request.path.ends_with(name) && response.status == 200 {
                let mut body = if start.is_empty() { response.body.clone() } else { start.to_vec() };
                body.resize(64 << 20, b' ');
                (response.body, response.declared) = (body, None);
            }
        }));
        let user = User::of(&hub);
        let line = user.inspect_badly(NAME);
        assert!(line.contains(words), "{line}");
        let kept = walkdir::WalkDir::new(user.home.path()).into_iter().filter_map(|entry| entry.ok()?.metadata().ok());
        assert!(kept.map(|metadata| metadata.len()).sum::<u64>() < 16 << 20);
    };
    endless(WEIGHTS, b"", "expected 395048 bytes, found more");
    endless(WEIGHTS, b"<html>", "expected safetensors, found something else");
    endless("config.json", b"", "larger than 8 MiB");
}

#[test]
fn announced_sizes_of_configurations_are_bounded() {
    let mut model = tiny();
    model.files.insert("config.json".to_owned(), vec![b' '; 9 << 20]);
    let hub = Hub::start(model);
    let line = User::of(&hub).inspect_badly(NAME);
    assert!(line.contains("larger than 8 MiB"), "{line}");
    assert!(hub.requests().iter().all(|request| request.method == "HEAD" || request.headers.contains_key("range")) || hub.requests().len() < 4);
}

/// A server that answers with these bytes, and then with some others again and again.
fn trickling(head: &'static str, again: &'static [u8]) -> User {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                use std::io::{BufRead, Write};
                let mut reader = std::io::BufReader::new(stream.try_clone().expect("a stream"));
                let (mut line, mut first) = (String::new(), String::new());
                while reader.read_line(&mut line).is_ok_and(|count| count > 0) && line != "\r\n" {
                    first = if first.is_empty() { line.clone() } else { first };
                    line.clear();
                }
                let is_head = first.starts_with("HEAD");
                let head = if is_head { "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n" } else { head };
                let mut is_open = stream.write_all(head.as_bytes()).is_ok() && !is_head;
                while is_open {
                    is_open = stream.write_all(again).is_ok();
                    std::thread::sleep(Duration::from_secs(1));
                }
            });
        }
    });
    User { home: tempfile::tempdir().expect("a folder"), environment: vec![("HF_ENDPOINT", endpoint)] }
}

/// One byte a second would go on for days: of a body, of the size of a part of it, or of what follows it.
#[test]
fn downloads_that_trickle_are_given_up() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let trailers = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\n{\"a\"\r\n0\r\n";
    let ways = [("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n", &b" "[..]), (chunked, b"0"), (trailers, b"a: b\r\n")];
    std::thread::scope(|scope| {
        for (head, again) in ways {
            scope.spawn(move || {
                let line = trickling(head, again).inspect_badly(NAME);
                assert!(line.contains("too slow"), "{line}");
            });
        }
    });
}

/// Whoever can write to the cache could lead writes to other files.
#[test]
#[cfg(unix)]
fn links_in_the_cache_lead_no_write_outside() {
    use std::os::unix::fs::symlink;
    let hub = Hub::start(tiny());
    let user = User::of(&hub);
    user.inspect_well(NAME);
    let precious = user.home.path().join("precious");
    std::fs::write(&precious, "precious").expect("it is written");
    let cache = user.cache();
    let [weights] = [std::fs::read_link(cache.join("snapshots").join(COMMIT).join(WEIGHTS)).expect("a link")];
    let blob = cache.join("blobs").join(weights.file_name().expect("a name"));
    let lock = user.home.path().join("hub/.locks/models--google--tiny.vit-16").join(weights.file_name().expect("a name")).with_extension("lock");
    std::fs::remove_file(&blob).expect("it is there");
    let absent = cache.join(".no_exist").join(COMMIT).join("preprocessor_config.json");
    for place in [cache.join("refs/main"), blob.with_extension("incomplete"), lock, absent] {
        let _ = std::fs::remove_file(&place);
        symlink(&precious, &place).expect("a link");
    }
    user.inspect_well(NAME);
    assert_eq!(std::fs::read(&precious).expect("it is there"), b"precious");
    assert_eq!(user.reference("main").as_deref(), Some(COMMIT));
}

//! The HTTP server: answers, limits, hostile clients, and its end. `tests/serving/run` drives it with other people's clients.

use crate::support::cli::{program, run};
use crate::support::path;
use crate::support::serving::{Answer, Serving, message, read};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn samples() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(path("examples/digits/samples")).expect("samples").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(path(&format!("examples/digits/samples/{name}.png"))).expect("a sample")
}

/// A form with files.
fn form(files: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, bytes) in files {
        body.extend(format!("--limit\r\nContent-Disposition: form-data; name=\"image\"; filename=\"{name}\"\r\n\r\n").bytes());
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--limit--\r\n");
    ("multipart/form-data; boundary=limit".to_owned(), body)
}

/// Results of the program for the samples, a line for each.
fn by_program(command: &str) -> Vec<Value> {
    let mut program = program();
    program.args([command, "--device", "cpu", "--format", "json"]).args(samples());
    let run = run(program);
    assert_eq!(run.code, 0, "{}", run.stderr);
    run.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// A tensor of image files for `infer`, with its answer as JSON.
fn infer(serving: &Serving, model: &str, request: &Value) -> Answer {
    serving.post(&format!("/v2/models/{model}/infer"), request.to_string().as_bytes())
}

fn metric(serving: &Serving, name: &str) -> f64 {
    let text = String::from_utf8(serving.get("/metrics").body).expect("text");
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

/// Waits until something is so.
fn eventually(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing happens");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until so many images wait for a batch.
fn wait_for_queue(serving: &Serving, images: f64) {
    eventually(|| metric(serving, "vitraux_queue_images{") >= images);
}

#[test]
fn answers_are_those_of_the_program() {
    let serving = Serving::start(&[]);
    for ((file, classes), embedding) in samples().iter().zip(by_program("classify")).zip(by_program("embed")) {
        let image = std::fs::read(file).expect("a sample");
        let answer = serving.post("/classify", &image);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["images"][0]["classifications"][0]["top"], classes["top"]);
        assert_eq!(serving.post("/embed", &image).json()["images"][0]["embedding"], embedding["embedding"]);
    }
    let answer = serving.post("/classify?top=1&model=digits", &sample("printed-6")).json();
    assert_eq!(answer["model"], "digits");
    let top = &answer["images"][0]["classifications"][0]["top"];
    assert_eq!((top.as_array().map(Vec::len), top[0]["label"].as_str()), (Some(1), Some("6")));
    serving.stop();
}

#[test]
fn images_of_a_form_are_answered_in_order_and_broken_ones_have_errors() {
    let serving = Serving::start(&[]);
    let (content_type, body) =
        form(&[("3.png", &sample("handwritten-3")), ("broken.png", &sample("printed-6")[..90]), ("9.png", &sample("printed-9"))]);
    let answer = serving.request("POST", "/classify?top=1", &[("Content-Type", &content_type)], &body);
    let images = answer.json()["images"].clone();
    let labels: Vec<&Value> = (0..3).map(|i| &images[i]["classifications"][0]["top"][0]["label"]).collect();
    assert_eq!((answer.status, labels), (200, vec![&json!("3"), &Value::Null, &json!("9")]));
    assert!(images[1]["image"] == "broken.png" && images[1]["error"].as_str().is_some_and(|error| error.contains("broken.png")), "{images}");
    let embedding = serving.request("POST", "/embed?normalize=true", &[("Content-Type", &content_type)], &body).json();
    let norm =
        |i: usize| embedding["images"][i]["embedding"].as_array().map(|values| values.iter().filter_map(Value::as_f64).map(|v| v * v).sum::<f64>());
    assert!((norm(0).expect("a vector") - 1.0).abs() < 1e-5 && norm(1).is_none());
    for (i, name) in [(0, "handwritten-3"), (2, "printed-9")] {
        let alone = serving.post("/embed?normalize=true", &sample(name)).json();
        let vector = |answer: &Value, i: usize| {
            answer["images"][i]["embedding"].as_array().expect("a vector").iter().filter_map(Value::as_f64).collect::<Vec<_>>()
        };
        let (together, alone) = (vector(&embedding, i), vector(&alone, 0));
        assert!(together.iter().zip(&alone).all(|(together, alone)| (together - alone).abs() < 1e-5), "{name}");
    }
    // An image alone, and a form of which nothing can be read.
    let answer = serving.post("/classify", b"no image");
    assert!(answer.status == 422 && answer.json()["images"][0]["error"].as_str().is_some_and(|error| error.contains("not an image")), "{answer:?}");
    serving.stop();
}

#[test]
fn requests_that_cannot_be_served_are_refused_with_a_reason() {
    let serving = Serving::start(&["--max-batch", "2"]);
    let image = sample("printed-2");
    let tensor = |shape: &[usize], data: Value| json!({"inputs": [{"name": "pixel_values", "datatype": "FP32", "shape": shape, "data": data}]});
    let mut twice = tensor(&[1, 1, 32, 32], json!(vec![0; 1024]));
    twice["outputs"] = json!([{"name": "tokens"}, {"name": "tokens"}]);
    let (content_type, five) = form(&[("a", &image[..]); 5]);
    let text_field = b"--b\r\nContent-Disposition: form-data; name=\"top\"\r\n\r\n3\r\n--b--\r\n";
    let cases = [
        (serving.post("/classify?model=other", &image), 404, "digits"),
        (serving.post("/classify?top=x", &image), 400, "top"),
        (serving.post("/classify?first=1", &image), 400, "first"),
        (serving.post("/classify", b""), 400, "expected an image"),
        (serving.request("POST", "/classify", &[("Content-Type", &content_type)], &five), 400, "at most 4 images"),
        (serving.request("POST", "/classify", &[("Content-Type", "multipart/form-data")], b"x"), 400, "boundary"),
        (serving.request("POST", "/classify", &[("Content-Type", &content_type)], &five[..200]), 400, "incomplete"),
        (serving.get("/classify"), 405, "method"),
        (serving.get("/other"), 404, "path"),
        (infer(&serving, "other", &tensor(&[1], json!([1]))), 404, "digits"),
        (infer(&serving, "digits/versions/2", &tensor(&[1], json!([1]))), 404, "version 1"),
        (infer(&serving, "digits", &json!({})), 400, "inputs"),
        (infer(&serving, "digits", &json!({"inputs": []})), 400, "expected one input"),
        (infer(&serving, "digits", &tensor(&[1, 1, 32], json!([1]))), 400, "expected pixel_values FP32 [B, channels, height, width]"),
        (infer(&serving, "digits", &tensor(&[1, 1, 32, 32], json!([1]))), 400, "expected 1024 elements, found 1"),
        (infer(&serving, "digits", &tensor(&[1, 2, 4, 4], json!(vec![0; 32]))), 400, "[B, 1, height, width]"),
        (infer(&serving, "digits", &tensor(&[1, 1, 5, 4], json!(vec![0; 20]))), 400, "patches of 4 x 4"),
        (infer(&serving, "digits", &tensor(&[usize::MAX, 2, 4, 4], json!([1]))), 400, "at most 4 images"),
        (infer(&serving, "digits", &twice), 400, "each output once"),
        (infer(&serving, "digits", &tensor(&[5, 1, 1, 1], json!([1, 1, 1, 1, 1]))), 400, "at most 4 images"),
        (infer(&serving, "digits", &tensor(&[1, usize::MAX, 4, 4], json!([1]))), 400, "shape"),
        (infer(&serving, "digits", &tensor(&[0, 1, 32, 32], json!([]))), 400, "shape"),
        (infer(&serving, "digits", &tensor(&[1, 1, 1, 1], json!([1e300]))), 400, "finite"),
        (infer(&serving, "digits", &tensor(&[1, 1, 400, 400], json!(vec![0; 160_000]))), 400, "at most 8192 tokens"),
        (infer(&serving, &"m".repeat(5000), &json!({})), 404, "mmm"),
        (infer(&serving, "digits", &json!({"id": "x".repeat(2000), "inputs": []})), 400, "at most 1024 bytes"),
        (serving.request("POST", "/classify", &[("Content-Encoding", "br")], &image), 415, "gzip or deflate"),
        (serving.request("POST", "/embed", &[("Content-Type", "multipart/form-data; boundary=b")], text_field), 400, "top: expected a file"),
    ];
    for (i, (answer, status, message)) in cases.iter().enumerate() {
        assert_eq!(answer.status, *status, "case {i}: {answer:?}");
        assert!(answer.error().contains(message) && answer.error().len() <= 2048, "case {i}: {}", answer.error());
    }
    // Still there.
    assert_eq!(serving.post("/classify", &image).status, 200);
    serving.stop();
}

#[test]
fn no_file_of_the_server_can_be_reached() {
    let serving = Serving::start(&[]);
    for path in
        ["/../Cargo.toml", "/..%2f..%2fetc/passwd", "/%2e%2e/Cargo.toml", "//etc/passwd", "/etc/passwd", "/page.js/../../Cargo.toml", "/page/"]
    {
        let answer = serving.get(path);
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    let page = serving.get("/");
    assert!(page.status == 200 && page.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'")));
    for file in ["/page.js", "/page.css"] {
        assert!(serving.get(file).status == 200 && String::from_utf8_lossy(&page.body).contains(file));
    }
    serving.stop();
}

#[test]
fn models_are_chosen_by_name() {
    let folder = path("tests/fixtures/cases/timm_vit_tiny");
    let named = format!("other={}", folder.display());
    let serving = Serving::start(&["--model", "digits", "--model", &named, "--model", folder.to_str().expect("a path")]);
    let index = serving.post("/v2/repository/index", b"").json();
    assert!(index.as_array().expect("models").iter().map(|model| &model["name"]).eq(["digits", "other", "timm_vit_tiny"]));
    let image = sample("printed-2");
    assert_eq!(serving.post("/classify", &image).json()["model"], "digits");
    let [first, second] = ["other", "timm_vit_tiny"].map(|name| serving.post(&format!("/classify?model={name}"), &image).json());
    assert!(first["images"] == second["images"] && first["model"] == "other", "{first}");
    let statistics = serving.get("/v2/models/stats").json()["model_stats"].clone();
    assert!(statistics.as_array().expect("models").iter().map(|model| &model["name"]).eq(["digits", "other", "timm_vit_tiny"]));
    assert_eq!(serving.get("/v2/health/live").json(), json!({"live": true}));
    assert_eq!(serving.get("/v2/health/ready").json(), json!({"ready": true}));
    assert_eq!(serving.get("/v2/models/other/ready").json(), json!({"name": "other", "ready": true}));
    let metadata = serving.get("/v2/models/other").json();
    assert_eq!((&metadata["name"], &metadata["inputs"][0]["name"]), (&json!("other"), &json!("pixel_values")));
    serving.stop();
    let mut twice = program();
    twice.args(["serve", "--listen", "127.0.0.1:0", "--model", "digits", "--model", "digits"]);
    let run = run(twice);
    assert!(run.code == 1 && run.stderr.contains("two models are named digits"), "{}", run.stderr);
}

#[test]
fn requests_beyond_the_queue_are_rejected_and_those_within_are_answered() {
    // A batch of two waits for its second image for longer than the test takes; a third image may wait beside them.
    let serving = Serving::start(&["--max-batch", "2", "--queue", "1", "--max-wait", "50000", "--timeout", "60"]);
    let image = sample("printed-2");
    let computed = || metric(&serving, "vitraux_batch_images_sum{");
    let before = computed();
    let mut first = serving.connect();
    first.write_all(&message("POST", "/classify", &[], &image)).expect("sent");
    wait_for_queue(&serving, 1.0);
    let (content_type, three) = form(&[("a", &image), ("b", &image), ("c", &image)]);
    let start = Instant::now();
    let rejected = serving.request("POST", "/classify", &[("Content-Type", &content_type)], &three);
    assert_eq!(rejected.status, 429, "{rejected:?}");
    assert!(start.elapsed() >= Duration::from_millis(100), "clients that try again at once are slowed down");
    assert!(rejected.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok()).is_some_and(|seconds| seconds >= 1));
    assert_eq!(metric(&serving, "vitraux_images_rejected_total{"), 3.0);
    assert_eq!(serving.post("/classify", &image).status, 200);
    assert_eq!(read(&mut first).status, 200);
    assert_eq!(computed() - before, 2.0);
    serving.stop();
}

#[test]
fn images_of_clients_that_have_gone_are_not_computed() {
    let serving = Serving::start(&["--max-batch", "2", "--max-wait", "5000"]);
    let image = sample("printed-2");
    let before = metric(&serving, "vitraux_batch_images_sum{");
    let mut gone = serving.connect();
    gone.write_all(&message("POST", "/classify", &[], &image)).expect("sent");
    wait_for_queue(&serving, 1.0);
    drop(gone);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(serving.post("/classify", &image).status, 200);
    assert_eq!(metric(&serving, "vitraux_batch_images_sum{") - before, 1.0);
    serving.stop();
}

#[test]
fn images_of_clients_that_have_gone_are_not_decoded() {
    let serving = Serving::start(&[]);
    let mut large = std::io::Cursor::new(Vec::new());
    image::GrayImage::new(5000, 5000).write_to(&mut large, image::ImageFormat::Png).expect("a PNG");
    let large = large.into_inner();
    let (content_type, body) = form(&[("large.png", &large[..]); 60]);
    let mut gone = serving.connect();
    gone.write_all(&message("POST", "/classify", &[("Content-Type", &content_type)], &body)).expect("sent");
    let decoded = || metric(&serving, "vitraux_decode_seconds_count{");
    eventually(|| decoded() > 0.0);
    drop(gone);
    // Those under way are finished.
    std::thread::sleep(Duration::from_millis(500));
    let after = decoded();
    std::thread::sleep(Duration::from_secs(1));
    assert!(decoded() == after && after < 50.0, "{after} images were decoded, then {}", decoded());
    serving.stop();
}

#[test]
fn bodies_are_limited_in_size_and_time() {
    let serving = Serving::start(&["--max-body", "1", "--timeout", "1"]);
    // A client that sends everything before it reads sees the answer too.
    let large = vec![0; 30 << 20];
    let answer = serving.post("/classify", &large);
    assert!(answer.status == 413 && answer.error().contains("at most 1 MiB"), "{answer:?}");
    // Without a length.
    let mut stream = serving.connect();
    stream.write_all(b"POST /classify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n").expect("sent");
    for _ in 0..4 {
        stream.write_all(b"80000\r\n").expect("sent");
        stream.write_all(&vec![0; 0x80000]).expect("sent");
        stream.write_all(b"\r\n").expect("sent");
    }
    stream.write_all(b"0\r\n\r\n").expect("sent");
    assert_eq!(read(&mut stream).status, 413);
    // Packed bytes count as what they unpack to.
    let bomb = {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(&vec![b' '; 20 << 20]).expect("packed");
        packed.finish().expect("packed")
    };
    let answer = serving.request("POST", "/v2/models/digits/infer", &[("Content-Encoding", "gzip")], &bomb);
    assert!(bomb.len() < 1 << 20 && answer.status == 413, "{answer:?}");
    // A body that stops half-way.
    let start = Instant::now();
    let mut slow = serving.connect();
    let whole = message("POST", "/classify", &[], &sample("printed-2"));
    slow.write_all(&whole[..whole.len() - 9]).expect("sent");
    let answer = read(&mut slow);
    assert!(answer.status == 408 && answer.error().contains("within 1 s"), "{answer:?}");
    assert!(start.elapsed() < Duration::from_secs(10));
    serving.stop();
}

#[test]
fn clients_that_send_everything_first_see_why_they_are_refused() {
    let serving = Serving::start(&["--max-body", "1"]);
    let large = vec![0; 30 << 20];
    for (method, path, status) in [
        ("POST", "/other", 404),
        ("PUT", "/classify", 405),
        ("POST", "/classify?model=other", 404),
        ("POST", "/classify?top=x", 400),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/repository/index", 200),
    ] {
        assert_eq!(serving.request(method, path, &[], &large).status, status, "{path}");
    }
    // One that asks first is told at once, and sends nothing.
    let mut asking = serving.connect();
    let message = message("POST", "/classify", &[("Expect", "100-continue")], &large);
    asking.write_all(&message[..message.len() - large.len()]).expect("sent");
    assert_eq!(read(&mut asking).status, 413);
    serving.stop();
}

/// A request for `attn.0` of images, 4 x 65 x 65 x 4 bytes for each.
fn attention(images: usize) -> Value {
    let input = json!({"name": "pixel_values", "datatype": "FP32", "shape": [images, 1, 32, 32], "data": vec![0; images * 1024]});
    json!({"inputs": [input], "outputs": [{"name": "attn.0"}]})
}

/// Sends a request whose answer, of more than 10 MB, is larger than what the system keeps for a client that does not read. Waits until it is computed.
fn stalled(serving: &Serving, images: usize) -> TcpStream {
    let answered = || metric(serving, "vitraux_device_seconds_sum{");
    let before = answered();
    let mut stream = serving.connect();
    stream.write_all(&message("POST", "/v2/models/digits/infer", &[], attention(images).to_string().as_bytes())).expect("sent");
    eventually(|| answered() > before);
    // Until the answer is being sent.
    let mut first = [0];
    stream.peek(&mut first).expect("an answer");
    stream
}

#[test]
fn outputs_are_limited_in_size() {
    let serving = Serving::start(&["--max-body", "4"]);
    let answer = infer(&serving, "digits", &attention(63));
    assert!(answer.status == 400 && answer.error().contains("at most 4 MiB per request, found 5 MiB"), "{answer:?}");
    let mut unknown = attention(1);
    unknown["outputs"][0]["name"] = json!("nonsense");
    assert!(infer(&serving, "digits", &unknown).error().contains("unknown output"));
    assert_eq!(infer(&serving, "digits", &attention(62)).status, 200);
    // Clients that do not read hold their share, until they are given up.
    // The last leaves room for the body of another request, but not for its outputs.
    let stalled: Vec<TcpStream> = [62, 62, 62, 62, 62, 62, 62, 59].map(|images| stalled(&serving, images)).into();
    let answer = infer(&serving, "digits", &attention(62));
    assert!(answer.status == 429 && answer.header("retry-after") == Some("1") && answer.error().contains("memory"), "{answer:?}");
    eventually(|| infer(&serving, "digits", &attention(62)).status == 200);
    drop(stalled);
    serving.stop();
}

#[test]
fn clients_that_never_read_do_not_hold_up_the_end() {
    let serving = Serving::start(&[]);
    let stalled = stalled(&serving, 62);
    // Nor does one that has sent half of its headers.
    let mut half = serving.connect();
    half.write_all(b"GET /v2 HT").expect("sent");
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    serving.stop();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    drop(stalled);
}

#[test]
fn images_of_different_sizes_have_no_common_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let case = path("tests/fixtures/cases/hf_dinov2_cls");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(case.join(file), folder.path().join(file)).expect("a copy");
    }
    let mut processor = crate::support::json("tests/fixtures/cases/hf_dinov2_cls/preprocessor_config.json");
    processor["do_center_crop"] = false.into();
    std::fs::write(folder.path().join("preprocessor_config.json"), processor.to_string()).expect("it is written");
    let model = format!("m={}", folder.path().display());
    let serving = Serving::start(&["--model", &model]);
    let levels = |shape: [usize; 4]| json!({"name": "image", "datatype": "UINT8", "shape": shape, "data": vec![9; shape.iter().product()]});
    let png = |width: u32| {
        let mut file = std::io::Cursor::new(Vec::new());
        image::RgbImage::new(width, 64).write_to(&mut file, image::ImageFormat::Png).expect("a PNG");
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, file.into_inner())
    };
    let of_files = |widths: [u32; 2]| json!({"name": "image", "datatype": "BYTES", "shape": [2], "data": widths.map(png)});
    let ask = |input: Value, output: &str| infer(&serving, "m", &json!({"inputs": [input], "outputs": [{"name": output}]}));
    assert_eq!(ask(levels([2, 64, 64, 3]), "tokens").status, 200);
    assert_eq!(ask(of_files([64, 64]), "tokens").status, 200);
    assert_eq!(ask(of_files([64, 128]), "features").status, 200, "vectors have one shape");
    let answer = ask(of_files([64, 128]), "tokens");
    assert!(answer.status == 400 && answer.error().contains("images of one size"), "{answer:?}");
    serving.stop();
}

#[test]
fn statistics_count_requests_and_images() {
    let serving = Serving::start(&[]);
    let (content_type, three) = form(&[("a", &sample("printed-2")), ("b", &sample("printed-6")), ("c", &sample("printed-9"))]);
    assert_eq!(serving.request("POST", "/classify", &[("Content-Type", &content_type)], &three).status, 200);
    assert_eq!(serving.post("/classify", &sample("printed-2")).status, 200);
    let model = serving.get("/v2/models/digits/stats").json()["model_stats"][0].clone();
    let count = |name: &str| model["inference_stats"][name]["count"].as_u64();
    assert_eq!((model["inference_count"].as_u64(), count("success"), count("queue"), count("fail")), (Some(4), Some(2), Some(2), Some(0)));
    assert!(model["execution_count"].as_u64().is_some_and(|batches| (2..=4).contains(&batches)), "{model}");
    serving.stop();
}

#[test]
fn slow_and_vanishing_clients_keep_nobody_waiting() {
    let serving = Serving::start(&[]);
    let image = sample("printed-2");
    let whole = message("POST", "/classify", &[], &image);
    let ends = [1, 20, whole.len() - image.len(), whole.len() - 1];
    let slow: Vec<_> = (0..200)
        .map(|i| {
            let mut stream = serving.connect();
            stream.write_all(&whole[..ends[i % ends.len()]]).expect("sent");
            stream
        })
        .collect();
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(serving.post("/classify", &image).status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // Half of them go; the others send the rest.
    for (i, mut stream) in slow.into_iter().enumerate().filter(|(i, _)| i % 2 == 0) {
        stream.write_all(&whole[ends[i % ends.len()]..]).expect("sent");
        assert_eq!(read(&mut stream).status, 200);
    }
    serving.stop();
}

#[test]
fn memory_stays_flat_over_many_requests() {
    let serving = Serving::start(&["--max-body", "1"]);
    let images: Vec<Vec<u8>> = samples().iter().map(|file| std::fs::read(file).expect("a sample")).collect();
    let large = vec![0; 2 << 20];
    let round = |count: usize| {
        std::thread::scope(|scope| {
            for client in 0..8 {
                let (serving, images, large) = (&serving, &images, &large);
                scope.spawn(move || {
                    for i in 0..count / 8 {
                        let (body, status): (&[u8], u16) = match i % 100 {
                            98 => (large, 413),
                            99 => (&images[0][..70], 422),
                            _ => (&images[(i + client) % images.len()], 200),
                        };
                        assert_eq!(serving.post("/classify", body).status, status);
                    }
                });
            }
        });
    };
    // Until the allocator has what it needs for each thread.
    round(10_000);
    let before = serving.memory();
    round(10_000);
    let growth = serving.memory().saturating_sub(before);
    println!("{} KiB more than {} KiB", growth >> 10, before >> 10);
    assert!(growth < 4 << 20, "{growth} bytes over 10,000 requests");
    serving.stop();
}

#[test]
fn requests_that_have_begun_are_finished_after_sigterm() {
    let serving = Serving::start(&["--max-batch", "64", "--max-wait", "5000"]);
    let image = sample("printed-2");
    // Some wait for their batch, one has sent half of its body.
    let mut waiting: Vec<_> = (0..8).map(|_| serving.connect()).collect();
    waiting.iter_mut().for_each(|stream| stream.write_all(&message("POST", "/classify", &[], &image)).expect("sent"));
    let whole = message("POST", "/classify", &[], &image);
    let mut half = serving.connect();
    half.write_all(&whole[..whole.len() - 5]).expect("sent");
    wait_for_queue(&serving, 8.0);
    serving.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(500));
    let address = serving.url.trim_start_matches("http://").to_owned();
    assert!(std::net::TcpStream::connect(&address).is_err(), "new clients are refused");
    half.write_all(&whole[whole.len() - 5..]).expect("sent");
    for stream in waiting.iter_mut().chain([&mut half]) {
        assert_eq!(read(stream).status, 200);
    }
    let (code, log) = serving.end();
    assert_eq!(code, 0, "{log:?}");
}

#[test]
fn requests_that_take_longer_than_the_drain_are_cut_off() {
    let serving = Serving::start(&["--max-batch", "2", "--max-wait", "20000", "--drain", "1"]);
    let mut waiting = serving.connect();
    waiting.write_all(&message("POST", "/classify", &[], &sample("printed-2"))).expect("sent");
    wait_for_queue(&serving, 1.0);
    let start = Instant::now();
    serving.signal(Signal::TERM);
    let (code, log) = serving.end();
    assert!(code == 1 && start.elapsed() < Duration::from_secs(10), "{log:?}");
    assert!(format!("{log:?}").contains("--drain 1 s"), "{log:?}");
}

#[test]
fn a_token_is_required_if_there_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "secret\n").expect("a file");
    let by_variable = {
        let mut command = program();
        command.env("VITRAUX_TOKEN", "secret\n").args(["--device", "cpu"]);
        Serving::of(command)
    };
    for serving in [Serving::start(&["--token-file", file.to_str().expect("a path")]), by_variable] {
        let image = sample("printed-2");
        let with = |value: &str, path: &str| serving.request("POST", path, &[("Authorization", value)], &image);
        for path in ["/classify", "/embed", "/v2/models/digits/infer", "/v2/repository/index"] {
            let answer = serving.post(path, &image);
            assert!(answer.status == 401 && answer.header("www-authenticate") == Some("Bearer"), "{path}: {answer:?}");
            assert_eq!(with("Bearer other", path).status, 401);
            assert_ne!(with("Bearer secret", path).status, 401);
        }
        assert_eq!(serving.get("/metrics").status, 401);
        assert_eq!(with("Bearer secret", "/classify").status, 200);
        assert!(["/", "/page.js", "/openapi.json", "/v2/health/live", "/v2/health/ready"].iter().all(|path| serving.get(path).status == 200));
        assert!(serving.get("/openapi.json").json()["security"].is_array());
        let log = format!("{:?}", serving.stop());
        assert!(!log.contains("secret"), "{log}");
    }
    // A token that cannot be read is not as if there were none.
    for (token, message) in [("", "found nothing"), ("caf\u{e9}", "printable ASCII")] {
        let mut command = program();
        command.env("VITRAUX_TOKEN", token).args(["serve", "--listen", "127.0.0.1:0"]);
        let run = run(command);
        assert!(run.code == 1 && run.stderr.contains("VITRAUX_TOKEN") && run.stderr.contains(message), "{}", run.stderr);
    }
    std::fs::write(&file, " \n").expect("a file");
    let mut empty = program();
    empty.args(["serve", "--token-file"]).arg(&file);
    let run = run(empty);
    assert!(run.code == 1 && run.stderr.contains("expected a token"), "{}", run.stderr);
}

#[test]
fn an_address_in_use_is_reported() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = program();
    command.args(["serve", "--listen", &address]);
    let run = run(command);
    assert!(run.code == 1 && run.stderr.contains(&address) && run.stderr.to_lowercase().contains("in use"), "{}", run.stderr);
}

#[test]
fn the_server_is_live_before_it_is_ready() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let mut command = program();
    // The first pass of so many images takes long enough to be seen.
    command.args(["serve", "--device", "cpu", "--max-batch", "1024", "--listen", &address.to_string()]);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().expect("the program starts");
    let status = |path: &str| {
        let mut stream = std::net::TcpStream::connect(address).ok()?;
        stream.write_all(&message("GET", path, &[], b"")).ok()?;
        Some(read(&mut stream).status)
    };
    let mut seen = Vec::new();
    eventually(|| {
        seen.extend(status("/v2/health/live").zip(status("/v2/health/ready")));
        seen.last() == Some(&(200, 200))
    });
    child.kill().and_then(|()| child.wait()).expect("it ends");
    seen.dedup();
    assert_eq!(seen, [(200, 503), (200, 200)]);
}

#[test]
fn logs_are_lines_of_json() {
    let serving = Serving::start(&[]);
    serving.post("/classify", &sample("printed-2"));
    let log = serving.stop();
    let request = log.iter().find(|entry| entry["message"] == "request").unwrap_or_else(|| panic!("{log:?}"));
    assert_eq!((request["route"].as_str(), request["status"].as_u64(), request["level"].as_str()), (Some("/classify"), Some(200), Some("INFO")));
    assert!(request["milliseconds"].as_f64().is_some_and(|milliseconds| milliseconds > 0.0) && request["timestamp"].is_string());
    assert!(log.iter().any(|entry| entry["message"] == "loaded" && entry["device"].is_string()));
    // Notes of the program are among them.
    assert!(log.iter().any(|entry| entry["message"].as_str().is_some_and(|message| message.starts_with("device: cpu"))), "{log:?}");
}

//! The HTTP server: answers, refusals, models, tokens and logs. `tests/serving/run` drives it with other people's clients.

use crate::support::cli::{program, run};
use crate::support::path;
use crate::support::serving::{Serving, eventually, form, infer, message, read, sample, samples};
use serde_json::{Value, json};
use std::io::Write;

/// Results of the program for the samples, a line for each.
fn by_program(command: &str) -> Vec<Value> {
    let mut program = program();
    program.args([command, "--device", "cpu", "--format", "json"]).args(samples());
    let run = run(program);
    assert_eq!(run.code, 0, "{}", run.stderr);
    run.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
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
    for (models, words) in [(&["digits", "digits"][..], "two models are named digits"), (&["stats=digits"], "stats is a path of the protocol")] {
        let mut refused = program();
        refused.args(["serve", "--listen", "127.0.0.1:0"]).args(models.iter().flat_map(|model| ["--model", model]));
        let run = run(refused);
        assert!(run.code == 1 && run.stderr.contains(words), "{}", run.stderr);
    }
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

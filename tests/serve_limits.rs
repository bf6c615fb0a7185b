//! The HTTP server: its limits, hostile clients, and its end.

use crate::support::serving::{Serving, eventually, form, infer, message, metric, read, sample, samples, wait_for_queue};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

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
    // Those under way are finished, however long that takes on a busy machine.
    eventually(|| {
        let count = decoded();
        std::thread::sleep(Duration::from_secs(2));
        decoded() == count
    });
    let count = decoded();
    assert!(count < 50.0, "{count} images were decoded");
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

/// A log that is full, or that nobody reads, stops nothing.
#[test]
#[cfg(target_os = "linux")]
fn logs_that_cannot_be_written_stop_no_request() {
    use crate::support::cli::program;
    use std::process::Stdio;
    let stopped = |stderr: Stdio, take: bool| {
        let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let mut command = program();
        command.args(["serve", "--device", "cpu", "--listen", &address.to_string()]).stdout(Stdio::null()).stderr(stderr);
        let mut child = command.spawn().expect("the program starts");
        // A pipe that is closed, or that nobody reads.
        let held = child.stderr.take().filter(|_| !take);
        eventually(|| TcpStream::connect(address).is_ok());
        for _ in 0..3000 {
            let mut stream = TcpStream::connect(address).expect("a connection");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("it is ours");
            stream.write_all(&message("GET", "/v2/health/live", &[], &[])).expect("sent");
            assert_eq!(read(&mut stream).status, 200);
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).expect("it runs");
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        drop(held);
        assert!(status.success(), "{status}");
    };
    stopped(Stdio::piped(), true);
    stopped(Stdio::piped(), false);
    stopped(std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device").into(), true);
}

/// JSON of a few bytes may stand for hundreds, many times over.
#[test]
fn requests_take_little_more_memory_than_they_have_bytes() {
    let serving = Serving::start(&[]);
    let packed = |start: &str, unit: &str, end: &str| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(start.as_bytes()).expect("packed");
        let units = unit.repeat(1 << 16);
        for _ in 0..(30 << 20) / units.len() {
            packed.write_all(units.as_bytes()).expect("packed");
        }
        packed.write_all(end.as_bytes()).expect("packed");
        packed.finish().expect("packed")
    };
    let input = r#"{"name":"image","datatype":"BYTES","shape":[1],"data":["#;
    let bodies = [
        (packed(&format!(r#"{{"inputs":[{input}""]}}],"parameters":{{"a":["#), r#"{"":0},"#, "0]}}"), 422),
        (packed(&format!(r#"{{"inputs":[{input}"#), r#""","#, r#"""]}]}"#), 400),
        (packed(r#"{"inputs":["#, &format!("{input}0]}},"), "0]}"), 400),
        (packed(r#"{"inputs":[{"name":"image","datatype":"BYTES","data":[],"shape":["#, "1,", "1]}]}"), 400),
    ];
    for (body, status) in bodies {
        let answer = serving.request("POST", "/v2/models/digits/infer", &[("Content-Encoding", "gzip")], &body);
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let peak = serving.peak_memory();
    assert!(peak < 256 << 20, "{peak} bytes");
    serving.stop();
}

/// A server whose last lines nobody reads ends all the same.
#[test]
#[cfg(target_os = "linux")]
fn cut_off_requests_end_a_server_whose_log_nobody_reads() {
    use crate::support::cli::program;
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut filler = writer.try_clone().expect("a pipe");
    let mut command = program();
    command.args(["serve", "--device", "cpu", "--drain", "1", "--listen", &address.to_string()]).stdout(std::process::Stdio::null()).stderr(writer);
    let mut child = command.spawn().expect("the program starts");
    eventually(|| TcpStream::connect(address).is_ok());
    std::thread::spawn(move || while filler.write_all(&[b'.'; 4096]).is_ok() {});
    let mut unfinished = TcpStream::connect(address).expect("a connection");
    let whole = message("POST", "/classify", &[], &sample("printed-2"));
    unfinished.write_all(&whole[..whole.len() - 9]).expect("sent");
    std::thread::sleep(Duration::from_millis(500));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).expect("it runs");
    eventually(|| child.try_wait().expect("a child").is_some());
    assert_eq!(child.wait().expect("a child").code(), Some(1));
    drop(reader);
}

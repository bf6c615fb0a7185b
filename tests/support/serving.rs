//! Runs of `vitraux serve`, and requests to them.

use super::cli::program;
use super::path;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running server.
pub struct Serving {
    child: Child,
    /// `http://ADDRESS`, without a path.
    pub url: String,
    log: Option<JoinHandle<Vec<Value>>>,
}

/// Status, headers in lower case, and body of an answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The message of an error.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }
}

impl Serving {
    /// Starts a server on the CPU and waits until it is ready.
    pub fn start(arguments: &[&str]) -> Serving {
        let mut command = program();
        command.args(["--device", "cpu"]).args(arguments);
        Serving::of(command)
    }

    /// Starts a server with the environment and the arguments of a command, to which the subcommand and a free port are added.
    pub fn of(command: Command) -> Serving {
        let mut whole = Command::new(command.get_program());
        whole.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        whole.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]).args(command.get_args());
        let mut child = whole.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let (sender, address) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = std::thread::spawn(move || {
            let mut log = Vec::new();
            for line in lines.map(|line| line.expect("a line")) {
                // Drivers write there too, and so does `main` when the server fails.
                let Ok(entry) = serde_json::from_str::<Value>(&line) else {
                    log.push(Value::String(line));
                    continue;
                };
                if let Some(url) = entry["url"].as_str() {
                    let _ = sender.send(url.trim_end_matches('/').to_owned());
                }
                log.push(entry);
            }
            log
        });
        match address.recv_timeout(Duration::from_secs(120)) {
            Ok(url) => Serving { child, url, log: Some(log) },
            Err(_) => {
                let _ = child.kill();
                panic!("the server is not ready: {:?}", log.join());
            }
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a running process");
    }

    /// Waits for the end of the process. Returns its code and its log.
    pub fn end(mut self) -> (i32, Vec<Value>) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        (status.code().expect("a code"), self.log.take().expect("not joined yet").join().expect("a log"))
    }

    /// Ends the server as a service manager does, and checks that nothing went wrong.
    pub fn stop(self) -> Vec<Value> {
        self.signal(Signal::TERM);
        let (code, log) = self.end();
        assert_eq!(code, 0, "{log:?}");
        let text = format!("{log:?}");
        assert!(!text.contains("panicked") && !text.contains("internal error"), "{text}");
        log
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        self.memory_by("VmRSS:")
    }

    /// The most resident memory so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.memory_by("VmHWM:")
    }

    fn memory_by(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.url.trim_start_matches("http://")).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.request("POST", path, &[], body)
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(&message(method, path, headers, body)).expect("the request is sent");
        read(&mut stream)
    }
}

/// A request on a connection that is closed after it.
pub fn message(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Reads an answer to the end of its connection.
pub fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(&bytes)));
    let head = std::str::from_utf8(&bytes[..end]).expect("text");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok()).expect("a status");
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    Answer { status, headers, body: bytes[end + 4..].to_vec() }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended, except in a test that fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Files of the sample images, in order of their names.
pub fn samples() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(path("examples/digits/samples")).expect("samples").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// The file of a sample image.
pub fn sample(name: &str) -> Vec<u8> {
    std::fs::read(path(&format!("examples/digits/samples/{name}.png"))).expect("a sample")
}

/// A form with files.
pub fn form(files: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, bytes) in files {
        body.extend(format!("--limit\r\nContent-Disposition: form-data; name=\"image\"; filename=\"{name}\"\r\n\r\n").bytes());
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--limit--\r\n");
    ("multipart/form-data; boundary=limit".to_owned(), body)
}

/// The answer to a request for inference.
pub fn infer(serving: &Serving, model: &str, request: &Value) -> Answer {
    serving.post(&format!("/v2/models/{model}/infer"), request.to_string().as_bytes())
}

/// A value of the metrics: that of the first line that starts so.
pub fn metric(serving: &Serving, name: &str) -> f64 {
    let text = String::from_utf8(serving.get("/metrics").body).expect("text");
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

/// Waits until something is so.
pub fn eventually(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing happens");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until so many images wait for a batch.
pub fn wait_for_queue(serving: &Serving, images: f64) {
    eventually(|| metric(serving, "vitraux_queue_images{") >= images);
}

//! A Hugging Face hub of one model on this machine: its API, its files, and the other host that large files come from.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The commit that every revision of the model is.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

/// A response before it is sent.
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What the header says; nothing ends the body with the connection.
    pub declared: Option<usize>,
}

impl Response {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Response {
        let body = body.into();
        Response { status, headers: Vec::new(), declared: Some(body.len()), body }
    }

    /// Another body, of its true length.
    pub fn replace(&mut self, body: &[u8]) {
        self.body = body.to_vec();
        self.declared = Some(body.len());
    }

    fn with(mut self, name: &str, value: impl ToString) -> Response {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

/// Spoils a response, knowing how many requests for the same path came before.
pub type Fault = Box<dyn Fn(&Request, usize, &mut Response) + Send + Sync>;

/// What the model is.
pub struct Model {
    pub name: &'static str,
    pub files: BTreeMap<String, Vec<u8>>,
    pub fault: Fault,
}

impl Model {
    /// The files of a case that a hub would have.
    pub fn of(name: &'static str, folder: &Path) -> Model {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).expect("a case") {
            let path = entry.expect("an entry").path();
            files.insert(path.file_name().expect("a name").to_string_lossy().into_owned(), std::fs::read(&path).expect("a file"));
        }
        Model { name, files, fault: Box::new(|_, _, _| {}) }
    }

    pub fn with_fault(mut self, fault: impl Fn(&Request, usize, &mut Response) + Send + Sync + 'static) -> Model {
        self.fault = Box::new(fault);
        self
    }

    fn answer(&self, request: &Request, port: u16) -> Response {
        let path = request.path.as_str();
        if path.starts_with(&format!("/api/models/{}/revision/", self.name)) {
            return Response::new(200, self.listing().to_string());
        }
        if let Some(name) = path.strip_prefix("/large/") {
            return ranged(request, &self.files[name]);
        }
        let file = path.strip_prefix(&format!("/{}/resolve/{COMMIT}/", self.name)).and_then(|name| Some((name, self.files.get(name)?)));
        match file {
            Some((name, bytes)) if is_large(name) => Response::new(302, "")
                .with("Location", format!("http://localhost:{port}/large/{name}"))
                .with("X-Repo-Commit", COMMIT)
                .with("X-Linked-Size", bytes.len())
                .with("X-Linked-ETag", format!("\"{}\"", sha256(bytes))),
            Some((_, bytes)) => ranged(request, bytes).with("X-Repo-Commit", COMMIT).with("ETag", format!("\"{}\"", &sha256(bytes)[..40])),
            None => Response::new(404, "Not found").with("X-Error-Code", "RepoNotFound"),
        }
    }

    fn listing(&self) -> Value {
        let entry = |(name, bytes): (&String, &Vec<u8>)| {
            let hash = sha256(bytes);
            let mut entry = json!({"rfilename": name, "size": bytes.len(), "blobId": hash[..40]});
            if is_large(name) {
                entry["lfs"] = json!({"sha256": hash, "size": bytes.len(), "pointerSize": 134});
            }
            entry
        };
        json!({"id": self.name, "sha": COMMIT, "siblings": self.files.iter().map(entry).collect::<Vec<_>>()})
    }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ranged(request: &Request, bytes: &[u8]) -> Response {
    let start = request.headers.get("range").map(|range| {
        let start = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')).expect("a range from a byte on");
        start.parse::<usize>().expect("a number")
    });
    match start {
        Some(start) => Response::new(206, &bytes[start..]).with("Content-Range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len())),
        None => Response::new(200, bytes).with("Accept-Ranges", "bytes"),
    }
}

/// A hub that runs until it is dropped.
pub struct Hub {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Hub {
    pub fn start(model: Model) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (requests, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (requests, stopped) = (requests.clone(), stopped.clone());
            move || {
                for stream in listener.incoming() {
                    if stopped.load(Ordering::SeqCst) {
                        break;
                    }
                    // A client that goes away is none of the hub's business.
                    let _ = serve(&model, port, &requests, stream.expect("a connection"));
                }
            }
        });
        Hub { port, requests, stopped, thread: Some(thread) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().expect("requests"))
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.thread.take().expect("a thread").join().expect("the hub ends");
    }
}

/// One request a connection.
fn serve(model: &Model, port: u16, requests: &Mutex<Vec<Request>>, mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut request = Request { path: first.split(' ').nth(1).unwrap_or_default().to_owned(), headers: BTreeMap::new() };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        request.headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let mut response = model.answer(&request, port);
    let before = {
        let mut requests = requests.lock().expect("requests");
        let before = requests.iter().filter(|earlier| earlier.path == request.path).count();
        requests.push(request.clone());
        before
    };
    (model.fault)(&request, before, &mut response);
    let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", response.status);
    if let Some(length) = response.declared {
        head += &format!("Content-Length: {length}\r\n");
    }
    for (name, value) in &response.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(&response.body)
}

//! A Hugging Face hub of one model on this machine, with the other host that large files come from; or a server that
//! knows nothing but files.

use sha1::Sha1;
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
    pub method: String,
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

    /// A refusal without a word, as of a server that is no hub.
    pub fn refuse(&mut self, status: u16) {
        self.status = status;
        self.headers.clear();
        self.replace(b"<html>");
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Response {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

/// Spoils a response, knowing how many requests of the same kind for the same path came before. No status is no answer.
pub type Fault = Box<dyn Fn(&Request, usize, &mut Response) + Send + Sync>;

/// What the model is.
pub struct Model {
    pub name: &'static str,
    pub files: BTreeMap<String, Vec<u8>>,
    pub fault: Fault,
    /// Whether it is only a server of files: GET, the revision main, and a length.
    pub is_simple: bool,
}

impl Model {
    /// The files of a case that a hub would have.
    pub fn of(name: &'static str, folder: &Path) -> Model {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).expect("a case") {
            let path = entry.expect("an entry").path();
            files.insert(path.file_name().expect("a name").to_string_lossy().into_owned(), std::fs::read(&path).expect("a file"));
        }
        Model { name, files, fault: Box::new(|_, _, _| {}), is_simple: false }
    }

    pub fn with_fault(mut self, fault: impl Fn(&Request, usize, &mut Response) + Send + Sync + 'static) -> Model {
        self.fault = Box::new(fault);
        self
    }

    pub fn simple(self) -> Model {
        Model { is_simple: true, ..self }
    }

    fn answer(&self, request: &Request, port: u16) -> Response {
        if let Some(name) = request.path.strip_prefix("/large/") {
            return ranged(request, &self.files[name]);
        }
        let place = request.path.strip_prefix(&format!("/{}/resolve/", self.name)).and_then(|path| path.split_once('/'));
        let file = place.and_then(|(revision, name)| Some((revision, name, self.files.get(name)?)));
        match file {
            _ if self.is_simple && request.method != "GET" => Response::new(501, "Unsupported method"),
            Some((revision, _, bytes)) if self.is_simple && revision == "main" => Response::new(200, bytes.as_slice()),
            _ if self.is_simple => Response::new(404, "Not found"),
            Some((_, name, bytes)) if is_large(name) => Response::new(302, "Found")
                .with("Location", format!("http://localhost:{port}/large/{name}"))
                .with("X-Repo-Commit", COMMIT)
                .with("X-Linked-Size", bytes.len())
                .with("X-Linked-ETag", format!("\"{}\"", sha256(bytes))),
            Some((.., bytes)) => ranged(request, bytes).with("X-Repo-Commit", COMMIT).with("ETag", format!("\"{}\"", git(bytes))),
            None if place.is_some() => Response::new(404, "Not found").with("X-Repo-Commit", COMMIT).with("X-Error-Code", "EntryNotFound"),
            None => Response::new(404, "Not found").with("X-Error-Code", "RepoNotFound").with("X-Error-Message", "Repository not found"),
        }
    }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// What git calls these bytes.
pub fn git(bytes: &[u8]) -> String {
    hexadecimal(&Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ranged(request: &Request, bytes: &[u8]) -> Response {
    let range = request.headers.get("range").map(|range| range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).expect("a range"));
    let Some((start, end)) = range else { return Response::new(200, bytes).with("Accept-Ranges", "bytes") };
    let start: usize = start.parse().expect("a number");
    let end = end.parse().unwrap_or(bytes.len() - 1);
    Response::new(206, &bytes[start..=end]).with("Content-Range", format!("bytes {start}-{end}/{}", bytes.len()))
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
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut request = Request { method, path, headers: BTreeMap::new() };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        request.headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let mut response = model.answer(&request, port);
    let before = {
        let mut requests = requests.lock().expect("requests");
        let before = requests.iter().filter(|earlier| (&earlier.method, &earlier.path) == (&request.method, &request.path)).count();
        requests.push(request.clone());
        before
    };
    (model.fault)(&request, before, &mut response);
    if response.status == 0 {
        return Ok(());
    }
    let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", response.status);
    if let Some(length) = response.declared {
        head += &format!("Content-Length: {length}\r\n");
    }
    for (name, value) in &response.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    match request.method.as_str() {
        "HEAD" => Ok(()),
        _ => stream.write_all(&response.body),
    }
}

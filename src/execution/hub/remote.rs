//! Requests for files: `/owner/name/resolve/revision/file`, the one address that hubs, mirrors and simple servers
//! have in common.

use super::cache::Cache;
use super::entry::{Entry, header};
use super::failure::{Failure, Refusal};
use super::reference::Reference;
use std::cell::OnceCell;
use std::io::ErrorKind;
use std::time::Duration;
use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

/// How long the hub may be silent before it counts as unreachable, as with Python's library.
const SILENCE: Duration = Duration::from_secs(10);
/// How long it may be silent within a file, which can be gone on with.
const STALL: Duration = Duration::from_secs(5);
/// Redirects within a host before it counts as a circle.
const HOPS: usize = 5;
/// Milliseconds before each attempt to learn about a file.
const PAUSES: [u64; 3] = [0, 200, 400];

pub type Answer<T> = std::result::Result<T, Failure>;

/// A model on the hub.
pub struct Remote<'a> {
    pub reference: &'a Reference,
    pub cache: Cache,
    pub endpoint: String,
    token: Option<String>,
    agent: Agent,
    /// What the first answer says; all files are to be of one commit.
    commit: OnceCell<Option<String>>,
}

impl<'a> Remote<'a> {
    pub fn open(reference: &'a Reference, cache: Cache) -> Remote<'a> {
        let variable = |name: &str| std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()).trim_end_matches('/').to_owned();
        // `hf-hub` reads the file of `hf auth login` only.
        let token = variable("HF_TOKEN").or_else(|| hf_hub::Cache::from_env().token());
        let agent = Agent::config_builder()
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(STALL))
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            // The system's certificates, so that what a company or a mirror adds to them counts.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .user_agent(concat!("vitraux/", env!("CARGO_PKG_VERSION")))
            .build();
        Remote { reference, cache, endpoint, token, agent: agent.into(), commit: OnceCell::new() }
    }

    /// The name of the state that the files are of: the commit, or where the server names none, the revision, so
    /// that the next run finds what this one brought. It names a folder, where two dashes stand for a slash.
    pub fn state(&self) -> String {
        self.commit().map_or_else(|| self.reference.revision.replace('/', "--"), str::to_owned)
    }

    fn commit(&self) -> Option<&str> {
        self.commit.get()?.as_deref()
    }

    /// What there is to know of a file.
    pub fn ask(&self, name: &str) -> Answer<Entry> {
        let entry = self.somewhere(|revision| self.probe(revision, name))?;
        // A commit that was asked for is the one that counts.
        self.commit.get_or_init(|| entry.commit.clone().filter(|_| !self.reference.is_commit()));
        Ok(entry)
    }

    /// Asks for a file from a byte on.
    pub fn get(&self, name: &str, start: u64) -> Answer<Response<Body>> {
        self.somewhere(|revision| {
            let request = self.agent.get(self.url(revision, name));
            self.send(name, if start > 0 { request.header("Range", format!("bytes={start}-")) } else { request })
        })
    }

    /// Tries the commit, then the revision, because a simple server may know only its name.
    fn somewhere<T>(&self, attempt: impl Fn(&str) -> Answer<T>) -> Answer<T> {
        match self.commit().map(&attempt) {
            Some(Err(Failure::Refused(refusal))) if refusal.is_of_revision() => attempt(&self.reference.revision),
            Some(answer) => answer,
            None => attempt(&self.reference.revision),
        }
    }

    /// Asks for the headers, and if that is no good for the first byte, because some servers know only GET.
    fn probe(&self, revision: &str, name: &str) -> Answer<Entry> {
        match self.walk(true, revision, name) {
            Err(Failure::Refused(refusal)) if !refusal.is_explained() => {}
            Err(Failure::Cut(_)) => {}
            answer => return answer,
        }
        let mut why = String::new();
        for pause in PAUSES {
            std::thread::sleep(Duration::from_millis(pause));
            match self.walk(false, revision, name) {
                Err(Failure::Cut(cut)) => why = cut,
                answer => return answer,
            }
        }
        Err(Failure::Unreachable(why))
    }

    /// Follows redirects within the host, as after a renaming. Those to another one lead to the file, of which the
    /// hub itself has said what there is to know.
    fn walk(&self, heads: bool, revision: &str, name: &str) -> Answer<Entry> {
        let mut url = self.url(revision, name);
        let mut entry = Entry::of(name);
        for _ in 0..HOPS {
            let request = if heads { self.agent.head(&url) } else { self.agent.get(&url).header("Range", "bytes=0-0") };
            let request = request.config().max_redirects(0).max_redirects_will_error(false).timeout_global(Some(SILENCE)).build();
            let response = self.send(name, request)?;
            entry.add(&response);
            let target = match response.status().as_u16() {
                200 | 206 => None,
                300..=399 => header(&response, "Location").filter(|target| target.starts_with('/') && !target.starts_with("//")),
                other => return Err(Failure::Cut(format!("HTTP status {other}"))),
            };
            match target {
                Some(target) => url = within(&url, target),
                None => return Ok(entry),
            }
        }
        Err(Failure::Unreachable("it redirects in a circle".to_owned()))
    }

    fn send(&self, name: &str, request: RequestBuilder<WithoutBody>) -> Answer<Response<Body>> {
        // One request a connection: simple servers close it without a word, send a body after a HEAD, or wait on it
        // instead of on the next one; and at a wrong length they wait for us, if it stays open.
        let mut request = request.header("Accept-Encoding", "identity").header("Connection", "close");
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let response = request.call().map_err(|error| match error {
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Timeout(_) => Failure::Unreachable(error.to_string()),
            ureq::Error::Io(ref cause) if cause.kind() == ErrorKind::ConnectionRefused => Failure::Unreachable(error.to_string()),
            _ => Failure::Cut(error.to_string()),
        })?;
        match Refusal::read(name, &response) {
            Some(refusal) => Err(Failure::Refused(refusal)),
            None => Ok(response),
        }
    }

    fn url(&self, revision: &str, name: &str) -> String {
        let Remote { reference, endpoint, .. } = self;
        format!("{endpoint}/{}/resolve/{}/{name}", reference.repository, revision.replace('/', "%2F"))
    }
}

/// The address of a path on the host of another address.
fn within(url: &str, path: &str) -> String {
    let host = url.find("://").map_or(0, |scheme| scheme + 3);
    let end = url[host..].find('/').map_or(url.len(), |slash| host + slash);
    format!("{}{path}", &url[..end])
}

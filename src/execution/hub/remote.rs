//! Requests for files at `/owner/name/resolve/revision/file`, the one URL that hubs, mirrors and simple servers have in
//! common.

use super::cache::{Cache, home};
use super::entry::{Entry, header};
use super::failure::{Failure, Refusal};
use super::reference::Reference;
use crate::data::error::{Error, Result};
use crate::execution::storage;
use std::cell::OnceCell;
use std::io::ErrorKind;
use std::time::Duration;
use ureq::http::{Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

/// Silence after which the hub counts as unreachable, as in the Python library.
const SILENCE: Duration = Duration::from_secs(10);
/// Silence allowed within a file, whose download can be resumed.
const STALL: Duration = Duration::from_secs(5);
/// Redirects within a host before they count as a loop.
const HOPS: usize = 5;
/// Milliseconds before each GET that probes for a file.
const PAUSES: [u64; 3] = [0, 200, 400];
/// Maximum bytes of the file of a token.
const LARGEST_TOKEN: u64 = 1 << 16;

pub type HubResult<T> = std::result::Result<T, Failure>;

/// A model on the hub.
pub struct Remote<'a> {
    pub reference: &'a Reference,
    pub cache: Cache,
    endpoint: String,
    token: Option<String>,
    agent: Agent,
    /// Commit named by the first response. All files are fetched from the same commit.
    commit: OnceCell<Option<String>>,
}

impl<'a> Remote<'a> {
    /// # Errors
    /// [`Error::Network`] if `HF_ENDPOINT` is not a URL; [`Error::Argument`] if the token is none.
    pub fn open(reference: &'a Reference, cache: Cache) -> Result<Remote<'a>> {
        let variable = |name: &str| std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()).trim_end_matches('/').to_owned();
        if !matches!(origin(&endpoint), Some((scheme, ..)) if ["http", "https"].contains(&scheme.as_str())) {
            return Err(reference.error(format!("HF_ENDPOINT: expected a URL such as https://huggingface.co, found {:?}", shown(&endpoint))));
        }
        let token = match variable("HF_TOKEN") {
            Some(token) => Some(token),
            None => saved_token()?,
        };
        // A header cannot hold others.
        if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Error::argument("HF_TOKEN", "expected a token of printable ASCII characters without spaces; set it, or run `hf auth login`"));
        }
        let agent = Agent::config_builder()
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(STALL))
            .http_status_as_error(false)
            // Followed here, so that the token stays with the hub.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // The system's certificates, so that those added by a company or for a mirror are trusted.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .user_agent(concat!("vitraux/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Remote { reference, cache, endpoint, token, agent: agent.into(), commit: OnceCell::new() })
    }

    /// Returns the name of the files' snapshot: the commit, or if the server names none, the revision, so that the next run
    /// finds the files of this one. It is a folder's name, with two dashes for a slash.
    pub fn state(&self) -> String {
        self.commit().map_or_else(|| self.reference.revision.replace('/', "--"), str::to_owned)
    }

    fn commit(&self) -> Option<&str> {
        self.commit.get()?.as_deref()
    }

    /// Requests the metadata of a file.
    pub fn ask(&self, name: &str) -> HubResult<Entry> {
        let entry = self.somewhere(|revision| self.probe(revision, name))?;
        // A commit in the reference takes precedence.
        self.commit.get_or_init(|| entry.commit.clone().filter(|_| !self.reference.is_commit()));
        Ok(entry)
    }

    /// Requests a file from byte `start` on. Follows redirects, to other hosts too.
    pub fn get(&self, name: &str, start: u64) -> HubResult<Response<Body>> {
        self.somewhere(|revision| {
            let mut url = self.url(revision, name);
            for _ in 0..HOPS {
                let request = self.agent.get(&url);
                let response = self.send(name, &url, if start > 0 { request.header("Range", format!("bytes={start}-")) } else { request })?;
                match header(&response, "Location").filter(|_| response.status().is_redirection()) {
                    Some(target) => url = resolved(&url, target).ok_or_else(|| Failure::Cut(format!("a redirect to {target:?}, which is no URL")))?,
                    None => return Ok(response),
                }
            }
            Err(Failure::Unreachable("it redirects in a loop".to_owned()))
        })
    }

    /// Tries the commit, then the revision: a simple server may know only the latter.
    fn somewhere<T>(&self, attempt: impl Fn(&str) -> HubResult<T>) -> HubResult<T> {
        match self.commit().map(&attempt) {
            Some(Err(Failure::Refused(refusal))) if refusal.is_of_revision() => attempt(&self.reference.revision),
            Some(answer) => answer,
            None => attempt(&self.reference.revision),
        }
    }

    /// Requests the headers, and if that fails, the first byte: some servers support only GET.
    fn probe(&self, revision: &str, name: &str) -> HubResult<Entry> {
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

    /// Follows redirects within the host, such as after a rename. A redirect to another host leads to the file itself, whose
    /// metadata the hub has already given.
    fn walk(&self, heads: bool, revision: &str, name: &str) -> HubResult<Entry> {
        let mut url = self.url(revision, name);
        let mut entry = Entry::of(name);
        for _ in 0..HOPS {
            let request = if heads { self.agent.head(&url) } else { self.agent.get(&url).header("Range", "bytes=0-0") };
            let request = request.config().timeout_global(Some(SILENCE)).build();
            let response = self.send(name, &url, request)?;
            entry.add(&response);
            let target = match response.status().as_u16() {
                200 | 206 => None,
                300..=399 => header(&response, "Location").filter(|target| target.starts_with('/') && !target.starts_with("//")),
                other => return Err(Failure::Cut(format!("HTTP status {other}"))),
            };
            match target {
                Some(target) => url = resolved(&url, target).ok_or_else(|| Failure::Cut(format!("a redirect to {target:?}, which is no URL")))?,
                None => return Ok(entry),
            }
        }
        Err(Failure::Unreachable("it redirects in a loop".to_owned()))
    }

    /// Sends a request. The token goes only to the hub itself: the same scheme, host and port.
    fn send(&self, name: &str, url: &str, request: RequestBuilder<WithoutBody>) -> HubResult<Response<Body>> {
        // One request per connection. Simple servers close it silently, send a body after a HEAD, or keep waiting on it instead
        // of accepting the next one. After announcing a wrong length, they wait for us if it stays open.
        let mut request = request.header("Accept-Encoding", "identity").header("Connection", "close");
        if let Some(token) = self.token.as_ref().filter(|_| origin(url).is_some_and(|own| Some(own) == origin(&self.endpoint))) {
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

    /// Returns the address of the hub for messages, without a password.
    pub fn address(&self) -> String {
        shown(&self.endpoint)
    }

    fn url(&self, revision: &str, name: &str) -> String {
        let Remote { reference, endpoint, .. } = self;
        format!("{endpoint}/{}/resolve/{}/{name}", reference.repository, revision.replace('/', "%2F"))
    }
}

/// Returns the token that `hf auth login` has saved.
fn saved_token() -> Result<Option<String>> {
    // Without a home, there is none.
    let Ok(home) = home() else { return Ok(None) };
    match storage::read(&home.join("token"), LARGEST_TOKEN) {
        Ok(token) => Ok(Some(String::from_utf8_lossy(&token).trim().to_owned()).filter(|token| !token.is_empty())),
        // Public models need none.
        Err(Error::Io { source, .. }) if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns a URL without user name and password.
fn shown(url: &str) -> String {
    let start = url.find("://").map_or(0, |scheme| scheme + 3);
    let end = url[start..].find('/').map_or(url.len(), |slash| start + slash);
    let host = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
    format!("{}{}", &url[..start], &url[host..])
}

/// Returns the URL that a redirect leads to: absolute, or a path on the same host.
fn resolved(url: &str, target: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    match target.parse::<Uri>().ok()?.scheme_str() {
        Some("http" | "https") => Some(target.to_owned()),
        Some(_) => None,
        None if target.starts_with("//") => Some(format!("{}:{target}", uri.scheme_str()?)),
        None if target.starts_with('/') => Some(format!("{}://{}{target}", uri.scheme_str()?, uri.authority()?)),
        None => None,
    }
}

/// Returns the scheme, host and port of a URL.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some((scheme, uri.host()?.to_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_resolve_to_urls() {
        let from = "https://user:word@hub.example:8443/a/b";
        for (target, url) in [
            ("https://cdn.example/x", Some("https://cdn.example/x")),
            ("/x?y", Some("https://user:word@hub.example:8443/x?y")),
            ("//cdn.example/x", Some("https://cdn.example/x")),
            ("ftp://cdn.example/x", None),
            ("x", None),
        ] {
            assert_eq!(resolved(from, target).as_deref(), url, "{target}");
        }
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        assert_eq!(origin("https://hub.example/a"), origin("https://HUB.example:443"));
        for other in ["http://hub.example", "https://hub.example:8443", "https://cdn.hub.example", "https://hub.example.evil"] {
            assert_ne!(origin("https://hub.example"), origin(other), "{other}");
        }
        assert_eq!(shown("https://user:secret@hub.example/x"), "https://hub.example/x");
        assert_eq!(shown("https://hub.example/@x"), "https://hub.example/@x");
    }
}

//! What the hub says about a model: the commit behind a revision, and each file's length and hash.

use super::cache::Cache;
use super::reference::{Reference, is_hash};
use crate::error::{Error, Result};
use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Repo, RepoType};
use serde_json::Value;
use std::time::Duration;
use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::tls::{RootCerts, TlsConfig};

/// How long the hub may be silent before it counts as unreachable.
const SILENCE: Duration = Duration::from_secs(20);

/// A model on the hub.
pub struct Remote<'a> {
    pub reference: &'a Reference,
    pub cache: Cache,
    endpoint: String,
    token: Option<String>,
    api: hf_hub::api::sync::Api,
    agent: Agent,
}

/// The files of a commit.
pub struct Listing {
    pub commit: String,
    files: Vec<Entry>,
}

/// A file of a commit.
pub struct Entry {
    pub name: String,
    pub size: u64,
    /// The name of its blob: a SHA-256, or for what git itself keeps, git's SHA-1.
    pub hash: String,
}

/// Why there is no answer.
pub enum Failure {
    /// Nobody answered, or not the hub, or it is out of order: the cache will do.
    Unreachable(String),
    /// The hub says no.
    Refused(u16),
}

impl<'a> Remote<'a> {
    pub fn open(reference: &'a Reference, cache: Cache) -> Result<Remote<'a>> {
        let variable = |name: &str| std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()).trim_end_matches('/').to_owned();
        // `hf-hub` reads the file of `hf auth login` only.
        let token = variable("HF_TOKEN").or_else(|| hf_hub::Cache::from_env().token());
        let builder = ApiBuilder::new().with_endpoint(endpoint.clone()).with_token(token.clone()).with_progress(false);
        let api = builder.build().map_err(|error| reference.error(error.to_string()))?;
        let agent = Agent::config_builder()
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .tls_config(trust())
            .user_agent(concat!("vitraux/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Remote { reference, cache, endpoint, token, api, agent: agent.into() })
    }

    fn repo(&self, revision: &str) -> ApiRepo {
        self.api.repo(Repo::with_revision(self.reference.repository.clone(), RepoType::Model, revision.to_owned()))
    }

    /// Asks for the revision's commit and files: one request, and all that is needed if they are in the cache.
    pub fn list(&self) -> std::result::Result<Listing, Failure> {
        let unreachable = |why: String| Failure::Unreachable(format!("{} cannot be reached ({why})", self.endpoint));
        let request = self.repo(&self.reference.revision).info_request().query("blobs", "true");
        let request = request.config().timeout_global(Some(SILENCE)).http_status_as_error(false).tls_config(trust()).build();
        let mut response = request.call().map_err(|error| unreachable(error.to_string()))?;
        match response.status().as_u16() {
            200 => {}
            refused @ (401 | 403 | 404) => return Err(Failure::Refused(refused)),
            other => return Err(unreachable(format!("HTTP status {other}"))),
        }
        let text = response.body_mut().read_to_string().map_err(|error| unreachable(error.to_string()))?;
        // A hotel's login page is no JSON.
        let value: Value = serde_json::from_str(&text).map_err(|error| unreachable(format!("the answer is not the hub's: {error}")))?;
        Listing::read(&value).ok_or_else(|| unreachable("the answer is not the hub's: no commit, or no file with its length and hash".to_owned()))
    }

    /// Asks for a file of a commit from a byte on.
    pub fn get(&self, commit: &str, name: &str, start: u64) -> std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let mut request = self.agent.get(self.repo(commit).url(name)).header("Accept-Encoding", "identity");
        if start > 0 {
            request = request.header("Range", format!("bytes={start}-"));
        }
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call()
    }

    /// Explains a status that will not change by asking again.
    pub fn refusal(&self, status: u16) -> Error {
        let Remote { reference, endpoint, .. } = self;
        let message = match status {
            401 => "no such model, or it is private or gated (401); check the name, or set HF_TOKEN to a valid token".to_owned(),
            403 => format!("access is denied (403); accept the model's conditions at {endpoint}/{}, and set HF_TOKEN", reference.repository),
            _ => format!("no such model or revision at {endpoint} ({status}), and no such folder here; check the name"),
        };
        reference.error(message)
    }
}

/// The system's certificates, so that what a company or a mirror adds to them counts.
fn trust() -> TlsConfig {
    TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build()
}

impl Listing {
    fn read(value: &Value) -> Option<Listing> {
        let commit = value["sha"].as_str().filter(|commit| is_hash(commit, 40))?.to_owned();
        let files: Vec<Entry> = value["siblings"].as_array()?.iter().filter_map(Entry::read).collect();
        // A mirror that gives names only is none that we can verify downloads with.
        (!files.is_empty()).then_some(Listing { commit, files })
    }

    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.files.iter().find(|file| file.name == name)
    }
}

impl Entry {
    pub fn sha256(&self) -> Option<&str> {
        Some(self.hash.as_str()).filter(|hash| is_hash(hash, 64))
    }

    fn read(value: &Value) -> Option<Entry> {
        // The hash becomes a file's name.
        let sha256 = value["lfs"]["sha256"].as_str().filter(|hash| is_hash(hash, 64));
        let sha1 = value["blobId"].as_str().filter(|hash| is_hash(hash, 40));
        Some(Entry { name: value["rfilename"].as_str()?.to_owned(), size: value["size"].as_u64()?, hash: sha256.or(sha1)?.to_owned() })
    }
}

//! Reasons why a file could not be fetched, by the possible remedy.

use super::reference::Reference;
use crate::data::error::Error;
use crate::execution::checkpoint::CONFIG;
use ureq::http::Response;

/// Reason why a file could not be fetched.
pub enum Failure {
    /// A retry may help.
    Cut(String),
    /// There was no response, it was not the hub's, or the hub is out of order: the cache is used instead.
    Unreachable(String),
    /// The hub refused.
    Refused(Refusal),
    /// Nothing helps.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Final(error)
    }
}

/// Refusal by the hub, which a retry does not change.
pub struct Refusal {
    file: String,
    status: u16,
    /// The hub's code for the reason; empty with simple servers.
    code: String,
    /// Message for humans.
    message: String,
}

impl Refusal {
    /// Reads a refusal from a response, if it is one.
    pub fn read<T>(file: &str, response: &Response<T>) -> Option<Refusal> {
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let status = response.status().as_u16();
        matches!(status, 401 | 403 | 404).then(|| Refusal {
            file: file.to_owned(),
            status,
            code: text("X-Error-Code"),
            message: text("X-Error-Message").chars().take(200).collect(),
        })
    }

    /// Whether the hub itself refused, with a reason, rather than a server that does not support the method.
    pub fn is_explained(&self) -> bool {
        !self.code.is_empty()
    }

    /// Whether the file does not exist.
    pub fn is_absence(&self) -> bool {
        self.status == 404
    }

    /// Whether the revision may be unknown under this name.
    pub fn is_of_revision(&self) -> bool {
        self.is_absence() && self.code != "EntryNotFound"
    }

    /// Builds an error with advice.
    pub fn error(&self, reference: &Reference, endpoint: &str) -> Error {
        let Refusal { file, status, code, message } = self;
        let advice = match (status, code.as_str()) {
            (403, _) | (_, "GatedRepo") => {
                format!("access is denied ({status}); accept the model's conditions at {endpoint}/{}, and set HF_TOKEN", reference.repository)
            }
            (401, _) => "no such model, or it is private or gated (401); check the name, or set HF_TOKEN to a valid token".to_owned(),
            (_, "RevisionNotFound") => format!("no such revision at {endpoint} ({status}); check the part after the @"),
            (_, "EntryNotFound") if file == CONFIG => {
                format!("the model has no {CONFIG} ({status}); expected a Vision Transformer in timm's, transformers' or open_clip's layout")
            }
            _ if file == CONFIG => format!("no such model or revision at {endpoint} ({status}), and no such folder here; check the name"),
            _ => format!("the model has no {file} at {endpoint} ({status}); the upload is incomplete; choose another revision or tell the owner"),
        };
        match message.is_empty() {
            true => reference.error(advice),
            false => reference.error(format!("{advice} (the hub: {message})")),
        }
    }
}

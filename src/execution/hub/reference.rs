//! Names of models: `owner/name@revision`. They become paths and URLs, so anything else is rejected.

use crate::data::error::Error;
use std::fmt;

/// A model on the hub.
#[derive(Debug)]
pub struct Reference {
    /// `owner/name`.
    pub repository: String,
    /// Branch, tag, commit, or reference such as refs/pr/1.
    pub revision: String,
}

impl Reference {
    pub fn parse(text: &str) -> Option<Reference> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (owner, name) = repository.split_once('/')?;
        // The cache replaces the slash by two dashes, which the hub allows in no name.
        let is_repository = is_plain(owner) && is_plain(name) && !repository.contains("--");
        (is_repository && revision.split('/').all(is_plain)).then(|| Reference { repository: repository.to_owned(), revision: revision.to_owned() })
    }

    /// Whether the revision is a commit, which never changes.
    pub fn is_commit(&self) -> bool {
        is_hash(&self.revision, 40)
    }

    pub fn error(&self, message: impl Into<String>) -> Error {
        Error::Network { model: self.to_string(), message: message.into() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision.as_str() {
            "main" => write!(formatter, "{}", self.repository),
            revision => write!(formatter, "{}@{revision}", self.repository),
        }
    }
}

/// Whether a name is a single path component on every system: no separator, drive, `..` or hidden file.
pub fn is_plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let edge = ['-', '.'];
    (1..=128).contains(&name.len()) && name.chars().all(allowed) && !name.contains("..") && !name.starts_with(edge) && !name.ends_with(edge)
}

/// Whether the text is a hash with this number of hexadecimal digits.
pub fn is_hash(text: &str, digits: usize) -> bool {
    text.len() == digits && text.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_references_are_distinguished_from_paths() {
        for good in ["google/vit-base-patch16-224", "timm/vit_tiny_patch16_224.augreg_in21k", "a/b@refs/pr/1", "a/b@v1.0", "0/_"] {
            assert!(Reference::parse(good).is_some(), "{good}");
        }
        let bad = [
            "vit",
            "a/b/c",
            "/a/b",
            "a/",
            "/b",
            "./b",
            "../b",
            "a/..",
            "a\\b",
            "a/b\\c",
            "a/b@",
            "a/b@..",
            "a/b@x/../y",
            "a/b@/x",
            "a/b@x//y",
            "a/b@x@y",
            "a--b/c",
            "a/b c",
            "C:/b",
            "a/b:c",
            "a/-b",
            "a/.b",
            "a/é",
            "~/b",
            "",
        ];
        for bad in bad {
            assert!(Reference::parse(bad).is_none(), "{bad}");
        }
        let reference = Reference::parse("a/b@0123456789abcdef0123456789abcdef01234567").expect("a commit");
        assert!(reference.is_commit() && !Reference::parse("a/b").expect("a branch").is_commit());
    }
}

//! File metadata from the headers of a hub's responses, known before the file itself is requested.

use super::reference::{is_hash, is_plain};
use crate::execution::checkpoint::LARGEST_JSON;
use ureq::http::Response;

/// Metadata of a file. Only a hub gives all of it; a simple server may give none.
#[derive(Debug, Default, PartialEq)]
pub struct Entry {
    pub name: String,
    /// Commit of the file.
    pub commit: Option<String>,
    pub size: Option<u64>,
    /// SHA-256 in lower case, or for files kept in git itself, git's SHA-1. Other tags do not identify contents.
    pub hash: Option<String>,
    /// Maximum size; none for weights, whose own header tells theirs.
    pub largest: Option<u64>,
}

impl Entry {
    pub fn of(name: &str) -> Entry {
        let largest = name.ends_with(".json").then_some(LARGEST_JSON);
        Entry { name: name.to_owned(), largest, ..Entry::default() }
    }

    /// Adds the headers of a response. For a large file, the hub's take precedence over those of the file's own host.
    pub fn add<T>(&mut self, response: &Response<T>) {
        let text = |name: &str| header(response, name);
        let hash = |name: &str| {
            let hash = text(name)?.trim_start_matches("W/").trim_matches('"').to_lowercase();
            (is_hash(&hash, 64) || is_hash(&hash, 40)).then_some(hash)
        };
        // Commits become path components.
        let commit = || text("X-Repo-Commit").filter(|commit| is_plain(commit)).map(str::to_owned);
        self.commit = self.commit.take().or_else(commit);
        self.hash = self.hash.take().or_else(|| hash("X-Linked-ETag")).or_else(|| hash("ETag"));
        // No file of interest is empty, but some servers report a length of 0 for requests of headers only.
        self.size = self.size.or_else(|| text("X-Linked-Size")?.parse().ok()).or_else(|| length(response)).filter(|size| *size > 0);
    }

    /// Hash of a file in large-file storage, which identifies its bytes.
    pub fn sha256(&self) -> Option<&str> {
        self.hash.as_deref().filter(|hash| is_hash(hash, 64))
    }
}

/// Returns the length of the whole file as announced by a complete or partial response.
pub fn length<T>(response: &Response<T>) -> Option<u64> {
    match response.status().as_u16() {
        200 => header(response, "Content-Length")?.parse().ok(),
        206 => header(response, "Content-Range")?.rsplit_once('/')?.1.parse().ok(),
        // A redirect has the length of its own page.
        _ => None,
    }
}

pub fn header<'a, T>(response: &'a Response<T>, name: &str) -> Option<&'a str> {
    Some(response.headers().get(name)?.to_str().ok()?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(answers: &[(u16, &[(&str, &str)])]) -> Entry {
        let mut entry = Entry::default();
        for (status, headers) in answers {
            let mut response = Response::builder().status(*status);
            for (name, value) in *headers {
                response = response.header(*name, *value);
            }
            entry.add(&response.body(()).expect("a response"));
        }
        entry
    }

    #[test]
    fn hub_headers_take_precedence_over_host_headers() {
        let (git, large) = ("0123456789abcdef".repeat(4)[..40].to_owned(), "0123456789ABCDEF".repeat(4));
        let hub: &[(&str, &str)] =
            &[("x-repo-commit", "abc"), ("x-linked-etag", &format!("\"{large}\"")), ("X-Linked-Size", "7"), ("ETag", &git), ("Content-Length", "3")];
        let host: &[(&str, &str)] = &[("ETag", &git), ("Content-Length", "9"), ("X-Repo-Commit", "def")];
        let expected = Entry { commit: Some("abc".into()), size: Some(7), hash: Some(large.to_lowercase()), ..Entry::default() };
        assert_eq!(entry(&[(302, hub), (200, host)]), expected);
        let expected = Entry { commit: Some("def".into()), size: Some(9), hash: Some(git.clone()), ..Entry::default() };
        assert_eq!(entry(&[(302, &[("Content-Length", "3")]), (200, host)]), expected);
    }

    #[test]
    fn unusable_headers_yield_an_empty_entry() {
        let nothing: &[&[(&str, &str)]] = &[
            &[],
            &[("ETag", "\"5f3a-1c2\""), ("Content-Length", "0")],
            &[("X-Repo-Commit", "../../evil"), ("X-Linked-ETag", "../../evil"), ("X-Linked-Size", "-1")],
        ];
        for headers in nothing {
            assert_eq!(entry(&[(200, headers)]), Entry::default(), "{headers:?}");
        }
        let weak = format!("W/\"{}\"", "a".repeat(40));
        assert_eq!(entry(&[(206, &[("Content-Range", "bytes 0-0/12"), ("Content-Length", "1"), ("ETag", &weak)])]).size, Some(12));
        assert_eq!(entry(&[(200, &[("ETag", &weak)])]).hash, Some("a".repeat(40)));
    }
}

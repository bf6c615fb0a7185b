//! The bearer token that requests must carry.

use super::failure::Failure;
use crate::commands::Result;
use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use std::path::Path;
use subtle::ConstantTimeEq;
use vitraux::low_level::read;

/// Maximum bytes of the file of a token.
const LARGEST: u64 = 1 << 16;

/// Hash of a token. Hashes have one length, so that comparing them tells nothing about the token's.
pub struct Token([u8; 32]);

impl Token {
    /// Reads the token in a file.
    pub fn of_file(file: &Path) -> Result<Token> {
        let text = read(file, LARGEST)?;
        Token::parse(&text).map_err(|error| format!("{}: {error}", file.display()).into())
    }

    /// Reads the token in a variable of the environment, if that is set.
    pub fn of_variable(name: &str) -> Result<Option<Token>> {
        let token = std::env::var_os(name).map(|text| Token::parse(text.as_encoded_bytes()));
        token.transpose().map_err(|error| format!("{name}: {error}").into())
    }

    /// Takes a token without the white space around it, such as the end of a line.
    fn parse(text: &[u8]) -> std::result::Result<Token, &'static str> {
        match text.trim_ascii() {
            [] => Err("expected a token, found nothing"),
            // A header cannot hold others.
            token if !token.iter().all(u8::is_ascii_graphic) => Err("expected a token of printable ASCII characters without spaces"),
            token => Ok(Token::new(token)),
        }
    }

    fn new(token: &[u8]) -> Token {
        Token(Sha256::digest(token).into())
    }

    /// Compares the token of a request in constant time.
    pub fn check(&self, headers: &HeaderMap) -> std::result::Result<(), Failure> {
        let refusal = || Failure::new(StatusCode::UNAUTHORIZED, "expected the header `Authorization: Bearer TOKEN` with the server's token");
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(refusal)?;
        let (scheme, token) = value.split_once(' ').ok_or_else(refusal)?;
        let is_equal = Token::new(token.trim().as_bytes()).0.ct_eq(&self.0).into();
        if scheme.eq_ignore_ascii_case("bearer") && is_equal { Ok(()) } else { Err(refusal()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_accepted() {
        let with = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().expect("a header"))]);
        let token = Token::parse(b"secret\n").expect("a token");
        assert!(token.check(&with("Bearer secret")).is_ok() && token.check(&with("bearer secret")).is_ok());
        for value in ["Bearer secre", "Bearer secrets", "Bearer ", "Bearer", "Basic secret", "secret", ""] {
            assert_eq!(token.check(&with(value)).map_err(|failure| failure.status), Err(StatusCode::UNAUTHORIZED), "{value}");
        }
        assert!(token.check(&HeaderMap::new()).is_err());
        for text in [&b""[..], b" \n", b"a b", b"caf\xc3\xa9", b"\xff"] {
            assert!(Token::parse(text).is_err(), "{text:?}");
        }
    }
}

//! The bearer token that requests must carry.

use super::failure::Failure;
use crate::commands::Result;
use crate::commands::messages::of_file;
use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use std::path::Path;
use subtle::ConstantTimeEq;

/// Hash of a token. Hashes have one length, so that comparing them tells nothing about the token's.
pub struct Token([u8; 32]);

impl Token {
    /// Reads the token in a file.
    pub fn read(file: &Path) -> Result<Token> {
        let text = std::fs::read_to_string(file).map_err(of_file(file))?;
        match text.trim() {
            "" => Err(format!("{}: expected a token, found an empty file", file.display()).into()),
            token => Ok(Token::new(token)),
        }
    }

    pub fn new(token: &str) -> Token {
        Token(Sha256::digest(token).into())
    }

    /// Compares the token of a request in constant time.
    pub fn check(&self, headers: &HeaderMap) -> std::result::Result<(), Failure> {
        let refusal = || Failure::new(StatusCode::UNAUTHORIZED, "expected the header `Authorization: Bearer TOKEN` with the server's token");
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(refusal)?;
        let (scheme, token) = value.split_once(' ').ok_or_else(refusal)?;
        let is_equal = Token::new(token.trim()).0.ct_eq(&self.0).into();
        if scheme.eq_ignore_ascii_case("bearer") && is_equal { Ok(()) } else { Err(refusal()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_accepted() {
        let with = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().expect("a header"))]);
        let token = Token::new("secret");
        assert!(token.check(&with("Bearer secret")).is_ok() && token.check(&with("bearer secret")).is_ok());
        for value in ["Bearer secre", "Bearer secrets", "Bearer ", "Bearer", "Basic secret", "secret", ""] {
            assert_eq!(token.check(&with(value)).map_err(|failure| failure.status), Err(StatusCode::UNAUTHORIZED), "{value}");
        }
        assert!(token.check(&HeaderMap::new()).is_err());
    }
}

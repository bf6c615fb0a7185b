//! Options of the server.

use super::auth::Token;
use super::logs::LogFormat;
use super::queue::Batching;
use crate::commands::Result;
use crate::commands::numbers::count;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How requests are served.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server options")]
pub struct ServingArgs {
    /// Address and port to listen on; port 0 takes a free one. Other machines reach the server only if this is not a loopback address
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8000", value_parser = address)]
    pub listen: SocketAddr,
    /// Maximum number of images per batch
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = count(4096))]
    max_batch: u32,
    /// Maximum time for which an image waits for others to fill its batch, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(..=60_000))]
    max_wait: u32,
    /// Maximum number of images that wait while a batch runs [default: --max-batch]; further requests are answered with status 429
    #[arg(long, value_name = "COUNT", value_parser = count(1 << 20))]
    queue: Option<u32>,
    /// Maximum size of a request's body, and of the outputs that it asks for, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = count(4095))]
    max_body: u32,
    /// Maximum number of open connections
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = count(1 << 20))]
    pub max_connections: u32,
    /// Maximum time for a request's body to arrive, and again for its images to be computed, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = count(86400))]
    timeout: u32,
    /// Time to finish requests after SIGTERM or Ctrl-C, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 25, value_parser = count(86400))]
    pub drain: u32,
    /// Require the token in this file: `Authorization: Bearer TOKEN` [default: the token in VITRAUX_TOKEN, if that is set]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Form of the log on standard error
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Parses the address to listen on.
fn address(text: &str) -> std::result::Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:8000, 0.0.0.0:8000 or [::1]:8000".to_owned())
}

impl ServingArgs {
    /// Returns the sizes of batches and of the queue.
    pub fn batching(&self) -> Batching {
        let queue = self.queue.unwrap_or(self.max_batch) as usize;
        Batching { max_batch: self.max_batch as usize, max_wait: Duration::from_millis(self.max_wait.into()), queue }
    }

    /// Returns the time for a body to arrive, and again for its images to be computed.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.timeout.into())
    }

    /// Returns the bytes that a body may have, and the outputs of a request.
    pub fn largest(&self) -> usize {
        (self.max_body as usize) << 20
    }

    /// Returns the token that requests must carry, if there is one.
    pub fn token(&self) -> Result<Option<Token>> {
        match &self.token_file {
            Some(file) => Token::of_file(file).map(Some),
            None => Token::of_variable("VITRAUX_TOKEN"),
        }
    }
}

//! The `vitraux` program.

mod cli;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has had enough of it, as `| head` has.
        Err(error) if cli::is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            cli::report(&format!("error: {}", cli::chain(&*error)));
            if error.is::<cli::Interrupted>() { cli::Interrupted::CODE.into() } else { ExitCode::FAILURE }
        }
    }
}

//! The `vitraux` program.

mod cli;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has had enough of it, as `| head` has.
        Err(error) if cli::is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            cli::report(&format!("error: {}{}", cli::chain(&*error), cli::advice(&*error)));
            if error.is::<cli::Interrupted>() { cli::Interrupted::CODE.into() } else { ExitCode::FAILURE }
        }
    }
}

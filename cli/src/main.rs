//! The `vitraux` program.

mod commands;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match commands::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        // The reader closed the pipe, as `| head` does.
        Err(error) if commands::is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            commands::report(&format!("error: {}{}", commands::chain(&*error), commands::advice(&*error)));
            if error.is::<commands::Interrupted>() { commands::Interrupted::CODE.into() } else { ExitCode::FAILURE }
        }
    }
}

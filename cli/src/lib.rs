//! The `vitraux` program as a library, so that its readers of files can be fuzzed. To use vitraux in a program of your own, take the crate `vitraux`.

// Nightly compilers of October 2026 need more than the usual depth of 128 to find out whether the types of wgpu are `Send`.
#![recursion_limit = "256"]

mod commands;

#[doc(hidden)]
pub use commands::readers;

use std::process::ExitCode;

/// Runs the program.
pub fn main() -> ExitCode {
    match commands::Cli::of_process().run() {
        Ok(()) => ExitCode::SUCCESS,
        // The reader closed the pipe, as `| head` does.
        Err(error) if commands::is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) if error.is::<commands::Logged>() => ExitCode::FAILURE,
        Err(error) => {
            commands::report(&format!("{}: {}{}", commands::error_mark(), commands::chain(&*error), commands::advice(&*error)));
            if error.is::<commands::Interrupted>() { commands::Interrupted::CODE.into() } else { ExitCode::FAILURE }
        }
    }
}

//! The `vitraux` program as a library, so that its readers of files can be fuzzed. To use vitraux in a program of your own, take the crate `vitraux`.

mod commands;

#[doc(hidden)]
pub use commands::readers;

use std::process::ExitCode;

/// Runs the program.
pub fn main() -> ExitCode {
    set_environment();
    match commands::Cli::of_process().run() {
        Ok(()) => ExitCode::SUCCESS,
        // The reader closed the pipe, as `| head` does.
        Err(error) if commands::is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            commands::report(&format!("{}: {}{}", commands::error_mark(), commands::chain(&*error), commands::advice(&*error)));
            if error.is::<commands::Interrupted>() { commands::Interrupted::CODE.into() } else { ExitCode::FAILURE }
        }
    }
}

fn set_environment() {
    // Mesa's window system code would complain on standard error, though no window is opened.
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
    // A variable that is set to nothing is not set.
    if std::env::var_os("VITRAUX_DEVICE").is_some_and(|device| device.is_empty()) {
        // SAFETY: as above.
        unsafe { std::env::remove_var("VITRAUX_DEVICE") };
    }
}

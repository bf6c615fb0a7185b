//! The `vitraux` program.

mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Mesa's window system code would complain on standard error, though no window is opened.
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
    match commands::Cli::of_process().run() {
        Ok(()) => ExitCode::SUCCESS,
        // The reader closed the pipe, as `| head` does.
        Err(error) if commands::is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            commands::report(&format!("error: {}{}", commands::chain(&*error), commands::advice(&*error)));
            if error.is::<commands::Interrupted>() { commands::Interrupted::CODE.into() } else { ExitCode::FAILURE }
        }
    }
}

//! The `vitraux` program.

fn main() -> std::process::ExitCode {
    set_environment();
    vitraux_cli::main()
}

fn set_environment() {
    // A file that may not become larger is an error of its writer, which names it.
    #[cfg(unix)]
    // SAFETY: no other thread runs yet.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN)
    };
    // Mesa's window system code would complain on standard error, though no window is opened.
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none_or(|folder| folder.is_empty()) {
        let folder = Some(std::env::temp_dir()).filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| "/tmp".into());
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", folder) };
    }
    // A variable that is set to nothing is not set.
    if std::env::var_os("VITRAUX_DEVICE").is_some_and(|device| device.is_empty()) {
        // SAFETY: as above.
        unsafe { std::env::remove_var("VITRAUX_DEVICE") };
    }
}

//! The `vitraux` program.

fn main() -> std::process::ExitCode {
    vitraux_cli::main()
}

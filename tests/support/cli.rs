//! Runs of the real program.

use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a run gave.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
    /// Bytes, where the system tells.
    pub peak_memory: Option<u64>,
}

impl Run {
    /// The lines of standard error that are the program's errors; GPU drivers write there too.
    pub fn errors(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| line.starts_with("error: ") && !line.contains("XDG_RUNTIME_DIR")).collect()
    }
}

/// The program, with the built-in model for the commands that ask for one.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitraux"));
    command.env("VITRAUX_MODEL", "digits");
    command
}

/// Runs the program and watches its memory.
pub fn vitraux<'a>(arguments: impl IntoIterator<Item = &'a OsStr>) -> Run {
    let mut command = program();
    command.args(arguments);
    run(command)
}

/// Runs the program in an environment of its own.
pub fn run(mut command: Command) -> Run {
    let start = Instant::now();
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("the program starts");
    let peak_memory = watch(child.id());
    let (stdout, stderr) = (drain(child.stdout.take().expect("piped")), drain(child.stderr.take().expect("piped")));
    let status = child.wait().expect("the program ends");
    let elapsed = start.elapsed();
    let peak_memory = peak_memory.join().expect("the watcher ends");
    let code = status.code().expect("the program ends by itself, not by a signal");
    Run { code, stdout: stdout.join().expect("read"), stderr: stderr.join().expect("read"), elapsed, peak_memory }
}

fn drain(mut stream: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        stream.read_to_end(&mut text).expect("the program's output");
        String::from_utf8(text).expect("the program writes UTF-8")
    })
}

/// Follows the kernel's own high-water mark of a process until it is gone.
fn watch(id: u32) -> std::thread::JoinHandle<Option<u64>> {
    std::thread::spawn(move || {
        let mut peak = None;
        while let Ok(status) = std::fs::read_to_string(format!("/proc/{id}/status")) {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let Some(kibibytes) = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()) else { break };
            peak = Some(kibibytes * 1024);
            std::thread::sleep(Duration::from_millis(2));
        }
        peak
    })
}

//! Runs the fuzz targets on stable Rust, where libFuzzer is not to be had: mutations of the fixtures, and of mutations that are accepted.
//!
//!     cargo run -p vitraux-fuzz -- [--seconds N] [--seed N] [--corpus FOLDER] [TARGET]...
//!
//! Each input that panics, or takes longer than five seconds, is written to `target/fuzz/TARGET-NUMBER` and ends the run with an error.
//! `--corpus` only writes the seeds, for `cargo fuzz`.

mod mutate;
mod tensors;

use mutate::Random;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use vitraux_fuzz::{TARGETS, Target, seeds};

/// Time that a small file may take.
const SLOWEST: Duration = Duration::from_secs(5);

/// Accepted inputs that are mutated further.
const KEPT: usize = 64;

/// Bytes that the process may reach.
const LARGEST_MEMORY: u64 = 512 << 20;

fn main() -> ExitCode {
    let (mut seconds, mut seed, mut corpus, mut names) = (20, 1, None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument}: expected a value"));
        match argument.as_str() {
            "--seconds" => seconds = value().parse().expect("--seconds: expected a number"),
            "--seed" => seed = value().parse().expect("--seed: expected a number"),
            "--corpus" => corpus = Some(PathBuf::from(value())),
            _ => names.push(argument),
        }
    }
    let targets: Vec<&Target> = TARGETS.iter().filter(|target| names.is_empty() || names.iter().any(|name| name == target.name)).collect();
    assert!(!targets.is_empty(), "no such target; there are {:?}", TARGETS.iter().map(|target| target.name).collect::<Vec<_>>());
    if let Some(corpus) = corpus {
        targets.iter().for_each(|target| write_seeds(target, &corpus.join(target.name)));
        return ExitCode::SUCCESS;
    }
    // Panics are reported here, each once.
    std::panic::set_hook(Box::new(|_| {}));
    let found: usize = targets.iter().map(|target| usize::from(!fuzz(target, Duration::from_secs(seconds), seed))).sum();
    if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a target on mutations of its seeds. Returns whether all went well.
fn fuzz(target: &Target, time: Duration, seed: u64) -> bool {
    let (mut seeds, mut random, start) = (seeds(target), Random::new(seed), Instant::now());
    let own = seeds.len();
    if seeds.is_empty() {
        println!("{:12} has no seeds", target.name);
        return false;
    }
    let (mut count, mut accepted, mut slowest) = (0u64, 0usize, Duration::ZERO);
    while start.elapsed() < time {
        let input = random.mutated(&seeds);
        let begun = Instant::now();
        let is_whole = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        let taken = begun.elapsed();
        (count, slowest) = (count + 1, slowest.max(taken));
        let wrong = match is_whole {
            Err(panic) => Some(format!("panicked: {}", message(&*panic))),
            Ok(_) if target.reads_files() && taken > SLOWEST => Some(format!("took {taken:.1?}")),
            Ok(_) if peak_memory().is_some_and(|bytes| bytes > LARGEST_MEMORY) => Some(format!("took {:?} bytes", peak_memory())),
            Ok(false) => None,
            Ok(true) => {
                // A ring of them, behind the fixtures.
                let place = own + accepted % KEPT;
                accepted += 1;
                if place < seeds.len() {
                    seeds[place] = input.clone()
                } else {
                    seeds.push(input.clone())
                }
                None
            }
        };
        if let Some(wrong) = wrong {
            let file = Path::new("target/fuzz").join(format!("{}-{seed}-{count}", target.name));
            std::fs::create_dir_all("target/fuzz").and_then(|()| std::fs::write(&file, &input)).expect("it is written");
            println!("{:12} {wrong}: {}", target.name, file.display());
            return false;
        }
    }
    println!("{:12} {count:8} inputs from {own} seeds, {accepted} accepted, slowest {slowest:.1?}", target.name);
    true
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Returns the most memory that this process has had, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

fn write_seeds(target: &Target, folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    for (number, seed) in seeds(target).iter().enumerate() {
        std::fs::write(folder.join(number.to_string()), seed).expect("it is written");
    }
}

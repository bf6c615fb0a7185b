//! What is said on standard error.

use super::AnyError;
use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by `--quiet`: only errors are printed.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Set by `serve`: notes and warnings go to its log.
static LOGGED: AtomicBool = AtomicBool::new(false);

/// Sends notes and warnings to the log, and shows no progress.
pub fn log_messages() {
    LOGGED.store(true, Ordering::Relaxed);
}

/// Sets whether only errors are printed.
pub fn be_quiet(is_quiet: bool) {
    QUIET.store(is_quiet, Ordering::Relaxed);
}

/// Prints a line to standard error, except with `--quiet`.
pub fn note(line: &str) {
    if LOGGED.load(Ordering::Relaxed) {
        tracing::info!("{}", shown(line));
    } else if !QUIET.load(Ordering::Relaxed) {
        report(&shown(line));
    }
}

/// Prints a warning to standard error, except with `--quiet`.
pub fn warn(text: &str) {
    const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
    if LOGGED.load(Ordering::Relaxed) {
        tracing::warn!("{}", shown(text));
    } else if !QUIET.load(Ordering::Relaxed) {
        report(&format!("{YELLOW}warning{YELLOW:#}: {}", shown(text)));
    }
}

/// Returns the word that errors begin with.
pub fn error_mark() -> String {
    const RED: Style = AnsiColor::Red.on_default().bold();
    format!("{RED}error{RED:#}")
}

/// Returns a style for standard output, which is plain unless a terminal wants colours.
pub fn on_stdout(color: AnsiColor) -> Style {
    match anstream::AutoStream::choice(&std::io::stdout()) {
        anstream::ColorChoice::Never => Style::new(),
        _ => color.on_default(),
    }
}

/// Creates a progress bar on standard error. Hidden with `--quiet`, or if standard error is not a terminal.
pub fn bar(length: u64, template: &str) -> ProgressBar {
    if QUIET.load(Ordering::Relaxed) || LOGGED.load(Ordering::Relaxed) {
        return ProgressBar::hidden();
    }
    let rate = |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
        // The bar is drawn without it if it cannot be written.
        let _ = write!(out, "{:.1}/s", state.per_sec());
    };
    ProgressBar::new(length).with_style(ProgressStyle::with_template(template).expect("a valid template").with_key("rate", rate))
}

/// Formats a number of bytes in MiB.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Prints a line to standard error, in colours only if a terminal wants them. Ignores errors, for example if standard error is closed.
pub fn report(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Returns what turns an error of the operating system into one that names its file.
pub fn of_file(file: &Path) -> impl Fn(std::io::Error) -> AnyError {
    let file = file.to_owned();
    move |source| vitraux::Error::Io { path: file.clone(), source }.into()
}

/// Returns true if a pipe was closed by its reader.
pub fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Returns the option that helps with an error of the library, to append to its message.
pub fn advice(error: &(dyn Error + 'static)) -> &'static str {
    match error.downcast_ref::<vitraux::Error>() {
        Some(vitraux::Error::NoDevice(_) | vitraux::Error::Limit { .. } | vitraux::Error::OutOfMemory { .. }) => " (--device cpu)",
        Some(vitraux::Error::DeviceLost { .. }) => " (run the command again; --resume continues an output)",
        Some(vitraux::Error::ImageLimit { .. }) => " (--max-image-memory)",
        _ => "",
    }
}

/// Formats an error and its causes on one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = text(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {}", text(error));
        cause = error.source();
    }
    abridged(&shown(&line.lines().map(str::trim).collect::<Vec<_>>().join(" ")))
}

/// Escapes control characters, which names and labels in files may contain, so that they neither steer a terminal nor break lines.
pub fn shown(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() || is_format(c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// Whether a character separates lines, or changes the direction of those that follow, so that they appear in another order (Unicode Standard Annex 9).
fn is_format(c: char) -> bool {
    matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Longest message, in characters.
const LONGEST: usize = 2000;

/// Cuts a message that a file has made very long.
pub fn abridged(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} ... ({} more characters)", &text[..end], text[end..].chars().count()),
        None => text.to_owned(),
    }
}

/// Formats an error without its causes; one of the operating system without its number.
pub fn text(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    match error.downcast_ref::<std::io::Error>().map(|error| (error.kind(), error.raw_os_error())) {
        Some((std::io::ErrorKind::NotFound, _)) => "no such file or folder".to_owned(),
        Some((_, Some(number))) => text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text).to_owned(),
        _ => text,
    }
}
/// Warns on standard error if the preprocessing is an assumption.
pub fn warn_if_assumed(preprocess: Option<&vitraux::preprocess::Preprocess>) {
    if preprocess.is_some_and(|preprocess| preprocess.assumed) {
        warn("the model has no preprocessor_config.json; using transformers' default preprocessing for this type of model");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_terminals_or_turns_texts_is_escaped() {
        assert_eq!(shown("é 猫 \u{1b}[31m\n"), "é 猫 \\u{1b}[31m\\n");
        for turn in ['\u{61C}', '\u{200F}', '\u{2028}', '\u{202E}', '\u{2066}'] {
            assert_eq!(shown(&format!("a{turn}b")), format!("a\\u{{{:x}}}b", turn as u32));
        }
    }
}

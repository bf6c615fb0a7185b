//! Logs on standard error, a line for each event.

use crate::commands::Result;
use clap::ValueEnum;
use std::io::IsTerminal;
use std::sync::mpsc::channel;
use std::time::Duration;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Time for the last lines to be written.
const LAST: Duration = Duration::from_secs(2);

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text with key=value pairs
    Text,
    /// One JSON object per line
    Json,
}

impl LogFormat {
    /// Starts to log what passes a filter in the syntax of `RUST_LOG`, or what that variable says. Includes the messages of libraries that use `log`.
    /// Lines are written by a thread: a log that is full, or that nobody reads, loses lines and stops nothing else.
    pub fn start(self, filter: &str) -> Result<Log> {
        let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(filter))?;
        let (writer, guard) = NonBlocking::new(std::io::stderr());
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
        match self {
            LogFormat::Text => {
                logs.with_target(false).with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()).try_init()
            }
            LogFormat::Json => logs.json().flatten_event(true).try_init(),
        }
        .map_err(|error| error.to_string())?;
        Ok(Log(Some(guard)))
    }
}

/// The thread that writes the log. It writes the last lines when this is dropped.
pub struct Log(Option<WorkerGuard>);

impl Drop for Log {
    fn drop(&mut self) {
        let (ended, end) = channel::<()>();
        let guard = self.0.take();
        // Where nobody reads, they are given up.
        let last = std::thread::Builder::new().spawn(move || drop((guard, ended)));
        if last.is_ok() {
            let _ = end.recv_timeout(LAST);
        }
    }
}

//! Runs that did not do all they were asked for.

use std::error::Error;

/// Error of a run in which some images failed. The others are done.
#[derive(Debug)]
pub struct Failed {
    pub count: usize,
    pub of: usize,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} images failed", self.count, self.of)
    }
}

impl Error for Failed {}

/// Error of a run that was stopped by an interrupt.
#[derive(Debug)]
pub struct Interrupted {
    pub done: usize,
    pub of: usize,
}

impl Interrupted {
    /// Exit code by which shells recognise an interrupt: 128 plus the signal number.
    pub const CODE: u8 = 130;
}

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "interrupted after {} of {} images", self.done, self.of)
    }
}

impl Error for Interrupted {}

/// Error that is in the log of a server already.
#[derive(Debug)]
pub struct Logged;

impl std::fmt::Display for Logged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the server failed; see its log")
    }
}

impl Error for Logged {}

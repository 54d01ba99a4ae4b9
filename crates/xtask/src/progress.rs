//! Progress lines on standard error: how long it has been, and what is being done.

use std::time::Duration;

use stele_store::{Clock, SystemClock};

/// Says what is going on, or keeps quiet.
#[derive(Debug, Clone)]
pub struct Progress {
    clock: SystemClock,
    quiet: bool,
}

impl Progress {
    /// Prints a line for each step.
    pub fn loud() -> Self {
        Self { clock: SystemClock::new(), quiet: false }
    }

    /// Prints only what takes long.
    pub fn quiet() -> Self {
        Self { clock: SystemClock::new(), quiet: true }
    }

    /// A step was reached.
    pub fn step(&self, what: &str) {
        if !self.quiet {
            self.important(what);
        }
    }

    /// Something that takes long enough for people to wonder; printed always.
    #[allow(clippy::print_stderr, reason = "progress is what this type is for")]
    pub fn important(&self, what: &str) {
        eprintln!("[{:7.1}s] {what}", self.elapsed().as_secs_f64());
    }

    /// Time since this was made.
    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }
}

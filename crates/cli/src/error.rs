//! How a command ends: the exit codes and the error that carries one.
//!
//! Invariant: [`Exit::Tampered`] is used for a proof, signature or hash that does not hold, and
//! for nothing else. A script may treat exit code 5 as an alarm.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// How the program ends. `stele help exit-codes` prints this table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, found, verified.
    Done,
    /// The work could not be done: network, server, disk.
    Failed,
    /// The command line or a configuration file is wrong.
    Usage,
    /// Nothing was found; or, with `--error-changed`, there are differences.
    NotFound,
    /// No valid token, or the token does not allow it.
    Denied,
    /// Verification failed.
    Tampered,
    /// The answer touches a gap and may be incomplete.
    Gap,
    /// Stopped by a signal.
    Interrupted,
}

impl Exit {
    /// The number the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Denied => 4,
            Self::Tampered => 5,
            Self::Gap => 6,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error as a person meets it: what went wrong, and what to do about it.
#[derive(Debug)]
pub(crate) struct CliError {
    exit: Exit,
    message: String,
    hints: Vec<String>,
}

impl CliError {
    fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), hints: Vec::new() }
    }

    /// The work could not be done.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The command line or a configuration file is wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Nothing was found.
    pub(crate) fn not_found(message: impl fmt::Display) -> Self {
        Self::new(Exit::NotFound, message)
    }

    /// Not authorised.
    pub(crate) fn denied(message: impl fmt::Display) -> Self {
        Self::new(Exit::Denied, message)
    }

    /// A proof, signature or hash does not hold.
    pub(crate) fn tampered(message: impl fmt::Display) -> Self {
        Self::new(Exit::Tampered, message)
    }

    /// Stopped by a signal.
    pub(crate) fn interrupted(message: impl fmt::Display) -> Self {
        Self::new(Exit::Interrupted, message)
    }

    /// The answer would touch a gap.
    pub(crate) fn gap(message: impl fmt::Display) -> Self {
        Self::new(Exit::Gap, message)
    }

    /// The same error with a line on what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    /// How the program ends.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// What to do about it, a line each.
    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

/// Writing to standard output failed. A reader that went away is the end of a pipe, not a fault.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Done, "");
        }
        Self::failed(error)
    }
}

/// What a command gives back.
pub(crate) type Outcome = Result<Exit, CliError>;

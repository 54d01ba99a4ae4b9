//! What can go wrong with the test bed.

use std::path::PathBuf;

/// Why the test bed could not do what was asked.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum TestbedError {
    /// There is no Go, or it is too old. Tell the person; tests that need the test bed are not run.
    #[error(
        "the test bed is built with Go {needed} or newer, and {found}\n\
         install it from https://go.dev/dl/ or by your package manager, and put `go` on the PATH"
    )]
    GoMissing {
        /// The version needed.
        needed: String,
        /// What was found instead.
        found: String,
    },
    /// A Go program could not be built. Read the log.
    #[error("building {program} failed; the end of {}:\n{tail}", log.display())]
    Build {
        /// The program.
        program: String,
        /// Where everything it printed is.
        log: PathBuf,
        /// The end of that.
        tail: String,
    },
    /// A component ended, or did not get ready in time. Read the log.
    #[error("{component} {what}; the end of {}:\n{tail}", log.display())]
    Component {
        /// The component.
        component: String,
        /// What it did.
        what: String,
        /// Where everything it printed is.
        log: PathBuf,
        /// The end of that.
        tail: String,
    },
    /// Something did not come about in time.
    #[error("{what} did not happen within {seconds} s; last seen: {last}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// The last state seen.
        last: String,
    },
    /// A test bed runs in this folder already. Stop it, or choose another folder.
    #[error("a test bed is running in {}; stop it with `cargo xtask testbed down`", dir.display())]
    Running {
        /// The folder.
        dir: PathBuf,
    },
    /// No test bed was started in this folder.
    #[error("there is no test bed in {}; start one with `cargo xtask testbed up`", dir.display())]
    Absent {
        /// The folder.
        dir: PathBuf,
    },
    /// A command (kubectl, etcdctl) said no.
    #[error("`{command}` failed: {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// What it printed.
        stderr: String,
    },
    /// A file, process or port could not be used.
    #[error("{context}: {source}")]
    Io {
        /// What was tried.
        context: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Something that was read is not what it should be.
    #[error("{context}: {what}")]
    Malformed {
        /// What was read.
        context: String,
        /// What is wrong with it.
        what: String,
    },
}

/// The message, as people should read it: this is what a test that returns an error prints.
impl std::fmt::Debug for TestbedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl TestbedError {
    /// For `map_err`: says what was tried.
    pub(crate) fn io(context: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source }
    }

    /// For `map_err` on anything that parses.
    pub(crate) fn malformed<E: std::fmt::Display>(
        context: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let context = context.into();
        move |error| Self::Malformed { context, what: error.to_string() }
    }
}

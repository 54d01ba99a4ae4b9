//! The terminal: standard output for answers, standard error for everything else, colour and
//! progress only where a person looks.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use crate::error::CliError;

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where a command writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    color_out: bool,
    color_err: bool,
    progress: bool,
    quiet: bool,
}

/// How long work may take before a progress bar appears.
const PROGRESS_DELAY: Duration = Duration::from_millis(250);

impl Ui {
    /// The terminal as the flags and the environment want it.
    pub(crate) fn new(when: ColorWhen, quiet: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let color = |terminal: bool| match when {
            ColorWhen::Auto => terminal && !plain,
            ColorWhen::Always => true,
            ColorWhen::Never => false,
        };
        let terminal = io::stderr().is_terminal();
        Self {
            color_out: color(io::stdout().is_terminal()),
            color_err: color(terminal),
            progress: terminal && !quiet,
            quiet,
        }
    }

    /// Writes an answer, followed by a line feed.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub(crate) fn line(&self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        Ok(())
    }

    /// Writes bytes of an answer as they are, and hands them on at once.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
        Ok(())
    }

    /// Says something beside the answer; silent with `--quiet`.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Warns. Never silent: a warning is part of the answer.
    pub(crate) fn warn(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{} {text}", self.paint_err("33", "warning:"));
    }

    /// Reports an error with its hints.
    pub(crate) fn error(&self, error: &CliError) {
        let mut err = io::stderr();
        let _ = writeln!(err, "{} {error}", self.paint_err("1;31", "error:"));
        for hint in error.hints() {
            let _ = writeln!(err, "{} {hint}", self.paint_err("36", "hint:"));
        }
    }

    fn paint_err(&self, code: &str, text: &str) -> String {
        paint(self.color_err, code, text)
    }

    /// `text` in a colour on standard output, given as an SGR code.
    pub(crate) fn paint(&self, code: &str, text: &str) -> String {
        paint(self.color_out, code, text)
    }

    /// A progress bar on standard error that shows itself only when the work takes long.
    pub(crate) fn progress(&self, what: &'static str, total: Option<u64>) -> Progress {
        Progress { bar: None, what, total, started: self.progress.then(tokio::time::Instant::now) }
    }
}

fn paint(on: bool, code: &str, text: &str) -> String {
    if on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Progress of one piece of work.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    total: Option<u64>,
    started: Option<tokio::time::Instant>,
}

impl Progress {
    /// The work has come to `position`.
    pub(crate) fn at(&mut self, position: u64) {
        let Some(started) = self.started else { return };
        if self.bar.is_none() && started.elapsed() >= PROGRESS_DELAY {
            self.bar = Some(new_bar(self.what, self.total));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(position);
        }
    }

    /// The end of the work is known now.
    pub(crate) fn of(&mut self, total: u64) {
        self.total = Some(total);
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(what: &'static str, total: Option<u64>) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let template = if total.is_some() {
        "{msg} [{wide_bar:40}] {human_pos}/{human_len} ({eta})"
    } else {
        "{msg} {human_pos} ({per_sec})"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what);
    bar
}

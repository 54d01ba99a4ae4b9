//! A list of checks, as `stele verify` and `stele fsck` print it: what was looked at, and what
//! came of it. A check that was not made is not in the list.

use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::error::{CliError, Exit, Outcome};
use crate::output::{self, Plain};

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// It holds.
    Ok,
    /// It holds, but there is something to know.
    Warn,
    /// It does not hold: evidence of tampering, decay or a fork.
    Fail,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Check {
    status: Status,
    check: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

/// The checks made on one thing.
#[derive(Debug)]
pub(crate) struct Checks {
    subject: String,
    list: Vec<Check>,
}

impl Checks {
    /// No checks yet on `subject`, for example `case42.jsonl`.
    pub(crate) fn of(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), list: Vec::new() }
    }

    /// Adds a check.
    pub(crate) fn add(
        &mut self,
        status: Status,
        check: impl Into<String>,
        detail: impl Into<String>,
    ) {
        self.list.push(Check { status, check: check.into(), detail: detail.into() });
    }

    /// Adds a check that holds.
    pub(crate) fn ok(&mut self, check: impl Into<String>, detail: impl Into<String>) {
        self.add(Status::Ok, check, detail);
    }

    /// Adds a check that holds, with something to know.
    pub(crate) fn warn(&mut self, check: impl Into<String>, detail: impl Into<String>) {
        self.add(Status::Warn, check, detail);
    }

    /// Adds a check that does not hold.
    pub(crate) fn fail(&mut self, check: impl Into<String>, detail: impl Into<String>) {
        self.add(Status::Fail, check, detail);
    }

    /// Whether one does not hold.
    pub(crate) fn failed(&self) -> bool {
        self.list.iter().any(|check| check.status == Status::Fail)
    }

    /// Prints the list.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub(crate) fn print(&self, app: &App, format: Plain) -> Result<(), CliError> {
        let document = || {
            json!({
                "apiVersion": stele_server::api::API_VERSION,
                "kind": "Verification",
                "subject": self.subject,
                "verified": !self.failed(),
                "checks": self.list,
            })
        };
        match format {
            Plain::Table => self.table(app),
            Plain::Json => output::json(&app.ui, &document()),
            Plain::Jsonl => output::json_line(&app.ui, &document()),
            Plain::Yaml => output::yaml(&app.ui, &document()),
        }
    }

    fn table(&self, app: &App) -> Result<(), CliError> {
        app.ui.line(&format!("Verification of {}", self.subject))?;
        app.ui.line("The following checks were performed:")?;
        let width = self.list.iter().map(|c| c.check.chars().count()).max().unwrap_or(0);
        for check in &self.list {
            let (word, code) = match check.status {
                Status::Ok => ("ok  ", "32"),
                Status::Warn => ("warn", "33"),
                Status::Fail => ("FAIL", "1;31"),
            };
            let line = format!("{:<width$}  {}", check.check, check.detail);
            app.ui.line(&format!("  {} {}", app.ui.paint(code, word), line.trim_end()))?;
        }
        Ok(())
    }

    /// Prints the list and ends: with exit code 5 if a check does not hold.
    ///
    /// # Errors
    /// The tampering error, or when standard output can't be written.
    pub(crate) fn finish(&self, app: &App, format: Plain) -> Outcome {
        self.print(app, format)?;
        match self.list.iter().find(|check| check.status == Status::Fail) {
            None => Ok(Exit::Done),
            Some(failed) => Err(CliError::tampered(format!(
                "verification of {} failed: {}: {}",
                self.subject, failed.check, failed.detail
            ))),
        }
    }
}

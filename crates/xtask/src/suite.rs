//! `cargo xtask test`: everything that must hold, in one command with one honest exit code.
//!
//! All steps are run, also after one has failed. What could not be run is listed and is not counted
//! as passed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::not_run::{FILE_VARIABLE, TESTBED_VARIABLE};
use crate::processes::wait_at_most;
use crate::progress::Progress;
use crate::testbed::TestbedError;
use crate::{places, testbed, tidy};

/// A step that takes longer hangs. The longest one, all tests with everything to be built before,
/// takes about half of it on two cores.
const STEP_TIME_MAX: Duration = Duration::from_secs(45 * 60);

/// What is run.
#[derive(Debug, Clone, Default)]
pub struct SuiteOptions {
    /// A missing test bed is a failure, not just something that was not run.
    pub testbed_required: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Everything was run and holds.
    Passed,
    /// Something does not hold.
    Failed,
    /// What was run holds, but something that must hold was not run.
    Incomplete,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed(String),
    /// Needs a tool that is not here, but nothing else would be missed.
    Skipped(String),
    /// Passed as far as it went.
    NotRun(String),
}

struct Suite {
    root: PathBuf,
    progress: Progress,
    options: SuiteOptions,
    results: Vec<(&'static str, Outcome, Duration)>,
}

/// Runs all steps and prints a summary.
pub fn run(options: SuiteOptions) -> Result<Verdict, TestbedError> {
    let mut suite = Suite {
        root: places::repository(),
        progress: Progress::loud(),
        options,
        results: Vec::new(),
    };
    suite.step("format", |suite| suite.cargo(&["fmt", "--all", "--check"]));
    suite.step("clippy", |suite| {
        suite.cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
    });
    suite.step("dependencies", Suite::dependencies);
    suite.step("tidy", Suite::tidy);
    suite.step("test bed programs", Suite::testbed);
    suite.step("tests", Suite::tests);
    Ok(suite.summary())
}

impl Suite {
    fn step(&mut self, name: &'static str, run: impl Fn(&Self) -> Result<Outcome, TestbedError>) {
        self.progress.important(&format!("==== {name}"));
        let start = self.progress.elapsed();
        let outcome = run(self).unwrap_or_else(|error| Outcome::Failed(error.to_string()));
        let taken = self.progress.elapsed().saturating_sub(start);
        if let Outcome::Failed(why) | Outcome::NotRun(why) | Outcome::Skipped(why) = &outcome {
            self.progress.important(&format!("{name}: {why}"));
        }
        self.results.push((name, outcome, taken));
    }

    fn cargo(&self, args: &[&str]) -> Result<Outcome, TestbedError> {
        self.cargo_with(args, &[])
    }

    fn cargo_with(
        &self,
        args: &[&str],
        environment: &[(&str, &Path)],
    ) -> Result<Outcome, TestbedError> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let line = format!("cargo {}", args.join(" "));
        self.progress.important(&line);
        let mut command = Command::new(cargo);
        command.args(args).envs(environment.iter().copied());
        if self.options.testbed_required {
            command.env(TESTBED_VARIABLE, "required");
        }
        let child = command.current_dir(&self.root).stdin(Stdio::null()).spawn();
        let mut child = child.map_err(TestbedError::io(line.clone()))?;
        let ended = wait_at_most(&mut child, STEP_TIME_MAX);
        Ok(match ended.map_err(TestbedError::io(line.clone()))? {
            Some(status) if status.success() => Outcome::Passed,
            Some(status) => Outcome::Failed(format!("`{line}`: {status}")),
            None => {
                let minutes = STEP_TIME_MAX.as_secs() / 60;
                Outcome::Failed(format!("`{line}` was ended after {minutes} minutes"))
            }
        })
    }

    /// Licences, bans and sources, by `deny.toml`.
    fn dependencies(&self) -> Result<Outcome, TestbedError> {
        let installed = Command::new("cargo")
            .args(["deny", "--version"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !installed {
            let why = "cargo-deny is not installed (`cargo install --locked cargo-deny`)";
            return Ok(Outcome::Skipped(why.into()));
        }
        self.cargo(&["deny", "--workspace", "check", "bans", "licenses", "sources"])
    }

    fn tidy(&self) -> Result<Outcome, TestbedError> {
        let mut problems = tidy::check(&self.root)?;
        problems.extend(tidy::reference::check(&self.root, false)?);
        for problem in &problems {
            self.progress.important(&problem.to_string());
        }
        Ok(match problems.len() {
            0 => Outcome::Passed,
            count => Outcome::Failed(format!("{count} problems")),
        })
    }

    fn testbed(&self) -> Result<Outcome, TestbedError> {
        match testbed::build(&self.progress) {
            Ok(()) => Ok(Outcome::Passed),
            Err(error @ TestbedError::GoMissing { .. }) if !self.options.testbed_required => {
                Ok(Outcome::NotRun(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// All tests of all crates; with the names of those that could not be run.
    fn tests(&self) -> Result<Outcome, TestbedError> {
        let file = places::cache().join(format!("not-run-{}", std::process::id()));
        let context = || format!("write {}", file.display());
        fs::create_dir_all(places::cache()).map_err(TestbedError::io(context()))?;
        fs::write(&file, "").map_err(TestbedError::io(context()))?;
        let environment = [(FILE_VARIABLE, file.as_path())];
        let outcome = self.cargo_with(&["test", "--workspace", "--no-fail-fast"], &environment)?;
        let names = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(&file);
        let names: BTreeSet<&str> = names.lines().collect();
        if names.is_empty() || outcome != Outcome::Passed {
            return Ok(outcome);
        }
        let list = names.into_iter().fold(String::new(), |list, name| list + "\n    " + name);
        Ok(Outcome::NotRun(format!("these tests were not run:{list}")))
    }

    fn summary(&self) -> Verdict {
        let mut text = String::from("==== summary\n");
        for (name, outcome, taken) in &self.results {
            let (word, why) = match outcome {
                Outcome::Passed => ("passed", ""),
                Outcome::Failed(why) => ("FAILED", why.as_str()),
                Outcome::Skipped(why) => ("skipped", why.as_str()),
                Outcome::NotRun(why) => ("NOT RUN", why.as_str()),
            };
            let _ = writeln!(text, "{word:8} {:7.1} s  {name}  {why}", taken.as_secs_f64());
        }
        let verdict = verdict(self.results.iter().map(|(_, outcome, _)| outcome));
        let _ = write!(
            text,
            "{}",
            match verdict {
                Verdict::Passed => "everything holds",
                Verdict::Failed => "FAILED",
                Verdict::Incomplete => "INCOMPLETE: what was run holds, but not everything was run",
            }
        );
        self.progress.important(&text);
        verdict
    }
}

fn verdict<'a>(outcomes: impl Iterator<Item = &'a Outcome> + Clone) -> Verdict {
    if outcomes.clone().any(|outcome| matches!(outcome, Outcome::Failed(_))) {
        Verdict::Failed
    } else if outcomes.clone().any(|outcome| matches!(outcome, Outcome::NotRun(_))) {
        Verdict::Incomplete
    } else {
        Verdict::Passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_not_run_counts_as_passed() {
        let text = String::new;
        let of = |outcomes: &[Outcome]| verdict(outcomes.iter());
        assert_eq!(of(&[Outcome::Passed, Outcome::Skipped(text())]), Verdict::Passed);
        assert_eq!(of(&[Outcome::NotRun(text()), Outcome::Passed]), Verdict::Incomplete);
        assert_eq!(of(&[Outcome::NotRun(text()), Outcome::Failed(text())]), Verdict::Failed);
    }
}

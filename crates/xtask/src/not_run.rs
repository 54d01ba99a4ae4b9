//! Tests that cannot be run here: said aloud, and never counted as passed.
//!
//! The test harness knows no "not run", so such a test returns early. It also leaves its name in a
//! file, from which `cargo xtask test` takes what was really run.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;

use crate::progress::Progress;

/// Environment variable with the file to which names of tests that were not run are added.
pub const FILE_VARIABLE: &str = "STELE_NOT_RUN";

/// Environment variable: with the value `required`, a missing test bed is a failure.
pub const TESTBED_VARIABLE: &str = "STELE_TESTBED";

/// Says that the test that runs in this thread was not run, and why.
pub fn report(why: &dyn Display) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let why = why.to_string();
    Progress::quiet().important(&format!("NOT RUN: {test}: {why}"));
    if let Some(file) = std::env::var_os(FILE_VARIABLE) {
        let file = OpenOptions::new().create(true).append(true).open(file);
        // It has been said already; the file is for the summary.
        let _ = file.and_then(|mut file| writeln!(file, "{test}: {}", why.replace('\n', " ")));
    }
}

/// Whether tests must fail where there can be no test bed.
pub(crate) fn testbed_is_required() -> bool {
    std::env::var_os(TESTBED_VARIABLE).is_some_and(|value| value == "required")
}

//! Trust policies (C2SP tlog-policy) as people hand them over: a file.

use std::path::Path;

use stele_merkle::{LogVerifier, Note, Policy};

use crate::checks::Checks;
use crate::error::CliError;
use crate::when::rfc3339;

/// The policy in a file.
///
/// # Errors
/// When it can't be read or breaks a rule; the line is named.
pub(crate) fn read(path: &Path) -> Result<Policy, CliError> {
    let text = std::fs::read(path).map_err(|e| {
        CliError::usage(format!("cannot read the witness policy {}: {e}", path.display()))
    })?;
    Policy::parse(&text).map_err(|e| {
        CliError::usage(format!("{}: {e}", path.display())).hint(
            "the form is that of C2SP tlog-policy; `stele witness` prints the lines of a witness",
        )
    })
}

/// Checks that a checkpoint, given as its note, is of a log of the policy and has its quorum. The
/// keys of the policy are followed through the history that `log` follows.
pub(crate) fn check(policy: &Policy, log: &LogVerifier, note: &str, checks: &mut Checks) {
    const LOG: &str = "log of the policy";
    const QUORUM: &str = "witness cosignatures";
    if !policy.logs().is_empty() {
        match log_verifier(policy, log).open(note.as_bytes()) {
            Ok(checkpoint) => checks.ok(LOG, checkpoint.origin),
            Err(error) => checks.fail(LOG, error.to_string()),
        }
    }
    let verdict = Note::parse(note.as_bytes()).and_then(|note| policy.verdict(&note));
    match verdict {
        Err(error) => checks.fail(QUORUM, error.to_string()),
        Ok(verdict) => {
            let (found, all) = (verdict.cosigned.len(), policy.witnesses().len());
            let newest = verdict.cosigned.iter().filter_map(|(_, by)| by.time).max();
            let at = newest.and_then(|s| i64::try_from(s).ok()?.checked_mul(1_000_000_000));
            let at = at.map_or_else(String::new, |ns| format!(", last at {}", rfc3339(ns)));
            let needed = policy.quorum_text();
            let detail = format!("{found} of {all}{at} (policy needs {needed})");
            if verdict.quorum_met {
                checks.ok(QUORUM, detail);
            } else {
                checks.fail(QUORUM, detail);
            }
        }
    }
}

/// Believes what the keys of the policy do, and those that have replaced them.
fn log_verifier(policy: &Policy, log: &LogVerifier) -> LogVerifier {
    let listed = policy.log_verifier();
    // A policy may name several logs.
    let keys: Vec<_> = listed.keys().iter().filter(|key| log.knows(key)).cloned().collect();
    if keys.is_empty() { listed } else { LogVerifier::new(keys).with_history_of(log) }
}

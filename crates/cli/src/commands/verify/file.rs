//! Verifying a file, with no server: evidence, a C2SP .tlog-proof or a COSE receipt.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use stele_ledger::evidence::{self, Finding};
use stele_merkle::proof_file::PROOF_FILE_BYTES_MAX;
use stele_merkle::receipt::RECEIPT_FIRST_BYTE;
use stele_merkle::{LogVerifier, Policy, TlogProof, leaf_hash};
use stele_record::{Commitment, Header, Salt};
use stele_server::api::RecordEvent;

use super::receipt;
use crate::app::App;
use crate::checks::Checks;
use crate::error::CliError;
use crate::files;
use crate::keys::LogKeys;
use crate::log_view::RecordView;
use crate::pins::Pin;
use crate::policies;
use crate::receipts;
use crate::when::grouped;

const PROOF_BEGIN: &[u8] = b"c2sp.org/tlog-proof@";

/// Faults and remarks that are written out; the rest is counted.
const FINDINGS_SHOWN_MAX: usize = 20;

/// What a proof is about, for proofs that do not carry it.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    /// The record: its leaf, or the JSON of `stele log get`.
    pub(super) record: Option<&'a Path>,
    /// The older checkpoint, a signed note.
    pub(super) since: Option<&'a Path>,
}

/// What a file is checked with.
#[derive(Debug)]
pub(super) struct Trust<'a> {
    /// The keys that were given.
    pub(super) keys: &'a LogKeys,
    /// What believes them, and those to which a history of keys leads from them.
    pub(super) verifier: LogVerifier,
    /// Whose cosignatures are wanted too.
    pub(super) policy: Option<&'a Policy>,
}

impl<'a> Trust<'a> {
    /// Follows the keys through the history in the first line of the evidence file `history`.
    ///
    /// # Errors
    /// When it can't be read, or a tampering error when it does not lead on from these keys.
    pub(super) fn new(
        keys: &'a LogKeys,
        history: Option<&Path>,
        policy: Option<&'a Policy>,
    ) -> Result<Self, CliError> {
        Ok(Self { keys, verifier: following(keys, history)?, policy })
    }
}

/// Verifies a file of any kind.
///
/// # Errors
/// When it can't be read.
pub(super) fn verify(
    app: &App,
    path: &Path,
    about: About<'_>,
    trust: &Trust<'_>,
) -> Result<Checks, CliError> {
    let mut input: Box<dyn BufRead + Send> = if path.as_os_str() == "-" {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        Box::new(BufReader::new(File::open(path).map_err(|e| cannot_read(path, &e))?))
    };
    let begin = input.fill_buf().map_err(|e| cannot_read(path, &e))?;
    if begin.starts_with(PROOF_BEGIN) {
        return proof(app, path, input, about.record, trust);
    }
    if begin.is_empty() {
        return Err(CliError::usage(format!("{} is empty", path.display())));
    }
    if begin[0] == RECEIPT_FIRST_BYTE {
        return receipt::verify(app, path, input, about, trust);
    }
    if begin[0] != b'{' {
        return Err(CliError::usage(format!(
            "{} is no evidence file, no .tlog-proof and no COSE receipt",
            path.display()
        ))
        .hint("`stele export` writes evidence, `stele log prove` proofs and receipts"));
    }
    evidence(app, path, &mut input, trust)
}

pub(super) fn cannot_read(path: &Path, error: &std::io::Error) -> CliError {
    CliError::failed(format!("cannot read {}: {error}", path.display()))
}

/// The keys, and those to which the history in the first line of an evidence file leads from them.
fn following(keys: &LogKeys, history: Option<&Path>) -> Result<LogVerifier, CliError> {
    let pinned = keys.verifier();
    let Some(path) = history else { return Ok(pinned) };
    let line = files::key_history(path)?;
    evidence::follow(&line, &pinned).map_err(|e| {
        CliError::tampered(format!("the key history in {} does not hold: {e}", path.display()))
    })
}

fn evidence(
    app: &App,
    path: &Path,
    input: &mut dyn BufRead,
    trust: &Trust<'_>,
) -> Result<Checks, CliError> {
    let report = evidence::verify(input, &trust.verifier)
        .map_err(|e| CliError::failed(format!("cannot read {}: {e}", path.display())))?;
    let subject = format!("{} ({} records)", path.display(), grouped(report.records));
    let mut checks = Checks::of(subject);
    for check in report.checks.iter().filter(|check| check.count > 0) {
        checks.ok(check.name, grouped(check.count));
    }
    if report.errors.is_empty() {
        checks.ok(
            "checkpoint",
            format!("{} of {}, root {}", report.size, report.origin, report.root),
        );
    }
    if let (Some(policy), true) = (trust.policy, report.errors.is_empty()) {
        let log = report.verifier.as_ref().unwrap_or(&trust.verifier);
        policies::check(policy, log, &report.checkpoint, &mut checks);
    }
    if report.errors.is_empty() {
        against_pin(app, trust, report.size, &report.root, &mut checks)?;
    }
    for finding in report.warnings.iter().take(FINDINGS_SHOWN_MAX) {
        checks.warn(line(finding), finding.what.clone());
    }
    for finding in report.errors.iter().take(FINDINGS_SHOWN_MAX) {
        checks.fail(line(finding), finding.what.clone());
    }
    for (count, what) in [(report.warnings.len(), "remarks"), (report.errors.len(), "faults")] {
        if count > FINDINGS_SHOWN_MAX {
            app.ui.note(&format!("{} {what} in all; the first are shown.", grouped(count as u64)));
        }
    }
    Ok(checks)
}

/// A tree of the very size that is pinned must be the pinned one. Trees of other sizes can't be
/// compared without the log; `stele verify --log` does that.
pub(super) fn against_pin(
    app: &App,
    trust: &Trust<'_>,
    size: u64,
    root: &str,
    checks: &mut Checks,
) -> Result<(), CliError> {
    let pinned = Pin::of(app.dirs(), trust.keys).read(&trust.verifier)?;
    let Some(pinned) = pinned.filter(|pinned| pinned.checkpoint.size.0 == size) else {
        return Ok(());
    };
    const WHAT: &str = "same tree as the pinned checkpoint";
    let own = pinned.checkpoint.root.to_string();
    if own == root {
        checks.ok(WHAT, size.to_string());
    } else {
        checks.fail(WHAT, format!("root {root}, but {own} is pinned for {size}: a fork"));
    }
    Ok(())
}

fn line(finding: &Finding) -> String {
    format!("line {}", finding.line)
}

fn proof(
    app: &App,
    path: &Path,
    input: impl Read,
    record: Option<&Path>,
    trust: &Trust<'_>,
) -> Result<Checks, CliError> {
    let mut text = String::new();
    input
        .take(PROOF_FILE_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|e| cannot_read(path, &e))?;
    let mut checks = Checks::of(path.display().to_string());
    let proof = match TlogProof::parse(&text) {
        Ok(proof) => proof,
        Err(error) => {
            checks.fail("form of the proof", error.to_string());
            return Ok(checks);
        }
    };
    let leaf = match record {
        Some(record) => record_leaf(record, &mut checks)?,
        None => proof.extra.clone().ok_or_else(|| {
            CliError::usage(format!("{} does not carry the record it is about", path.display()))
                .hint("give it with --record FILE: `stele log get INDEX -o json` writes one")
        })?,
    };
    match proof.verify(leaf_hash(&leaf), &trust.verifier) {
        Ok(checkpoint) => {
            checks.ok("checkpoint signature", trust.keys.label());
            checks.ok(
                "inclusion of the leaf",
                format!(
                    "record {} in checkpoint {} of {}",
                    proof.index, checkpoint.size, checkpoint.origin
                ),
            );
            if let Some(policy) = trust.policy {
                policies::check(policy, &trust.verifier, &proof.checkpoint_note, &mut checks);
            }
            against_pin(app, trust, checkpoint.size.0, &checkpoint.root.to_string(), &mut checks)?;
        }
        Err(error) => checks.fail("inclusion of the leaf", chain(&error)),
    }
    leaf_is_header(&leaf, &mut checks);
    Ok(checks)
}

/// What the proven leaf says about itself.
pub(super) fn leaf_is_header(leaf: &[u8], checks: &mut Checks) {
    match Header::decode(leaf) {
        Ok(header) => checks.ok(
            "leaf is a record header",
            format!("{} of source {} seq {}", header.kind, header.source, header.seq),
        ),
        Err(error) => checks.warn("leaf is a record header", format!("no: {error}")),
    }
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// The leaf in a file: the JSON of `stele log get`, whose payload is checked too, or the bytes.
pub(super) fn record_leaf(path: &Path, checks: &mut Checks) -> Result<Vec<u8>, CliError> {
    const WHAT: &str = "payload opens the leaf's commitment";
    let bytes = std::fs::read(path).map_err(|e| cannot_read(path, &e))?;
    if bytes.first() != Some(&b'{') {
        return Ok(bytes);
    }
    let event: RecordEvent = serde_json::from_slice(&bytes)
        .map_err(|e| CliError::usage(format!("{} holds no record: {e}", path.display())))?;
    let view = RecordView { event };
    let leaf = view.leaf()?;
    let salt = view.event.stelesalt.as_deref().map(|salt| receipts::bytes(salt, "the salt"));
    let salt = salt.transpose()?.and_then(|salt| salt.try_into().ok()).map(Salt::from_bytes);
    match (salt, view.payload()?, Header::decode(&leaf)) {
        (Some(salt), Some(payload), Ok(header)) => {
            if Commitment::new(&salt, &payload) == header.commitment {
                checks.ok(WHAT, format!("{} bytes", grouped(payload.len() as u64)));
            } else {
                checks.fail(WHAT, "it does not: the payload is another one");
            }
        }
        _ => checks.warn(WHAT, "not checked: the file has no payload or salt"),
    }
    Ok(leaf)
}

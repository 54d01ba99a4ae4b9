//! Verifying a COSE receipt (RFC 9942) of a log, with no server.
//!
//! A receipt does not carry what it is about: the record of a receipt of inclusion, and the older
//! tree of one of consistency, come from the person who verifies.

use std::io::Read;
use std::path::Path;

use stele_merkle::receipt::RECEIPT_BYTES_MAX;
use stele_merkle::{Checkpoint, CoseReceipt, ReceiptProof, TreeSize, leaf_hash};

use super::file::{About, Trust, against_pin, cannot_read, chain, leaf_is_header, record_leaf};
use crate::app::App;
use crate::checks::Checks;
use crate::error::CliError;
use crate::files;
use crate::pins::Pin;
use crate::when::rfc3339;

const NS_PER_S: i64 = 1_000_000_000;

/// Verifies a receipt.
///
/// # Errors
/// When it can't be read, or what it is about is not given.
pub(super) fn verify(
    app: &App,
    path: &Path,
    input: impl Read,
    about: About<'_>,
    trust: &Trust<'_>,
) -> Result<Checks, CliError> {
    let mut bytes = Vec::new();
    input
        .take(RECEIPT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| cannot_read(path, &e))?;
    let mut checks = Checks::of(path.display().to_string());
    let receipt = match CoseReceipt::parse(&bytes) {
        Ok(receipt) => receipt,
        Err(error) => {
            checks.fail("form of the receipt", error.to_string());
            return Ok(checks);
        }
    };
    match *receipt.proof() {
        ReceiptProof::Inclusion { index, .. } => {
            let leaf = match about.record {
                Some(record) => record_leaf(record, &mut checks)?,
                None => return Err(needs_record(path)),
            };
            let verified = receipt.verify_inclusion(leaf_hash(&leaf), &trust.verifier);
            let what = format!("record {index}");
            finish(app, trust, &receipt, verified, ("inclusion of the leaf", &what), &mut checks)?;
            leaf_is_header(&leaf, &mut checks);
        }
        ReceiptProof::Consistency { old, .. } => {
            let older = older(app, path, about.since, old, trust)?;
            let verified = receipt.verify_consistency(older.root, &trust.verifier);
            let what = format!("checkpoint {old}");
            let check = "continuation of the older checkpoint";
            finish(app, trust, &receipt, verified, (check, &what), &mut checks)?;
        }
    }
    Ok(checks)
}

fn needs_record(path: &Path) -> CliError {
    CliError::usage(format!("{} does not carry the record it is about", path.display()))
        .hint("give it with --record FILE: `stele log get INDEX -o json` writes one")
}

/// The checkpoint of the older size: the one given, or the pinned one.
fn older(
    app: &App,
    path: &Path,
    since: Option<&Path>,
    old: TreeSize,
    trust: &Trust<'_>,
) -> Result<Checkpoint, CliError> {
    let older = match since {
        Some(since) => Some(files::checkpoint(since, &trust.verifier)?),
        None => {
            Pin::of(app.dirs(), trust.keys).read(&trust.verifier)?.map(|pinned| pinned.checkpoint)
        }
    };
    older.filter(|older| older.size == old).ok_or_else(|| {
        CliError::usage(format!("{} starts from checkpoint {old}", path.display()))
            .hint("give that checkpoint, a signed note, with --since FILE")
    })
}

/// Adds what came of the proof `check` about `what`.
fn finish(
    app: &App,
    trust: &Trust<'_>,
    receipt: &CoseReceipt,
    verified: Result<Checkpoint, stele_merkle::ReceiptError>,
    (check, what): (&str, &str),
    checks: &mut Checks,
) -> Result<(), CliError> {
    let checkpoint = match verified {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            checks.fail(check, chain(&error));
            return Ok(());
        }
    };
    let signed_ns = i64::try_from(receipt.time_s()).ok().and_then(|s| s.checked_mul(NS_PER_S));
    let signed = signed_ns.map_or_else(|| receipt.time_s().to_string(), rfc3339);
    checks
        .ok("receipt signature", format!("{} of {}, {signed}", receipt.algorithm(), receipt.key()));
    checks.ok(check, format!("{what} in checkpoint {} of {}", checkpoint.size, checkpoint.origin));
    against_pin(app, trust, checkpoint.size.0, &checkpoint.root.to_string(), checks)
}

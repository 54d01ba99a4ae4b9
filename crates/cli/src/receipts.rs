//! Checking what a ledger acknowledges: that the records are, each at its index, under a
//! checkpoint that the log signed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use stele_merkle::{
    Checkpoint, Hash, LeafIndex, LogVerifier, leaf_hash, verify_inclusion, verify_range,
};
use stele_server::api::DeliveryAck;

use crate::error::CliError;

/// One acknowledged record: index, leaf bytes, and inclusion proof in base64.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acknowledged<'a> {
    pub(crate) index: u64,
    pub(crate) leaf: &'a [u8],
    pub(crate) proof: &'a [String],
}

/// Checks an acknowledgement, and gives the checkpoint that covers it.
///
/// # Errors
/// A tampering error that names what does not hold.
pub(crate) fn verify<'a>(
    log: &LogVerifier,
    note: &str,
    records: impl IntoIterator<Item = Acknowledged<'a>>,
) -> Result<Checkpoint, CliError> {
    let checkpoint = open(log, note)?;
    for record in records {
        let proof = hashes(record.proof)?;
        let index = LeafIndex(record.index);
        verify_inclusion(leaf_hash(record.leaf), index, checkpoint.size, &proof, checkpoint.root)
            .map_err(|e| {
            CliError::tampered(format!(
                "record {index} was acknowledged, but its proof does not hold: {e}"
            ))
        })?;
    }
    Ok(checkpoint)
}

/// Checks a delivery's acknowledgement whose checkpoint is believed: that the records with these
/// leaf hashes, in order, are at the places that it names.
///
/// # Errors
/// A tampering error that names what does not hold.
pub(crate) fn verify_runs(
    checkpoint: &Checkpoint,
    ack: &DeliveryAck,
    leaves: &[Hash],
) -> Result<(), CliError> {
    if ack.run_proofs.len() != ack.runs.len() {
        return Err(CliError::tampered("the server acknowledged records without proofs"));
    }
    let mut rest = leaves;
    for (run, proof) in ack.runs.iter().zip(&ack.run_proofs) {
        let count = usize::try_from(run.count).unwrap_or(usize::MAX);
        let Some((leaves, after)) = rest.split_at_checked(count) else { return Err(miscounted()) };
        rest = after;
        let (first, proof) = (LeafIndex(run.first), hashes(proof)?);
        verify_range(leaves, first, checkpoint.size, &proof, checkpoint.root).map_err(|e| {
            CliError::tampered(format!(
                "{count} records from {first} on were acknowledged, but their proof does not \
                 hold: {e}"
            ))
        })?;
    }
    if rest.is_empty() { Ok(()) } else { Err(miscounted()) }
}

/// The error for an acknowledgement of more or fewer records than were sent.
pub(crate) fn miscounted() -> CliError {
    CliError::tampered("the server acknowledged another number of records")
}

/// The checkpoint in an acknowledgement, if the log signed it.
///
/// # Errors
/// A tampering error.
pub(crate) fn open(log: &LogVerifier, note: &str) -> Result<Checkpoint, CliError> {
    log.open(note.as_bytes()).map_err(|e| {
        CliError::tampered(format!("the checkpoint of the acknowledgement does not verify: {e}"))
            .hint("the server does not have the key that is pinned for it")
    })
}

/// Hashes from base64.
///
/// # Errors
/// When one is no hash.
pub(crate) fn hashes(texts: &[String]) -> Result<Vec<Hash>, CliError> {
    let parse = |text: &String| {
        text.parse().map_err(|_| CliError::tampered(format!("{text:?} is no hash of a proof")))
    };
    texts.iter().map(parse).collect()
}

/// Bytes from base64 in a server's answer.
///
/// # Errors
/// When it is not base64.
pub(crate) fn bytes(text: &str, what: &str) -> Result<Vec<u8>, CliError> {
    STANDARD.decode(text).map_err(|e| CliError::failed(format!("{what} is not base64: {e}")))
}

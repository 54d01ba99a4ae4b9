//! Checking what a ledger acknowledges: that the records are, each at its index, under a
//! checkpoint that the log signed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use stele_merkle::{Checkpoint, Hash, LeafIndex, LogVerifier, leaf_hash, verify_inclusion};

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
    let checkpoint = log.open(note.as_bytes()).map_err(|e| {
        CliError::tampered(format!("the checkpoint of the acknowledgement does not verify: {e}"))
            .hint("the server does not have the key that is pinned for it")
    })?;
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

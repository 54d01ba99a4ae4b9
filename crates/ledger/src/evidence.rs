//! Evidence files: records with payloads, salts, proofs and a checkpoint, to be checked offline.
//!
//! JSON Lines. The first line is the manifest `{"format": "stele-evidence/v1", "origin",
//! "checkpoint", "count", "keys", "rotations"}`; each line after it is one record `{"index", "record",
//! "payload", "salt", "proof"}`, in ascending order of the index, bytes in standard base64. The keys
//! in the manifest are a hint: who checks the file brings the log's keys along.
//!
//! `rotations` has the records by which the log's keys were replaced, in the form of the lines and
//! with `consistency`, the proof that the tree of the checkpoint continues the one that the rotation
//! names. Without any it is left out. So a file is checked with the keys of any time.
//!
//! What a file proves: that these records, with these payloads, are in the log that the keys sign.
//! What it cannot prove: that no other record should have been in the file. Gaps that the sources
//! themselves recorded are told.

mod chain;
mod history;
mod verify;

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use stele_merkle::{Hash, LeafIndex, TreeSize};

pub use self::history::{HistoryError, follow};
pub use self::verify::{Check, Finding, GapFound, LINE_BYTES_MAX, Report, verify};
use crate::{LedgerError, LogInfo, ReadError, Reader, StoredRecord};

/// The format's name and version.
pub const FORMAT: &str = "stele-evidence/v1";

/// Why evidence could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The log has no signed checkpoint that covers the records. Ask again later.
    #[error("there is no signed checkpoint that covers record {0}")]
    NoCheckpoint(u64),
    /// A record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The history of the log's keys cannot be read.
    #[error(transparent)]
    Keys(#[from] LedgerError),
    /// The file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: String,
    origin: String,
    checkpoint: String,
    count: u64,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rotations: Vec<RotationLine>,
}

/// A rotation of keys: the record, and how the tree goes on from the one that it names.
#[derive(Debug, Serialize, Deserialize)]
struct RotationLine {
    #[serde(flatten)]
    record: RecordLine,
    consistency: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RecordLine {
    index: u64,
    record: String,
    // Null where it is not to be had, but never left out.
    #[serde(deserialize_with = "Option::deserialize")]
    payload: Option<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    salt: Option<String>,
    proof: Vec<String>,
}

/// Writes the records at `indices`, with everything needed to check them. Order and repeats in
/// `indices` do not matter. Returns the number of records written.
///
/// # Errors
/// [`EvidenceError`]; what was written until then is no whole file.
pub fn write(
    reader: &Reader,
    indices: &[LeafIndex],
    out: &mut dyn Write,
) -> Result<u64, EvidenceError> {
    let mut indices = indices.to_vec();
    indices.sort_unstable();
    indices.dedup();
    let last = indices.last().copied().unwrap_or(LeafIndex(0));
    let checkpoint = match indices.last() {
        Some(last) => reader.checkpoint_over(*last),
        None => reader.signed_checkpoint(),
    };
    let checkpoint = checkpoint.ok_or(EvidenceError::NoCheckpoint(last.0))?;
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        origin: reader.origin().to_owned(),
        checkpoint: checkpoint.note.clone(),
        count: indices.len() as u64,
        keys: LogInfo::load(reader.store()).map(|info| info.keys).unwrap_or_default(),
        rotations: history::lines(reader, checkpoint.size)?,
    };
    line(out, &manifest)?;
    for index in &indices {
        line(out, &record_line(reader, reader.read(*index)?, checkpoint.size)?)?;
    }
    Ok(manifest.count)
}

fn record_line(
    reader: &Reader,
    record: StoredRecord,
    size: TreeSize,
) -> Result<RecordLine, ReadError> {
    let proof = reader.inclusion_proof(record.index, size)?;
    Ok(RecordLine {
        index: record.index.0,
        record: STANDARD.encode(&record.header_bytes),
        payload: record.payload.map(|payload| STANDARD.encode(&payload)),
        salt: record.salt.map(|salt| STANDARD.encode(salt.as_bytes())),
        proof: proof.iter().map(Hash::to_string).collect(),
    })
}

fn line<T: Serialize>(out: &mut dyn Write, value: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    out.write_all(&text)
}

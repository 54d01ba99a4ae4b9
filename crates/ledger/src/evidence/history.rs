//! The history of the log's keys in an evidence file: who pins the keys of any time believes the
//! checkpoint in it, if the rotations of keys are in the log that it signs.
//!
//! Not here: what a rotation says, and how a verifier follows it (`stele_merkle::rotation`).

use stele_merkle::{
    Checkpoint, KeyRotation, LeafIndex, LogVerifier, NoteError, ProofError, RotationError,
    TreeSize, leaf_hash, verify_consistency, verify_inclusion,
};
use stele_record::Header;

use super::verify::{base64, hashes, opened};
use super::{EvidenceError, FORMAT, Manifest, RotationLine, record_line};
use crate::fsck::Place;
use crate::{Reader, rotation};

/// Why the history of keys in a file, or what they sign, is not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The text is no first line of an evidence file.
    #[error("not the manifest of an evidence file: {0}")]
    Manifest(String),
    /// A rotation's record or payload is not what it should be.
    #[error("rotation of keys at record {index}: {what}")]
    Record {
        /// Where it says that it is.
        index: u64,
        /// What is wrong.
        what: String,
    },
    /// The rotations are no history of the pinned keys.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// The checkpoint is not signed as it must be.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
    /// A rotation is not in the tree that is signed, or not after the tree that it names.
    #[error("rotation of keys at record {index} is not of the log that is signed: {error}")]
    Proof {
        /// Where it says that it is.
        index: u64,
        /// What the proof lacks.
        #[source]
        error: ProofError,
    },
}

/// The rotations of keys up to `size`, with their proofs.
pub(super) fn lines(reader: &Reader, size: TreeSize) -> Result<Vec<RotationLine>, EvidenceError> {
    let recorded = reader.rotations()?.into_iter().filter(|r| size.contains(r.record.index));
    recorded
        .map(|recorded| {
            let from = recorded.rotation.size;
            let consistency = reader.consistency_proof(from, size)?;
            Ok(RotationLine {
                record: record_line(reader, recorded.record, size)?,
                consistency: consistency.iter().map(ToString::to_string).collect(),
            })
        })
        .collect()
}

/// The verifier, following the keys through the history in the first line of an evidence file. Every
/// rotation was found signed, in the log, and after the tree that it names; and the checkpoint in
/// the line is believed.
///
/// # Errors
/// [`HistoryError`]: the keys are as they were.
pub fn follow(first_line: &[u8], verifier: &LogVerifier) -> Result<LogVerifier, HistoryError> {
    let manifest: Manifest =
        serde_json::from_slice(first_line).map_err(|e| HistoryError::Manifest(e.to_string()))?;
    if manifest.format != FORMAT {
        return Err(HistoryError::Manifest(format!("format {:?}", manifest.format)));
    }
    follow_manifest(&manifest, verifier)
}

pub(super) fn follow_manifest(
    manifest: &Manifest,
    verifier: &LogVerifier,
) -> Result<LogVerifier, HistoryError> {
    let mut rotations = Vec::with_capacity(manifest.rotations.len());
    for line in &manifest.rotations {
        let index = line.record.index;
        let rotation = read(line).map_err(|what| HistoryError::Record { index, what })?;
        rotations.push((LeafIndex(index), rotation));
    }
    let following = match verifier.clone().with_history(&rotations) {
        // It may be signed by the pinned keys all the same.
        Err(RotationError::Stranger) if verifier.open(manifest.checkpoint.as_bytes()).is_ok() => {
            return Ok(verifier.clone());
        }
        other => other?,
    };
    let checkpoint = following.open(manifest.checkpoint.as_bytes())?;
    for (line, (index, rotation)) in manifest.rotations.iter().zip(&rotations) {
        prove(line, *index, rotation, &checkpoint)?;
    }
    Ok(following)
}

fn read(line: &RotationLine) -> Result<KeyRotation, String> {
    let header = Header::decode(&base64(&line.record.record, "record")?);
    let header = header.map_err(|e| e.to_string())?;
    let payload = opened(&line.record, &header)?.ok_or("its payload is not in the file")?;
    rotation::read(&Place::of(&header), &payload)
}

fn prove(
    line: &RotationLine,
    index: LeafIndex,
    rotation: &KeyRotation,
    checkpoint: &Checkpoint,
) -> Result<(), HistoryError> {
    let record = |what| HistoryError::Record { index: index.0, what };
    let proof = |error| HistoryError::Proof { index: index.0, error };
    let leaf = leaf_hash(&base64(&line.record.record, "record").map_err(record)?);
    let inclusion = hashes(&line.record.proof).map_err(record)?;
    verify_inclusion(leaf, index, checkpoint.size, &inclusion, checkpoint.root).map_err(proof)?;
    let consistency = hashes(&line.consistency).map_err(record)?;
    let (size, root) = (checkpoint.size, checkpoint.root);
    if rotation.size == TreeSize::EMPTY && rotation.root == stele_merkle::EMPTY_ROOT {
        return Ok(());
    }
    verify_consistency(rotation.size, rotation.root, size, root, &consistency).map_err(proof)
}

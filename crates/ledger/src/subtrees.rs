//! Cosignatures of subtrees (`sign-subtree` of C2SP tlog-witness): of a tree that a cosigner has
//! cosigned before, it cosigns any part that is shown to be of it.
//!
//! Invariant: nothing is stored, and no subtree is cosigned that is not in a tree that was.

use stele_merkle::witness::{Refusal, SignSubtree};
use stele_merkle::{Checkpoint, Note, NoteError, Signature};

use crate::CosignerKey;
use crate::witness::{LastCosigned, WitnessError};

/// What becomes of a request to cosign a subtree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubtreeDecision {
    /// The cosignatures.
    Cosigned(Vec<Signature>),
    /// The checkpoint is not one that was cosigned lately, and carries no cosignature of this
    /// cosigner: the note of one that was.
    Unknown(String),
    /// The request is refused.
    Refused(Refusal),
}

/// Decides a request by the cosigner's key and by the checkpoints that it has cosigned lately, the
/// newest first; `known` gives none for a log that it does not know.
pub(crate) fn decide(
    body: &[u8],
    key: &CosignerKey,
    known: impl FnOnce(&str) -> Result<Option<Vec<LastCosigned>>, WitnessError>,
) -> Result<SubtreeDecision, WitnessError> {
    let refused = |refusal| Ok(SubtreeDecision::Refused(refusal));
    let request = match SignSubtree::parse(body) {
        Ok(request) => request,
        Err(error) => return refused(Refusal::Malformed(error.to_string())),
    };
    let checkpoint = match Checkpoint::parse_form(&request.checkpoint) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return refused(Refusal::Malformed(error.to_string())),
    };
    let SignSubtree { subtree, hash, ref proof, .. } = request;
    let Checkpoint { origin, size, root } = &checkpoint;
    if subtree.end() > size.0 {
        let what = format!("the subtree ends after the checkpoint's {size} leaves");
        return refused(Refusal::Malformed(what));
    }
    let Some(known) = known(origin)? else {
        return refused(Refusal::UnknownLog { origin: origin.clone() });
    };
    if let Err(error) = subtree.verify(hash, *size, *root, proof) {
        return refused(Refusal::Inconsistent(error.to_string()));
    }
    match cosigned_before(&request, key) {
        Ok(true) => {}
        Err(error) => return refused(Refusal::Untrusted(error)),
        Ok(false) if known.iter().any(|last| last.checkpoint == checkpoint) => {}
        Ok(false) => {
            return match known.into_iter().next() {
                Some(newest) => Ok(SubtreeDecision::Unknown(newest.note)),
                None => refused(Refusal::Untrusted(NoteError::NoKnownKey)),
            };
        }
    }
    Ok(SubtreeDecision::Cosigned(vec![key.cosign_subtree(origin, subtree, hash)?]))
}

/// Whether the checkpoint carries a cosignature of this key. A wrong one is an error.
fn cosigned_before(request: &SignSubtree, key: &CosignerKey) -> Result<bool, NoteError> {
    if request.signatures.is_empty() {
        return Ok(false);
    }
    let note = Note::new(request.checkpoint.clone(), request.signatures.clone())?;
    match note.verify(&key.verifier_keys()) {
        Ok(_) => Ok(true),
        Err(NoteError::NoKnownKey) => Ok(false),
        Err(error) => Err(error),
    }
}

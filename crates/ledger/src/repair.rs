//! Repair: what a check found damaged is put aside, and what it verified of a mirror takes its
//! place. An act of its own, never part of a check.
//!
//! Invariants: nothing is deleted, and nothing is written but bytes that were verified against a
//! signed checkpoint. Whoever calls this holds the store alone; a crash in between leaves an object
//! missing, which the next repair replaces.

use bytes::Bytes;
use stele_store::{ObjectName, Quarantine, Store, StoreError};

use crate::format::digest_of;
use crate::fsck::{FsckOutcome, Remedy, Replacement};

/// Why a repair ended early. What was replaced before is done; check again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The mirror no longer gives what was verified. Nothing was put in its place; check again.
    #[error("the mirror gives another {0} than the one that was verified")]
    MirrorChanged(ObjectName),
    /// What was written does not read back. The device is not to be trusted.
    #[error("{0} does not read back as it was written")]
    NotReadBack(ObjectName),
    /// The store or the mirror failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What one replacement did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// The object or hint that was replaced.
    pub name: ObjectName,
    /// Where the damaged bytes are kept; none if there were none.
    pub kept: Option<String>,
}

/// Puts every replacement of a check in its place, and notes that with the problems it ends.
///
/// # Errors
/// [`RepairError`].
pub fn repair(
    store: &dyn Quarantine,
    mirror: &dyn Store,
    outcome: &mut FsckOutcome,
) -> Result<Vec<Repaired>, RepairError> {
    let mut done = Vec::with_capacity(outcome.replacements.len());
    for replacement in std::mem::take(&mut outcome.replacements) {
        let kept = replace(store, mirror, &replacement)?;
        for problem in &replacement.problems {
            outcome.report.problems[*problem].remedy = Some(Remedy::Done);
        }
        done.push(Repaired { name: replacement.name, kept });
    }
    Ok(done)
}

fn replace(
    store: &dyn Quarantine,
    mirror: &dyn Store,
    replacement: &Replacement,
) -> Result<Option<String>, RepairError> {
    let Replacement { name, hint, digest, .. } = replacement;
    let bytes = if *hint { mirror.read_hint(name)? } else { Some(mirror.read(name)?) };
    let is_it = |bytes: &Bytes| digest_of(&[bytes]) == *digest;
    let bytes = bytes.filter(is_it).ok_or_else(|| RepairError::MirrorChanged(name.clone()))?;
    if *hint {
        store.put_hint(name, &bytes)?;
        return Ok(None);
    }
    let kept = store.quarantine(name)?;
    store.put_new(name, &[&bytes])?;
    if is_it(&store.read(name)?) { Ok(kept) } else { Err(RepairError::NotReadBack(name.clone())) }
}

//! The keys of a log through time: how a key is replaced, and the records that say so.
//!
//! A rotation has one possible place: the ledger's own source writes it in a last boot of its own,
//! after which no other boot of that source is taken in. So it is found without a search, and there
//! is at most one for each key, whoever writes.
//!
//! Not here: the statement itself and what a verifier makes of it (`stele_merkle::rotation`).

use std::sync::Arc;
use std::time::Duration;

use stele_merkle::{KeyRotation, LeafIndex, LogSigner, LogVerifier, RotationError};
use stele_record::{Boot, Kind, Seq, SourceId, Submission};
use stele_store::{Clock, Store};

use crate::append::BOOT_MAX;
use crate::fsck::Place;
use crate::ledger_core::LedgerCore;
use crate::own::OwnSource;
use crate::{Ledger, LedgerError, LedgerOptions, LogInfo, LogKey, ReadError, Reader, StoredRecord};

/// The boot in which a source of the ledger records that it is the last.
pub(crate) const ROTATION_BOOT: Boot = BOOT_MAX;
/// The record of that boot that is the rotation; the declaration is before it.
const ROTATION_SEQ: Seq = Seq(1);

/// A rotation of the log's keys, as it is recorded.
#[derive(Debug, Clone)]
pub struct RecordedRotation {
    /// What it says; its signatures were checked.
    pub rotation: KeyRotation,
    /// The record.
    pub record: StoredRecord,
}

impl RecordedRotation {
    /// Where it is in the log, and what it says.
    pub fn entry(&self) -> (LeafIndex, KeyRotation) {
        (self.record.index, self.rotation.clone())
    }
}

/// Reads the rotation in a record.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(place: &Place, payload: &[u8]) -> Result<KeyRotation, String> {
    let rotation = KeyRotation::parse(payload).map_err(|e| e.to_string())?;
    let Place { source, boot, seq, kind } = *place;
    if (kind, boot, seq) != (Kind::KEY_ROTATION, ROTATION_BOOT, ROTATION_SEQ) {
        return Err("a rotation of keys is recorded in another place".to_owned());
    }
    if rotation.source != *source.as_bytes() {
        return Err("a rotation of keys that another source recorded".to_owned());
    }
    Ok(rotation)
}

impl Ledger {
    /// Replaces the log's key by `new`: records the statement of both, and signs the checkpoint over
    /// it with both. Gives the statement's place in the log. Whoever has the ledger open with the
    /// old key stops when it takes the statement in. If it was done before, this only finds it; so
    /// it may be repeated after a crash.
    ///
    /// # Errors
    /// [`LedgerError::NotRotated`], or as [`Ledger::open`]. The old key stays then, unless what could
    /// not be finished is found by a repeat with the same new key.
    pub fn rotate_key(
        store: Arc<dyn Store>,
        old: &LogKey,
        new: &LogKey,
        clock: Arc<dyn Clock>,
        options: LedgerOptions,
    ) -> Result<LeafIndex, LedgerError> {
        if old.origin() != new.origin() {
            let (key, ledger) = (new.origin().to_owned(), old.origin().to_owned());
            return Err(LedgerError::WrongKey { key, ledger });
        }
        // Nothing of the old source may come after the statement.
        let options = LedgerOptions { checkpoint_record_pause: Duration::MAX, ..options };
        let both = old.signer()?.with_successor(new.signer()?);
        let opened =
            LedgerCore::open_signing(Arc::clone(&store), old, both, Arc::clone(&clock), &options);
        let core = match opened {
            Err(LedgerError::RetiredKey { .. }) => {
                // Is it this key that has replaced it? Opening says so.
                let ledger = Self::open(store, new, clock, options)?;
                let last = ledger.rotations()?.pop().map(|last| last.record.index);
                return last.ok_or_else(|| LedgerError::NotRotated("it is not recorded".into()));
            }
            other => other?,
        };
        let ledger = Self::start(core, old.signer()?, Arc::clone(&clock), options)?;
        let latest = ledger.checkpoint();
        let submission =
            OwnSource::rotation(old, new, &latest, clock.now()).map_err(LedgerError::NotRotated)?;
        check_rotation(&ledger, &submission).map_err(LedgerError::NotRotated)?;
        let recorded = ledger.append_own(submission);
        let recorded = recorded.map_err(|error| LedgerError::NotRotated(error.to_string()))?;
        ledger.close();
        // The declaration comes first.
        Ok(LeafIndex(recorded.first_index.0 + 1))
    }
}

/// Whether the signer's key is the one that signs this log now.
pub(crate) fn check_key(
    reader: &Reader,
    first: &LogVerifier,
    signer: &LogSigner,
) -> Result<(), LedgerError> {
    let following = reader.following(first)?;
    let keys = signer.verifier_keys();
    if following.current_keys() == keys {
        return Ok(());
    }
    let ledger = reader.origin().to_owned();
    let retired = reader.rotations()?.into_iter().find(|recorded| recorded.rotation.old == keys);
    Err(match retired {
        Some(recorded) => LedgerError::RetiredKey { ledger, rotated_at: recorded.record.index },
        None => LedgerError::WrongKey { key: signer.origin().to_owned(), ledger },
    })
}

/// Whether a log with this rotation at its end would be opened again.
fn check_rotation(ledger: &Ledger, submission: &Submission) -> Result<(), String> {
    let statement = submission.records.get(1).map(|record| &record.payload[..]);
    let rotation = KeyRotation::parse(statement.unwrap_or_default()).map_err(|e| e.to_string())?;
    let recorded = ledger.rotations().map_err(|e| e.to_string())?;
    let mut history: Vec<_> = recorded.iter().map(RecordedRotation::entry).collect();
    history.push((LeafIndex(rotation.size.0 + 1), rotation));
    let pinned = LogVerifier::new(ledger.verifier().keys().to_vec());
    pinned.with_history(&history).map(drop).map_err(|e| e.to_string())
}

impl Reader {
    /// All rotations of the log's keys, in order. Each was checked: its signatures, and that the tree
    /// before it is the one that it names.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`] if one is not what its place is for.
    pub fn rotations(&self) -> Result<Vec<RecordedRotation>, LedgerError> {
        let info = LogInfo::load(self.store())?;
        let corrupt = |record, what: String| LedgerError::Corrupt {
            object: "the log's keys".to_owned(),
            record,
            what,
        };
        let first: Result<SourceId, _> = info.source.parse();
        let mut source = first.map_err(|e| corrupt(None, e.to_string()))?;
        let mut found = Vec::new();
        while let Some(index) = self.find(&source, ROTATION_BOOT, ROTATION_SEQ)? {
            let record = self.read(index)?;
            let wrong = |what: String| corrupt(Some(index.0), what);
            let payload = record.payload.as_deref().unwrap_or_default();
            let rotation = read(&Place::of(&record.header), payload).map_err(wrong)?;
            if rotation.origin != self.origin() {
                return Err(wrong("a rotation of another log's keys".to_owned()));
            }
            if rotation.size.0 > index.0 || self.root(rotation.size)? != rotation.root {
                let size = rotation.size;
                return Err(wrong(format!("the rotation was made for another tree of {size}")));
            }
            source = SourceId::from_bytes(rotation.next_source);
            found.push(RecordedRotation { rotation, record });
        }
        Ok(found)
    }

    /// The verifier, following the keys through this log's history. One whose keys are not in it
    /// stays as it is, and believes nothing of this log.
    ///
    /// # Errors
    /// As [`Reader::rotations`].
    pub fn following(&self, verifier: &LogVerifier) -> Result<LogVerifier, LedgerError> {
        let rotations: Vec<_> = self.rotations()?.iter().map(RecordedRotation::entry).collect();
        follow(verifier, &rotations)
    }
}

/// See [`Reader::following`].
pub(crate) fn follow(
    verifier: &LogVerifier,
    rotations: &[(LeafIndex, KeyRotation)],
) -> Result<LogVerifier, LedgerError> {
    match verifier.clone().with_history(rotations) {
        Ok(following) => Ok(following),
        Err(RotationError::Stranger) => Ok(verifier.clone()),
        Err(error) => {
            let (object, what) = ("the log's keys".to_owned(), error.to_string());
            Err(ReadError::Corrupt { object, record: None, what }.into())
        }
    }
}

//! A mirror of leaves (C2SP tlog-mirror): takes the entries of logs that are pushed to it, each shown
//! to be in a checkpoint that the log signed, serves them, and cosigns what it holds whole.
//!
//! ```text
//! pending/<log>/<number>                   checkpoints that entries are proven by, as a witness keeps them
//! mirrored/<log>/tiles-<level>/<number>    full tiles of hashes
//! mirrored/<log>/bundles/<number>          full bundles of entries
//! mirrored/<log>/partial/<size>            the entries after the last full bundle, up to a size
//! mirrored/<log>/checkpoints/<size>        what was cosigned
//! ```
//!
//! `<log>` is the SHA-256 of the origin in hexadecimal. A bundle is created after its tiles, so what
//! stands under `bundles` is whole; a partial one is retired when one that has its entries is there.
//!
//! Not here: HTTP; records and payloads, of which a log's own mirror keeps a copy
//! ([`Mirror`](crate::Mirror)); a minimum index above 0.
//! Invariants: no entry is stored that was not proven to be in a pending checkpoint, and all pending
//! checkpoints of a log continue each other; nothing is cosigned before every entry of it is durable.
//! One process owns the store.

mod entries;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stele_merkle::mirror::{MirrorInfo, Package, PackageRange};
use stele_merkle::tile::TilePath;
use stele_merkle::witness::Refusal;
use stele_merkle::{Checkpoint, Note, SignError, Signature, TreeSize, VerifierKey};
use stele_store::{Clock, Store, StoreError};

use crate::info::numbered;
use crate::subtrees::{self, SubtreeDecision};
use crate::witness::{Decision, LastCosigned, Witness, WitnessError, origin_hash};
use crate::{CosignerKey, ReadError};
use entries::Entries;

/// Cosigned checkpoints of one log that are kept.
const KEPT_MAX: u64 = 16;

/// Why a request could not be decided. It may be sent again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeafMirrorError {
    /// What is stored cannot be read, or is not what this mirror stored.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The checkpoints cannot be read or kept.
    #[error(transparent)]
    Checkpoints(#[from] WitnessError),
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl From<StoreError> for LeafMirrorError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// What becomes of an upload, or of a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadDecision {
    /// Every entry of the pending checkpoint is held, and it is cosigned: one line for each key.
    Cosigned {
        /// Size of the checkpoint.
        size: TreeSize,
        /// The cosignatures.
        lines: Vec<Signature>,
    },
    /// The upload does not start or end where this mirror is.
    Conflict(MirrorInfo),
    /// The upload is refused.
    Refused(Refusal),
}

/// An upload whose begin was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    origin: String,
    pending: LastCosigned,
}

/// A mirror of leaves. All its calls block; any number may run at once.
pub struct LeafMirror {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    key: CosignerKey,
    keys: Vec<VerifierKey>,
    pending: Witness,
    logs: BTreeMap<String, Mutex<Entries>>,
}

impl std::fmt::Debug for LeafMirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeafMirror").field("key", &self.key).finish_non_exhaustive()
    }
}

impl LeafMirror {
    /// Opens a mirror with this key for the logs of these keys; the name of a log's key is its origin.
    /// Keys that a log has `replaced` are believed in what is stored, and in nothing new.
    ///
    /// # Errors
    /// [`LeafMirrorError::Read`] if what is stored is not whole.
    pub fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        key: CosignerKey,
        logs: impl IntoIterator<Item = VerifierKey>,
        replaced: impl IntoIterator<Item = VerifierKey>,
    ) -> Result<Self, LeafMirrorError> {
        let pending = Witness::pending(Arc::clone(&store), Arc::clone(&clock), logs, replaced);
        let mut logs = BTreeMap::new();
        for origin in pending.origins() {
            let entries = Entries::open(Arc::clone(&store), directory(origin))?;
            logs.insert(origin.to_owned(), Mutex::new(entries));
        }
        let keys = key.verifier_keys();
        Ok(Self { store, clock, key, keys, pending, logs })
    }

    /// The public keys: Ed25519, then ML-DSA-44.
    pub fn verifier_keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// The logs it mirrors.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.logs.keys().map(String::as_str)
    }

    /// Why the mirror takes nothing more, if it does not.
    pub fn stopped(&self) -> Option<&str> {
        self.pending.stopped()
    }

    /// Decides an `add-checkpoint` request as a witness does, but cosigns nothing: the checkpoint is
    /// what entries are proven by from now on.
    ///
    /// # Errors
    /// [`LeafMirrorError`].
    pub fn add_checkpoint(&self, body: &[u8]) -> Result<Decision, LeafMirrorError> {
        Ok(self.pending.add_checkpoint(body)?)
    }

    /// Decides the begin of an upload that starts at `start` and ends at `end`.
    ///
    /// # Errors
    /// [`LeafMirrorError`]; in the value, an upload that cannot begin.
    pub fn begin(
        &self,
        origin: &str,
        start: u64,
        end: TreeSize,
    ) -> Result<Result<Upload, UploadDecision>, LeafMirrorError> {
        if !self.logs.contains_key(origin) {
            let refusal = Refusal::UnknownLog { origin: origin.to_owned() };
            return Ok(Err(UploadDecision::Refused(refusal)));
        }
        let pending = self.pending.recent(origin)?;
        let held = self.latest_of(origin)?.map_or(TreeSize::EMPTY, |last| last.checkpoint.size);
        let of_this_size = pending.iter().find(|last| last.checkpoint.size == end);
        match of_this_size.filter(|_| end >= held && start <= self.entries(origin).next()) {
            Some(pending) => Ok(Ok(Upload { origin: origin.to_owned(), pending: pending.clone() })),
            None => {
                let newest = pending.first().map_or(TreeSize::EMPTY, |last| last.checkpoint.size);
                let size = if of_this_size.is_some() && end >= held { end } else { newest };
                Ok(Err(UploadDecision::Conflict(self.info_of(origin, size))))
            }
        }
    }

    /// Stores the entries of a package, once its proof shows that they are of the pending checkpoint.
    ///
    /// # Errors
    /// [`LeafMirrorError`]; in the value, why the package is refused.
    pub fn take(
        &self,
        upload: &Upload,
        range: PackageRange,
        package: &Package<'_>,
    ) -> Result<Result<(), Refusal>, LeafMirrorError> {
        let Checkpoint { size, root, .. } = upload.pending.checkpoint;
        let mut entries = self.entries(&upload.origin);
        let Some(bundle) = entries.joined(range, package)? else {
            let what = "its entries do not follow those that are held".to_owned();
            return Ok(Err(Refusal::Malformed(what)));
        };
        let proven = range.subtree().verify(bundle.root(), size, root, &package.proof);
        match proven {
            Ok(()) => entries.keep(&bundle).map(Ok).map_err(LeafMirrorError::from),
            Err(error) => Ok(Err(Refusal::Inconsistent(error.to_string()))),
        }
    }

    /// How far the mirror is, for whoever sent a part of an upload.
    pub fn info(&self, upload: &Upload) -> MirrorInfo {
        self.info_of(&upload.origin, upload.pending.checkpoint.size)
    }

    fn info_of(&self, origin: &str, size: TreeSize) -> MirrorInfo {
        MirrorInfo { size, next: self.entries(origin).next(), ticket: Vec::new() }
    }

    /// Whether every entry of the upload's checkpoint is held.
    pub fn is_whole(&self, upload: &Upload) -> bool {
        self.entries(&upload.origin).next() >= upload.pending.checkpoint.size.0
    }

    /// Cosigns the upload's checkpoint, all of whose entries are held, and makes it the one that is
    /// served.
    ///
    /// # Errors
    /// [`LeafMirrorError`].
    pub fn finish(&self, upload: &Upload) -> Result<UploadDecision, LeafMirrorError> {
        let Upload { origin, pending } = upload;
        let checkpoint = &pending.checkpoint;
        // Held until the checkpoint stands, so that no smaller one is cosigned after it.
        let entries = self.entries(origin);
        let last = self.latest_of(origin)?;
        let (held, before) =
            last.as_ref().map_or((TreeSize::EMPTY, 1), |last| (last.checkpoint.size, last.time_s));
        if checkpoint.size < held || entries.next() < checkpoint.size.0 {
            let info = MirrorInfo { size: held, next: entries.next(), ticket: Vec::new() };
            return Ok(UploadDecision::Conflict(info));
        }
        let directory = format!("{}/checkpoints", directory(origin));
        let name = numbered(&directory, checkpoint.size.0);
        if stele_merkle::root(checkpoint.size, &*entries)? != checkpoint.root {
            let what = "the entries that are held do not give the root that is to be cosigned";
            return Err(ReadError::corrupt(&name, None, what).into());
        }
        if let Some(last) = last.filter(|last| last.checkpoint == *checkpoint) {
            let lines = self.own_lines(&last.note, &name)?;
            return Ok(UploadDecision::Cosigned { size: checkpoint.size, lines });
        }
        let time_s = self.clock.now().unix_seconds().max(before);
        let log = Note::parse(pending.note.as_bytes());
        let log = log.map_err(|e| ReadError::corrupt(&name, None, e.to_string()))?;
        let lines = self.key.cosign(log.text(), time_s)?;
        let signatures = log.signatures().iter().chain(&lines).cloned().collect();
        let note = Note::new(log.text().to_owned(), signatures)
            .map_err(|e| ReadError::corrupt(&name, None, e.to_string()))?;
        self.store.put_new(&name, &[note.to_string().as_bytes()])?;
        self.retire_checkpoints(&directory);
        Ok(UploadDecision::Cosigned { size: checkpoint.size, lines })
    }

    /// Decides a `sign-subtree` request, by what this mirror has cosigned.
    ///
    /// # Errors
    /// [`LeafMirrorError`].
    pub fn sign_subtree(&self, body: &[u8]) -> Result<SubtreeDecision, LeafMirrorError> {
        let decided = subtrees::decide(body, &self.key, |origin| {
            let known = self.logs.contains_key(origin);
            known.then(|| self.cosigned(origin, KEPT_MAX)).transpose()
        });
        Ok(decided?)
    }

    /// The checkpoint that is served of the log whose origin has this SHA-256 in hexadecimal.
    ///
    /// # Errors
    /// [`LeafMirrorError`].
    pub fn latest(&self, origin_sha256: &str) -> Result<Option<LastCosigned>, LeafMirrorError> {
        match self.pending.origin(origin_sha256) {
            None => Ok(None),
            Some(origin) => self.latest_of(origin),
        }
    }

    /// A tile or bundle of that log, if its cosigned tree has it.
    ///
    /// # Errors
    /// [`LeafMirrorError`].
    pub fn tile(
        &self,
        origin_sha256: &str,
        path: TilePath,
    ) -> Result<Option<Vec<u8>>, LeafMirrorError> {
        let Some(origin) = self.pending.origin(origin_sha256) else { return Ok(None) };
        let size = self.latest_of(origin)?.map_or(TreeSize::EMPTY, |last| last.checkpoint.size);
        if !path.is_within(size) {
            return Ok(None);
        }
        // Not under the lock: what is served does not change.
        let entries = self.entries(origin).clone();
        Ok(Some(entries.tile(path)?))
    }

    fn entries(&self, origin: &str) -> MutexGuard<'_, Entries> {
        let entries = self.logs.get(origin).expect("invariant: asked for a log that is known");
        entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn latest_of(&self, origin: &str) -> Result<Option<LastCosigned>, LeafMirrorError> {
        Ok(self.cosigned(origin, 1)?.into_iter().next())
    }

    /// The last checkpoints that were cosigned, the newest first.
    fn cosigned(&self, origin: &str, count: u64) -> Result<Vec<LastCosigned>, WitnessError> {
        let directory = format!("{}/checkpoints", directory(origin));
        let names = self.store.list(&format!("{directory}/"), None)?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        for name in names.iter().rev().take(count) {
            let corrupt = |what: String| WitnessError::Corrupt { object: name.to_string(), what };
            let bytes = match self.store.read(name) {
                // Superseded so often meanwhile that it is gone.
                Err(StoreError::NotFound { .. }) if !found.is_empty() => continue,
                other => other?,
            };
            let note = Note::parse(&bytes).map_err(|e| corrupt(e.to_string()))?;
            let by = note.verify(&self.keys).map_err(|e| corrupt(e.to_string()))?;
            let checkpoint = Checkpoint::parse(note.text()).map_err(|e| corrupt(e.to_string()))?;
            let size = name.number_in(&directory);
            if checkpoint.origin != origin || size != Some(checkpoint.size.0) {
                return Err(corrupt("it is not the checkpoint that its name says".to_owned()));
            }
            let time_s = by.iter().filter_map(|by| by.time).max().unwrap_or(1);
            found.push(LastCosigned { checkpoint, note: note.to_string(), time_s });
        }
        Ok(found)
    }

    /// The lines of this mirror in a note of its own.
    fn own_lines(
        &self,
        note: &str,
        name: &stele_store::ObjectName,
    ) -> Result<Vec<Signature>, ReadError> {
        let corrupt = |e: stele_merkle::NoteError| ReadError::corrupt(name, None, e.to_string());
        let note = Note::parse(note.as_bytes()).map_err(corrupt)?;
        Ok(note.only_by(&self.keys).map_err(corrupt)?.signatures().to_vec())
    }

    /// Retires checkpoints that later ones have superseded. Should that fail, the next one does it.
    fn retire_checkpoints(&self, directory: &str) {
        let Ok(names) = self.store.list(&format!("{directory}/"), None) else { return };
        let kept = usize::try_from(KEPT_MAX).unwrap_or(usize::MAX);
        for name in names.iter().rev().skip(kept) {
            if let Err(error) = self.store.retire(name) {
                tracing::warn!(object = %name, %error, "a superseded checkpoint cannot be retired");
            }
        }
    }
}

/// Where the entries and cosigned checkpoints of a log are.
fn directory(origin: &str) -> String {
    format!("mirrored/{}", origin_hash(origin))
}

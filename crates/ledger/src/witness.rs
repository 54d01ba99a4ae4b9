//! The witness (C2SP tlog-witness): cosigns checkpoints of logs it knows, each only if its tree
//! continues the one it cosigned last.
//!
//! ```text
//! cosigned/<hex SHA-256 of the origin>/<number>    the note as it was cosigned, with both signatures
//! ```
//!
//! The object with the highest number is the last cosigned checkpoint. To cosign is to create the
//! next number: whoever loses it has not cosigned, reads again, and answers by what is there now.
//! Nothing is kept in memory between two requests, so several witnesses may share a store.
//!
//! Not here: HTTP, how a log asks ([`crate::cosigning`]), and subtrees ([`SubtreeDecision`]).
//! Invariant: no cosignature leaves before its checkpoint is durable as the last one, so of any two
//! that left, one tree continues the other; also across crashes and between processes.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};
use stele_merkle::witness::{AddCheckpoint, Refusal};
use stele_merkle::{
    Checkpoint, EMPTY_ROOT, Hash, Note, SignError, Signature, TreeSize, VerifierKey,
    verify_consistency,
};
use stele_store::{Clock, ObjectName, Store, StoreError};

use crate::CosignerKey;
use crate::info::numbered;
use crate::subtrees::{self, SubtreeDecision};

const DIRECTORY: &str = "cosigned";

/// Where a mirror keeps the checkpoints that it has not all entries of; nobody cosigns these.
const PENDING: &str = "pending";

/// Cosigned checkpoints of one log that are kept. The last one alone is needed; a few before it tell
/// people what happened.
const KEPT_MAX: u64 = 16;

/// How often a request is decided anew because another one was cosigned meanwhile.
const RACES_MAX: usize = 64;

/// Why a request could not be decided. Nothing was cosigned, as far as anybody is told; the same
/// request may be sent again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// What is stored is not what this witness cosigned. It does not cosign for this log until its
    /// operator has restored the object: cosigning anything could contradict what it did before.
    #[error("{object}: {what}")]
    Corrupt {
        /// The object at fault.
        object: String,
        /// The fault.
        what: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Too many requests for the same log at once.
    #[error("too many requests for this log at once")]
    Contended,
    /// The store failed in a way after which nothing it says can be relied on. Restart the witness.
    #[error("the witness has stopped: {0}")]
    Stopped(String),
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The checkpoint is cosigned, and durable as the last one.
    Cosigned {
        /// The checkpoint.
        checkpoint: Checkpoint,
        /// The cosignatures, one for each key of the witness.
        lines: Vec<Signature>,
    },
    /// The last cosigned tree has another size than the request says; 0 if there is none.
    OtherSize(TreeSize),
    /// The request is refused.
    Refused(Refusal),
}

/// The last checkpoint that was cosigned for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastCosigned {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The note, with the signatures of the log and of the witness.
    pub note: String,
    /// When it was cosigned, in seconds since the Unix epoch.
    pub time_s: u64,
}

/// A witness. All its calls block; any number may run at once.
pub struct Witness {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    directory: &'static str,
    /// None where checkpoints are kept and not cosigned.
    key: Option<CosignerKey>,
    /// One of these has signed what is stored.
    keys: Vec<VerifierKey>,
    /// Trusted keys by origin.
    logs: BTreeMap<String, Vec<VerifierKey>>,
    stopped: OnceLock<String>,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Witness {
    /// The witness with this key for the logs of these keys; the name of a log's key is its origin.
    /// Keys of one name belong to one log.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        key: CosignerKey,
        logs: impl IntoIterator<Item = VerifierKey>,
    ) -> Self {
        let keys = key.verifier_keys();
        let logs = by_origin(logs);
        let stopped = OnceLock::new();
        Self { store, clock, directory: DIRECTORY, key: Some(key), keys, logs, stopped }
    }

    /// Who decides in the same way, and cosigns nothing: the pending checkpoints of a mirror. Keys that
    /// were replaced are believed in what is stored, and in nothing new.
    pub(crate) fn pending(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        logs: impl IntoIterator<Item = VerifierKey>,
        replaced: impl IntoIterator<Item = VerifierKey>,
    ) -> Self {
        let logs = by_origin(logs);
        let keys = logs.values().flatten().cloned().chain(replaced).collect();
        let stopped = OnceLock::new();
        Self { store, clock, directory: PENDING, key: None, keys, logs, stopped }
    }

    /// The public keys: Ed25519, then ML-DSA-44.
    pub fn verifier_keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// The logs it cosigns for.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.logs.keys().map(String::as_str)
    }

    /// Why the witness no longer cosigns, if it does not.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// Decides an `add-checkpoint` request, and makes the decision durable.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn add_checkpoint(&self, body: &[u8]) -> Result<Decision, WitnessError> {
        let request = match self.check(body) {
            Ok(request) => request,
            Err(refusal) => return Ok(Decision::Refused(refusal)),
        };
        for _ in 0..RACES_MAX {
            if let Some(why) = self.stopped() {
                return Err(WitnessError::Stopped(why.to_owned()));
            }
            if let Some(decision) = self.decide(&request)? {
                return Ok(decision);
            }
        }
        Err(WitnessError::Contended)
    }

    /// The last checkpoint that was cosigned for the log whose origin has this SHA-256 in hexadecimal.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn latest(&self, origin_sha256: &str) -> Result<Option<LastCosigned>, WitnessError> {
        match self.origin(origin_sha256) {
            None => Ok(None),
            Some(origin) => Ok(self.last(origin)?.map(|(_, last)| last)),
        }
    }

    /// The log whose origin has this SHA-256 in hexadecimal.
    pub(crate) fn origin(&self, origin_sha256: &str) -> Option<&str> {
        self.origins().find(|origin| origin_hash(origin) == origin_sha256)
    }

    /// The checkpoints of a log that are kept, the newest first.
    pub(crate) fn recent(&self, origin: &str) -> Result<Vec<LastCosigned>, WitnessError> {
        let directory = self.directory_of(origin);
        let names = self.store.list(&format!("{directory}/"), None)?;
        let mut recent = Vec::new();
        for name in names.iter().rev() {
            match self.store.read(name) {
                Ok(bytes) => recent.push(self.open(origin, name, &bytes)?),
                // Superseded so often meanwhile that it is gone.
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(recent)
    }

    /// Decides a `sign-subtree` request: whether a tree that was cosigned has the subtree.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn sign_subtree(&self, body: &[u8]) -> Result<SubtreeDecision, WitnessError> {
        let Some(key) = &self.key else {
            return Err(WitnessError::Stopped("there is no key to cosign with".to_owned()));
        };
        subtrees::decide(body, key, |origin| {
            self.logs.contains_key(origin).then(|| self.recent(origin)).transpose()
        })
    }

    /// All that can be checked without what was cosigned before.
    fn check(&self, body: &[u8]) -> Result<Checked, Refusal> {
        let malformed = |error: &dyn std::fmt::Display| Refusal::Malformed(error.to_string());
        let AddCheckpoint { old, proof, note } =
            AddCheckpoint::parse(body).map_err(|e| malformed(&e))?;
        let checkpoint = Checkpoint::parse_form(note.text()).map_err(|e| malformed(&e))?;
        let Some(keys) = self.logs.get(&checkpoint.origin) else {
            return Err(Refusal::UnknownLog { origin: checkpoint.origin });
        };
        note.verify(keys).map_err(Refusal::Untrusted)?;
        // Lines of others were not checked: they must not be handed on.
        let note = note.only_by(keys).map_err(Refusal::Untrusted)?;
        if old > checkpoint.size {
            return Err(Refusal::SizesReversed { old, new: checkpoint.size });
        }
        Ok(Checked { old, proof, checkpoint, note })
    }

    /// Decides by what is stored now; no answer if that has changed meanwhile.
    fn decide(&self, request: &Checked) -> Result<Option<Decision>, WitnessError> {
        let last = self.last(&request.checkpoint.origin)?;
        let (size, root) = last
            .as_ref()
            .map_or((TreeSize::EMPTY, EMPTY_ROOT), |(_, c)| (c.checkpoint.size, c.checkpoint.root));
        if request.old != size {
            return Ok(Some(Decision::OtherSize(size)));
        }
        let new = &request.checkpoint;
        let inconsistent = |what: String| Some(Decision::Refused(Refusal::Inconsistent(what)));
        if !new.is_possible() {
            return Ok(inconsistent("a tree without leaves has another root".to_owned()));
        }
        if let Err(error) = verify_consistency(size, root, new.size, new.root, &request.proof) {
            tracing::warn!(origin = new.origin, old = size.0, new = new.size.0, %error,
                "a log has signed a tree, and not shown that it continues the last one");
            return Ok(inconsistent(error.to_string()));
        }
        // Times of cosignatures do not run backwards, whatever the clock does; 0 means none.
        let before = last.as_ref().map_or(1, |(_, last)| last.time_s);
        let time_s = self.clock.now().unix_seconds().max(before);
        let text = request.note.text();
        let lines = match &self.key {
            Some(key) => key.cosign(text, time_s)?,
            None => Vec::new(),
        };
        let signatures = request.note.signatures().iter().chain(&lines).cloned().collect();
        let note = match Note::new(text.to_owned(), signatures) {
            Ok(note) => note.to_string(),
            Err(error) => {
                return Ok(Some(Decision::Refused(Refusal::Malformed(error.to_string()))));
            }
        };
        let number = last.map_or(0, |(number, _)| number + 1);
        if !self.persist(&self.directory_of(&new.origin), number, note.as_bytes())? {
            return Ok(None);
        }
        Ok(Some(Decision::Cosigned { checkpoint: new.clone(), lines }))
    }

    /// The last cosigned checkpoint with its number, read from the store and checked.
    fn last(&self, origin: &str) -> Result<Option<(u64, LastCosigned)>, WitnessError> {
        let directory = self.directory_of(origin);
        let mut tries = 0;
        let (name, bytes) = loop {
            let names = self.store.list(&format!("{directory}/"), None)?;
            let Some(name) = names.into_iter().next_back() else { return Ok(None) };
            match self.store.read(&name) {
                Ok(bytes) => break (name, bytes),
                // So many were cosigned since that this one is gone.
                Err(StoreError::NotFound { .. }) if tries < RACES_MAX => tries += 1,
                Err(error) => return Err(error.into()),
            }
        };
        let number = name.number_in(&directory).ok_or_else(|| WitnessError::Corrupt {
            object: name.to_string(),
            what: "not an object's name".to_owned(),
        })?;
        Ok(Some((number, self.open(origin, &name, &bytes)?)))
    }

    /// A checkpoint of the log as it was stored, checked.
    fn open(
        &self,
        origin: &str,
        name: &ObjectName,
        bytes: &[u8],
    ) -> Result<LastCosigned, WitnessError> {
        let corrupt = |what: String| WitnessError::Corrupt { object: name.to_string(), what };
        let note = Note::parse(bytes).map_err(|e| corrupt(e.to_string()))?;
        let verified = note.verify(&self.keys).map_err(|e| corrupt(e.to_string()))?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(|e| corrupt(e.to_string()))?;
        if checkpoint.origin != origin {
            return Err(corrupt(format!("it is a checkpoint of {:?}", checkpoint.origin)));
        }
        let time_s = verified.iter().filter_map(|by| by.time).max().unwrap_or(1);
        Ok(LastCosigned { checkpoint, note: note.to_string(), time_s })
    }

    /// Where a log's checkpoints are.
    fn directory_of(&self, origin: &str) -> String {
        format!("{}/{}", self.directory, origin_hash(origin))
    }

    /// Makes a note the last cosigned one; `false` if another one has become that meanwhile.
    fn persist(&self, directory: &str, number: u64, note: &[u8]) -> Result<bool, WitnessError> {
        let name = numbered(directory, number);
        match self.store.put_new(&name, &[note]) {
            Ok(_) => {}
            Err(StoreError::Conflict { .. }) => return Ok(false),
            Err(error @ StoreError::Fatal { .. }) => {
                let why = self.stopped.get_or_init(|| error.to_string());
                return Err(WitnessError::Stopped(why.clone()));
            }
            Err(error) => match self.store.read(&name) {
                Ok(stored) if stored == note => {}
                Ok(_) => return Ok(false),
                Err(_) => return Err(error.into()),
            },
        }
        // A number is free again once its object is retired, but never the highest one: whoever was
        // so slow that it took a retired number finds a later one here.
        if !self.store.list(&format!("{directory}/"), Some(&name))?.is_empty() {
            return Ok(false);
        }
        self.retire_before(directory, number);
        Ok(true)
    }

    /// Retires what later cosignatures have superseded. Should that fail, the next one does it.
    fn retire_before(&self, directory: &str, number: u64) {
        let Ok(names) = self.store.list(&format!("{directory}/"), None) else { return };
        let superseded = |name: &ObjectName| {
            name.number_in(directory).is_some_and(|n| n.saturating_add(KEPT_MAX) <= number)
        };
        for name in names.into_iter().filter(superseded) {
            if let Err(error) = self.store.retire(&name) {
                tracing::warn!(object = %name, %error, "a superseded checkpoint cannot be retired");
            }
        }
    }
}

/// A request whose form and signatures are good.
struct Checked {
    old: TreeSize,
    proof: Vec<Hash>,
    checkpoint: Checkpoint,
    /// With lines of trusted keys alone.
    note: Note,
}

fn by_origin(keys: impl IntoIterator<Item = VerifierKey>) -> BTreeMap<String, Vec<VerifierKey>> {
    let mut logs: BTreeMap<String, Vec<VerifierKey>> = BTreeMap::new();
    for key in keys {
        let known = logs.entry(key.name().to_owned()).or_default();
        if !known.contains(&key) {
            known.push(key);
        }
    }
    logs
}

/// What stands for a log's origin in names and paths.
pub(crate) fn origin_hash(origin: &str) -> String {
    hex::encode(Sha256::digest(origin))
}

//! Checkpoints (C2SP tlog-checkpoint) and what signs them: the log itself, with Ed25519 over the
//! note and ML-DSA-44 in the form of a cosignature, and witnesses (C2SP tlog-cosignature).
//!
//! Not here: deciding that a tree may be signed. The caller does that, and must never sign two
//! trees of which one is not a prefix of the other.
//! Invariants: no extension lines are ever written. One origin is one log.

use std::fmt::Write as _;
use std::ops::Range;

use crate::hash::{EMPTY_ROOT, Hash};
use crate::key::{Algorithm, KEY_NAME_BYTES_MAX, KeyError, SigningKey, VerifierKey};
use crate::note::{Note, NoteError, Signature, Verified};
use crate::rotation::{self, KeyEpoch, KeyRotation, RotationError};
use crate::tree::{LeafIndex, TreeSize};

/// Latest time that a cosignature can carry, in seconds since the Unix epoch.
pub const TIME_MAX: u64 = i64::MAX as u64;

const COSIGNATURE_LABEL: &str = "cosignature/v1\n";
const SUBTREE_LABEL: &[u8; 12] = b"subtree/v1\n\0";
const TIME_BYTES: usize = 8;

/// Why a text is no checkpoint, or not the expected log's. Use nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The text does not have the form of a checkpoint.
    #[error("not a checkpoint: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The checkpoint is another log's.
    #[error("a checkpoint of {origin:?}, which is not the name of a key that signed it")]
    OtherLog {
        /// The origin it names.
        origin: String,
    },
}

/// A tree head: which log, how many leaves, which root.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Number of leaves.
    pub size: TreeSize,
    /// Root of the tree.
    pub root: Hash,
}

impl Checkpoint {
    /// The text of a note: origin, size and root, a line each.
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// Parses the text of a note. Extension lines are allowed and passed over.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`].
    pub fn parse(body: &str) -> Result<Self, CheckpointError> {
        let checkpoint = Self::parse_form(body)?;
        if checkpoint.is_possible() {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::Malformed { what: "its root is not that of the empty tree" })
        }
    }

    /// The same, but whether such a tree is [possible](Self::is_possible) is left to the caller: a
    /// witness tells the two faults apart.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`].
    pub fn parse_form(body: &str) -> Result<Self, CheckpointError> {
        let wrong = |what| CheckpointError::Malformed { what };
        let lines = body.strip_suffix('\n').ok_or(wrong("its last line does not end"))?;
        let mut lines = lines.split('\n');
        let origin = lines.next().filter(|o| !o.is_empty()).ok_or(wrong("it has no origin"))?;
        let size = lines.next().and_then(parse_decimal).ok_or(wrong("it has no size"))?;
        let root: Hash =
            lines.next().and_then(|r| r.parse().ok()).ok_or(wrong("it has no root hash"))?;
        if lines.any(str::is_empty) {
            return Err(wrong("it has an empty line"));
        }
        Ok(Self { origin: origin.to_owned(), size: TreeSize(size), root })
    }

    /// Whether there can be such a tree: one without leaves has one root only.
    pub fn is_possible(&self) -> bool {
        self.size != TreeSize::EMPTY || self.root == EMPTY_ROOT
    }
}

/// A decimal number without a sign and without zeros in front.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    if digits && (text == "0" || !text.starts_with('0')) { text.parse().ok() } else { None }
}

/// Splits the bytes of a timed signature into its time and the signature proper.
pub(crate) fn split_timed(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (time, signature) = bytes.split_first_chunk::<TIME_BYTES>()?;
    let time = u64::from_be_bytes(*time);
    (time <= TIME_MAX).then_some((time, signature))
}

/// The bytes that a timed signature of `key` over the checkpoint `text` at `time` is made for;
/// none if the text is no checkpoint, or its origin is too long to be cosigned.
pub(crate) fn timed_message(key: &VerifierKey, time: u64, text: &str) -> Option<Vec<u8>> {
    let checkpoint = Checkpoint::parse_form(text).ok()?;
    match key.algorithm() {
        Algorithm::Ed25519 => None,
        Algorithm::Ed25519Cosignature => {
            Some(format!("{COSIGNATURE_LABEL}time {time}\n{text}").into_bytes())
        }
        Algorithm::MlDsa44 => {
            let Checkpoint { origin, size, root } = &checkpoint;
            subtree_message(key.name(), time, origin, 0..size.0, *root)
        }
    }
}

/// What an ML-DSA-44 cosigner signs: itself, the time, the log, and a range of its leaves with their
/// root; for a tree the range from 0 to its size. Extension lines of a note are not part of it.
pub(crate) fn subtree_message(
    cosigner: &str,
    time: u64,
    origin: &str,
    leaves: Range<u64>,
    root: Hash,
) -> Option<Vec<u8>> {
    let mut message = SUBTREE_LABEL.to_vec();
    message.push(u8::try_from(cosigner.len()).ok()?);
    message.extend_from_slice(cosigner.as_bytes());
    message.extend_from_slice(&time.to_be_bytes());
    message.push(u8::try_from(origin.len()).ok()?);
    message.extend_from_slice(origin.as_bytes());
    message.extend_from_slice(&leaves.start.to_be_bytes());
    message.extend_from_slice(&leaves.end.to_be_bytes());
    message.extend_from_slice(root.as_bytes());
    Some(message)
}

/// Why a checkpoint was not signed. Nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The checkpoint names another log than the keys do. The caller has mixed up two logs.
    #[error("the keys are of {keys}, the checkpoint of {origin}")]
    OtherLog {
        /// Name of the keys.
        keys: String,
        /// The checkpoint's origin.
        origin: String,
    },
    /// What was to be signed would not be read again as a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The time is later than a cosignature can carry. The clock is wrong.
    #[error("{0} s is later than a signature can carry")]
    Time(u64),
    /// The library failed to sign. Try again; if it stays, stop the log.
    #[error("signing with {0} failed")]
    Failed(Algorithm),
}

/// The two keys of a log; signs each checkpoint with both.
#[derive(Debug)]
pub struct LogSigner {
    ed25519: SigningKey,
    ml_dsa_44: SigningKey,
    /// Signs too, while keys are being replaced.
    successor: Option<Box<Self>>,
}

impl LogSigner {
    /// The signer of the log `origin` with the keys of these seeds.
    ///
    /// # Errors
    /// [`KeyError`]: the origin is no name of a key, or a seed is refused.
    pub fn from_seed(
        origin: &str,
        ed25519: &[u8; 32],
        ml_dsa_44: &[u8; 32],
    ) -> Result<Self, KeyError> {
        Ok(Self {
            ed25519: SigningKey::from_seed(origin, Algorithm::Ed25519, ed25519)?,
            ml_dsa_44: SigningKey::from_seed(origin, Algorithm::MlDsa44, ml_dsa_44)?,
            successor: None,
        })
    }

    /// The same, with the lines of the keys that replace these after its own: what is signed while
    /// keys are being replaced is believed by those who know either.
    #[must_use]
    pub fn with_successor(self, successor: Self) -> Self {
        Self { successor: Some(Box::new(successor)), ..self }
    }

    /// Whether it signs with the keys that replace its own too.
    pub const fn has_successor(&self) -> bool {
        self.successor.is_some()
    }

    pub(crate) fn signing_keys(&self) -> [&SigningKey; 2] {
        [&self.ed25519, &self.ml_dsa_44]
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        self.ed25519.verifier_key().name()
    }

    /// The public keys: Ed25519, then ML-DSA-44.
    pub fn verifier_keys(&self) -> Vec<VerifierKey> {
        vec![self.ed25519.verifier_key().clone(), self.ml_dsa_44.verifier_key().clone()]
    }

    /// The key of this algorithm, if the log has one.
    pub(crate) fn key(&self, algorithm: Algorithm) -> Option<&SigningKey> {
        [&self.ed25519, &self.ml_dsa_44]
            .into_iter()
            .find(|key| key.verifier_key().algorithm() == algorithm)
    }

    /// A verifier that believes a checkpoint of this log only if both keys signed it.
    pub fn verifier(&self) -> LogVerifier {
        LogVerifier::new(self.verifier_keys()).require_all()
    }

    /// The signed note of a checkpoint, at a time in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`SignError`]; nothing was signed then.
    pub fn sign(&self, checkpoint: &Checkpoint, time_s: u64) -> Result<String, SignError> {
        if checkpoint.origin != self.origin() {
            let origin = checkpoint.origin.clone();
            return Err(SignError::OtherLog { keys: self.origin().to_owned(), origin });
        }
        let body = checkpoint.body();
        Checkpoint::parse(&body)?;
        let plain = self
            .ed25519
            .sign_bytes(body.as_bytes())
            .ok_or(SignError::Failed(Algorithm::Ed25519))?;
        let plain = Signature::of(self.ed25519.verifier_key(), plain);
        let timed = cosign(&self.ml_dsa_44, &body, time_s)?;
        let mut note = body.clone();
        // Writing to a string does not fail.
        let _ = write!(note, "\n{plain}\n{timed}\n");
        if let Some(successor) = &self.successor {
            let signed = successor.sign(checkpoint, time_s)?;
            note.push_str(&signed[body.len() + 1..]);
        }
        Ok(note)
    }
}

/// The line with which a key of a timed algorithm cosigns the checkpoint in `body`: what a witness
/// adds to a note. The caller has checked that the tree continues the last one cosigned.
///
/// # Errors
/// [`SignError`]; nothing was signed then.
pub fn cosign(key: &SigningKey, body: &str, time_s: u64) -> Result<Signature, SignError> {
    if time_s > TIME_MAX {
        return Err(SignError::Time(time_s));
    }
    let algorithm = key.verifier_key().algorithm();
    let origin = Checkpoint::parse(body)?.origin;
    if origin.len() > KEY_NAME_BYTES_MAX {
        let what = "its origin is longer than 255 bytes";
        return Err(CheckpointError::Malformed { what }.into());
    }
    let message =
        timed_message(key.verifier_key(), time_s, body).ok_or(SignError::Failed(algorithm))?;
    let signature = key.sign_bytes(&message).ok_or(SignError::Failed(algorithm))?;
    let mut bytes = time_s.to_be_bytes().to_vec();
    bytes.extend_from_slice(&signature);
    Ok(Signature::of(key.verifier_key(), bytes))
}

/// A checkpoint that is believed, and the keys that signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedCheckpoint {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The known keys that signed it, never none.
    pub signatures: Vec<Verified>,
}

impl OpenedCheckpoint {
    /// The latest time that a key of the log signed along, in seconds since the Unix epoch.
    pub fn time(&self) -> Option<u64> {
        self.signatures.iter().filter_map(|s| s.time).max()
    }
}

/// Believes checkpoints of one log by its public keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogVerifier {
    keys: Vec<VerifierKey>,
    all: bool,
    /// Empty where no rotation is known. Else the keys of all times, of which one set has `keys`.
    epochs: Vec<KeyEpoch>,
}

impl LogVerifier {
    /// Believes a checkpoint if at least one of these keys signed it, no line of any of them is
    /// wrong, and its origin is the name of a key that signed. Without keys nothing is believed.
    pub fn new(keys: impl IntoIterator<Item = VerifierKey>) -> Self {
        Self { keys: keys.into_iter().collect(), all: false, epochs: Vec::new() }
    }

    /// The same, but every key must have signed.
    #[must_use]
    pub fn require_all(self) -> Self {
        Self { all: true, ..self }
    }

    /// The same, following the log's keys through the rotations recorded in it, with the index of
    /// each, from the first on. A checkpoint is then believed by the keys that sign a tree of its
    /// size: those that are pinned, and before and after them all keys of the time. Whether the
    /// rotations are in the log is for the caller to check.
    ///
    /// # Errors
    /// [`RotationError`] if they are no history, or not one of the pinned keys.
    pub fn with_history(
        self,
        rotations: &[(LeafIndex, KeyRotation)],
    ) -> Result<Self, RotationError> {
        if rotations.is_empty() {
            return Ok(self);
        }
        let epochs = rotation::epochs(rotations)?;
        if !self.is_of(&epochs) {
            return Err(RotationError::Stranger);
        }
        Ok(Self { epochs, ..self })
    }

    /// The same, following the keys through the history that `other` follows, if these keys are in
    /// it: for keys of the same log that come from elsewhere.
    #[must_use]
    pub fn with_history_of(self, other: &Self) -> Self {
        if self.is_of(&other.epochs) {
            return Self { epochs: other.epochs.clone(), ..self };
        }
        self
    }

    fn is_of(&self, epochs: &[KeyEpoch]) -> bool {
        let pinned = |epoch: &KeyEpoch| self.keys.iter().all(|key| epoch.keys.contains(key));
        !self.keys.is_empty() && epochs.iter().any(pinned)
    }

    /// Whether this is a key of the log at any time, as far as is known.
    pub fn knows(&self, key: &VerifierKey) -> bool {
        self.keys.contains(key) || self.epochs.iter().any(|epoch| epoch.keys.contains(key))
    }

    /// The keys that are asked about a tree of this size.
    pub(crate) fn keys_at(&self, size: TreeSize) -> &[VerifierKey] {
        let Some(at) = self.epoch_at(size) else { return &self.keys };
        let keys = &self.epochs[at].keys;
        if self.keys.iter().all(|key| keys.contains(key)) { &self.keys } else { keys }
    }

    fn epoch_at(&self, size: TreeSize) -> Option<usize> {
        self.epochs.partition_point(|epoch| epoch.first_size <= size.0).checked_sub(1)
    }

    /// Where a key that signed a tree of this size had been replaced before, if it had.
    pub(crate) fn rotated_at(
        &self,
        key: impl Fn(&VerifierKey) -> bool,
        size: TreeSize,
    ) -> Option<LeafIndex> {
        let at = self.epoch_at(size)?;
        let retired = self.epochs[..at].iter().position(|epoch| epoch.keys.iter().any(&key))?;
        Some(LeafIndex(self.epochs[retired + 1].first_size.saturating_sub(1)))
    }

    /// The keys that were given.
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// The keys that sign now, as far as is known.
    pub fn current_keys(&self) -> &[VerifierKey] {
        self.epochs.last().map_or(&self.keys, |last| &last.keys)
    }

    /// The checkpoint in a signed note, if it is believed.
    ///
    /// # Errors
    /// [`NoteError`]: why it is not. Use nothing of the note then.
    pub fn open(&self, note: &[u8]) -> Result<Checkpoint, NoteError> {
        self.open_signed(note).map(|opened| opened.checkpoint)
    }

    /// The checkpoint in a signed note with the keys that signed it and when, if it is believed.
    ///
    /// # Errors
    /// As [`LogVerifier::open`].
    pub fn open_signed(&self, note: &[u8]) -> Result<OpenedCheckpoint, NoteError> {
        let note = Note::parse(note)?;
        if self.epochs.is_empty() {
            return open_by(&note, &self.keys, self.all);
        }
        // Which keys are to be asked follows from what they are asked about: if they have not signed
        // just this, nothing of it is used.
        let size = Checkpoint::parse(note.text())?.size;
        let keys = self.keys_at(size);
        // Of keys that are not the pinned ones all must have signed.
        let opened = open_by(&note, keys, self.all || keys != self.keys);
        opened.map_err(|error| self.retired(&note, size).unwrap_or(error))
    }

    /// Whether a key that had been replaced before the tree of this size signed it.
    fn retired(&self, note: &Note, size: TreeSize) -> Option<NoteError> {
        let at = self.epoch_at(size)?;
        self.epochs[..at].iter().zip(&self.epochs[1..]).find_map(|(epoch, next)| {
            let signed = note.verify(&epoch.keys).ok()?.into_iter().next()?;
            let rotated_at = LeafIndex(next.first_size.saturating_sub(1));
            Some(NoteError::RetiredKey { name: signed.name, id: signed.id, size, rotated_at })
        })
    }
}

fn open_by(note: &Note, keys: &[VerifierKey], all: bool) -> Result<OpenedCheckpoint, NoteError> {
    let signatures = note.verify(keys)?;
    let signed =
        |key: &&VerifierKey| signatures.iter().any(|s| s.id == key.id() && s.name == key.name());
    if let Some(key) = keys.iter().find(|key| all && !signed(key)) {
        return Err(NoteError::MissingKey { name: key.name().to_owned(), id: key.id() });
    }
    let checkpoint = Checkpoint::parse(note.text())?;
    if !signatures.iter().any(|s| s.name == checkpoint.origin) {
        return Err(CheckpointError::OtherLog { origin: checkpoint.origin }.into());
    }
    Ok(OpenedCheckpoint { checkpoint, signatures })
}

#[cfg(test)]
mod tests;

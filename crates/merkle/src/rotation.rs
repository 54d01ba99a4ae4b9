//! The statement that a log's keys are replaced: signed by the old keys and by the new ones, and
//! recorded in the log itself. From it a verifier that knows one set of keys follows to the others.
//!
//! ```text
//! stele-key-rotation/v1
//! origin <name of the log>
//! size <records of the last tree before it>
//! root <root of that tree, base64>
//! time <seconds since the Unix epoch>
//! source <id of the source that records this, 64 hexadecimal digits>
//! next-source <id of the source that takes its place>
//! old <vkey>                  one line for each old key, at least one
//! new <vkey>                  one line for each new key, at least one
//!
//! — <name> <base64 of key id and signature>      one line for each key, in the order above
//! ```
//!
//! Every signature is over the text with its last newline, whatever the key's algorithm: no
//! checkpoint, cosignature or other note begins like it.
//!
//! Not here: whether the statement is in the log, and where (crate `ledger`).
//! Invariant: a [`KeyRotation`] that was parsed is signed by all the keys that it names.

use std::fmt::Write as _;

use crate::checkpoint::{LogSigner, SignError, parse_decimal};
use crate::hash::Hash;
use crate::key::{Algorithm, SigningKey, VerifierKey};
use crate::note::{Note, NoteError, Signature};
use crate::tree::{LeafIndex, TreeSize};

/// Longest statement that is read, in bytes.
pub const ROTATION_BYTES_MAX: usize = 64 * 1024;

const FIRST_LINE: &str = "stele-key-rotation/v1";

/// Why a statement about keys, or a history of them, is not believed. Keep to the keys you know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotationError {
    /// The text does not have the form of a statement.
    #[error("not a statement about keys: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The text is no signed note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A key that is named has not signed, or its signature is wrong.
    #[error("the rotation of keys is not signed by {key}")]
    NotSigned {
        /// Name and id of the key.
        key: String,
    },
    /// The statement does not continue what came before it: a part of the history is missing, in
    /// another order, or another log's.
    #[error("the rotation of keys at record {index} does not continue the history: {what}")]
    NoContinuation {
        /// Where it is in the log.
        index: LeafIndex,
        /// What does not fit.
        what: &'static str,
    },
    /// None of the keys in the history are the ones that are pinned.
    #[error("the history of the log's keys does not have the pinned keys in it")]
    Stranger,
}

/// A statement that the keys of a log are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRotation {
    /// The log's name.
    pub origin: String,
    /// Records of a tree before the statement was recorded.
    pub size: TreeSize,
    /// Root of that tree.
    pub root: Hash,
    /// When it was made, in seconds since the Unix epoch.
    pub time_s: u64,
    /// Id of the source that records the statement; opaque here.
    pub source: [u8; 32],
    /// Id of the source that takes its place; opaque here.
    pub next_source: [u8; 32],
    /// The keys until now.
    pub old: Vec<VerifierKey>,
    /// The keys from now on.
    pub new: Vec<VerifierKey>,
}

impl KeyRotation {
    fn text(&self) -> String {
        let mut text = format!(
            "{FIRST_LINE}\norigin {}\nsize {}\nroot {}\ntime {}\nsource {}\nnext-source {}\n",
            self.origin,
            self.size,
            self.root,
            self.time_s,
            hex::encode(self.source),
            hex::encode(self.next_source)
        );
        for (word, keys) in [("old", &self.old), ("new", &self.new)] {
            for key in keys {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{word} {key}");
            }
        }
        text
    }

    /// The signed text; `old` and `new` must be the signers of the keys named.
    ///
    /// # Errors
    /// [`SignError`] if the library fails, or a signer has other keys; nothing is signed then.
    pub fn sign(&self, old: &LogSigner, new: &LogSigner) -> Result<String, SignError> {
        let (olds, news) = (old.signing_keys(), new.signing_keys());
        let named = |keys: &[&SigningKey], wanted: &[VerifierKey]| {
            keys.iter().map(|key| key.verifier_key()).eq(wanted)
        };
        if !named(&olds, &self.old) || !named(&news, &self.new) {
            let (keys, origin) = (old.origin().to_owned(), self.origin.clone());
            return Err(SignError::OtherLog { keys, origin });
        }
        let text = self.text();
        let mut signed = format!("{text}\n");
        for key in olds.iter().chain(&news) {
            let public = key.verifier_key();
            let signature = key.sign_bytes(text.as_bytes());
            let signature = signature.ok_or(SignError::Failed(public.algorithm()))?;
            let _ = writeln!(signed, "{}", Signature::of(public, signature));
        }
        Ok(signed)
    }

    /// Reads a statement and checks that every key in it, old and new, has signed it.
    ///
    /// # Errors
    /// [`RotationError`]: why it is not to be believed.
    pub fn parse(bytes: &[u8]) -> Result<Self, RotationError> {
        let wrong = |what| RotationError::Malformed { what };
        if bytes.len() > ROTATION_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let note = Note::parse(bytes)?;
        let rotation = Self::parse_text(note.text()).ok_or(wrong("its lines are not as fixed"))?;
        if rotation.text() != note.text() {
            return Err(wrong("it is not in the one form that it has"));
        }
        let keys: Vec<&VerifierKey> = rotation.old.iter().chain(&rotation.new).collect();
        if keys.iter().any(|key| key.name() != rotation.origin) {
            return Err(wrong("a key has another name than the log"));
        }
        if rotation.new.iter().any(|key| rotation.old.contains(key)) {
            return Err(wrong("a new key is an old one"));
        }
        if rotation.new.iter().any(|key| key.algorithm() == Algorithm::Ed25519Cosignature) {
            return Err(wrong("a key of a witness cannot be a log's"));
        }
        let lines = note.signatures();
        for (at, key) in keys.iter().enumerate() {
            let signed = lines.get(at).is_some_and(|line| {
                line.is_by(key) && key.verifies(note.text().as_bytes(), line.bytes())
            });
            if !signed {
                let key = format!("{} ({})", key.name(), key.id());
                return Err(RotationError::NotSigned { key });
            }
        }
        if lines.len() != keys.len() {
            return Err(wrong("it has more signatures than keys"));
        }
        Ok(rotation)
    }

    fn parse_text(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let id = |digits: &str| {
            let mut id = [0; 32];
            hex::decode_to_slice(digits, &mut id).is_ok().then_some(id)
        };
        let mut rotation = Self {
            origin: field("origin")?.to_owned(),
            size: TreeSize(parse_decimal(field("size")?)?),
            root: field("root")?.parse().ok()?,
            time_s: parse_decimal(field("time")?)?,
            source: id(field("source")?)?,
            next_source: id(field("next-source")?)?,
            old: Vec::new(),
            new: Vec::new(),
        };
        for line in lines {
            let (word, key) = line.split_once(' ')?;
            match word {
                "old" if rotation.new.is_empty() => rotation.old.push(key.parse().ok()?),
                "new" => rotation.new.push(key.parse().ok()?),
                _ => return None,
            }
        }
        (!rotation.old.is_empty() && !rotation.new.is_empty()).then_some(rotation)
    }
}

/// The keys that sign the trees from one size on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyEpoch {
    /// The first size that these keys sign.
    pub(crate) first_size: u64,
    pub(crate) keys: Vec<VerifierKey>,
}

/// The keys of a log in order, out of the rotations recorded in it.
///
/// # Errors
/// [`RotationError::NoContinuation`].
pub(crate) fn epochs(
    rotations: &[(LeafIndex, KeyRotation)],
) -> Result<Vec<KeyEpoch>, RotationError> {
    let mut epochs: Vec<KeyEpoch> = Vec::new();
    let mut source = None;
    for (index, rotation) in rotations {
        let wrong = |what| Err(RotationError::NoContinuation { index: *index, what });
        if let Some(last) = epochs.last() {
            if last.keys != rotation.old {
                return wrong("its old keys are not the ones before");
            }
            if index.0 < last.first_size || rotation.size.0 < last.first_size {
                return wrong("it is not after the one before");
            }
            if source != Some(rotation.source) {
                return wrong("the source that records it is not the one that was announced");
            }
        } else {
            epochs.push(KeyEpoch { first_size: 0, keys: rotation.old.clone() });
        }
        if epochs.iter().flat_map(|epoch| &epoch.keys).any(|key| rotation.new.contains(key)) {
            return wrong("a key that was replaced comes back");
        }
        if rotation.size.0 > index.0 {
            return wrong("the tree before it holds it already");
        }
        source = Some(rotation.next_source);
        epochs.push(KeyEpoch { first_size: index.0 + 1, keys: rotation.new.clone() });
    }
    if let Some(pair) =
        epochs.windows(2).find(|pair| pair[0].keys[0].name() != pair[1].keys[0].name())
    {
        let index = LeafIndex(pair[1].first_size - 1);
        return Err(RotationError::NoContinuation { index, what: "it is another log's" });
    }
    Ok(epochs)
}

#[cfg(test)]
mod tests;

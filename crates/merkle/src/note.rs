//! Signed notes (C2SP signed-note): a text and lines of signatures over it.
//!
//! Not here: what the text of a checkpoint means (`checkpoint`).
//! Invariants: an accepted note is written again byte for byte as it was read. A note is believed
//! only if at least one known key signed it and no line of a known key fails.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{self, CheckpointError};
use crate::key::{Algorithm, KeyId, VerifierKey, is_name};
use crate::tree::{LeafIndex, TreeSize};

/// Longest note that is read, in bytes.
pub const NOTE_BYTES_MAX: usize = 1_000_000;

/// Most signature lines of a note that is read.
pub const SIGNATURE_LINES_MAX: usize = 100;

const LINE_START: &str = "\u{2014} ";
const KEY_ID_BYTES: usize = 4;

/// Why a note is not believed. In every case: use nothing of its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// The note is longer than [`NOTE_BYTES_MAX`].
    #[error("the note has {bytes} bytes; {NOTE_BYTES_MAX} are read at most")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The note has more lines of signatures than [`SIGNATURE_LINES_MAX`].
    #[error("the note has more than {SIGNATURE_LINES_MAX} lines of signatures")]
    TooManyLines,
    /// The bytes are no signed note.
    #[error("not a signed note: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A known key's signature does not fit the text: the note was altered, or the key was used
    /// wrongly.
    #[error("the signature of {name} ({id}) is wrong")]
    WrongSignature {
        /// Name of the key.
        name: String,
        /// Id of the key.
        id: KeyId,
    },
    /// Two of the given keys have the same name and id, so a line cannot be attributed.
    #[error("two known keys have the name {name} and the id {id}")]
    AmbiguousKey {
        /// Name of the keys.
        name: String,
        /// Id of the keys.
        id: KeyId,
    },
    /// No known key signed the note.
    #[error("no known key signed the note")]
    NoKnownKey,
    /// All keys were required, and one did not sign.
    #[error("the note lacks the signature of {name} ({id})")]
    MissingKey {
        /// Name of the key.
        name: String,
        /// Id of the key.
        id: KeyId,
    },
    /// A key signed a tree that holds the record by which it was replaced: a fork, by whoever has
    /// the retired key.
    #[error(
        "{name} ({id}) signed a tree of {size} records, but was replaced by record {rotated_at}: \
         a fork, signed with a retired key"
    )]
    RetiredKey {
        /// Name of the key.
        name: String,
        /// Id of the key.
        id: KeyId,
        /// Size of the tree that it signed.
        size: TreeSize,
        /// The record that replaced it.
        rotated_at: LeafIndex,
    },
    /// The note is signed, but its text is no checkpoint of the expected log.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl NoteError {
    const fn malformed(what: &'static str) -> Self {
        Self::Malformed { what }
    }
}

/// One line of signatures: who says to have signed, and the bytes after the key id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    name: String,
    id: KeyId,
    bytes: Vec<u8>,
}

impl Signature {
    /// The line of the key `key` with these bytes after the key id.
    pub(crate) fn of(key: &VerifierKey, bytes: Vec<u8>) -> Self {
        Self { name: key.name().to_owned(), id: key.id(), bytes }
    }

    /// Parses one line, without its newline.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        let wrong = NoteError::malformed("a signature line is not `— <name> <base64>`");
        let Some((name, blob)) = line.strip_prefix(LINE_START).and_then(|l| l.split_once(' '))
        else {
            return Err(wrong);
        };
        let blob = STANDARD.decode(blob).map_err(|_| wrong.clone())?;
        let Some((id, bytes)) = blob.split_first_chunk::<KEY_ID_BYTES>() else {
            return Err(wrong);
        };
        if !is_name(name) || bytes.is_empty() {
            return Err(wrong);
        }
        let id = KeyId(u32::from_be_bytes(*id));
        Ok(Self { name: name.to_owned(), id, bytes: bytes.to_vec() })
    }

    /// Parses lines of signatures that are parted by newlines.
    pub(crate) fn parse_lines(lines: &str) -> Result<Vec<Self>, NoteError> {
        if lines.split('\n').nth(SIGNATURE_LINES_MAX).is_some() {
            return Err(NoteError::TooManyLines);
        }
        lines.split('\n').map(Self::parse).collect()
    }

    /// Name of the key that is said to have signed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of that key.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The bytes after the key id; their form depends on the key's algorithm.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the line says to be by this key.
    pub fn is_by(&self, key: &VerifierKey) -> bool {
        self.id == key.id() && self.name == key.name()
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blob = self.id.0.to_be_bytes().to_vec();
        blob.extend_from_slice(&self.bytes);
        write!(f, "{LINE_START}{} {}", self.name, STANDARD.encode(blob))
    }
}

/// A signature that fits: by which key, and at which time if it carries one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Name of the key.
    pub name: String,
    /// Id of the key.
    pub id: KeyId,
    /// What the key signs with.
    pub algorithm: Algorithm,
    /// Seconds since the Unix epoch that were signed along, by the signer's clock.
    pub time: Option<u64>,
}

/// A note that was parsed but is not believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// The note of a text and its signatures.
    ///
    /// # Errors
    /// [`NoteError`] if that is no note that [`Note::parse`] reads.
    pub fn new(text: String, signatures: Vec<Signature>) -> Result<Self, NoteError> {
        let note = Self { text, signatures };
        if Self::parse(note.to_string().as_bytes())? == note {
            Ok(note)
        } else {
            Err(NoteError::malformed("its text does not end with a newline"))
        }
    }

    /// Parses a note: UTF-8 without control characters, the text, the last empty line, lines of
    /// signatures.
    ///
    /// # Errors
    /// [`NoteError::TooLong`], [`NoteError::TooManyLines`] or [`NoteError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong { bytes: bytes.len() });
        }
        let note = str::from_utf8(bytes).map_err(|_| NoteError::malformed("it is not UTF-8"))?;
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::malformed("it has a control character"));
        }
        let split = note.rfind("\n\n").ok_or(NoteError::malformed("it has no empty line"))?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        let lines = lines
            .strip_suffix('\n')
            .ok_or(NoteError::malformed("no signature line, or the last one does not end"))?;
        Ok(Self { text: text.to_owned(), signatures: Signature::parse_lines(lines)? })
    }

    /// The same text with one more line of signatures.
    ///
    /// # Errors
    /// [`NoteError::TooManyLines`] or [`NoteError::TooLong`].
    pub fn with(&self, signature: Signature) -> Result<Self, NoteError> {
        let signatures = self.signatures.iter().cloned().chain([signature]).collect();
        Self::new(self.text.clone(), signatures)
    }

    /// The same text with only the lines by one of `keys`, one for each key and in their order: what
    /// has been checked, once [`Note::verify`] has accepted it with the same keys.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] if there is no such line.
    pub fn only_by(&self, keys: &[VerifierKey]) -> Result<Self, NoteError> {
        let line = |key| self.signatures.iter().find(|line| line.is_by(key)).cloned();
        Self::new(self.text.clone(), keys.iter().filter_map(line).collect())
    }

    /// The signed text, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines of signatures.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Checks every line that is by one of `keys` and passes over the others. Gives one answer for
    /// each key that signed, in the order of `keys`; of several times the latest.
    ///
    /// # Errors
    /// [`NoteError::WrongSignature`] if any such line does not fit, [`NoteError::NoKnownKey`] if
    /// there is none, [`NoteError::AmbiguousKey`] if it is not clear whose a line is.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<Vec<Verified>, NoteError> {
        let mut verified = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let name = || key.name().to_owned();
            match keys[..at].iter().find(|k| k.id() == key.id() && k.name() == key.name()) {
                Some(same) if same == key => continue,
                Some(_) => return Err(NoteError::AmbiguousKey { name: name(), id: key.id() }),
                None => {}
            }
            let mut times = Vec::new();
            for line in self.signatures.iter().filter(|line| line.is_by(key)) {
                let wrong = || NoteError::WrongSignature { name: name(), id: key.id() };
                times.push(self.verify_line(key, line).ok_or_else(wrong)?);
            }
            if let Some(time) = times.into_iter().max() {
                let (id, algorithm) = (key.id(), key.algorithm());
                verified.push(Verified { name: name(), id, algorithm, time });
            }
        }
        if verified.is_empty() { Err(NoteError::NoKnownKey) } else { Ok(verified) }
    }

    /// The time that the line carries, if any; no answer if the signature does not fit.
    fn verify_line(&self, key: &VerifierKey, line: &Signature) -> Option<Option<u64>> {
        if !key.algorithm().is_timed() {
            return key.verifies(self.text.as_bytes(), &line.bytes).then_some(None);
        }
        let (time, signature) = checkpoint::split_timed(&line.bytes)?;
        let message = checkpoint::timed_message(key, time, &self.text)?;
        key.verifies(&message, signature).then_some(Some(time))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for signature in &self.signatures {
            writeln!(f, "{signature}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

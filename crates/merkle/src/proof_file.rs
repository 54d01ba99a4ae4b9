//! The `.tlog-proof` file (C2SP tlog-proof): a leaf's index, its inclusion proof and the signed
//! checkpoint it leads to, in one text that is checked without the log.
//!
//! Not here: how the leaf's hash follows from a record; the caller computes it.
//! Invariant: what [`TlogProof::verify`] accepts was signed for by the log; `extra` never is.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, LogVerifier, parse_decimal};
use crate::hash::Hash;
use crate::note::{NOTE_BYTES_MAX, NoteError};
use crate::tree::LeafIndex;
use crate::verify::{PROOF_HASHES_MAX, ProofError, verify_inclusion};

/// Longest file that is read, in bytes: a note of the longest kind, and as much for the rest.
pub const PROOF_FILE_BYTES_MAX: usize = 2 * NOTE_BYTES_MAX;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// Why a proof file proves nothing. Do not believe that the leaf was logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofFileError {
    /// The file does not have the form of a tlog-proof.
    #[error("not a tlog-proof: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The checkpoint in it is not believed.
    #[error("the checkpoint in the proof is not believed")]
    Checkpoint(#[from] NoteError),
    /// The inclusion proof does not show the leaf in that checkpoint.
    #[error("the proof does not show the leaf")]
    Proof(#[from] ProofError),
}

/// The content of a proof file, not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// Bytes for the application. Nothing vouches for them.
    pub extra: Option<Vec<u8>>,
    /// Position of the leaf.
    pub index: LeafIndex,
    /// Inclusion proof, from the leaf's sibling upwards.
    pub hashes: Vec<Hash>,
    /// The signed note of the checkpoint, as the log gave it.
    pub checkpoint_note: String,
}

impl TlogProof {
    /// The text of the file.
    pub fn encode(&self) -> String {
        let mut out = format!("{FIRST_LINE}\n");
        // Writing to a string does not fail.
        if let Some(extra) = &self.extra {
            let _ = writeln!(out, "extra {}", STANDARD.encode(extra));
        }
        let _ = writeln!(out, "index {}", self.index);
        for hash in &self.hashes {
            let _ = writeln!(out, "{hash}");
        }
        let _ = write!(out, "\n{}", self.checkpoint_note);
        out
    }

    /// Parses the text of a file.
    ///
    /// # Errors
    /// [`ProofFileError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, ProofFileError> {
        let wrong = |what| ProofFileError::Malformed { what };
        if text.len() > PROOF_FILE_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let (head, note) = text.split_once("\n\n").ok_or(wrong("it has no empty line"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(wrong("its first line is not `c2sp.org/tlog-proof@v1`"));
        }
        let extra = lines.next_if(|line| line.starts_with("extra ")).map(|line| &line[6..]);
        let extra = extra
            .map(|extra| STANDARD.decode(extra).map_err(|_| wrong("`extra` is not base64")))
            .transpose()?;
        let index = lines
            .next()
            .and_then(|line| parse_decimal(line.strip_prefix("index ")?))
            .ok_or(wrong("it has no index"))?;
        let hashes = lines
            .map(|line| line.parse().map_err(|_| wrong("a line of the proof is no hash")))
            .collect::<Result<Vec<_>, _>>()?;
        if hashes.len() > PROOF_HASHES_MAX {
            return Err(wrong("it has more than 63 hashes"));
        }
        Ok(Self { extra, index: LeafIndex(index), hashes, checkpoint_note: note.to_owned() })
    }

    /// Checks that the log signed a tree with the leaf of this hash at [`TlogProof::index`], and
    /// gives that tree's checkpoint.
    ///
    /// # Errors
    /// [`ProofFileError`]: why that is not shown.
    pub fn verify(&self, leaf: Hash, log: &LogVerifier) -> Result<Checkpoint, ProofFileError> {
        let checkpoint = log.open(self.checkpoint_note.as_bytes())?;
        verify_inclusion(leaf, self.index, checkpoint.size, &self.hashes, checkpoint.root)?;
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests;

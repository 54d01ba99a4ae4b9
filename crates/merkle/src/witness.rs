//! The messages of the witness protocol (C2SP tlog-witness), as both sides read and write them.
//!
//! Not here: HTTP itself, and what a witness decides.
//! Invariant: what is written is read again as the same message; what is read is bounded.

use std::fmt::Write as _;

use crate::checkpoint::parse_decimal;
use crate::hash::Hash;
use crate::note::{Note, NoteError, Signature};
use crate::subtree::Subtree;
use crate::tree::TreeSize;
use crate::verify::PROOF_HASHES_MAX;

/// Longest `add-checkpoint` request that is read, in bytes: a proof of 63 hashes, and a checkpoint
/// with sixteen ML-DSA-44 signatures beside a hundred short ones.
pub const ADD_CHECKPOINT_BYTES_MAX: usize = 128 * 1024;

/// Longest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 128 * 1024;

/// Content type of an answer that names the size of the last cosigned tree.
pub const SIZE_CONTENT_TYPE: &str = "text/x.tlog.size";

/// Path of the call below the submission prefix.
pub const ADD_CHECKPOINT_PATH: &str = "add-checkpoint";

/// Path of the call that has a subtree cosigned.
pub const SIGN_SUBTREE_PATH: &str = "sign-subtree";

/// Most lines of cosignatures of the subtree in a request, and most signatures of its checkpoint.
pub const SUBTREE_LINES_MAX: usize = 8;

/// Most of a refusal's text that is kept, in bytes.
const REASON_BYTES_MAX: usize = 500;

/// Why bytes are no message of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The message is over its limit.
    #[error("the message has {bytes} bytes; {limit} are read at most")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The message does not have the form that it should have.
    #[error("malformed message: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The checkpoint or the signatures in it are no such.
    #[error(transparent)]
    Note(#[from] NoteError),
}

const fn malformed(what: &'static str) -> MessageError {
    MessageError::Malformed { what }
}

/// The request to cosign a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the tree that the witness is thought to have cosigned last; 0 if none.
    pub old: TreeSize,
    /// Proof that the checkpoint's tree continues that one.
    pub proof: Vec<Hash>,
    /// The checkpoint, signed by its log.
    pub note: Note,
}

impl AddCheckpoint {
    /// The body of the request.
    pub fn encode(&self) -> String {
        let mut out = format!("old {}\n", self.old);
        // Writing to a string does not fail.
        for hash in &self.proof {
            let _ = writeln!(out, "{hash}");
        }
        let _ = write!(out, "\n{}", self.note);
        out
    }

    /// Reads the body of a request. The signatures are not checked.
    ///
    /// # Errors
    /// [`MessageError`]: answer 400.
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        let (bytes, limit) = (body.len(), ADD_CHECKPOINT_BYTES_MAX);
        if bytes > limit {
            return Err(MessageError::TooLong { bytes, limit });
        }
        let body = str::from_utf8(body).map_err(|_| malformed("it is not UTF-8"))?;
        let (head, note) = body.split_once("\n\n").ok_or(malformed("it has no empty line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| parse_decimal(line.strip_prefix("old ")?));
        let old = old.ok_or(malformed("its first line is not `old <size>`"))?;
        let proof = parse_proof(lines)?;
        Ok(Self { old: TreeSize(old), proof, note: Note::parse(note.as_bytes())? })
    }
}

/// The request to cosign a subtree of a tree that was cosigned before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignSubtree {
    /// The subtree.
    pub subtree: Subtree,
    /// Its root.
    pub hash: Hash,
    /// Cosignatures of the subtree by others, with which a witness may protect itself; unchecked.
    pub cosignatures: Vec<Signature>,
    /// Proof that the checkpoint's tree has the subtree.
    pub proof: Vec<Hash>,
    /// Text of the checkpoint.
    pub checkpoint: String,
    /// Signatures of the checkpoint, unchecked; none if the witness is to know it.
    pub signatures: Vec<Signature>,
}

impl SignSubtree {
    /// The body of the request.
    pub fn encode(&self) -> String {
        let (start, end) = (self.subtree.start(), self.subtree.end());
        let mut out = format!("subtree {start} {end}\n{}\n", self.hash);
        out.push_str(&encode_cosignatures(&self.cosignatures));
        // Writing to a string does not fail.
        for hash in &self.proof {
            let _ = writeln!(out, "{hash}");
        }
        let _ = write!(out, "\n{}", self.checkpoint);
        if !self.signatures.is_empty() {
            let _ = write!(out, "\n{}", encode_cosignatures(&self.signatures));
        }
        out
    }

    /// Reads the body of a request. No signature is checked.
    ///
    /// # Errors
    /// [`MessageError`]: answer 400.
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        let (bytes, limit) = (body.len(), ADD_CHECKPOINT_BYTES_MAX);
        if bytes > limit {
            return Err(MessageError::TooLong { bytes, limit });
        }
        let body = str::from_utf8(body).map_err(|_| malformed("it is not UTF-8"))?;
        let (head, rest) = body.split_once("\n\n").ok_or(malformed("it has no empty line"))?;
        let mut lines = head.split('\n').peekable();
        let subtree = lines.next().and_then(parse_subtree);
        let subtree = subtree.ok_or(malformed("its first line is not `subtree <start> <end>`"))?;
        let hash = lines.next().and_then(|line| line.parse().ok());
        let hash = hash.ok_or(malformed("its second line is no hash"))?;
        let mut cosignatures = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with('\u{2014}')) {
            if cosignatures.len() == SUBTREE_LINES_MAX {
                return Err(malformed("it has more than 8 cosignatures of the subtree"));
            }
            cosignatures.push(Signature::parse(line)?);
        }
        let proof = parse_proof(lines)?;
        let (checkpoint, signatures) = match rest.contains("\n\n") {
            false => (rest.to_owned(), Vec::new()),
            true => {
                let note = Note::parse(rest.as_bytes())?;
                (note.text().to_owned(), note.signatures().to_vec())
            }
        };
        if !checkpoint.ends_with('\n') {
            return Err(malformed("its checkpoint does not end"));
        }
        if signatures.len() > SUBTREE_LINES_MAX {
            return Err(malformed("it has more than 8 signatures of the checkpoint"));
        }
        Ok(Self { subtree, hash, cosignatures, proof, checkpoint, signatures })
    }
}

fn parse_subtree(line: &str) -> Option<Subtree> {
    let (start, end) = line.strip_prefix("subtree ")?.split_once(' ')?;
    Subtree::new(parse_decimal(start)?, parse_decimal(end)?)
}

fn parse_proof<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<Hash>, MessageError> {
    let mut proof = Vec::new();
    for line in lines {
        if proof.len() == PROOF_HASHES_MAX {
            return Err(malformed("its proof has more than 63 hashes"));
        }
        proof.push(line.parse().map_err(|_| malformed("a line of its proof is no hash"))?);
    }
    Ok(proof)
}

/// Why a witness did not cosign, other than by naming another size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The request is malformed.
    #[error("{0}")]
    Malformed(String),
    /// The old size is larger than that of the checkpoint.
    #[error("the old size {old} is larger than the checkpoint's {new}")]
    SizesReversed {
        /// The stated old size.
        old: TreeSize,
        /// The checkpoint's size.
        new: TreeSize,
    },
    /// No key of the log that the witness trusts has signed, or one of its lines is wrong.
    #[error("the checkpoint is not signed by a trusted key of its log: {0}")]
    Untrusted(NoteError),
    /// The witness does not know the log.
    #[error("the log {origin:?} is not known here")]
    UnknownLog {
        /// The checkpoint's origin.
        origin: String,
    },
    /// The proof does not show that the tree continues the last cosigned one, or the tree is another
    /// one of the same size, or there is no such tree.
    #[error("the tree does not continue the one that was cosigned last: {0}")]
    Inconsistent(String),
}

impl Refusal {
    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::SizesReversed { .. } => 400,
            Self::Untrusted(_) => 403,
            Self::UnknownLog { .. } => 404,
            Self::Inconsistent(_) => 422,
        }
    }
}

/// What a client reads out of a witness's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// 200: lines of signatures, none of them checked yet.
    Cosigned(Vec<Signature>),
    /// 409 with a size: that of the tree it cosigned last is another than the request said.
    OtherSize(TreeSize),
    /// Anything else: the status, and the begin of what came with it.
    Refused {
        /// HTTP status.
        status: u16,
        /// For people.
        reason: String,
    },
}

impl Answer {
    /// Reads an answer. A 409 without a size is a refusal: version 1.0.0 of the protocol answers so
    /// to another tree of the same size, later ones answer 422.
    ///
    /// # Errors
    /// [`MessageError`] if the answer to a success has no lines of signatures.
    pub fn parse(status: u16, body: &[u8]) -> Result<Self, MessageError> {
        let (bytes, limit) = (body.len(), ANSWER_BYTES_MAX);
        if bytes > limit {
            return Err(MessageError::TooLong { bytes, limit });
        }
        match (status, parse_size(body)) {
            (200, _) => parse_cosignatures(body).map(Self::Cosigned),
            (409, Some(size)) => Ok(Self::OtherSize(size)),
            _ => {
                let begin = &body[..body.len().min(REASON_BYTES_MAX)];
                let text = String::from_utf8_lossy(begin);
                let shown = |c: char| if c.is_control() { ' ' } else { c };
                let reason = text.chars().map(shown).collect::<String>().trim().to_owned();
                Ok(Self::Refused { status, reason })
            }
        }
    }
}

/// The body of an answer that cosigns.
pub fn encode_cosignatures(lines: &[Signature]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn parse_cosignatures(body: &[u8]) -> Result<Vec<Signature>, MessageError> {
    let body = str::from_utf8(body).map_err(|_| malformed("it is not UTF-8"))?;
    let lines = body.strip_suffix('\n').ok_or(malformed("its last line does not end"))?;
    Ok(Signature::parse_lines(lines)?)
}

/// The body of an answer that names a size, of type [`SIZE_CONTENT_TYPE`].
pub fn encode_size(size: TreeSize) -> String {
    format!("{size}\n")
}

fn parse_size(body: &[u8]) -> Option<TreeSize> {
    parse_decimal(str::from_utf8(body).ok()?.strip_suffix('\n')?).map(TreeSize)
}

#[cfg(test)]
mod tests;

//! The errors of opening, appending and reading.

use stele_merkle::{KeyError, LeafIndex, ReceiptError, SignError, TreeSize};
use stele_record::Seq;
use stele_store::{ObjectName, StoreError};

/// Why a ledger could not be created or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The store holds no ledger. Create one, or name another place.
    #[error("there is no ledger here")]
    NotALedger,
    /// The store holds a ledger already. Open it instead.
    #[error("there is a ledger here already")]
    AlreadyExists,
    /// The key is another log's, or none that this log has had. Give the key that signs it now.
    #[error("the key, of {key}, is not the one that signs {ledger}")]
    WrongKey {
        /// Origin of the key.
        key: String,
        /// Origin of the ledger.
        ledger: String,
    },
    /// The key was replaced by another. Give that one.
    #[error("the key of {ledger} was replaced by record {rotated_at}")]
    RetiredKey {
        /// Origin of the ledger.
        ledger: String,
        /// The record that replaced it.
        rotated_at: LeafIndex,
    },
    /// The key was not replaced; the old one stays. Correct what stands in the way and try again.
    #[error("the key was not replaced: {0}")]
    NotRotated(String),
    /// What is stored contradicts itself or what was signed. Run `fsck`; repair from a mirror.
    #[error("{}{what}", place(object, *record))]
    Corrupt {
        /// The object at fault.
        object: String,
        /// Index of the record at fault, where it is known.
        record: Option<u64>,
        /// The fault.
        what: String,
    },
    /// The options contradict the format. Correct them.
    #[error("option {option}: {what}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// The fault.
        what: &'static str,
    },
    /// The log's key is not usable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A checkpoint could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// Why no COSE receipt was issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoseReceiptError {
    /// The proof could not be made.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The proof has no form as a receipt, or could not be signed.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
}

/// Why something stored could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is no such record, tile or tree yet. The request is wrong, or early.
    #[error("index {index} is not in the log of size {size}")]
    OutOfRange {
        /// The index or size that was asked for.
        index: u64,
        /// The size of the log.
        size: TreeSize,
    },
    /// What is stored is not what was written. Do not use it; run `fsck`.
    #[error("{}{what}", place(object, *record))]
    Corrupt {
        /// The object at fault.
        object: String,
        /// Index of the record at fault, where it is known.
        record: Option<u64>,
        /// The fault.
        what: String,
    },
    /// The store failed; trying again may help.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReadError {
    pub(crate) fn corrupt(
        object: &ObjectName,
        record: Option<u64>,
        what: impl Into<String>,
    ) -> Self {
        Self::Corrupt { object: object.to_string(), record, what: what.into() }
    }

    /// The fault without its place.
    pub(crate) fn fault(self) -> String {
        match self {
            Self::Corrupt { what, .. } => what,
            other => other.to_string(),
        }
    }
}

impl From<ReadError> for LedgerError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Corrupt { object, record, what } => Self::Corrupt { object, record, what },
            ReadError::Store(error) => Self::Store(error),
            ReadError::OutOfRange { .. } => {
                Self::Corrupt { object: "ledger".into(), record: None, what: error.to_string() }
            }
        }
    }
}

pub(crate) fn place(object: &str, record: Option<u64>) -> String {
    match record {
        Some(index) => format!("{object}, record {index}: "),
        None => format!("{object}: "),
    }
}

/// Why records were not taken in. Nothing of the submission is acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A record is malformed, or the records do not belong together. The source is at fault;
    /// sending it again cannot help.
    #[error("record {record} of the submission: {what}")]
    Invalid {
        /// Position in the submission.
        record: usize,
        /// The fault.
        what: String,
    },
    /// Records before these are missing. The source sends them first.
    #[error("the next sequence number is {expected}, not {got}")]
    SequenceHole {
        /// The number that is next.
        expected: Seq,
        /// The number that came.
        got: Seq,
    },
    /// A payload is not the one that its header commits to. The source is at fault.
    #[error("record {record} of the submission: the payload is not what the header commits to")]
    CommitmentMismatch {
        /// Position in the submission.
        record: usize,
    },
    /// Another record stands under the same sequence number: the source contradicts itself.
    #[error(
        "record {record} of the submission: sequence number {seq} is another record's, at index {index}"
    )]
    Contradiction {
        /// Position in the submission.
        record: usize,
        /// The sequence number.
        seq: Seq,
        /// Where the earlier record is.
        index: LeafIndex,
    },
    /// The submission is larger than the ledger ever takes. Send less at once.
    #[error("the submission is over the limit of {limit} bytes or records")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The ledger has too much to write. Nothing was taken in; send again later.
    #[error("the ledger has more to write than it can take; try again later")]
    Overloaded,
    /// An earlier record could not be read to settle a repeat. Run `fsck`.
    #[error("an earlier record cannot be read: {0}")]
    Unreadable(#[from] ReadError),
    /// The ledger no longer writes. Whether the records were taken in is not known: after a restart
    /// send them again; a repeat is recognised.
    #[error("the ledger has stopped: {0}")]
    Stopped(String),
}

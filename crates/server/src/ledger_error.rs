//! What the ledger's and the state's failures are to a caller over HTTP.
//!
//! Invariant: names of stored objects and causes from the system go to the log, not to the caller.

use stele_ledger::{AppendError, CoseReceiptError, ReadError};
use stele_merkle::ReceiptError;

use crate::error::{ApiError, ErrorKind};

/// A failure to read from the ledger.
pub(crate) fn read_error(error: ReadError) -> ApiError {
    match error {
        ReadError::OutOfRange { .. } => ApiError::not_found(error.to_string()),
        ReadError::Corrupt { .. } => {
            tracing::error!(%error, "stored bytes are not what was signed");
            ApiError::new(ErrorKind::Corrupt, "stored bytes are not what was signed")
                .hint("run stele fsck on the server; it names what is corrupt")
        }
        other => ApiError::internal(other),
    }
}

/// A receipt that was not issued.
pub(crate) fn receipt_error(error: CoseReceiptError) -> ApiError {
    match error {
        CoseReceiptError::Read(error) => read_error(error),
        CoseReceiptError::Receipt(error @ ReceiptError::EmptyProof) => {
            ApiError::not_found(error.to_string())
        }
        other => ApiError::internal(other),
    }
}

/// A submission that was not taken.
pub(crate) fn append_error(error: AppendError) -> ApiError {
    match error {
        AppendError::Overloaded => ApiError::unavailable("the ledger is overloaded", 1),
        AppendError::Stopped(_) => {
            tracing::error!(%error, "the ledger has stopped");
            ApiError::unavailable("the ledger has stopped", 30)
        }
        AppendError::Unreadable(error) => read_error(error),
        AppendError::TooLarge { .. } => ApiError::new(ErrorKind::TooLarge, error.to_string()),
        AppendError::SequenceHole { .. } | AppendError::Contradiction { .. } => {
            ApiError::new(ErrorKind::Conflict, error.to_string())
        }
        AppendError::Invalid { .. } | AppendError::CommitmentMismatch { .. } => {
            ApiError::invalid(error.to_string())
        }
        other => ApiError::internal(other),
    }
}

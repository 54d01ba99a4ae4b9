//! Errors of a source.

use std::io;
use std::path::PathBuf;

/// Why a source can't go on, or can't take a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Another process has the source open. End it, or use another directory.
    #[error("the source in {} is in use by another process", path.display())]
    InUse {
        /// The source's directory.
        path: PathBuf,
    },
    /// The spool or key holds bytes that no source wrote. Keep the files for examination and
    /// start a new source elsewhere.
    #[error("{} is corrupt at byte {offset}: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
    /// One record is over the limit; it was not taken, the source goes on.
    #[error("the payload has {found} bytes, the limit is {limit}")]
    PayloadTooLong {
        /// Its length in bytes.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A field beside the payload is over its limit; the record was not taken, the source goes on.
    #[error("the {field} has {found} bytes, the limit is {limit}")]
    FieldTooLong {
        /// The field.
        field: &'static str,
        /// Its length in bytes.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The ledger refuses the records for good. They stay in the spool; an operator must act.
    #[error("the ledger refuses the records: {reason}")]
    Refused {
        /// What the ledger said.
        reason: String,
    },
    /// The source has ended.
    #[error("the source has stopped")]
    Stopped,
    /// The disk failed. Stop the source; a restart re-reads what is durable.
    #[error("cannot {action}: {cause}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        #[source]
        cause: io::Error,
    },
}

impl SourceError {
    pub(crate) fn io(action: &'static str, cause: io::Error) -> Self {
        Self::Io { action, cause }
    }
}

//! Errors that end an import.

use std::io;

use stele_source::SourceError;

/// Why an import ended early or never began. What was recorded before stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The input can't be read, or is no valid zstd or gzip.
    #[error("cannot read the input: {0}")]
    Read(#[source] io::Error),
    /// The input is empty.
    #[error("the input is empty")]
    Empty,
    /// No known form was recognised. Name it with `--format`.
    #[error(
        "{name}: the form of the input is not recognised; \
         say which it is with --format (watch, recording, list, audit or etcd)"
    )]
    UnknownFormat {
        /// Name of the input.
        name: String,
    },
    /// The source can't take records any more.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The import was stopped from outside.
    #[error("the import was stopped")]
    Stopped,
}

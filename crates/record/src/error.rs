//! The one error of this crate. It speaks of bytes that were given, never of I/O.

/// Why bytes are not what they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes are not a canonical encoding. The caller refuses the input; sending it again
    /// cannot help.
    #[error("{what} is malformed: {detail}")]
    Malformed {
        /// The structure that was read, for example `record header`.
        what: &'static str,
        /// The field and its fault.
        detail: String,
    },
    /// A format version from the future. The caller needs a newer stele to read it.
    #[error("{what} has format version {found}, this program reads up to {known}")]
    UnknownVersion {
        /// The structure that was read.
        what: &'static str,
        /// The version found in the bytes.
        found: u64,
        /// The newest version this program reads.
        known: u64,
    },
    /// A field is over its named limit. The caller sends less.
    #[error("{field} has {found} bytes, the limit is {limit}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its length in bytes.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

impl RecordError {
    pub(crate) fn malformed(what: &'static str, detail: impl Into<String>) -> Self {
        Self::Malformed { what, detail: detail.into() }
    }
}

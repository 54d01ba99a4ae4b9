//! The one error of this crate.

use std::io;
use std::path::PathBuf;

use crate::ObjectName;

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such object. After a failed create this means that the create did not happen.
    #[error("{name} is not in the store")]
    NotFound {
        /// The object.
        name: ObjectName,
    },
    /// Other bytes stand under this name. The caller has lost the name to somebody else, or the
    /// object was altered; it must not go on as if it owned it.
    #[error("{name} exists already with other content")]
    Conflict {
        /// The object.
        name: ObjectName,
    },
    /// Another process has the directory for itself. The caller ends that one first.
    #[error("{path} is in use by another process")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// There is no space left. The same call may succeed once there is.
    #[error("the store has no space left")]
    Full,
    /// The store was opened for reading only.
    #[error("the store was opened for reading only")]
    ReadOnly,
    /// Flushing to the device failed. What was written since the last success may be lost although
    /// a later flush reports success: the process must stop writing, and verify after a restart.
    #[error("flushing {what} to the device failed: {error}; stop writing and verify")]
    Fatal {
        /// What was flushed.
        what: String,
        /// The system's error.
        #[source]
        error: io::Error,
    },
    /// Any other failure of the operating system. Nothing is known about the effect of the call.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's error.
        #[source]
        error: io::Error,
    },
    /// Not a name for an object. The caller has built it wrongly.
    #[error("{name:?} is no object name: {why}")]
    InvalidName {
        /// What was given.
        name: String,
        /// The rule it breaks.
        why: &'static str,
    },
}

impl StoreError {
    /// An I/O failure; lack of space becomes [`StoreError::Full`].
    pub(crate) fn io(what: impl Into<String>, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io { what: what.into(), error },
        }
    }

    pub(crate) fn fatal(what: impl Into<String>, error: io::Error) -> Self {
        Self::Fatal { what: what.into(), error }
    }

    /// Reading `name` failed; a missing file becomes [`StoreError::NotFound`].
    pub(crate) fn read(name: &ObjectName, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound {
            return Self::NotFound { name: name.clone() };
        }
        Self::io(format!("reading {name}"), error)
    }
}

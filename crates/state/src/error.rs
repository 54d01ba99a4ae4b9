//! The errors of this crate. A record that can't be read is no error of the fold: it is counted
//! and kept as a problem (see [`crate::query::Problem`]).

/// Why the state could not be opened, advanced or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The view's files can't be used. It holds nothing that is not in the log: the caller may
    /// delete it and fold again from index 0.
    #[error("the state view can't be used: {0}")]
    Engine(String),
    /// Another process has the view open; the caller asks that one, or stops it.
    #[error("another process has the state view open")]
    InUse,
    /// The folder of the view, or a file in it, can't be made, read or written; the caller checks
    /// the path, the rights and the space.
    #[error("the folder of the state view can't be used: {0}")]
    Io(#[from] std::io::Error),
    /// A row of the view can't be read: its files are damaged. Delete it and fold again.
    #[error("the state view is damaged: {0}")]
    Damaged(String),
    /// Records were left out; the caller sends them from `expected` on.
    #[error("record {got} does not follow: the state expects record {expected}")]
    Hole {
        /// The index that must come next.
        expected: u64,
        /// The index that came.
        got: u64,
    },
    /// The question names something that does not exist; the caller tells the user.
    #[error("{message}")]
    NotFound {
        /// What was not found.
        message: String,
        /// What to do, for people; may be empty.
        hint: String,
    },
    /// The question can be understood in several ways or not at all; the caller tells the user.
    #[error("{message}")]
    Invalid {
        /// What is wrong with it.
        message: String,
        /// What to do, for people; may be empty.
        hint: String,
    },
    /// The question is about a record that has not been folded yet; the caller may wait for it.
    #[error("record {index} is not there yet: the state is at record {next} (exclusive)")]
    NotYet {
        /// The index asked for.
        index: u64,
        /// The next index to be folded.
        next: u64,
    },
}

impl StateError {
    pub(crate) fn not_found(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::NotFound { message: message.into(), hint: hint.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), hint: hint.into() }
    }

    /// What to do about it, for people; empty if there is nothing to say.
    pub fn hint(&self) -> &str {
        match self {
            Self::NotFound { hint, .. } | Self::Invalid { hint, .. } => hint,
            Self::Engine(_) | Self::Damaged(_) => "delete the view; it is rebuilt from the log",
            _ => "",
        }
    }
}

impl From<fjall::Error> for StateError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Locked => Self::InUse,
            fjall::Error::Io(error) => Self::Io(error),
            other => Self::Engine(other.to_string()),
        }
    }
}

impl From<postcard::Error> for StateError {
    fn from(error: postcard::Error) -> Self {
        Self::Damaged(format!("a row cannot be read: {error}"))
    }
}

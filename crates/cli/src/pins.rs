//! Pinned checkpoints: the largest tree of each log that was once verified on this machine.
//!
//! A log that later shows a smaller tree, or one that does not continue the pinned one, has been
//! rewritten or shows different people different logs. Without the memory of an earlier checkpoint
//! nobody can tell.

use std::fs;
use std::io;
use std::path::PathBuf;

use stele_merkle::{Checkpoint, LogVerifier};

use crate::dirs::Dirs;
use crate::error::CliError;
use crate::keys::LogKeys;

/// The place of one log's pin.
#[derive(Debug)]
pub(crate) struct Pin {
    path: PathBuf,
}

/// What is pinned.
#[derive(Debug, Clone)]
pub(crate) struct Pinned {
    /// The tree.
    pub(crate) checkpoint: Checkpoint,
    /// When it was pinned, in nanoseconds since the Unix epoch; `None` if that is not known.
    pub(crate) at_ns: Option<i64>,
}

impl Pin {
    /// The pin of the log with these keys.
    pub(crate) fn of(dirs: &Dirs, keys: &LogKeys) -> Self {
        let safe = |c: char| if c.is_ascii_alphanumeric() || ".-+_".contains(c) { c } else { '_' };
        let name: String = keys.label().chars().map(safe).collect();
        Self { path: dirs.state.join("pins").join(format!("{name}.checkpoint")) }
    }

    /// The pinned checkpoint, verified again; `None` if there is none yet.
    ///
    /// # Errors
    /// When the file can't be read, or holds no checkpoint of this log.
    pub(crate) fn read(&self, log: &LogVerifier) -> Result<Option<Pinned>, CliError> {
        let note = match fs::read(&self.path) {
            Ok(note) => note,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.cannot("read", &e)),
        };
        let checkpoint = log.open(&note).map_err(|e| {
            CliError::tampered(format!(
                "the pinned checkpoint in {} does not verify: {e}",
                self.path.display()
            ))
            .hint("if the file was damaged by accident, remove it and verify again to pin anew")
        })?;
        let modified = fs::metadata(&self.path).and_then(|m| m.modified()).ok();
        let since = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let at_ns = since.and_then(|since| i64::try_from(since.as_nanos()).ok());
        Ok(Some(Pinned { checkpoint, at_ns }))
    }

    /// Whether there is one.
    pub(crate) fn exists(&self) -> bool {
        self.path.is_file()
    }

    /// Pins a verified checkpoint, given as its signed note.
    ///
    /// # Errors
    /// When the file can't be written.
    pub(crate) fn write(&self, note: &[u8]) -> Result<(), CliError> {
        let parent = self.path.parent().unwrap_or(&self.path);
        fs::create_dir_all(parent).map_err(|e| self.cannot("create the directory of", &e))?;
        let staged = self.path.with_extension("new");
        fs::write(&staged, note).map_err(|e| self.cannot("write", &e))?;
        fs::rename(&staged, &self.path).map_err(|e| self.cannot("write", &e))
    }

    fn cannot(&self, what: &str, error: &io::Error) -> CliError {
        CliError::failed(format!("cannot {what} {}: {error}", self.path.display()))
    }
}

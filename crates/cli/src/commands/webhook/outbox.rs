//! What a sender keeps on disk: how far its receiver is, and the one batch that is on its way.
//!
//! ```text
//! DIR/cursor         id of the last change that was delivered or given up
//! DIR/pending.json   the batch that is on its way; the same bytes are sent until it is settled
//! DIR/dead/ID.json   batches that were given up
//! DIR/lock           held while a sender runs
//! ```
//!
//! Invariant: a batch is written before it is sent first, and the cursor moves only once it is
//! settled, so that a sender that was killed goes on with the same batch under the same id.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::CliError;
use crate::files;

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Batch {
    /// Names it for ever.
    pub(super) id: String,
    /// Id of its last change.
    pub(super) last: String,
    /// What is sent.
    pub(super) body: String,
}

/// See the module.
pub(super) struct Outbox {
    dir: PathBuf,
    _lock: File,
}

impl Outbox {
    /// Opens the directory, or makes it, for this process alone.
    ///
    /// # Errors
    /// When another sender has it open, or it can't be made.
    pub(super) fn open(dir: &Path) -> Result<Self, CliError> {
        fs::create_dir_all(dir.join("dead")).map_err(|e| cannot("make", dir, &e))?;
        let path = dir.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|e| cannot("open", &path, &e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                let what = format!("another sender works with {}", dir.display());
                Err(CliError::failed(what).hint("each receiver needs a directory of its own"))
            }
            Err(TryLockError::Error(e)) => Err(cannot("lock", &path, &e)),
        }
    }

    /// Id of the last change that is settled.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn cursor(&self) -> Result<Option<String>, CliError> {
        Ok(self.read("cursor")?.map(|text| text.trim().to_owned()))
    }

    /// The batch that was on its way.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn pending(&self) -> Result<Option<Batch>, CliError> {
        let Some(text) = self.read("pending.json")? else { return Ok(None) };
        let batch: Batch = serde_json::from_str(&text).map_err(|e| {
            let path = self.dir.join("pending.json");
            CliError::failed(format!("{} is damaged: {e}", path.display()))
                .hint("remove it: the changes in it are sent again, as another batch")
        })?;
        // It was settled, and only its removal was cut off.
        Ok((self.cursor()?.as_deref() != Some(&batch.last)).then_some(batch))
    }

    /// Keeps a batch until it is settled.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn keep(&self, batch: &Batch) -> Result<(), CliError> {
        let text = serde_json::to_vec(batch).map_err(CliError::failed)?;
        files::replace(&self.dir.join("pending.json"), &text)?;
        self.sync()
    }

    /// Notes that everything up to an id is settled.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn settle(&self, id: &str) -> Result<(), CliError> {
        files::replace(&self.dir.join("cursor"), format!("{id}\n").as_bytes())?;
        self.sync()
    }

    /// Puts a batch aside that is given up; gives the file.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn give_up(&self, batch: &Batch) -> Result<PathBuf, CliError> {
        let path = self.dir.join("dead").join(format!("{}.json", batch.id));
        files::replace(&path, batch.body.as_bytes())?;
        self.sync()?;
        self.settle(&batch.last)?;
        Ok(path)
    }

    fn read(&self, name: &str) -> Result<Option<String>, CliError> {
        let path = self.dir.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(cannot("read", &path, &e)),
        }
    }

    /// Makes the names durable.
    fn sync(&self) -> Result<(), CliError> {
        for dir in [self.dir.clone(), self.dir.join("dead")] {
            File::open(&dir)
                .and_then(|file| file.sync_all())
                .map_err(|e| cannot("write", &dir, &e))?;
        }
        Ok(())
    }
}

fn cannot(verb: &str, path: &Path, error: &std::io::Error) -> CliError {
    CliError::failed(format!("cannot {verb} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(last: &str) -> Batch {
        Batch { id: format!("stele-{last}"), last: last.to_owned(), body: "{}".to_owned() }
    }

    #[test]
    fn a_batch_stays_until_it_is_settled() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path()).unwrap();
        assert_eq!((outbox.cursor().unwrap(), outbox.pending().unwrap()), (None, None));
        outbox.keep(&batch("7.0")).unwrap();
        assert!(Outbox::open(dir.path()).is_err());
        drop(outbox);
        let outbox = Outbox::open(dir.path()).unwrap();
        assert_eq!(outbox.pending().unwrap(), Some(batch("7.0")));
        outbox.settle("7.0").unwrap();
        assert_eq!(outbox.cursor().unwrap().as_deref(), Some("7.0"));
        assert_eq!(outbox.pending().unwrap(), None);
        outbox.keep(&batch("9.1")).unwrap();
        let dead = outbox.give_up(&batch("9.1")).unwrap();
        assert_eq!(fs::read_to_string(dead).unwrap(), "{}");
        assert_eq!(
            (outbox.cursor().unwrap().as_deref(), outbox.pending().unwrap()),
            (Some("9.1"), None)
        );
    }
}

//! The engine: opens the one file the view lives in, applies batches of records, opens snapshots
//! for questions.
//!
//! A batch is one write transaction. Most of them are not made durable at once: after a crash the
//! view is at an earlier record and the caller folds on from [`State::next_index`].

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable};
use tokio::sync::watch;

use crate::StateError;
use crate::bodies::{Packer, Readers};
use crate::fold::{Applied, Fold, FoldRecord};
use crate::tables::{FORMAT, Reader, Writer};

/// File name within the folder of the view.
const FILE: &str = "state.redb";

/// Memory that the engine may use for pages.
const CACHE_BYTES: usize = 256 * 1024 * 1024;

/// A batch that ends behind a multiple of this index is made durable.
const DURABLE_EVERY: u64 = 65_536;

/// The state of all clusters over time. Cloning gives another handle on the same state.
#[derive(Clone)]
pub struct State {
    inner: Arc<Inner>,
}

struct Inner {
    db: Database,
    /// Of whoever folds; forgotten when a transaction fails.
    packer: Mutex<Packer>,
    readers: Readers,
    next: watch::Sender<u64>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State(next index {})", self.next_index())
    }
}

impl State {
    /// Opens the view in a folder, or makes an empty one. A view of another format is dropped: it
    /// is folded again from index 0.
    ///
    /// # Errors
    /// [`StateError::InUse`], [`StateError::Io`] or [`StateError::Engine`].
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        // For its owner alone: the view holds whole objects.
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let path = dir.join(FILE);
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        let state = Self::start(builder.create(&path)?)?;
        if let Some(state) = state {
            return Ok(state);
        }
        tracing::warn!(path = %path.display(), "the state view has another format; rebuilding it");
        std::fs::remove_file(&path)?;
        Self::start(builder.create(&path)?)?
            .ok_or_else(|| StateError::Engine("a new view has another format".to_owned()))
    }

    /// An empty view in memory, for tests and short questions.
    ///
    /// # Errors
    /// [`StateError::Engine`], which does not happen unless memory runs out.
    pub fn in_memory() -> Result<Self, StateError> {
        let backend = redb::backends::InMemoryBackend::new();
        Self::start(Builder::new().create_with_backend(backend)?)?
            .ok_or_else(|| StateError::Engine("a new view has another format".to_owned()))
    }

    /// `None` if the file is of another format.
    fn start(db: Database) -> Result<Option<Self>, StateError> {
        let txn = db.begin_write()?;
        let next = {
            let mut writer = Writer::open(&txn)?;
            let format = writer.meta.get("format")?.map(|f| f.value());
            match format {
                None => writer.meta.insert("format", FORMAT)?.map(|f| f.value()),
                Some(FORMAT) => None,
                Some(_) => return Ok(None),
            };
            writer.meta.get("next_index")?.map_or(0, |n| n.value())
        };
        txn.commit()?;
        let next = watch::Sender::new(next);
        let (packer, readers) = (Mutex::default(), Readers::default());
        Ok(Some(Self { inner: Arc::new(Inner { db, packer, readers, next }) }))
    }

    /// The record that must come next.
    pub fn next_index(&self) -> u64 {
        *self.inner.next.borrow()
    }

    /// Tells of each new [`State::next_index`].
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.next.subscribe()
    }

    /// Folds a run of records in one transaction. Records below [`State::next_index`] are passed
    /// over, so that a batch may be repeated. A record that can't be used never stops the fold: it
    /// is kept as a problem.
    ///
    /// Blocks on the disk; only one batch is folded at a time.
    ///
    /// # Errors
    /// [`StateError::Hole`] if records are missing before or in the batch: nothing was applied.
    /// [`StateError::Engine`] or [`StateError::Damaged`]: nothing was applied.
    pub fn apply(&self, batch: &[FoldRecord<'_>]) -> Result<Applied, StateError> {
        let mut packer = self.inner.packer.lock().unwrap_or_else(PoisonError::into_inner);
        // Dictionaries that are not committed must not outlive their transaction.
        let mut own = std::mem::take(&mut *packer);
        let mut txn = self.inner.db.begin_write()?;
        let (applied, next) = {
            let mut fold = Fold::begin(&txn, &mut own)?;
            for record in batch {
                fold.record(record)?;
            }
            fold.finish()?
        };
        let first = next - applied.records;
        if first / DURABLE_EVERY == next / DURABLE_EVERY {
            txn.set_durability(Durability::None)?;
        } else {
            // After a crash the file opens without being read through.
            txn.set_quick_repair(true);
        }
        txn.commit()?;
        *packer = own;
        drop(packer);
        self.inner.next.send_if_modified(|current| std::mem::replace(current, next) != next);
        Ok(applied)
    }

    /// Makes all that was folded durable, so that a restart need not fold it again.
    ///
    /// # Errors
    /// [`StateError::Engine`]; the view is then as it was at some earlier record.
    pub fn sync(&self) -> Result<(), StateError> {
        let mut txn = self.inner.db.begin_write()?;
        txn.set_quick_repair(true);
        txn.commit()?;
        Ok(())
    }

    /// SHA-256 over all rows of all tables, in hexadecimal: equal for equal records, however they
    /// were batched. Reads everything; for tests and support.
    ///
    /// # Errors
    /// [`StateError::Engine`].
    pub fn digest(&self) -> Result<String, StateError> {
        self.reader()?.digest()
    }

    /// What each table takes: name, rows, bytes of keys and values, bytes beside them (of pages that
    /// are not full, and of what leads to the rows). Reads everything; for measuring.
    ///
    /// # Errors
    /// [`StateError::Engine`].
    pub fn table_sizes(&self) -> Result<Vec<(String, u64, u64, u64)>, StateError> {
        let txn = self.inner.db.begin_read()?;
        let mut sizes = Vec::new();
        for table in txn.list_tables()? {
            let name = redb::TableHandle::name(&table).to_owned();
            let table = txn.open_untyped_table(table)?;
            let (rows, stats) = (
                redb::ReadableTableMetadata::len(&table)?,
                redb::ReadableTableMetadata::stats(&table)?,
            );
            let overhead = stats.metadata_bytes() + stats.fragmented_bytes();
            sizes.push((name, rows, stats.stored_bytes(), overhead));
        }
        Ok(sizes)
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.inner.readers
    }

    pub(crate) fn reader(&self) -> Result<Reader, StateError> {
        Reader::open(&self.inner.db.begin_read()?)
    }
}
